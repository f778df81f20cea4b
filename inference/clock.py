"""Exact time: samples, frames, seconds, beats and ticks, in integers and fractions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

PPQ = 480
"""Ticks per quarter note in the files we write."""


def rescale(position: int, from_rate: int, to_rate: int) -> int:
    """Convert a sample position between rates: nearest sample, halves upward, no floats.

    >>> rescale(160, 16_000, 44_100)
    441
    """
    return (2 * position * to_rate + from_rate) // (2 * from_rate)


def samples(seconds: float | Fraction, rate: int) -> int:
    """Nearest sample position of a time in seconds, halves upward."""
    return int((Fraction(seconds) * rate * 2 + 1) // 2)


def milliseconds(count: int, rate: int) -> float:
    """Length of `count` samples in milliseconds."""
    return 1000 * count / rate


@dataclass(frozen=True, slots=True)
class Tempo:
    """From `seconds` (exact) and `beats` (quarters) on, a quarter lasts `us_per_beat` microseconds."""

    seconds: Fraction
    beats: Fraction
    us_per_beat: int


class TempoMap:
    """Pieces of constant tempo; converts between seconds, beats and ticks exactly.

    Args:
        changes: `(beat, microseconds per quarter)`, beats rising, the first at beat 0.
    """

    def __init__(self, changes: Sequence[tuple[Fraction | int, int]] = ((0, 500_000),)) -> None:
        if not changes or changes[0][0] != 0:
            raise ValueError("a tempo map begins at beat 0; add (0, 500000) as its first change")
        pieces: list[Tempo] = []
        for beat, us_per_beat in changes:
            if us_per_beat <= 0:
                raise ValueError(
                    f"{us_per_beat} microseconds per quarter is no tempo; give a positive number"
                )
            beats = Fraction(beat)
            if pieces and beats <= pieces[-1].beats:
                raise ValueError(f"tempo change at beat {beat} does not come after the one before it")
            seconds = _seconds(pieces[-1], beats) if pieces else Fraction(0)
            pieces.append(Tempo(seconds, beats, us_per_beat))
        self.pieces = tuple(pieces)

    def seconds(self, beats: Fraction | int) -> Fraction:
        """Time in seconds of a position in quarters."""
        index = bisect_right(self.pieces, beats, key=lambda piece: piece.beats)
        return _seconds(self.pieces[max(index - 1, 0)], Fraction(beats))

    def beats(self, seconds: Fraction | float) -> Fraction:
        """Position in quarters of a time in seconds."""
        time = Fraction(seconds)
        index = bisect_right(self.pieces, time, key=lambda piece: piece.seconds)
        piece = self.pieces[max(index - 1, 0)]
        return piece.beats + (time - piece.seconds) * 1_000_000 / piece.us_per_beat

    def tick(self, seconds: Fraction | float, ppq: int = PPQ) -> int:
        """Nearest tick of a time in seconds, halves upward."""
        return int((self.beats(seconds) * ppq * 2 + 1) // 2)


def _seconds(piece: Tempo, beats: Fraction) -> Fraction:
    return piece.seconds + (beats - piece.beats) * piece.us_per_beat / 1_000_000
