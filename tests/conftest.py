"""What all tests need."""

import signal

# What a script starts in the background ignores Ctrl-C, and so would every process of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
