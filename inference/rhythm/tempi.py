"""Tempi as places on a scale of eight to the octave, so that a network can tell them apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLOWEST_BPM, PER_OCTAVE, TEMPI = 30.0, 8, 25
"""The first tempo, how near the others lie, and how many there are: to 240, which stands for all above."""

Floats = NDArray[np.float64]


def tempo_place(interval_s: Floats) -> Floats:
    """Where on the scale beats so many seconds apart lie; 0 is the slowest, `TEMPI - 1` the fastest."""
    place: Floats = PER_OCTAVE * np.log2(60 / (interval_s * SLOWEST_BPM))
    return place


def interval_shares(count: int, frames_per_second: float) -> Floats:
    """What each tempo has in intervals of 0 .. count - 1 frames, `(TEMPI, count)`: the two nearest all."""
    place = tempo_place(np.maximum(np.arange(count), 1) / frames_per_second)
    away = np.abs(np.arange(TEMPI)[:, None] - np.clip(place, 0, TEMPI - 1))
    shares: Floats = np.clip(1 - away, 0, 1)
    return shares
