"""Crescendi and diminuendi: where the dynamics lane rises or falls gradually, not at one beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inference.rhythm.dynamics import CLASSES

FEWEST_BEATS = 4
LEAST = 1.0
"""By how many classes a swell changes at least."""
STEEPEST = 0.5
"""Share of the change that a single beat may make; more is a new marking, not a swell."""
_BACK = 0.5
"""Classes that the lane may go back on the way."""
_FLAT = 0.1
"""Share of the change that is not yet a change: cut off at both ends."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Swell:
    """A change between two beats, counted from 0: louder if `rises`, else softer."""

    first: int
    last: int
    rises: bool

    @property
    def name(self) -> str:
        """As scores call it."""
        return "crescendo" if self.rises else "diminuendo"


def swells(values: Sequence[float]) -> list[Swell]:
    """Gradual changes of a lane with a value 0..1 per beat, in order, none of them overlapping."""
    if len(values) < FEWEST_BEATS:
        return []
    padded = np.pad(np.asarray(values, np.float64) * CLASSES, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    turns = _turns(smooth)
    found = [_trimmed(smooth, a, b) for a, b in pairwise(turns)]
    return [swell for swell in found if swell is not None]


def _turns(curve: Floats) -> list[int]:
    """Beats between which the curve goes one way, but for less than `_BACK`; the first and last too."""
    turns, extreme, way = [0], 0, 0
    for index, value in enumerate(curve):
        moved = value - curve[extreme]
        if way == 0 and abs(moved) >= _BACK:
            way, extreme = (1 if moved > 0 else -1), index
        elif way * moved >= 0:
            extreme = index if way else extreme
        elif abs(moved) >= _BACK:
            turns.append(extreme)
            way, extreme = -way, index
    return sorted({*turns, extreme, len(curve) - 1})


def _trimmed(curve: Floats, first: int, last: int) -> Swell | None:
    """What swells between two turns, without the flat ends; None if it is too little, short or sudden."""
    change = curve[last] - curve[first]
    if abs(change) < LEAST:
        return None
    part = (curve[first : last + 1] - curve[first]) / change
    begin = int(np.flatnonzero(part <= _FLAT).max(initial=0))
    after = np.flatnonzero(part[begin:] >= 1 - _FLAT)
    end = begin + int(after[0])
    sudden = np.abs(np.diff(part[begin : end + 1])).max(initial=0.0) > STEEPEST
    if end - begin < FEWEST_BEATS or sudden:
        return None
    return Swell(first + begin, first + end, bool(change > 0))
