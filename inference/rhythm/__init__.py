"""MTMS: beats, downbeats and dynamics (arXiv 2510.18190)."""
