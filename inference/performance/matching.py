"""Finds the notes of a score in a performance of it: by dynamic programming over onsets."""

from __future__ import annotations

import numpy as np

from inference.performance.score import Floats, Ints, Score

TOGETHER_S = 0.035
"""Played onsets that follow each other within this are compared as one."""
BAND = 120
"""How many onsets score and performance may be apart."""


def match(score: Score, onset: Floats, pitch: Ints) -> tuple[Ints, Ints]:
    """Which notes of the score were played, rising, and which of the played notes they are.

    Args:
        score: what was meant.
        onset: (played,) seconds.
        pitch: (played,) MIDI pitches.
    """
    order = np.argsort(onset, kind="stable")
    apart = np.diff(onset[order], prepend=onset[order[:1]]) > TOGETHER_S
    heard = np.cumsum(apart).astype(np.int64)
    path = _warp(_chords(score.group, score.pitch), _chords(heard, pitch[order]))
    near: dict[int, list[int]] = {}
    for a, b in path:
        near.setdefault(a, []).append(b)
    by_group: dict[int, list[int]] = {}
    for index, group in enumerate(heard):
        by_group.setdefault(int(group), []).append(index)
    used: set[int] = set()
    rows, sources = [], []
    for index, group in enumerate(score.group):
        places = near.get(int(group), [])
        wanted = [g for g in range(min(places, default=0) - 2, max(places, default=-3) + 3)]
        middle = sum(places) / max(len(places), 1)
        candidates = [
            (abs(g - middle), n)
            for g in wanted
            for n in by_group.get(g, [])
            if n not in used and pitch[order[n]] == score.pitch[index]
        ]
        if candidates:
            best = min(candidates)[1]
            used.add(best)
            rows.append(index)
            sources.append(int(order[best]))
    return np.array(rows, np.int64), np.array(sources, np.int64)


def _chords(group: Ints, pitch: Ints) -> list[frozenset[int]]:
    chords: list[set[int]] = [set() for _ in range(int(group[-1]) + 1)]
    for place, key in zip(group, pitch, strict=True):
        chords[int(place)].add(int(key))
    return [frozenset(chord) for chord in chords]


def _warp(a: list[frozenset[int]], b: list[frozenset[int]]) -> list[tuple[int, int]]:
    """The cheapest way through both at once, never backwards."""
    slope = len(b) / len(a)
    cost = np.full((len(a) + 1, 2 * BAND + 2), np.inf)
    came = np.zeros((len(a) + 1, 2 * BAND + 2), np.int8)
    starts = [max(0, round(i * slope) - BAND) for i in range(len(a) + 1)]
    cost[0, : min(BAND, len(b)) + 1] = 0.3 * np.arange(min(BAND, len(b)) + 1)
    for i in range(1, len(a) + 1):
        shift = starts[i] - starts[i - 1]
        for j in range(starts[i], min(len(b), starts[i] + 2 * BAND) + 1):
            k = j - starts[i]
            both = a[i - 1] & b[j - 1] if j else frozenset()
            size = len(a[i - 1]) + (len(b[j - 1]) if j else 0)
            differ = 1 - 2 * len(both) / size
            ways = (
                _at(cost[i - 1], k + shift - 1) + differ if j else np.inf,
                _at(cost[i - 1], k + shift) + 0.55,
                _at(cost[i], k - 1) + 0.55,
            )
            came[i, k] = int(np.argmin(ways))
            cost[i, k] = ways[came[i, k]]
    i = len(a)
    j = starts[i] + int(np.argmin(cost[i, : max(1, len(b) - starts[i] + 1)]))
    path = []
    while i > 0 and j >= 0:
        way = came[i, j - starts[i]]
        if way == 0:
            path.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif way == 1:
            i -= 1
        else:
            j -= 1
    return path[::-1]


def _at(row: Floats, place: int) -> float:
    return float(row[place]) if 0 <= place < len(row) else np.inf
