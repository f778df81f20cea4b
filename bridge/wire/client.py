"""The reference client: a link on its own thread, doing what the plug-in does.

>>> with Client(rate=48_000, channels=2, max_block=512) as client:   # doctest: +SKIP
...     client.send(audio)
...     events = client.flush("end")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import zmq

from bridge.errors import LinkError, ProtocolError, SidecarMissing
from bridge.wire import protocol as wire
from bridge.wire.bell import Bell
from bridge.wire.blocks import Block
from bridge.wire.carrier import Carrier, Mark
from bridge.wire.codec import Samples, decode_to_plugin, encode
from bridge.wire.connection import START, Connection, read_connection
from bridge.wire.link import Link, State
from bridge.wire.security import Context, secure_client

RING_S = 2.0
"""Audio that may wait for credit; live, what comes on top is dropped."""
STOPPED = wire.Transport()


class Client:
    """One plug-in instance without a host; sends blocks, receives events, survives the sidecar.

    Args:
        rate: Hz.
        channels: 1..8.
        max_block: longest block in samples; longer audio is cut.
        presets: names; none = those of the sidecar.
        name: name of the instance.
        track: name of its track.
        instance: identity that a project would keep.
        offline: nobody waits for the answer: no deadlines.
        monitor: hear also while the transport stands.
        connection: a sidecar; `None` = the one of the connection file.
    """

    def __init__(
        self,
        rate: int,
        channels: int,
        *,
        max_block: int = 512,
        presets: Sequence[str] = (),
        name: str = "",
        track: str = "",
        instance: str = "",
        offline: bool = False,
        monitor: bool = True,
        connection: Connection | None = None,
    ) -> None:
        self.hello = wire.Hello(
            protocol=wire.PROTOCOL,
            rate=rate,
            channels=channels,
            max_block=max_block,
            instance=instance,
            name=name,
            track=track,
            software="dawbridge client",
            presets=tuple(presets),
            offline=offline,
            monitor=monitor,
        )
        self.position = 0
        self._known_losses = 0
        self._dropped = 0
        bell = Bell()
        self._link = Link(self.hello, read_connection if connection is None else lambda: connection, bell)
        self._carrier = Carrier(self._link, bell, lossless=offline)

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> State:
        """Where the link stands."""
        return self._link.state

    @property
    def welcome(self) -> wire.Welcome | None:
        """The terms of the latest session."""
        return self._link.welcome

    @property
    def trouble(self) -> LinkError | None:
        """What stands between us and a session; `None` while all is well."""
        return self._link.trouble

    @property
    def loss(self) -> LinkError | None:
        """Why the last session ended before we left."""
        return self._link.loss

    @property
    def dropped(self) -> int:
        """Blocks that nobody will hear."""
        return self._dropped + self._carrier.dropped

    @property
    def losses(self) -> int:
        """How often a session was lost."""
        return self._link.losses

    @property
    def health(self) -> wire.Pong | None:
        """The sidecar's latest word on queue, lateness and load."""
        return self._link.pong

    @property
    def sounding(self) -> int:
        """Voices that sound, as far as events came."""
        return len(self._link.sounding)

    def wait_ready(self, timeout_s: float = 10.0) -> wire.Welcome:
        """Wait for the session; raise what stands in the way."""
        self._carrier.wait(lambda: self.state in (State.READY, State.REFUSED), timeout_s)
        if self.state is not State.READY or self.welcome is None:
            raise self.trouble or SidecarMissing("no sidecar answers", remedy=START)
        return self.welcome

    def offer(self, audio: Samples, transport: wire.Transport = STOPPED) -> bool:
        """Live: give a block `(channels, samples)`; never waits, `False` if it had to be dropped."""
        audio = self._checked(audio)
        start, self.position = self.position, self.position + audio.shape[1]
        room = self._carrier.held + audio.shape[1] <= RING_S * self.hello.rate
        if not room or self.state is not State.READY:
            self._dropped += 1
            return False
        for begin in range(0, audio.shape[1], self.hello.max_block):
            piece = audio[:, begin : begin + self.hello.max_block]
            self._carrier.put(Block(start + begin, piece, transport))
        return True

    def send(self, audio: Samples, transport: wire.Transport = STOPPED, *, timeout_s: float = 30.0) -> None:
        """Offline: give audio of any length and wait until it is on its way; nothing is dropped unsaid.

        A lost sidecar raises here or in `flush`, once; after that a new stream begins.
        """
        audio = self._checked(audio)
        room = RING_S * self.hello.rate
        for begin in range(0, audio.shape[1], self.hello.max_block):
            self._wait(lambda: self.state is State.READY and self._carrier.held <= room, timeout_s)
            piece = audio[:, begin : begin + self.hello.max_block]
            self._carrier.put(Block(self.position, piece, transport))
            self.position += piece.shape[1]

    def receive(self, timeout_s: float = 0.0) -> list[wire.Events]:
        """Events that came; waits for the first at most `timeout_s`."""
        return self._carrier.take(timeout_s)

    def flush(self, reason: str = "stop", *, timeout_s: float = 30.0) -> list[wire.Events]:
        """Have everything heard to its end and released; all events not received yet."""
        mark = Mark(reason)
        self._carrier.put(mark)
        self._wait(lambda: mark.done, timeout_s)
        return self.receive()

    def configure(self, change: wire.Configure) -> None:
        """Change the session after what was sent so far; see `welcome` and `trouble`."""
        self._carrier.put(Mark(change))

    def close(self) -> None:
        """Leave; what still sounds comes as note-offs from `receive`."""
        self._carrier.close()

    def _wait(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait for the other thread; raise if it broke, the session was lost, or time is up."""
        done = self._carrier.wait(lambda: ready() or self.losses != self._known_losses, timeout_s)
        if self._carrier.broken is not None:
            raise LinkError("the link ended", why=str(self._carrier.broken)) from self._carrier.broken
        if self.losses != self._known_losses:
            self._known_losses = self.losses
            raise self._link.loss or LinkError("the sidecar was lost", remedy=START)
        if not done:
            late = SidecarMissing(f"the sidecar took longer than {timeout_s:g} s", remedy=START)
            raise self.trouble or late

    def _checked(self, audio: Samples) -> Samples:
        if audio.ndim != 2 or audio.shape[0] != self.hello.channels:
            raise ProtocolError(
                f"a block of shape {audio.shape} does not fit the session",
                remedy=f"Give ({self.hello.channels}, samples)",
            )
        return np.array(audio, dtype=np.float32)  # a copy: the caller goes on using its buffer


def status(connection: Connection | None = None, *, timeout_s: float = 2.0) -> wire.Report:
    """Ask a sidecar how it fares.

    Args:
        connection: the sidecar; `None` = the one of the connection file.
        timeout_s: how long to wait for the answer.
    """
    connection = connection or read_connection()
    context: Context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        secure_client(socket, connection)
        socket.connect(connection.endpoint)
        socket.send(encode(wire.Status()))
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0 and socket.poll(round(1000 * left)):
            message = decode_to_plugin(socket.recv())
            if isinstance(message, wire.Report):
                return message
    finally:
        socket.close()
        context.term()
    raise SidecarMissing(
        f"the sidecar at {connection.endpoint} does not answer",
        why=f"nothing came within {timeout_s:g} s",
        remedy=START,
    )
