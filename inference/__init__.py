"""Tensors and events: streaming neural networks that listen to audio. No sockets, no wall clock."""
