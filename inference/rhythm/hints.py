"""What a user knows of the beats: where the first bar begins, and where they tapped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.rhythm.config import FrontEndConfig

SURE = 50.0
"""Logit of what is known."""
TAP_S = 0.045
"""How far taps lie from the beats that they mean (standard deviation)."""
TAPPED, UNTAPPED = 5.0, -4.0
"""Logits that a tap adds at its place, and that its neighbourhood loses."""

Floats = NDArray[np.float64] | NDArray[np.float32]


@dataclass(frozen=True)
class Hints:
    """Times in seconds from the beginning of what is heard.

    Args:
        first_downbeat: where the first bar begins.
        taps: beats as they were tapped, rising; each is moved to the beat that is heard near it.
    """

    first_downbeat: float | None = None
    taps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        times = (*self.taps, self.first_downbeat or 0.0)
        if not all(np.isfinite(time) and time >= 0 for time in times):
            raise ValueError("times of hints are seconds from the beginning, 0 or more")
        if any(b <= a for a, b in zip(self.taps, self.taps[1:], strict=False)):
            raise ValueError("taps come one after the other")

    def led(self, beat: Floats, config: FrontEndConfig) -> NDArray[np.float64]:
        """Logits of beats `(frames,)` drawn to the taps, where there are any."""
        beat = np.asarray(beat, np.float64)
        if len(self.taps) < 2:
            return beat
        time = (np.arange(len(beat)) * config.hop - config.early) / config.rate
        taps = np.array(self.taps)
        after = np.clip(np.searchsorted(taps, time), 1, len(taps) - 1)
        near = np.minimum(np.abs(time - taps[after - 1]), np.abs(time - taps[after]))
        margin = float(np.median(np.diff(taps))) / 2
        within = (time > taps[0] - margin) & (time < taps[-1] + margin)
        drawn = UNTAPPED + (TAPPED - UNTAPPED) * np.exp(-0.5 * (near / TAP_S) ** 2)
        return np.where(within, beat + drawn, beat)

    def began(
        self, logits: NDArray[np.float32], times: NDArray[np.float64], longest: int
    ) -> NDArray[np.float32]:
        """Logits that a beat begins a bar, with the first bar where it is known to begin.

        Args:
            logits: one per beat.
            times: of the beats, in seconds.
            longest: beats of the longest bar: as many less one before the first downbeat begin none.
        """
        if self.first_downbeat is None or not len(times):
            return logits
        nearest = int(np.abs(times - self.first_downbeat).argmin())
        found = logits.copy()
        found[max(0, nearest - longest + 1) : nearest] = -SURE
        found[nearest] = SURE
        return found
