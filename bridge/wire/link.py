"""The client's end of one session on one thread: what the plug-in's I/O thread does, step by step.

A link is pumped: it sends nothing and hears nothing by itself. `Client` puts a thread around it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

import msgspec
import zmq

from bridge.errors import LinkError, ProtocolError, Refused, SidecarMissing
from bridge.wire import protocol as wire
from bridge.wire.bell import Bell
from bridge.wire.blocks import Block
from bridge.wire.codec import decode_to_plugin, encode, encode_samples
from bridge.wire.connection import Connection, connection_file, read_connection
from bridge.wire.security import Context, Socket, secure_client
from bridge.wire.sounding import Sounding

log = logging.getLogger(__name__)

FIRST_BACK_OFF_S = 0.25
LAST_BACK_OFF_S = 8.0
PASSING = frozenset(("busy", "stranger"))
"""Refusals that another try may overcome; the others stand until another sidecar runs."""


class State(Enum):
    """Where a link stands."""

    LOST = "lost"
    GREETING = "greeting"
    READY = "ready"
    REFUSED = "refused"
    CLOSED = "closed"


class Link:
    """One session with a sidecar, found again whenever it is lost.

    Args:
        hello: what to ask for.
        find: finds the sidecar; raises `LinkError` if there is none.
        bell: also wakes `pump`.
        context: of ZeroMQ, shared among links; `None` = one of its own.
    """

    def __init__(
        self,
        hello: wire.Hello,
        find: Callable[[], Connection] = read_connection,
        bell: Bell | None = None,
        context: Context | None = None,
    ) -> None:
        self.hello, self.state = hello, State.LOST
        self.welcome: wire.Welcome | None = None
        self.pong: wire.Pong | None = None
        self.trouble: LinkError | None = None  # what stands between us and a session
        self.loss: LinkError | None = None  # why the last session ended
        self.sounding = Sounding()
        self.acknowledged = 0
        self.position = 0  # stream time after the last block sent
        self.losses = 0
        self._find, self._bell = find, bell
        self._context: Context = context or zmq.Context()
        self._shared = context is not None
        self._socket: Socket | None = None
        self._waiting: deque[tuple[int, int]] = deque()  # number, samples: audio not yet acknowledged
        self._seq = 0
        self._last: Block | None = None  # that was sent
        self._due = 0
        self._stream_seq = 1  # message that began the stream
        self._heartbeat_s = wire.HEARTBEAT_MS / 1000
        self._heard_s = self._sent_s = self._pinged_s = 0.0
        self._back_off_s = self._retry_s = self._welcomed_s = 0.0
        self._seen: object = None

    @property
    def credit(self) -> int:
        """Audio messages that may be sent now; a long one, made of many blocks, counts for more than one."""
        if self.state is not State.READY or self.welcome is None:
            return 0
        blocks = -(-sum(samples for _, samples in self._waiting) // self.hello.max_block)
        return max(0, self.welcome.credit - max(len(self._waiting), blocks))

    def due(self, block: Block) -> int:
        """Stream time up to which `block` and those that join it may be held back to travel together.

        0 if that is not known. Rather a sample too early than too late, as a chunk need not be a whole
        number of the host's samples.
        """
        if self.welcome is None or self._last is None or not block.joins(self._last, self.hello.rate):
            return 0
        chunk, beyond = self.welcome.latency.chunk, self._last.end - self._due
        if self._due == 0 or beyond < 0 or chunk < 2:
            return self._due
        return self._due + (beyond // chunk + 1) * (chunk - 1)

    def pump(self, timeout_s: float = 0.0) -> list[wire.Events]:
        """Do what is due, wait at most `timeout_s` for news, return the events that came.

        When the link is lost the events are note-offs for all that sounds: play them at once.
        """
        if self.state in (State.LOST, State.REFUSED):
            self._retry()
        events = self._listen() if self._poll(timeout_s) else []
        now = time.monotonic()
        if self.state in (State.GREETING, State.READY):
            if now - self._heard_s > self._heartbeat_s * wire.MISSES:
                trouble = SidecarMissing("the sidecar does not answer", remedy="Look at: dawbridge status")
                events += self._lose(trouble)
            elif now - max(self._pinged_s, self._heard_s) > self._heartbeat_s:
                self._pinged_s = now
                self._send(wire.Ping(time.monotonic_ns()))
        return events

    def send(self, block: Block) -> bool:
        """Send a block `(channels, samples)`; `False` if there is no credit."""
        if not self.credit:
            return False
        if self._last is None or not block.joins(self._last, self.hello.rate):
            self._due, self._stream_seq = 0, self._seq + 1  # what is due was told of the stream before
        samples = block.audio.shape[1]
        message = wire.Audio(self._seq + 1, block.start, samples, block.transport)
        if not self._send(message, encode_samples(block.audio)):
            return False
        self._seq += 1
        self._waiting.append((self._seq, samples))
        self._last = block
        self.position = block.end
        return True

    def flush(self, reason: str = "stop") -> int:
        """Ask for the end of everything; done when `acknowledged` reaches the number returned."""
        self._seq += 1
        self._send(wire.Flush(self._seq, reason))
        return self._seq

    def configure(self, change: wire.Configure) -> None:
        """Ask for other terms; they come as a new `welcome`, a refusal as `trouble`.

        After a loss the change is part of the next Hello.
        """
        fields = {name: getattr(change, name) for name in change.__struct_fields__}
        changes = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
        self.hello = msgspec.structs.replace(self.hello, **changes)
        if self.state is State.READY:
            self._send(change)

    def close(self) -> list[wire.Events]:
        """Leave; the note-offs of what sounds."""
        if self.state is State.CLOSED:
            return []
        if self._socket is not None:
            self._send(wire.Goodbye())
        events = self._panic()
        self._disconnect(linger_ms=200)
        self.state = State.CLOSED
        if not self._shared:
            self._context.term()
        return events

    def _retry(self) -> None:
        """Try to connect when the back-off is over, or at once if another sidecar appeared."""
        now = time.monotonic()
        seen = _signature()
        appeared, self._seen = seen != self._seen, seen
        if not appeared and (now < self._retry_s or self.state is State.REFUSED):
            return
        try:
            self._connect(self._find())
        except LinkError as error:
            self.trouble = error
            self._wait_longer(now)

    def _connect(self, connection: Connection) -> None:
        socket: Socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE)
        socket.setsockopt(zmq.IPV6, int("[" in connection.endpoint))
        try:
            secure_client(socket, connection)
            socket.connect(connection.endpoint)
        except (zmq.ZMQError, ValueError) as error:
            socket.close()
            raise SidecarMissing(
                f"cannot connect to {connection.endpoint}", why=str(error), remedy="Restart the sidecar"
            ) from error
        self._socket, self.state = socket, State.GREETING
        self._heard_s = self._pinged_s = time.monotonic()
        self._seq = self.acknowledged = 0
        self._waiting.clear()
        self._send(self.hello)

    def _poll(self, timeout_s: float) -> bool:
        """Wait for the sidecar, the bell, or the next thing that is due."""
        poller = zmq.Poller()
        if self._socket is not None:
            poller.register(self._socket, zmq.POLLIN)
        if self._bell is not None:
            poller.register(self._bell.descriptor, zmq.POLLIN)
        due_s = self._heartbeat_s / 2 if self._socket is not None else FIRST_BACK_OFF_S / 2
        ready = poller.poll(round(1000 * max(0.0, min(timeout_s, due_s))))
        if self._bell is not None:
            self._bell.silence()
        return any(item is self._socket for item, _ in ready)

    def _listen(self) -> list[wire.Events]:
        events: list[wire.Events] = []
        while self._socket is not None:
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            self._heard_s = time.monotonic()
            try:
                message = decode_to_plugin(frames[0])
            except ProtocolError as error:
                log.warning("the sidecar breaks the protocol: %s", error)
                continue
            events += self._handle(message)
        return events

    def _handle(self, message: wire.ToPlugin | None) -> list[wire.Events]:
        match message:
            case wire.Events():
                self.acknowledged = max(self.acknowledged, message.through_seq)
                while self._waiting and self._waiting[0][0] <= self.acknowledged:
                    self._waiting.popleft()
                if message.through_seq >= self._stream_seq:
                    self._due = message.due
                self.sounding.follow(message)
                return [message]
            case wire.Pong():
                self.pong = message
            case wire.Welcome():
                self._welcomed(message)
            case wire.Refusal():
                return self._refused(message)
            case wire.Goodbye():
                return self._lose(
                    LinkError(f"the sidecar ended the session: {message.reason}", remedy=message.remedy)
                )
        return []

    def _welcomed(self, welcome: wire.Welcome) -> None:
        self.welcome, self.state, self.trouble = welcome, State.READY, None
        self._heartbeat_s = welcome.heartbeat_ms / 1000
        self._welcomed_s = time.monotonic()
        self._last = None  # the next block begins a stream, or goes on by other terms

    def _refused(self, refusal: wire.Refusal) -> list[wire.Events]:
        trouble = Refused(refusal.message, remedy=refusal.remedy)
        if self.state is State.READY and refusal.code != "stranger":
            self.trouble = trouble
            return []
        events = self._lose(trouble)
        if refusal.code not in PASSING:
            self.state = State.REFUSED
        return events

    def _lose(self, trouble: LinkError) -> list[wire.Events]:
        """Panic, let go of the socket, try again later."""
        log.warning("%s", trouble)
        if self.state is State.READY:
            self.losses += 1
            self.loss = trouble
            if time.monotonic() - self._welcomed_s > LAST_BACK_OFF_S:  # it was not lost at once, again
                self._back_off_s = 0.0
        self.trouble, self.state = trouble, State.LOST
        self._disconnect()
        self._wait_longer(time.monotonic())
        return self._panic()

    def _panic(self) -> list[wire.Events]:
        notes, controls = self.sounding.release(self.position)
        if not notes and not controls:
            return []
        return [wire.Events(self.acknowledged, self.position, notes, controls)]

    def _disconnect(self, linger_ms: int = 0) -> None:
        if self._socket is not None:
            self._socket.close(linger=linger_ms)
        self._socket = None
        self._waiting.clear()

    def _wait_longer(self, now: float) -> None:
        self._back_off_s = min(max(2 * self._back_off_s, FIRST_BACK_OFF_S), LAST_BACK_OFF_S)
        self._retry_s = now + self._back_off_s

    def _send(self, message: wire.ToSidecar, samples: bytes | None = None) -> bool:
        if self._socket is None:
            return False
        frames = [encode(message)] if samples is None else [encode(message), samples]
        with suppress(zmq.Again):
            self._socket.send_multipart(frames, zmq.DONTWAIT)
            return True
        return False


def _signature() -> object:
    """Changes whenever a sidecar writes its connection file."""
    try:
        state = connection_file().stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino
