"""What crosses the socket: messages, keys, and the reference client."""
