"""Beats to frame targets, as arXiv 2510.18190 draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.rhythm.bars import frame_of
from inference.rhythm.config import FrontEndConfig, Loudness
from inference.training.beats import BeatTable
from inference.training.notes import Floats

UNKNOWN = -1
"""Class of dynamics where none is to be learned: between beats, or where nobody knows."""


@dataclass(frozen=True)
class FrameTargets:
    """Targets per frame, each `(frames,)`: 1 at events, NaN where unknown; dynamics as class numbers."""

    beat: Floats
    downbeat: Floats
    change: Floats
    dynamics: NDArray[np.int64]


def frame_targets(beats: BeatTable, frames: int, config: FrontEndConfig) -> FrameTargets:
    """Label `frames` frames of a stream whose first sample is second 0.

    A change of dynamics lies at the beat whose class differs from the one before; before the first
    beat of the table it is mf.
    """
    place = frame_of(beats.time, config)
    known = beats.dynamics > 0
    targets = FrameTargets(
        np.zeros(frames, np.float32),
        np.zeros(frames, np.float32),
        np.zeros(frames, np.float32) if known.any() else np.full(frames, np.nan, np.float32),
        np.full(frames, UNKNOWN, np.int64),
    )
    before = np.concatenate([[int(Loudness.MF)], beats.dynamics])[: len(beats)]
    changed = known & (before > 0) & (before != beats.dynamics)
    inside = (place >= 0) & (place < frames)
    targets.beat[place[inside]] = 1
    targets.downbeat[place[inside & beats.downbeat]] = 1
    targets.change[place[inside & changed]] = 1
    targets.dynamics[place[inside & known]] = beats.dynamics[inside & known]
    return targets
