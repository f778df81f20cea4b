"""Waking a poll loop from another thread or from a signal, without polling."""

from __future__ import annotations

import socket
from contextlib import suppress


class Bell:
    """A pair of connected sockets: any thread rings, the poll loop watches `descriptor`."""

    def __init__(self) -> None:
        self._ear, self._hand = socket.socketpair()
        self._ear.setblocking(False)
        self._hand.setblocking(False)

    @property
    def descriptor(self) -> int:
        """What the poll loop watches."""
        return self._ear.fileno()

    @property
    def wakeup_descriptor(self) -> int:
        """What `signal.set_wakeup_fd` writes to."""
        return self._hand.fileno()

    def ring(self) -> None:
        """Wake the loop; a full buffer means that it has been woken already."""
        with suppress(OSError):
            self._hand.send(b"\0")

    def silence(self) -> None:
        """Forget all rings so far."""
        with suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass

    def close(self) -> None:
        """Give both sockets back."""
        self._ear.close()
        self._hand.close()
