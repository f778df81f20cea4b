"""The file side: bounce, render and pictures."""
