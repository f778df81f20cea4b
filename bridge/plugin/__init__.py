"""The native plug-in: its C++ sources, and how to build and install it. Nothing here runs inside a host."""
