"""Batches of windows of scores, as the Composer learns from them, drawn by chance and endless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.performance import grids, keys, words
from inference.performance.config import METERS
from inference.performance.context import Setting, Surroundings, bar_of, bars_left, surroundings
from inference.performance.corpus import CLASSICAL, Sheet

POP_SHARE = 0.2
"""Of the windows, for networks that are told the idiom; others would mix it with what is wanted of them."""
OUTER = 0.12
"""Share of windows at the beginning of a piece, and as many at its end, beyond those there by chance."""


class Batch(NamedTuple):
    """Windows of examples, all (batch, steps, ...); see `steps.Example`. `tempo` and `meter` are (batch,)."""

    tokens: Tensor
    extras: Tensor
    played: Tensor
    values: Tensor
    beat: Tensor
    tempo: Tensor
    meter: Tensor


class Pages(NamedTuple):
    """Windows of scores: `tokens` (batch, steps, 4), `beat` and `bar` (batch, steps) their indices.

    `bars` (batch, bars) is how many bars are left at each, as `context.bars_left` counts; 0 where there
    is no bar.
    """

    tokens: Tensor
    beat: Tensor
    bar: Tensor
    bars: Tensor
    around: Surroundings
    setting: Setting


class PageWindows:
    """Draws windows of one length that begin with a bar; what is shorter is filled up with ends.

    Every window is moved to C major or A minor, whichever it is nearer to, so that a pitch always means
    the same.

    Args:
        sheets: at least one.
        batch: windows per batch.
        length: steps of a window.
        lags: see `XmvaeConfig`.
        seed: of everything drawn.
        pop: share of windows of popular songs, where there is other music too.
    """

    def __init__(
        self,
        sheets: Sequence[Sheet],
        batch: int,
        length: int,
        lags: Sequence[int],
        seed: int,
        pop: float = POP_SHARE,
    ) -> None:
        self.sheets = list(sheets)
        self.batch, self.length, self.lags = batch, length, tuple(lags)
        self._starts = [np.flatnonzero(one.tokens[:, 0] == words.BAR) for one in self.sheets]
        classical = np.array([one.idiom == CLASSICAL for one in self.sheets])
        size = np.sqrt([len(one) for one in self.sheets])
        shares = [np.where(which, size, 0.0) for which in (classical, ~classical)]
        parts = (1 - pop, pop) if classical.any() and not classical.all() else (1.0, 1.0)
        self._share = sum(p * s / max(s.sum(), 1e-9) for p, s in zip(parts, shares, strict=True))
        self._random = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Pages]:
        while True:
            yield self.draw()

    def draw(self) -> Pages:
        """The next batch."""
        picks = self._random.choice(len(self.sheets), self.batch, p=self._share)
        return collate([self._page(pick) for pick in picks])

    def seconds(self) -> float:
        """Music in a batch, on average, at a second for every two beats."""
        beats = sum(int((one.tokens[:, 0] != words.NOTE).sum()) for one in self.sheets)
        return 0.5 * self.batch * self.length * beats / sum(map(len, self.sheets))

    def _page(self, pick: int) -> Pages:
        one, starts = self.sheets[pick], self._starts[pick]
        chance = self._random.random()
        last = int(np.searchsorted(starts, len(one) - self.length))
        index = int(self._random.integers(len(starts)))
        if chance < OUTER:
            index = 0
        elif chance < 2 * OUTER or starts[index] > starts[min(last, len(starts) - 1)]:
            index = min(last, len(starts) - 1)
        tokens = one.tokens[starts[index] : starts[index] + self.length]
        return page(tokens, self.length, len(starts) - index, one.idiom, index == 0, self.lags)


def page(
    tokens: NDArray[np.integer],
    length: int,
    total: int,
    idiom: int,
    begins: bool,
    lags: Sequence[int],
) -> Pages:
    """One window, without a batch: in C major or A minor, filled up to `length` steps.

    Args:
        tokens: (at most length, 4), the first a bar.
        length: steps.
        total: bars from its first one to the end of the piece.
        idiom: see `corpus`.
        begins: whether it is the beginning of its piece.
        lags: see `XmvaeConfig`.
    """
    shift, mode = to_common_key(tokens)
    tokens = transposed(tokens, shift)
    ends = np.zeros((length - len(tokens), 4), np.int64)
    ends[:, 0] = words.END
    tokens = np.concatenate([tokens, ends])
    bar = bar_of(tokens)
    real = bar[tokens[:, 0] != words.END]
    beat = np.cumsum((tokens[:, 0] == words.BAR) | (tokens[:, 0] == words.BEAT))
    setting = (meter(tokens), mode, idiom, int(begins))
    return Pages(
        torch.from_numpy(tokens),
        torch.from_numpy(beat),
        torch.from_numpy(bar),
        torch.from_numpy(bars_left(total, np.arange(real[-1] + 1))),
        surroundings(tokens, total, lags),
        Setting(*(torch.tensor(value) for value in setting)),
    )


def to_common_key(tokens: NDArray[np.integer]) -> tuple[int, int]:
    """Semitones that bring a window to C major or A minor within its range, and 1 for major, 2 for minor."""
    notes = tokens[tokens[:, 0] == words.NOTE]
    if not len(notes):
        return 0, 0
    length = np.minimum(grids.DURATIONS[notes[:, 3] - 1], 96)
    pitch = notes[:, 2] - 1 + grids.LOWEST_PITCH
    tonic, minor = keys.find(np.bincount(pitch % 12, length, 12))
    shift = (6 + (9 if minor else 0) - tonic) % 12 - 6
    if pitch.max() + shift > grids.LOWEST_PITCH + grids.PITCHES - 1:
        shift -= 12
    if pitch.min() + shift < grids.LOWEST_PITCH:
        shift += 12
    return shift, 2 if minor else 1


def transposed(tokens: NDArray[np.integer], shift: int) -> NDArray[np.int64]:
    """Words with all pitches moved, kept within the keyboard."""
    moved = tokens.astype(np.int64)
    notes = moved[:, 2] > 0
    moved[notes, 2] = np.clip(moved[notes, 2] + shift, 1, grids.PITCHES)
    return moved


def meter(tokens: NDArray[np.integer]) -> int:
    """Beats in most bars, below `METERS`; 0 if they have more or none is whole."""
    beats = np.flatnonzero((tokens[:, 0] == words.BAR) | (tokens[:, 0] == words.BEAT))
    bars = np.flatnonzero(tokens[beats, 0] == words.BAR)
    if len(bars) < 2:
        return 0
    usual = Counter(np.diff(bars).tolist()).most_common(1)[0][0]
    return int(usual) if 0 < usual < METERS else 0


def collate(pages: Sequence[Pages]) -> Pages:
    """Windows of one length as a batch."""
    most = max(len(one.bars) for one in pages)
    bars = torch.zeros(len(pages), most, dtype=torch.int64)
    for row, one in zip(bars, pages, strict=True):
        row[: len(one.bars)] = one.bars
    bar = torch.stack([one.bar for one in pages])
    if int(bar.max()) >= most:
        bars = torch.cat([bars, bars.new_zeros(len(bars), 1)], 1)
    return Pages(
        torch.stack([one.tokens for one in pages]),
        torch.stack([one.beat for one in pages]),
        bar,
        bars,
        Surroundings(*(torch.stack(parts) for parts in zip(*(one.around for one in pages), strict=True))),
        Setting(*(torch.stack(parts) for parts in zip(*(one.setting for one in pages), strict=True))),
    )


def pages_of(batch: Batch, lags: Sequence[int]) -> Pages:
    """The scores of windows that were drawn for the Pianist, from their first bar on."""
    found = []
    for tokens in batch.tokens.numpy():
        first = int(np.argmax(tokens[:, 0] == words.BAR))
        begun = tokens[first:]
        total = int((begun[:, 0] == words.BAR).sum()) + 2**8
        found.append(page(begun, len(tokens), total, 0, False, lags))
    return collate(found)
