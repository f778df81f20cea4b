"""What somebody wants to be written."""

from __future__ import annotations

from dataclasses import dataclass

from inference.performance.corpus import CLASSICAL


@dataclass(frozen=True)
class Wishes:
    """What to write.

    Args:
        bars: how many.
        meter: quarters per bar.
        temperature: how boldly words are drawn.
        nucleus: share of probability that is drawn from; what is least likely is left out.
        seed: of everything drawn.
        tempo: beats per minute, None: the Pianist's choice.
        key: tonic as a pitch class, and whether it is minor, to keep to; None: any.
        idiom: see `corpus`.
    """

    bars: int = 32
    meter: int = 4
    temperature: float = 0.97
    nucleus: float = 0.97
    seed: int = 0
    tempo: float | None = None
    key: tuple[int, bool] | None = None
    idiom: int = CLASSICAL
