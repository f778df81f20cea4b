"""Performances without learning, to measure a network against: deadpan, and by a few old rules."""

from __future__ import annotations

import numpy as np

from inference.performance import parameters
from inference.performance.parameters import Parameters
from inference.performance.score import Performance, Score

PHRASE_BARS = 4
LEVEL_VELOCITIES = (30, 38, 48, 57, 66, 77, 90, 102)
UNMARKED = 64


def deadpan(score: Score, period: float = 0.5) -> Performance:
    """As notated: one tempo, one velocity."""
    steady = Parameters(
        np.full(len(score), period),
        np.zeros(len(score)),
        np.full(len(score), float(UNMARKED)),
        np.zeros(len(score)),
    )
    return parameters.realise(score, steady)


def by_rule(score: Score, period: float = 0.5) -> Performance:
    """Phrase arches of four bars in tempo and dynamics, metric accents, high notes louder, marks obeyed."""
    bar = np.searchsorted(score.bars, score.onset + 1e-3, "right") - 1
    edges = np.append(score.bars, max(score.onset[-1] + 1, score.bars[-1] + 1))
    starts = edges[(bar // PHRASE_BARS) * PHRASE_BARS]
    ends = edges[np.minimum((bar // PHRASE_BARS + 1) * PHRASE_BARS, len(edges) - 1)]
    place = (score.onset - starts) / np.maximum(ends - starts, 1e-6)
    arch = 1 - (2 * place - 1) ** 2
    ending = np.clip((score.onset - (score.onset[-1] - 4)) / 4, 0, 1)
    tempo = period * np.exp2(0.12 * (0.5 - arch) + 0.35 * ending**2)
    downbeat = np.isclose(score.onset, score.bars[bar], atol=1e-3)
    beat = np.isclose(np.mod(score.onset - score.bars[bar], 1), 0, atol=1e-3)
    level = np.array([UNMARKED, *LEVEL_VELOCITIES], np.float64)[score.level]
    velocity = level + 8 * (arch - 0.5) + 4 * downbeat + 2 * beat + 0.25 * (score.pitch - 60)
    swell = np.where(score.swell == 1, 4.0, np.where(score.swell == 2, -4.0, 0.0))
    accent = np.where(np.isin(score.sign, (2, 4)), 10.0, 0.0)
    short = np.where(np.isin(score.sign, (1, 4)), -1.0, -0.15)
    first = np.flatnonzero(np.diff(score.group, prepend=-1))
    numbers = Parameters(
        tempo[first][score.group],
        np.zeros(len(score)),
        np.clip(velocity + swell + accent, 1, 127),
        short,
    )
    return parameters.realise(score, numbers)
