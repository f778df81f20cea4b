"""Scores as Expressive Compound Words: one step per beat and per note (arXiv 2507.01582)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.performance import grids
from inference.performance.score import TICKS, Floats, Ints, Score

NOTE, BEAT, BAR, BEGIN, END = range(5)
"""Families. A bar is a beat at which a bar begins; the published ones know no bars."""
SCORE_SIZES = (5, 1 + TICKS, 1 + grids.PITCHES, 1 + len(grids.DURATIONS))
"""Sizes of family, position in the beat, pitch, duration; of the last three, 0 says nothing."""
PLACES, COUNTS, LEFT = 5, 16, 8
EXTRA_SIZES = (PLACES, COUNTS, 2 + len(grids.DURATIONS), 9, 3, 6, LEFT)
"""Sizes of place in the chord, beat of the bar, time to the next onset, level, swell, sign, beats left."""
MARKS = slice(3, 6)
"""Which of the extras are printed marks, that a MIDI file does not have."""
ONLY, TOP, BOTTOM, INNER, GRACED = range(5)


@dataclass(frozen=True)
class Words:
    """A score in steps.

    Args:
        tokens: (steps, 4) family, position, pitch, duration.
        extras: (steps, 7) what follows from the score, and what is printed; see `EXTRA_SIZES`.
        note: (steps,) index of the score's note, -1 at beats.
        beat: (steps,) index of the beat a step belongs to.
        grid: (beats,) where the beats are, in beats from the start of the score.
    """

    tokens: Ints
    extras: Ints
    note: Ints
    beat: Ints
    grid: Floats

    def __len__(self) -> int:
        return len(self.note)


def beat_grid(score: Score, last: float | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Beats from the first bar up to beat `last` (default: the last onset), and which begin bars.

    A bar begins with a beat, and further ones follow a quarter apart until it ends, so that the last
    beat of a bar of 3/8 lasts half as long as the others.
    """
    end = (score.onset[-1] if last is None else last) + 1e-6
    bars = score.bars[score.bars <= end]
    edges = np.append(bars, max(end, bars[-1] + 1e-6))
    counts = np.maximum(1, np.ceil(np.diff(edges) - 1e-6)).astype(np.int64)
    starts = np.repeat(bars, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return starts + within, within == 0


def spell(score: Score) -> Words:
    """The words of a score."""
    grid, is_bar = beat_grid(score)
    # A hundredth of a tick: an onset that floats put just before its beat still belongs to it.
    of_note = np.maximum(np.searchsorted(grid, score.onset + 0.01 / TICKS, "right") - 1, 0)
    ticks = np.clip(np.rint((score.onset - grid[of_note]) * TICKS), 0, TICKS - 1).astype(np.int64)
    beats = np.arange(len(grid))
    beat = np.concatenate([beats, of_note])
    order = np.lexsort((np.concatenate([beats * 0 - 1, np.arange(len(score))]), beat))
    note = np.concatenate([beats * 0 - 1, np.arange(len(score))])[order]
    beat = beat[order]
    tokens = np.zeros((len(note), 4), np.int64)
    tokens[:, 0] = np.where(note < 0, np.where(is_bar[beat], BAR, BEAT), NOTE)
    notes = note >= 0
    tokens[notes, 1] = 1 + ticks
    tokens[notes, 2] = 1 + np.clip(score.pitch - grids.LOWEST_PITCH, 0, grids.PITCHES - 1)
    tokens[notes, 3] = 1 + grids.duration_bin(score.duration)
    extras = np.zeros((len(note), len(EXTRA_SIZES)), np.int64)
    first = np.maximum.accumulate(np.where(is_bar, np.arange(len(grid)), 0))
    extras[:, 1] = np.minimum(beat - first[beat], COUNTS - 1)
    extras[:, 6] = left(beat)
    extras[notes, 0] = _places(score)
    extras[notes, 2] = _waits(score)
    extras[notes, 3], extras[notes, 4], extras[notes, 5] = score.level, score.swell, score.sign
    return Words(tokens, extras, note, beat, grid)


def _places(score: Score) -> Ints:
    group = score.group
    counts = np.bincount(group)[group]
    new = np.diff(group, prepend=-1) > 0
    last = np.append(new[1:], True)
    place = np.where(counts == 1, ONLY, np.where(last, TOP, np.where(new, BOTTOM, INNER)))
    return np.where(score.duration > 0, place, GRACED).astype(np.int64)


def left(beat: Ints) -> Ints:
    """How near the last beat is: 0 is that one, each class reaches twice as far as the one before."""
    far: Ints = np.ceil(np.log2(beat[-1] - beat + 1)).astype(np.int64)
    return np.minimum(far, LEFT - 1)


def _waits(score: Score) -> Ints:
    """Time from a note's onset to the next, as a notated duration; 1 + their number at the end."""
    onsets = score.onsets
    gaps = 1 + grids.duration_bin(np.diff(onsets))
    return np.append(gaps, 1 + len(grids.DURATIONS))[score.group].astype(np.int64)


def unspell(tokens: Ints) -> tuple[Floats, Floats, Ints, Floats]:
    """Onsets, durations (beats), pitches and bars of words; steps before the first beat are left out."""
    count = np.cumsum((tokens[:, 0] == BEAT) | (tokens[:, 0] == BAR)) - 1
    notes = (tokens[:, 0] == NOTE) & (count >= 0) & (tokens[:, 1:] > 0).all(1)
    onset = count[notes] + (tokens[notes, 1] - 1) / TICKS
    duration = grids.DURATIONS[tokens[notes, 3] - 1] / TICKS
    pitch = tokens[notes, 2] - 1 + grids.LOWEST_PITCH
    bars = count[tokens[:, 0] == BAR].astype(np.float64)
    return onset, duration, pitch, bars
