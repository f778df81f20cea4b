"""The clients of the sidecar: who they are, whether they live, and what still waits to be sent to them."""

from __future__ import annotations

import logging
from collections import deque
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


@dataclass(slots=True)
class Peer:
    """One connection.

    Args:
        identity: ZeroMQ's name of it.
        heard_s: when it was last heard.
        born_s: when its session began.
        session: its session, once welcome.
        opening: its Hello or Configure is being worked on.
        broken: messages that broke the protocol.
        outbox: what could not be sent yet.
    """

    identity: bytes
    heard_s: float
    born_s: float = 0.0
    session: Session | None = None
    opening: bool = False
    broken: int = 0
    outbox: deque[wire.ToPlugin] = field(default_factory=deque)


class Post:
    """Sends to peers without ever waiting; a note-off is never lost, lanes are thinned instead."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.unreachable: set[bytes] = set()
        self.waiting = False

    def send(self, peer: Peer, message: wire.ToPlugin) -> None:
        """Send, or keep for `retry` if the connection is full."""
        if not peer.outbox and self._try(peer, message):
            return
        if peer.identity not in self.unreachable:
            _keep(peer.outbox, message)
            self.waiting = True

    def retry(self, peers: list[Peer]) -> None:
        """Send what was kept, as far as it goes."""
        self.waiting = False
        for peer in peers:
            while peer.outbox and self._try(peer, peer.outbox[0]):
                peer.outbox.popleft()
            self.waiting |= bool(peer.outbox)

    def _try(self, peer: Peer, message: wire.ToPlugin) -> bool:
        try:
            self._socket.send_multipart([peer.identity, encode(message)], zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.unreachable.add(peer.identity)
            return False
        return True


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
