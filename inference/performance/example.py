"""One performance in steps, as the networks take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.performance import playing, words
from inference.performance.score import Performance, Score

USUAL_BEAT_S = 0.75
"""Seconds per beat to which every performance is brought before it becomes words."""


@dataclass(frozen=True)
class Example:
    """One performance in steps.

    Args:
        name: piece and performance.
        tokens: (steps, 4) of the score.
        extras: (steps, 7) of the score.
        played: (steps, 4) sub-tokens of the performance.
        values: (steps, 4) its parameters as real numbers.
        beat: (steps,) index of the beat.
        tempo: log2 of seconds per beat, on the whole.
    """

    name: str
    tokens: NDArray[np.int16]
    extras: NDArray[np.int16]
    played: NDArray[np.int16]
    values: NDArray[np.float32]
    beat: NDArray[np.int32]
    tempo: float

    def __len__(self) -> int:
        return len(self.beat)


def seconds_per_beat(score: Score, played: Performance) -> float:
    """The mean beat period from the first to the last onset."""
    beats = float(score.onset[-1] - score.onset[0])
    return max(float(played.onset[-1] - played.onset[0]), 0.05) / beats if beats > 0 else 0.5


def scaled(played: Performance, factor: float) -> Performance:
    """The same, slower by a factor."""
    return Performance(
        played.onset * factor, played.duration * factor, played.velocity, played.pedal * factor
    )


def example(name: str, score: Score, played: Performance) -> Example:
    """The steps of a performance, at the usual tempo."""
    period = seconds_per_beat(score, played)
    spelled = words.spell(score)
    heard, _ = playing.spell(spelled, score, scaled(played, USUAL_BEAT_S / period))
    return Example(
        name,
        spelled.tokens.astype(np.int16),
        spelled.extras.astype(np.int16),
        heard.tokens.astype(np.int16),
        heard.values.astype(np.float32),
        spelled.beat.astype(np.int32),
        float(np.log2(period)),
    )
