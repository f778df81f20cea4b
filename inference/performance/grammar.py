"""What may follow in a score that is being written: whole bars, moments and pitches that rise."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.performance import grids, words
from inference.performance.score import TICKS

MOST_IN_BEAT, MOST_AT_ONCE = 24, 8
"""Notes beyond which the next beat, or the next moment, must come."""
AGAIN = 3 / TICKS
"""Beats before which a key is not struck again: faster than that no finger is."""


class Grammar:
    """One piece while it is written.

    Args:
        meter: quarters per bar.
        keys: (88,) which keys of the piano may be struck; None: all.
    """

    def __init__(self, meter: int, keys: NDArray[np.bool_] | None = None) -> None:
        self.meter = meter
        self.bars = 0
        self.beat = meter - 1
        self.now = -1.0
        self.notes: list[tuple[float, float, int]] = []
        self.starts: list[float] = []
        self.said = [0, 0, 0, 0]
        self.closed = False
        """Nothing more may be written in this bar."""
        self.rhythm: frozenset[int] | None = None
        """Ticks of the bar that is being written at which its notes begin; None: any."""
        self._keys = np.append(False, np.ones(grids.PITCHES, np.bool_) if keys is None else keys)
        self._struck = np.full(1 + grids.PITCHES, -np.inf)
        self._in_beat = self._together = 0
        self._position = self._pitch = 0

    @property
    def end(self) -> float:
        """Where the last bar ends, in beats."""
        return self.now if self.bars and self.beat == 0 else self.now + self.meter - self.beat

    def go_on_at(self, beat: float) -> None:
        """Begin the first bar at a beat other than 0."""
        self.now = beat - 1

    def allowed(self, index: int) -> Tensor:
        """(size,) which values the next sub-token may have."""
        size = words.SCORE_SIZES[index]
        may = torch.zeros(size, dtype=torch.bool)
        if index == 0:
            full = self.bars == 0 or self.closed or self._in_beat >= MOST_IN_BEAT or self._is_full()
            due = None if self.rhythm is None else self._due()
            more = due is None or bool(due) or (self._in_beat > 0 and not self._crowded())
            may[words.NOTE] = more and not full
            may[words.BAR if self.beat == self.meter - 1 else words.BEAT] = full or not due
        elif self.said[0] != words.NOTE:
            may[0] = True
        elif index == 1:
            may[1 + self._position + self._crowded() :] = True
            if self.rhythm is not None:
                kept = torch.zeros_like(may)
                here = [self._position] if self._in_beat and not self._crowded() else []
                kept[[1 + tick for tick in here + self._due()[:1]]] = True
                may &= kept
        elif index == 2:
            may = torch.from_numpy(self._pitches(self.said[1] - 1))
        else:
            may[1:] = True
        return may

    def take(self, index: int, token: int) -> None:
        """Remember a sub-token, and after the last the step."""
        self.said[index] = token
        if index == 3:
            self._close()

    def _due(self) -> list[int]:
        """Ticks of this beat at which the rhythm still wants a note."""
        assert self.rhythm is not None
        begin = max(self.beat, 0) * TICKS
        first = self._position + 1 if self._in_beat else 0
        return sorted(t - begin for t in self.rhythm if begin + first <= t < begin + TICKS)

    def _pitches(self, position: int) -> NDArray[np.bool_]:
        least = self._pitch + 1 if position == self._position and self._in_beat else 1
        may = self._keys.copy()
        may[:least] = False
        free = may & (self._struck <= self.now + position / TICKS - AGAIN + 1e-6)
        # Where every key above is busy, one of them is struck again after all.
        return free if free.any() else may if may.any() else np.arange(len(may)) >= least

    def _close(self) -> None:
        family, position, pitch, duration = self.said
        if family != words.NOTE:
            self.beat = 0 if family == words.BAR else self.beat + 1
            self.now += 1
            self._in_beat = self._together = self._position = self._pitch = 0
            if family == words.BAR:
                self.bars += 1
                self.starts.append(self.now)
            return
        self._together = self._together + 1 if position - 1 == self._position and self._in_beat else 1
        self._in_beat += 1
        self._position, self._pitch = position - 1, pitch
        onset = self.now + (position - 1) / TICKS
        self._struck[pitch] = onset
        length = float(grids.DURATIONS[duration - 1]) / TICKS
        self.notes.append((onset, length, pitch - 1 + grids.LOWEST_PITCH))

    def _crowded(self) -> bool:
        highest = int(np.flatnonzero(self._keys)[-1])
        return self._in_beat > 0 and (self._together >= MOST_AT_ONCE or self._pitch >= highest)

    def _is_full(self) -> bool:
        return self._position == TICKS - 1 and self._crowded()
