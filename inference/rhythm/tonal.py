"""Whether there is anything to count along with: notes, or at least a pulse.

The network was trained on pianos alone and finds beats in noise too. Notes have partials that stay where
they are; noise, hiss and words have not, once a fifth of a second is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.events import Beat
from inference.rhythm.loudness import BANDS

NOTES = 0.3
"""Bend between mel bands (log10 of power) of the middle loud moment: pianos 0.6 and more, babble 0.25."""
STEADY = 0.05
"""Logarithm of the ratio of successive intervals that four fifths of a pulse stay below."""
_MOMENT_FRAMES = 10
_LOWEST, _HIGHEST = 5, 100

Floats = NDArray[np.float32]


def countable(beats: Sequence[Beat], seen: Floats) -> bool:
    """Whether beats that were found in what the network saw `(frames, bands)` are worth telling."""
    return has_pulse(beats) or has_notes(seen)


def has_pulse(beats: Sequence[Beat]) -> bool:
    """Whether the beats are as regular as a machine's."""
    intervals = np.diff([beat.time for beat in beats])
    if len(intervals) < 4:
        return False
    jumps = np.diff(np.log(intervals))
    # A tempo may change now and then; a pulse is what lies between.
    return float(np.quantile(np.abs(jumps), 0.8)) < STEADY


def has_notes(seen: Floats) -> bool:
    """Whether the loud moments have partials. What has no mel bands cannot be asked, and passes."""
    mel, loud = seen[:, BANDS:], seen[:, :BANDS].sum(1)
    count = len(seen) // _MOMENT_FRAMES
    if mel.shape[1] <= _HIGHEST or not count:
        return True
    moments = mel[: count * _MOMENT_FRAMES].reshape(count, _MOMENT_FRAMES, -1).mean(1)
    level = loud[: count * _MOMENT_FRAMES].reshape(count, _MOMENT_FRAMES).mean(1)
    sounding = level[level > 0.05 * level.max()]
    if not len(sounding):
        return False
    bands = moments[level > 0.3 * np.median(sounding)][:, _LOWEST:_HIGHEST]
    bend = np.abs(2 * bands[:, 1:-1] - bands[:, :-2] - bands[:, 2:]).mean(1)
    return float(np.median(bend)) > NOTES
