"""The four numbers that make a performance of a score, and back: exact both ways.

The parameters are those of Expressive Compound Words (arXiv 2507.01582): beat period, timing,
velocity, articulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.performance.score import Floats, Performance, Score

SPREAD_S = 0.12
"""A chord that is broken over more than this begins at its median note."""
STEP_S = 0.005
"""Onsets of a score follow each other by at least this; what is earlier is timing."""


@dataclass(frozen=True)
class Parameters:
    """A performance as numbers per note.

    Args:
        beat_period: (notes,) seconds per beat from the note's onset to the next; notes struck
            together share it.
        timing: (notes,) seconds by which the note is late against its onset.
        velocity: (notes,) 1..127.
        articulation: (notes,) log2 of played over notated duration; of grace notes over `GRACE` beats.
        start: seconds of the first onset.
    """

    beat_period: Floats
    timing: Floats
    velocity: Floats
    articulation: Floats
    start: float = 0.0


GRACE = 1 / 8
"""Beats that a grace note is taken to last."""


def measure(score: Score, played: Performance) -> Parameters:
    """The parameters of a performance."""
    times = onset_times(score, played)
    period = np.diff(times) / np.diff(score.onsets) if len(times) > 1 else np.array([0.5])
    period = np.append(period, period[-1:])[: len(times)]
    group = score.group
    length = np.maximum(played.duration, 1e-3)
    return Parameters(
        period[group],
        played.onset - times[group],
        played.velocity.astype(np.float64),
        np.log2(length / (period[group] * notated(score))),
        float(times[0]),
    )


def realise(score: Score, numbers: Parameters) -> Performance:
    """The performance with these parameters, without pedal."""
    times = clock(score, numbers.beat_period, numbers.start)
    group = score.group
    onset = times[group] + numbers.timing
    length = np.exp2(numbers.articulation) * numbers.beat_period * notated(score)
    return Performance(onset, length, numbers.velocity, np.zeros((0, 2)))


def clock(score: Score, beat_period: Floats, start: float = 0.0) -> Floats:
    """(groups,) seconds at which each onset of the score falls."""
    firsts = np.flatnonzero(np.diff(score.group, prepend=-1))
    steps = beat_period[firsts][:-1] * np.diff(score.onsets)
    times: Floats = start + np.append(0.0, np.cumsum(steps))
    return times


def notated(score: Score) -> Floats:
    """(notes,) durations in beats, grace notes as `GRACE`."""
    return np.where(score.duration > 0, score.duration, GRACE)


def onset_times(score: Score, played: Performance) -> Floats:
    """(groups,) seconds at which each onset of the score was played, strictly rising."""
    group, count = score.group, len(score.onsets)
    times = np.empty(count)
    edges = np.searchsorted(group, np.arange(count + 1))
    full = score.duration > 0
    for index in range(count):
        part = slice(edges[index], edges[index + 1])
        onsets = played.onset[part]
        if full[part].any():
            onsets = onsets[full[part]]
        times[index] = np.median(onsets) if np.ptp(onsets) > SPREAD_S else onsets.mean()
    floor = STEP_S * np.arange(count)
    rising: Floats = np.maximum.accumulate(times - floor) + floor
    return rising


def time_of(beats: Floats, score: Score, times: Floats) -> Floats:
    """Seconds of positions in beats, between and beyond the onsets of the score at `times`."""
    return _along(beats, score.onsets, times, 0.5)


def beat_of(seconds: Floats, score: Score, times: Floats) -> Floats:
    """Positions in beats of times in seconds; the inverse of `time_of`."""
    return _along(seconds, times, score.onsets, 2.0)


def _along(x: Floats, at: Floats, values: Floats, slope: float) -> Floats:
    """The line through `values` at rising places `at`, its ends drawn on; with `slope` if it is a point."""
    if len(at) < 2:
        only: Floats = values[0] + slope * (x - at[0])
        return only
    where = np.clip(np.searchsorted(at, x, "right") - 1, 0, len(at) - 2)
    line: Floats = values[where] + (np.diff(values) / np.diff(at))[where] * (x - at[where])
    return line
