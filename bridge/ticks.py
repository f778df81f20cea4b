"""Between samples and the ticks of a file: exact, and fast enough for hours of notes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from fractions import Fraction
from math import lcm

from inference.clock import TempoMap


class Line:
    """Integers to nearest integers (halves upward) along straight pieces, exact and fast.

    Args:
        pieces: `(start, value at the start, slope)`, starts rising.
    """

    def __init__(self, pieces: Iterable[tuple[Fraction, Fraction, Fraction]]) -> None:
        self._starts: list[Fraction] = []
        self._lines: list[tuple[int, int, int]] = []
        for start, value, slope in pieces:
            offset = value - slope * start + Fraction(1, 2)
            scale = lcm(slope.denominator, offset.denominator)
            self._starts.append(start)
            self._lines.append((int(slope * scale), int(offset * scale), scale))

    def __call__(self, x: int) -> int:
        """The value at `x`; beyond the ends the outer pieces go on."""
        index = bisect_right(self._starts, x) - 1 if len(self._starts) > 1 else 0
        slope, offset, scale = self._lines[max(0, index)]
        return (slope * x + offset) // scale


def samples_to_ticks(tempo: TempoMap, rate: int, ppq: int) -> Line:
    """From samples at `rate` to the nearest tick."""
    return Line(
        (piece.seconds * rate, piece.beats * ppq, Fraction(ppq * 1_000_000, piece.us_per_beat * rate))
        for piece in tempo.pieces
    )


def ticks_to_samples(tempo: TempoMap, rate: int, ppq: int) -> Line:
    """From ticks to the nearest sample at `rate`."""
    return Line(
        (piece.beats * ppq, piece.seconds * rate, Fraction(piece.us_per_beat * rate, ppq * 1_000_000))
        for piece in tempo.pieces
    )
