"""Batches of windows out of examples, drawn by chance and endless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from inference.performance import grids
from inference.performance.example import Example
from inference.performance.pages import Batch, meter

HIGHEST_SHIFT = 4
"""Semitones by which windows are transposed, up or down."""


class Windows:
    """Draws windows; a piece that many played is drawn more often, but not as many times more.

    Args:
        examples: at least one as long as a window.
        batch: windows per batch.
        length: steps of a window.
        seed: of everything drawn.
    """

    def __init__(self, examples: Sequence[Example], batch: int, length: int, seed: int) -> None:
        self.examples = [one for one in examples if len(one) >= length]
        if not self.examples:
            raise ValueError(f"no piece has {length} steps")
        self.batch, self.length = batch, length
        pieces = Counter(one.name.rpartition("/")[0] for one in self.examples)
        weights = np.array([len(e) / pieces[e.name.rpartition("/")[0]] ** 0.5 for e in self.examples])
        self._share = weights / weights.sum()
        self._random = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.draw()

    def draw(self) -> Batch:
        """The next batch."""
        picks = self._random.choice(len(self.examples), self.batch, p=self._share)
        return collate([self._window(self.examples[pick]) for pick in picks])

    def seconds(self) -> float:
        """Music in a batch, on average, in seconds."""
        beats = np.array([one.beat[-1] - one.beat[0] + 1 for one in self.examples], np.float64)
        played = beats * np.exp2([one.tempo for one in self.examples])
        return float(played.sum() / sum(map(len, self.examples)) * self.batch * self.length)

    def _window(self, one: Example) -> Example:
        # Pieces begin and end in ways of their own: their outer windows come more often than by chance.
        last = len(one) - self.length
        begin = int(np.clip(self._random.integers(-last // 8 - 1, last + last // 6 + 2), 0, last))
        cut = slice(begin, begin + self.length)
        tokens = one.tokens[cut].copy()
        notes = tokens[:, 2] > 0
        shift = int(self._random.integers(-HIGHEST_SHIFT, HIGHEST_SHIFT + 1))
        tokens[notes, 2] = np.clip(tokens[notes, 2] + shift, 1, grids.PITCHES)
        return Example(
            one.name, tokens, one.extras[cut], one.played[cut], one.values[cut], one.beat[cut], one.tempo
        )


def collate(windows: Sequence[Example]) -> Batch:
    """Windows of one length as tensors."""
    return Batch(
        torch.from_numpy(np.stack([one.tokens for one in windows])).long(),
        torch.from_numpy(np.stack([one.extras for one in windows])).long(),
        torch.from_numpy(np.stack([one.played for one in windows])).long(),
        torch.from_numpy(np.stack([one.values for one in windows])).float(),
        torch.from_numpy(np.stack([one.beat for one in windows])).long(),
        torch.tensor([one.tempo for one in windows], dtype=torch.float32),
        torch.tensor([meter(one.tokens) for one in windows]),
    )
