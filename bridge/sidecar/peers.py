"""The clients of the sidecar: who they are, whether they live, and what still waits to be sent to them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import zmq

from bridge.sidecar.session import Session
from bridge.wire import protocol as wire
from bridge.wire.codec import encode
from bridge.wire.security import Socket

log = logging.getLogger(__name__)

MAX_COMPLAINTS = 32
"""Broken messages that are answered one by one; a client that sends more is only counted."""

BUNDLE = wire.MAX_MESSAGE // 2
"""Bytes of a bundle; a single message may be longer."""


@dataclass(slots=True)
class Peer:
    """One line of a connection.

    Args:
        identity: ZeroMQ's name of the connection.
        line: its number.
        heard_s: when it was last heard.
        born_s: when its session began.
        session: its session, once welcome.
        opening: its Hello or Configure is being worked on.
        broken: messages that broke the protocol.
        outbox: what could not be sent yet.
    """

    identity: bytes
    line: int
    heard_s: float
    born_s: float = 0.0
    session: Session | None = None
    opening: bool = False
    broken: int = 0
    outbox: deque[wire.ToPlugin] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on its way to a peer, and its bytes."""

    peer: Peer
    message: wire.ToPlugin
    header: bytes


class Post:
    """Sends to peers without ever waiting; a note-off is never lost, lanes are thinned instead."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.unreachable: set[bytes] = set()
        self.waiting = False

    def send(self, peer: Peer, message: wire.ToPlugin) -> None:
        """Send, or keep for `retry` if the connection is full."""
        self.send_all([(peer, message)])

    def send_all(self, messages: Iterable[tuple[Peer, wire.ToPlugin]]) -> None:
        """Send several; those of one connection travel together if it has more than its first line."""
        connections: dict[bytes, list[Letter]] = {}
        for peer, message in messages:
            connections.setdefault(peer.identity, []).append(Letter(peer, message, encode(message)))
        for letters in connections.values():
            lines = any(letter.peer.line for letter in letters)
            for parcel in _parcels(letters) if lines else ([letter] for letter in letters):
                if any(letter.peer.outbox for letter in parcel) or not self._try(parcel):
                    self._keep_all(parcel)

    def retry(self, peers: list[Peer]) -> None:
        """Send what was kept, as far as it goes."""
        self.waiting = False
        for peer in peers:
            while peer.outbox and self._try([Letter(peer, peer.outbox[0], encode(peer.outbox[0]))]):
                peer.outbox.popleft()
            self.waiting |= bool(peer.outbox)

    def _keep_all(self, parcel: Sequence[Letter]) -> None:
        for letter in parcel:
            if letter.peer.identity not in self.unreachable:
                _keep(letter.peer.outbox, letter.message)
                self.waiting = True

    def _try(self, parcel: Sequence[Letter]) -> bool:
        first = parcel[0].peer
        header = parcel[0].header
        if len(parcel) > 1 or first.line:
            header = encode(wire.Bundle(tuple(wire.Item(each.peer.line, each.header) for each in parcel)))
        try:
            self._socket.send_multipart([first.identity, header], zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.unreachable.add(first.identity)
            return False
        return True


def _parcels(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    """Cut into bundles that stay within the limits."""
    begin, size = 0, 0
    for index, letter in enumerate(letters):
        if index > begin and (size + len(letter.header) > BUNDLE or index - begin == wire.MAX_LINES):
            yield letters[begin:index]
            begin, size = index, 0
        size += len(letter.header)
    yield letters[begin:]


def _keep(outbox: deque[wire.ToPlugin], message: wire.ToPlugin) -> None:
    """Queue a message; events join the events before them, with lanes thinned to their last points."""
    last = outbox[-1] if outbox else None
    if isinstance(message, wire.Pong):
        return  # a late answer to a ping says nothing
    if isinstance(message, wire.Events) and isinstance(last, wire.Events) and _fits(last, message):
        outbox[-1] = _merge(last, message)
    else:
        outbox.append(message)


def _fits(first: wire.Events, second: wire.Events) -> bool:
    return (
        len(first.notes) + len(second.notes) <= wire.MAX_NOTES
        and len(first.controls) + len(second.controls) <= wire.MAX_POINTS
        and len(first.beats) + len(second.beats) <= wire.MAX_POINTS
    )


def _merge(first: wire.Events, second: wire.Events) -> wire.Events:
    newest = {point.lane: point for point in (*first.lanes, *second.lanes)}
    return msgspec.structs.replace(
        second,
        final_until=max(first.final_until, second.final_until),
        notes=first.notes + second.notes,
        controls=first.controls + second.controls,
        lanes=tuple(newest.values()),
        beats=first.beats + second.beats,
    )
