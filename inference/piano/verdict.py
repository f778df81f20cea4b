"""Whether a peak of onset probability is a note: a second look at few frames and related keys.

The network judges each frame on its own. A peak on a key that sounds already is more often a beat of
its strings than a key struck again, and one above a louder onset more often an overtone: what else
is known of both sides of the peak tells, by a logistic regression that is solved on training music.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CANDIDATE = 0.15
"""How probable an onset must be, summed over its peak and the larger neighbour, to be looked at."""
BELOW, ABOVE = (12, 19, 24, 28, 31, 34, 36), (12, 19, 24)
"""Semitones to keys that a key may be an overtone of, and to its own overtones."""
EVIDENCE = 17
"""Numbers that tell of a peak; a verdict has one weight for each, and a constant."""
_EXTREME = 0.005


class Seen(Protocol):
    """What a frame tells of each key, each `(88,)`; see `inference.piano.decode.Frame`."""

    @property
    def onset(self) -> Array: ...
    @property
    def active(self) -> Array: ...
    @property
    def velocity(self) -> Array: ...
    @property
    def key(self) -> Array: ...


def evidence(frames: Sequence[Seen], keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """What tells of peaks at `keys` in the third of four frames, `(keys, EVIDENCE)`."""
    earlier, before, now, after = frames
    total = np.minimum(before.onset + now.onset + after.onset, 1)
    below, above = keys[:, None] - BELOW, keys[:, None] + ABOVE
    lower, upper, ringing = _at(total, below), _at(total, above), _at(before.active, below)
    beneath = lower.argmax(1)[:, None]
    loud = _at(now.velocity, below)
    strength, sounded = lower.max(1), earlier.active[keys]
    louder = np.take_along_axis(loud, beneath, 1)[:, 0] - now.velocity[keys]
    peak, pitch = _logit(total[keys]), (keys - 39) / 24
    columns = (
        *(peak, _logit(now.onset[keys]), _logit(now.active[keys]), _logit(after.active[keys])),
        *(_logit(now.key[keys]), _logit(after.key[keys])),
        *(sounded, sounded * peak, sounded * now.velocity[keys], now.velocity[keys]),
        *(strength, (1 - sounded) * strength * peak, strength * louder),
        *(ringing.max(1), upper.max(1), pitch, pitch**2),
    )
    return np.stack(columns, 1).astype(np.float64)


def probability(found: NDArray[np.float64], weights: Sequence[float]) -> NDArray[np.float64]:
    """How probably each peak, `(peaks, EVIDENCE)`, is a note; the last weight is the constant."""
    *each, constant = weights
    certain: NDArray[np.float64] = 1 / (1 + np.exp(-(found @ np.array(each) + constant).clip(-30, 30)))
    return certain


def _at(values: Array, keys: NDArray[np.int64]) -> Array:
    """Values of keys, 0 of those that no piano has."""
    there = (keys >= 0) & (keys < len(values))
    return np.where(there, values[np.clip(keys, 0, len(values) - 1)], np.float32(0))


def _logit(p: Array) -> Array:
    return np.log((p + np.float32(_EXTREME)) / (np.float32(1 + _EXTREME) - p))
