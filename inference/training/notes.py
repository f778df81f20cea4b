"""Notes as columns of numbers: what labels, samplers and scores are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NoteTable:
    """Notes as columns; times in seconds, `release` is when the key comes up (NaN if unknown)."""

    onset: Floats
    offset: Floats
    release: Floats
    pitch: NDArray[np.int64]
    velocity: Floats

    def __len__(self) -> int:
        return len(self.onset)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> NoteTable:
        """The notes of a mask or an order."""
        return NoteTable(
            self.onset[rows], self.offset[rows], self.release[rows], self.pitch[rows], self.velocity[rows]
        )

    def moved(self, by: float, stretch: float = 1.0, transpose: int = 0) -> NoteTable:
        """Times are shifted by `by` seconds, then multiplied; pitches transposed."""
        times = [((t + by) * stretch).astype(np.float32) for t in (self.onset, self.offset, self.release)]
        return NoteTable(times[0], times[1], times[2], self.pitch + transpose, self.velocity)


def _none() -> Floats:
    return np.zeros(0, np.float32)


NO_NOTES = NoteTable(_none(), _none(), _none(), np.zeros(0, np.int64), _none())
NO_PEDAL: Floats = np.zeros((0, 2), np.float32)
