"""How much of an expression: sliders, printed dynamics, the grid of a DAW, and what hands cannot do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference.performance import parameters
from inference.performance.parameters import Parameters
from inference.performance.score import LEVELS, Floats, Performance, Score

SOFTEST, LOUDEST = 10, 120
SHORTEST_S, RESTRIKE_S = 0.04, 0.015
STEADIEST, WILDEST = 0.6, 1.6
"""By which factor the tempo may change from one onset to the next."""
FASTER, SLOWER = -0.6, 1.6
"""Octaves by which a beat period may lie below and above the mean one."""
LEVEL_STEP = 5.0
"""Velocities by which a louder printed level is louder on average, at least."""
FURTHEST_S = 0.08
"""How far a note may be off the grid of a DAW."""


@dataclass(frozen=True)
class Manner:
    """Factors; 1 leaves everything as it is, 0 takes all expression away."""

    rubato: float = 1.0
    dynamics: float = 1.0
    articulation: float = 1.0

    def times(self, other: Manner) -> Manner:
        """One after the other."""
        return Manner(
            self.rubato * other.rubato,
            self.dynamics * other.dynamics,
            self.articulation * other.articulation,
        )


def shape(score: Score, numbers: Parameters, manner: Manner, period: float) -> Parameters:
    """Parameters with as much expression as wanted, `period` seconds per beat on the whole."""
    gaps = np.diff(score.onsets)
    firsts = np.flatnonzero(np.diff(score.group, prepend=-1))
    logs = np.log2(numbers.beat_period[firsts])
    logs = manner.rubato * (logs - (logs.mean() if len(logs) else 0.0))
    steps = np.exp2(_steady(logs))
    mean = float((steps[:-1] * gaps).sum() / gaps.sum()) if len(gaps) else 1.0
    steps *= period / mean
    if len(steps) > 1:
        steps[-1] = steps[-2]
    velocity = numbers.velocity
    velocity = velocity.mean() + manner.dynamics * (velocity - velocity.mean())
    if manner.dynamics > 0:
        velocity = obey(score, velocity)
    return Parameters(
        steps[score.group],
        manner.rubato * numbers.timing,
        np.clip(velocity, SOFTEST, LOUDEST),
        manner.articulation * numbers.articulation,
        0.0,
    )


def _steady(logs: Floats) -> Floats:
    """Log tempi that go no further, and in no larger steps, than hands take them."""
    logs = np.clip(logs, FASTER, SLOWER)
    out = logs.copy()
    low, high = np.log2(STEADIEST), np.log2(WILDEST)
    for index in range(1, len(out)):
        out[index] = out[index - 1] + np.clip(logs[index] - out[index - 1], low, high)
    return out


def obey(score: Score, velocity: Floats) -> Floats:
    """Velocities such that each printed level is louder, on average, than the next softer one."""
    present = [level for level in range(1, len(LEVELS) + 1) if (score.level == level).any()]
    if len(present) < 2:
        return velocity
    counts = np.array([(score.level == level).sum() for level in present], np.float64)
    means = np.array([velocity[score.level == level].mean() for level in present])
    # Levels that are far enough apart stay; those that are not are pooled and spread.
    ladder = LEVEL_STEP * np.array(present, np.float64)
    target = _rising(means - ladder, counts) + ladder
    out = velocity.copy()
    for level, mean, wanted in zip(present, means, target, strict=True):
        out[score.level == level] += wanted - mean
    return out


def _rising(values: Floats, weights: Floats) -> Floats:
    """The nearest values that never fall (pool adjacent violators)."""
    pools: list[list[float]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            b, a = pools.pop(), pools.pop()
            total = a[1] + b[1]
            pools.append([(a[0] * a[1] + b[0] * b[1]) / total, total, a[2] + b[2]])
    return np.concatenate([np.full(int(count), value) for value, _, count in pools])


def tidy(score: Score, played: Performance) -> Performance:
    """What fingers can do: keys go up before they go down again, and stay down for a while."""
    end = played.onset + np.maximum(played.duration, SHORTEST_S)
    for pitch in np.unique(score.pitch):
        which = np.flatnonzero(score.pitch == pitch)
        which = which[np.argsort(played.onset[which], kind="stable")]
        again = played.onset[which[1:]] - RESTRIKE_S
        end[which[:-1]] = np.minimum(
            end[which[:-1]], np.maximum(again, played.onset[which[:-1]] + RESTRIKE_S)
        )
    return replace(played, duration=end - played.onset)


def on_grid(score: Score, played: Performance, period: float) -> Performance:
    """The performance at one tempo: what remains of its timing once the slow rubato is taken away.

    Args:
        score: what is played.
        played: with rubato.
        period: seconds per beat.
    """
    numbers = parameters.measure(score, played)
    times = parameters.clock(score, numbers.beat_period, numbers.start)
    onsets = score.onsets
    mean = (times[-1] - times[0]) / (onsets[-1] - onsets[0]) if len(onsets) > 1 else period
    off = times - mean * onsets
    weights = np.exp(-0.5 * ((onsets[:, None] - onsets) / 1.5) ** 2) if len(onsets) < 4000 else None
    slow = weights @ off / weights.sum(1) if weights is not None else _running(onsets, off)
    small = np.clip((off - slow) * period / mean, -FURTHEST_S, FURTHEST_S)
    exact = replace(numbers, beat_period=np.full(len(score), period), start=float(onsets[0] * period))
    still = parameters.realise(score, exact)
    moved = np.clip(small[score.group] + numbers.timing, -FURTHEST_S, FURTHEST_S) - numbers.timing
    pedal = parameters.beat_of(played.pedal.reshape(-1), score, times) * period
    return replace(still, onset=np.maximum(still.onset + moved, 0), pedal=np.maximum(pedal, 0).reshape(-1, 2))


def _running(onsets: Floats, off: Floats) -> Floats:
    """Means over three beats to either side, for scores of any length."""
    low, high = np.searchsorted(onsets, onsets - 3), np.searchsorted(onsets, onsets + 3, "right")
    total = np.append(0.0, np.cumsum(off))
    running: Floats = (total[high] - total[low]) / (high - low)
    return running
