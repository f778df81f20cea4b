"""What a writer knows beside the words so far: where in the bar it is, and what earlier bars had.

Bars come back, as they were or changed. So that this need not be discovered, each step is told the word
that followed, some bars ago, at the same place of the bar.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.performance import words
from inference.performance.attention import Sum
from inference.performance.config import CLASSES, METERS, XmvaeConfig
from inference.performance.grids import LOWEST_PITCH
from inference.performance.score import TICKS, Ints

MODES, IDIOMS = 3, 3
"""Any, major, minor; any, classical, pop."""
PLACES, LEFT = 9, 9
"""Beat of the bar from 1, bars left by powers of two from 1; 0: not known yet."""
LONGEST = 16 * TICKS
"""More ticks than a bar has."""


class Setting(NamedTuple):
    """What holds for a piece, each (batch,): quarters per bar, mode, idiom, whether it begins here."""

    meter: Tensor
    mode: Tensor
    idiom: Tensor
    begins: Tensor


class Surroundings(NamedTuple):
    """What a step knows before it is told.

    `echoes` (..., 4 x lags) words of earlier bars, `place` (...,) the beat of the bar, `left` (...,) how
    many bars are left, `classes` (..., 24) pitch classes of this bar so far and of the one before.
    """

    echoes: Tensor
    place: Tensor
    left: Tensor
    classes: Tensor


class Context(nn.Module):
    """Settings and surroundings as vectors."""

    def __init__(self, config: XmvaeConfig) -> None:
        super().__init__()
        width = config.width
        sizes = (METERS, MODES, IDIOMS, 2) if config.bar_codes else (METERS,)
        self.setting = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        for table in self.setting:
            nn.init.normal_(cast(nn.Embedding, table).weight, std=0.2)  # the same at all steps: no shouting
        self.left = nn.Embedding(LEFT, width) if config.bar_codes else None
        self.place = nn.Embedding(PLACES, width) if config.bar_codes else None
        self.echoes = Sum(config.score_sizes * len(config.lags), width) if config.lags else None
        self.classes = nn.Linear(2 * CLASSES, width, bias=False) if config.lags else None

    def about(self, setting: Setting) -> Tensor:
        """(batch, width) of what holds for a piece."""
        return cast(Tensor, sum(table(part) for table, part in zip(self.setting, setting, strict=False)))

    def at_bar(self, left: Tensor) -> Tensor | float:
        """(..., width) of what is known of a bar before its words: how many are left."""
        return 0.0 if self.left is None else cast(Tensor, self.left(left))

    def forward(self, around: Surroundings) -> Tensor:
        """(..., width) of what each step knows."""
        assert self.place is not None
        x = self.at_bar(around.left) + self.place(around.place)
        if self.echoes is not None and self.classes is not None:
            x = x + self.echoes(around.echoes) + self.classes(around.classes)
        return cast(Tensor, x)


def bar_of(tokens: NDArray[np.integer]) -> Ints:
    """(steps,) index of each step's bar, from 0; what comes after the end has one more."""
    bar: Ints = np.cumsum(tokens[:, 0] == words.BAR) + (tokens[:, 0] == words.END)
    return bar - bar[:1]


def bars_left(total: int, bar: Ints) -> Ints:
    """Classes from 1: this is the last bar, the last but one, one of the last 4, 8, ..."""
    far: Ints = np.ceil(np.log2(np.maximum(total - bar, 1))).astype(np.int64)
    return 1 + np.minimum(far, LEFT - 2)


def left_class(bars: int) -> int:
    """`bars_left` of one bar, from the last of which there are `bars`, itself counted."""
    return int(bars_left(bars, np.zeros(1, np.int64))[0])


def surroundings(tokens: NDArray[np.integer], total: int, lags: Sequence[int]) -> Surroundings:
    """What the steps of a window (steps, 4) that begins with a bar know; `total` bars are to come."""
    steps = len(tokens)
    bar, phase = bar_of(tokens), _phases(tokens)
    said = torch.from_numpy(tokens.astype(np.int64))
    echoes = torch.zeros(steps, 4 * len(lags), dtype=torch.int64)
    order = np.maximum.accumulate((bar * LONGEST + phase) * 128 + tokens[:, 2])
    for index, lag in enumerate(lags):
        wanted = order - lag * LONGEST * 128
        found = np.searchsorted(order, wanted, "right")
        there = torch.from_numpy((bar >= lag)[:, None])
        echoes[1:, 4 * index : 4 * index + 4] = torch.where(there, said[found.clip(0, steps - 1)], 0)[:-1]
    classes = np.zeros((steps, 2, CLASSES), np.float32)
    classes[1:] = _classes(tokens[:, 2], bar)[:-1]
    before = np.append(0, np.arange(steps - 1))
    place = np.append(0, 1 + np.minimum(phase // TICKS, PLACES - 2)[:-1])
    return Surroundings(
        echoes,
        torch.from_numpy(place),
        torch.from_numpy(bars_left(total, bar[before])),
        torch.from_numpy(classes.reshape(steps, -1)),
    )


def _phases(tokens: NDArray[np.integer]) -> Ints:
    """(steps,) ticks since the bar began."""
    beat = np.cumsum((tokens[:, 0] == words.BAR) | (tokens[:, 0] == words.BEAT))
    first = np.maximum.accumulate(np.where(tokens[:, 0] == words.BAR, beat, 0))
    phases: Ints = (beat - first) * TICKS + np.maximum(tokens[:, 1] - 1, 0)
    return phases


def _classes(pitch: NDArray[np.integer], bar: Ints) -> NDArray[np.bool_]:
    """(steps, 2, 12) which pitch classes the bar has had by then, and which the one before had."""
    classes = (pitch - 1 + LOWEST_PITCH) % CLASSES
    counts = np.cumsum(np.eye(CLASSES, dtype=np.int64)[classes] * (pitch > 0)[:, None], 0)
    starts = np.searchsorted(bar, bar)
    begun = np.where((starts > 0)[:, None], counts[starts - 1], 0)
    last = np.searchsorted(bar, bar - 1)
    earlier = np.where((last > 0)[:, None], counts[last - 1], 0)
    known = (bar > 0)[:, None]
    return np.stack([counts > begun, (begun > earlier) & known], 1)


class Trail:
    """The same surroundings, told one step at a time while a piece is written."""

    def __init__(self, total: int, lags: Sequence[int]) -> None:
        self.total, self.lags = total, tuple(lags)
        self._orders: list[int] = []
        self._words: list[list[int]] = []
        self.bar, self._beat, self._first = -1, -1, 0
        self._classes = [[False] * CLASSES, [False] * CLASSES]

    def add(self, token: Sequence[int]) -> None:
        """One more word: family, position, pitch, duration."""
        family, position, pitch, _ = token
        if family in (words.BAR, words.BEAT):
            self._beat += 1
        if family == words.BAR:
            self.bar, self._first = self.bar + 1, self._beat
            self._classes = [[False] * CLASSES, self._classes[0]]
        if pitch:
            self._classes[0][(pitch - 1 + LOWEST_PITCH) % CLASSES] = True
        order = (self.bar * LONGEST + self.phase + max(position - 1, 0)) * 128 + pitch
        self._orders.append(max(order, self._orders[-1] if self._orders else order))
        self._words.append(list(token))

    @property
    def phase(self) -> int:
        """Ticks from the bar's begin to the beat."""
        return (self._beat - self._first) * TICKS

    def next(self) -> tuple[list[int], int, int, list[bool]]:
        """Echoes, place, bars left and classes of the step to come."""
        nothing = [0] * 4
        if not self._words:
            return nothing * len(self.lags), 0, left_class(self.total), [False] * 24
        echoes: list[int] = []
        for lag in self.lags:
            found = bisect_right(self._orders, self._orders[-1] - lag * LONGEST * 128)
            echoes += self._words[found] if self.bar >= lag else nothing
        left = left_class(self.total - self.bar)
        return (
            echoes,
            1 + min(self._beat - self._first, PLACES - 2),
            left,
            [*self._classes[0], *self._classes[1]],
        )
