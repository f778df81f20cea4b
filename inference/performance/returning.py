"""Brings bars back while a piece is written, as often as `form` says that people do."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from inference.performance import words
from inference.performance.form import FEWEST_NOTES, RHYTHM, WHOLE
from inference.performance.grammar import Grammar
from inference.performance.score import TICKS


class Returning:
    """One piece's bars so far, and which of them the next one is."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.bars: list[list[tuple[list[int], Tensor | None]]] = []
        self.again: list[tuple[list[int], Tensor | None]] = []
        self.last = {"whole": 0, "rhythm": 0}

    @property
    def token(self) -> list[int] | None:
        """The next word, if it is one again."""
        return self.again[0][0] if self.again else None

    @property
    def codes(self) -> Tensor | None:
        """Its codes (groups,)."""
        return self.again[0][1] if self.again else None

    def add(self, token: list[int], codes: Tensor | None, grammar: Grammar) -> None:
        """Take up a word that was written; after a bar's begin, decide what bar it will be."""
        self.again = self.again[1:]
        if token[0] == words.BAR:
            self._begin(grammar)
            self.bars.append([])
        if self.bars:
            self.bars[-1].append((token, codes))
        if token[0] != words.BAR and not self.again and self.last["whole"]:
            grammar.closed = True

    def _begin(self, grammar: Grammar) -> None:
        count = len(self.bars)
        grammar.closed, grammar.rhythm = False, None
        self.last["whole"] = WHOLE.draw(self.last["whole"], count, self.random)
        self.last["rhythm"] = RHYTHM.draw(self.last["rhythm"], count, self.random)
        if self.last["whole"]:
            self.again = self.bars[-self.last["whole"]][1:]
            grammar.closed = not self.again
        elif self.last["rhythm"]:
            grammar.rhythm = _rhythm([token for token, _ in self.bars[-self.last["rhythm"]]])


def _rhythm(bar: list[list[int]]) -> frozenset[int] | None:
    """Ticks at which the notes of a bar begin; None if there are too few."""
    beat, ticks = -1, set()
    for family, position, _, _ in bar:
        beat += family != words.NOTE
        if family == words.NOTE:
            ticks.add(beat * TICKS + position - 1)
    return frozenset(ticks) if len(ticks) >= FEWEST_NOTES else None
