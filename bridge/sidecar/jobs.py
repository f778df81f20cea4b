"""What passes between a session and the worker: jobs one way, results the other. Immutable values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.wire import protocol as wire
from inference.events import Events

Samples = NDArray[np.float32]


class Hearing(Protocol):
    """One audio stream being heard."""

    @property
    def batch(self) -> tuple[object, ...]:
        """Streams with equal values are stepped together."""
        ...

    def place(self, start: int, transport: wire.Transport) -> None:
        """The host's transport at `start`, where the block that is pushed next begins or a little later."""
        ...

    def push(self, audio: Samples) -> None:
        """Take a block `(channels, samples)`."""
        ...

    @property
    def pending(self) -> int:
        """Chunks that wait to be stepped."""
        ...

    @property
    def due(self) -> int:
        """Stream time up to which audio is needed for another chunk."""
        ...

    def finish(self) -> Events:
        """Drain, close what sounds, end."""
        ...


StreamMaker = Callable[[int], Hearing]
"""Begins a stream whose first sample has the given stream time."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work for one session, carried out in the order of the fields.

    Args:
        session: number of the session.
        seq: last message that this job answers.
        arrived_ns: when that message arrived.
        offline: no deadline; live sessions go first.
        finish_at: end the running stream at this stream time.
        begin_at: begin a new stream at this stream time.
        make_stream: how to begin it.
        audio: block to hear, `(channels, samples)`.
        leave: forget the session.
        place: start of the block as it was sent, and the transport there.
    """

    session: int
    seq: int
    arrived_ns: int
    offline: bool = False
    finish_at: int | None = None
    begin_at: int | None = None
    make_stream: StreamMaker | None = None
    audio: Samples | None = None
    leave: bool = False
    place: tuple[int, wire.Transport] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Events of one stream; `closed_at` is set if they are its last."""

    events: Events
    closed_at: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Answer to one or more jobs of a session; `error` means that its stream is lost.

    `due` is the stream time up to which more audio is needed, 0 if there is no stream.
    """

    session: int
    through_seq: int
    parts: tuple[Part, ...]
    queue_us: int = 0
    compute_us: int = 0
    error: BaseException | None = None
    due: int = 0
