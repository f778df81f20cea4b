"""Puts beats on the attacks that they mean, and leaves out those before the first sound and after the last.

The network is trained to be right within three frames, and takes its time: its maxima lie a frame and a
half behind the notes. A grid in a DAW shows that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inference.events import Beat
from inference.rhythm.config import FrontEndConfig

EARLIER, LATER = 3, 1
"""Frames around a beat in which its attack is looked for."""
LATE_FRAMES = 1.6
"""By which a beat without an attack of its own is moved."""
_WEAK = 0.1
"""Part of the middle attack below which there is none."""
_FAINT = 0.02
"""Part of the middle loudness below which nothing sounds."""

Floats = NDArray[np.float32]


def settle(beats: Sequence[Beat], seen: Floats, config: FrontEndConfig) -> tuple[Beat, ...]:
    """The beats on their attacks, without those at either end to which nothing sounds.

    Args:
        beats: rising, in samples at `config.rate`.
        seen: what the network looked at, `(frames, bands)`.
        config: of the frames.
    """
    if not beats:
        return ()
    rise = np.maximum(np.diff(seen, axis=0, prepend=np.zeros_like(seen[:1])), 0).sum(1)
    at = np.rint([(beat.time + config.early) / config.hop for beat in beats]).astype(np.int64)
    around = np.clip(at[:, None] + np.arange(-EARLIER, LATER + 1), 0, len(seen) - 1)
    attack = rise[around].max(1)
    loud = seen.sum(1)[around].max(1)
    first, last = _sounding(loud)
    weak = _WEAK * float(np.median(attack))
    found: list[Beat] = []
    for beat, frames, height in list(zip(beats, around, attack, strict=True))[first:last]:
        time = beat.time - LATE_FRAMES * config.hop
        if height > weak:
            time = _centre(rise, int(frames[rise[frames].argmax()])) * config.hop - config.early
        time = max(0, round(time))
        if not found or time > found[-1].time:
            found.append(replace(beat, time=time))
    return tuple(found)


def _sounding(loud: Floats) -> tuple[int, int]:
    """The first beat at which something sounds, and the one after the last."""
    audible = np.flatnonzero(loud > _FAINT * float(np.median(loud)))
    return (int(audible[0]), int(audible[-1]) + 1) if len(audible) else (0, 0)


def _centre(rise: Floats, frame: int) -> float:
    """Where between frames an attack lies, by how it is spread over its neighbours."""
    low, high = max(frame - 1, 0), min(frame + 2, len(rise))
    weights = rise[low:high].astype(np.float64)
    return float((np.arange(low, high) * weights).sum() / max(weights.sum(), 1e-9))
