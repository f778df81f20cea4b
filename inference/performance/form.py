"""Which bars come back: drawn as often, and from as far back, as in the scores that were learned from.

A prior that continues notes forgets a bar within a few; people come back to it. Whether a bar is an
earlier one again, or has its rhythm, is a Markov chain whose numbers `count_sheets` finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from inference.performance import words
from inference.performance.corpus import CLASSICAL, Sheet
from inference.performance.score import TICKS, Score, make_score

FURTHEST = 16
"""Bars back."""
ALIKE = 0.75
"""Of the notes of two bars, taken together, the share that both must have to be the same again."""
FEWEST_NOTES = 2
"""A bar with less has no rhythm."""

Bar = frozenset[tuple[int, int]]
"""Place in ticks and pitch of its notes."""


@dataclass(frozen=True)
class Chain:
    """How often something comes back.

    Args:
        start: share of bars that come back, after one that did not.
        go_on: share of bars after one that came back which do so from as far back.
        lags: how often from 1, 2, 3, ... bars back, together 1.
    """

    start: float
    go_on: float
    lags: tuple[float, ...]

    def draw(self, last: int, bars: int, random: np.random.Generator) -> int:
        """How far back the next bar comes from, 0 if it is new.

        Args:
            last: the same of the bar before.
            bars: how many there are.
            random: draws.
        """
        if last and random.random() < self.go_on:
            return last
        share = np.array(self.lags[:bars])
        if not last and random.random() < self.start and share.sum() > 0:
            return 1 + int(random.choice(len(share), p=share / share.sum()))
        return 0


WHOLE = Chain(
    0.092,
    0.521,
    (0.27, 0.31, 0.027, 0.166, 0.012, 0.026, 0.008, 0.084, 0, 0, 0, 0.018, 0, 0, 0, 0.031),
)
RHYTHM = Chain(
    0.528,
    0.657,
    (0.33, 0.317, 0.077, 0.081, 0.033, 0.026, 0.018, 0.025, 0, 0, 0, 0.011, 0, 0, 0, 0.013),
)
"""Of asap/train and piano-midi-de/train; `dawbridge evaluate performance --set form` counts them."""


def bars_of(score: Score) -> list[Bar]:
    """The notes of each bar."""
    bar = np.searchsorted(score.bars, score.onset + 1e-3, "right") - 1
    place = np.rint((score.onset - score.bars[bar]) * TICKS).astype(np.int64)
    edges = np.searchsorted(bar, np.arange(len(score.bars) + 1))
    rows = list(zip(place.tolist(), score.pitch.tolist(), strict=True))
    return [frozenset(rows[a:b]) for a, b in pairwise(edges)]


def is_again(one: Bar, other: Bar) -> bool:
    """Whether a bar has most notes of another, and few besides."""
    return len(one) >= FEWEST_NOTES and len(one & other) >= ALIKE * len(one | other)


def is_in_rhythm(one: Bar, other: Bar) -> bool:
    """Whether the notes of two bars begin at the same places."""
    return len(one) >= FEWEST_NOTES and {place for place, _ in one} == {place for place, _ in other}


def count_sheets(sheets: Iterable[Sheet]) -> list[Chain]:
    """The chains of whole bars and of rhythms in classical scores."""
    found = []
    for sheet in sheets:
        if sheet.idiom == CLASSICAL:
            onset, duration, pitch, bars = words.unspell(sheet.tokens)
            found.append(bars_of(make_score(onset, duration, pitch, bars)[0]))
    return [_chain(found, is_again), _chain(found, is_in_rhythm)]


def table(chains: list[Chain]) -> str:
    """As Markdown."""
    lines = ["| what | begins to come back | goes on | from 1, 2, 3, ... bars back |", "|---|---|---|---|"]
    for name, one in zip(("bars", "rhythms"), chains, strict=True):
        lags = ", ".join(f"{lag:.3f}" for lag in one.lags)
        lines.append(f"| {name} | {one.start:.3f} | {one.go_on:.3f} | {lags} |")
    return "\n".join(lines)


def _chain(pieces: list[list[Bar]], alike: Callable[[Bar, Bar], bool]) -> Chain:
    lags: Counter[int] = Counter()
    counts = Counter({"new": 0, "started": 0, "old": 0, "went on": 0})
    for bars in pieces:
        last = 0
        for index in range(FURTHEST, len(bars)):
            near = [last] if last else []
            far = next(
                (k for k in [*near, *range(1, FURTHEST + 1)] if alike(bars[index], bars[index - k])), 0
            )
            if last:
                counts["old"] += 1
                counts["went on"] += far == last
            else:
                counts["new"] += 1
                counts["started"] += far > 0
                lags[far] += far > 0
            last = far
    total = max(1, sum(lags.values()))
    return Chain(
        counts["started"] / max(1, counts["new"]),
        counts["went on"] / max(1, counts["old"]),
        tuple(lags[lag] / total for lag in range(1, FURTHEST + 1)),
    )
