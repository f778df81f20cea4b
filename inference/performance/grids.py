"""The grids on which Expressive Compound Words count (arXiv 2507.01582; the ranges are ours)."""

from __future__ import annotations

import numpy as np

from inference.performance.score import TICKS, Floats, Ints

BEAT_PERIODS, TIMINGS, VELOCITIES, ARTICULATIONS = 161, 41, 32, 81
SLOWEST_S, FASTEST_S = 3.0, 0.1875
TIMING_STEP_S = 0.01
PITCHES, LOWEST_PITCH = 88, 21
DURATIONS: Ints = np.array(
    [
        *range(1, 25),
        *range(27, 49, 3),
        *range(54, 97, 6),
        *(108, 120, 144, 168, 192, 240, 288, 336, 384, 480, 576),
    ],
    np.int64,
)
"""(51,) notated durations in ticks; a grace note is the shortest."""


def beat_period_bin(seconds: Floats) -> Ints:
    """Nearest of 161 beat periods, a fortieth of an octave apart."""
    return _bins(40 * np.log2(np.maximum(seconds, 1e-4) / FASTEST_S), BEAT_PERIODS)


def beat_period(bins: Floats | Ints) -> Floats:
    """Seconds per beat of a bin, or of a place between bins."""
    return FASTEST_S * np.exp2(np.asarray(bins, np.float64) / 40)


def timing_bin(seconds: Floats) -> Ints:
    """Nearest of 41 steps of 10 ms around 0."""
    return _bins(seconds / TIMING_STEP_S + TIMINGS // 2, TIMINGS)


def timing(bins: Floats | Ints) -> Floats:
    """Seconds late."""
    return (np.asarray(bins, np.float64) - TIMINGS // 2) * TIMING_STEP_S


def velocity_bin(velocity: Floats) -> Ints:
    """Four velocities to a bin."""
    return np.clip(np.rint(velocity).astype(np.int64) // 4, 0, VELOCITIES - 1)


def velocity(bins: Floats | Ints) -> Floats:
    """The middle velocity of a bin."""
    return 4 * np.asarray(bins, np.float64) + 1.5


def articulation_bin(octaves: Floats) -> Ints:
    """Nearest of 81 log ratios from -4 to 1."""
    return _bins(16 * (octaves + 4), ARTICULATIONS)


def articulation(bins: Floats | Ints) -> Floats:
    """Log2 of played over notated duration."""
    return np.asarray(bins, np.float64) / 16 - 4


def duration_bin(beats: Floats) -> Ints:
    """Nearest notated duration, by ratio."""
    ticks = np.log2(np.maximum(beats * TICKS, 1.0))
    edges = (np.log2(DURATIONS[1:]) + np.log2(DURATIONS[:-1])) / 2
    return np.searchsorted(edges, ticks).astype(np.int64)


def _bins(values: Floats, count: int) -> Ints:
    return np.clip(np.rint(values), 0, count - 1).astype(np.int64)
