"""Blocks on their way to the sidecar: which of them go on where the one before ended, and travel together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bridge.wire import protocol as wire
from bridge.wire.codec import Samples

SEEK_S = 0.02
"""A song position that is off by more than this has jumped (hosts round it to their own clocks)."""
SEEK_BEATS = 0.1
"""The same where a host gives beats only; wide, because the tempo may change within a block."""


@dataclass(frozen=True, slots=True)
class Block:
    """Audio `(channels, samples)` that begins at stream time `start`, and the transport there."""

    start: int
    audio: Samples
    transport: wire.Transport

    @property
    def end(self) -> int:
        """Stream time after the last sample."""
        return self.start + int(self.audio.shape[1])

    def joins(self, before: Block, rate: int) -> bool:
        """Whether this block goes on where the one `before` ended, transport and all."""
        return (
            self.start == before.end
            and _terms(self.transport) == _terms(before.transport)
            and not jumped(before.transport, self.transport, before.audio.shape[1], rate)
        )


def jumped(before: wire.Transport, now: wire.Transport, samples: int, rate: int) -> bool:
    """Whether the song position is not where `samples` of playing lead to: a seek or a loop."""
    if not (before.playing and now.playing):
        return False
    if before.position is not None and now.position is not None:
        return abs(now.position - before.position - samples) > SEEK_S * rate
    if before.beats is None or now.beats is None or before.tempo_bpm is None:
        return False
    beats = samples / rate * before.tempo_bpm / 60
    return abs(now.beats - before.beats - beats) > SEEK_BEATS


def leading(waiting: Iterable[object], due: int, rate: int) -> list[Block]:
    """The blocks at the head of what waits that travel as one message now; none if more should come first.

    Args:
        waiting: blocks in order; anything else ends a run.
        due: stream time up to which it makes no difference when audio comes; 0 = every block travels alone.
        rate: Hz.
    """
    run: list[Block] = []
    held = 0
    for item in waiting:
        fits = isinstance(item, Block) and held + item.audio.shape[1] <= wire.MAX_BLOCK
        if not isinstance(item, Block) or (run and not (fits and item.joins(run[-1], rate))):
            return run
        run.append(item)
        held += item.audio.shape[1]
        if item.end >= due:
            return run
    return []


def joined(run: list[Block]) -> Block:
    """One block made of several that go on where the one before ended."""
    if len(run) == 1:
        return run[0]
    return Block(run[0].start, np.concatenate([block.audio for block in run], axis=1), run[0].transport)


def _terms(transport: wire.Transport) -> tuple[object, ...]:
    return (
        transport.playing,
        transport.recording,
        transport.looping,
        transport.tempo_bpm,
        transport.meter,
    )
