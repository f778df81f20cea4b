"""The live side: server, sessions and the inference worker."""
