"""Scores and performances of them, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
N = TypeVar("N", np.float64, np.int64)

TICKS = 24
"""Ticks per beat; a beat is a quarter note, whatever the meter."""
LEVELS = ("ppp", "pp", "p", "mp", "mf", "f", "ff", "fff")
"""Printed dynamics; note n of a score is marked `LEVELS[level[n] - 1]`, 0 is unmarked."""
NO_SWELL, CRESCENDO, DIMINUENDO = 0, 1, 2
NO_SIGN, STACCATO, ACCENT, TENUTO, SHORT_ACCENT, FERMATA = range(6)
SIGNS = 6


@dataclass(frozen=True)
class Score:
    """Notes in order of onset and pitch, and where bars begin. Times are in beats (quarters) from 0.

    Args:
        onset: (notes,) beats.
        duration: (notes,) beats; 0 is a grace note.
        pitch: (notes,) MIDI pitches.
        bars: (bars,) where bars begin, rising, the first at 0.
        level: (notes,) printed dynamics in force, see `LEVELS`.
        swell: (notes,) under a crescendo or diminuendo.
        sign: (notes,) printed sign on the note itself.
        tempo: beats per minute that the score asks for, None if it does not say.
        meter: numerator and denominator at the beginning.
    """

    onset: Floats
    duration: Floats
    pitch: Ints
    bars: Floats
    level: Ints
    swell: Ints
    sign: Ints
    tempo: float | None = None
    meter: tuple[int, int] = (4, 4)

    def __len__(self) -> int:
        return len(self.onset)

    def select(self, which: NDArray[np.bool_] | Ints) -> Score:
        """Some of the notes; the bars stay."""
        columns = ("onset", "duration", "pitch", "level", "swell", "sign")
        return replace(self, **{name: getattr(self, name)[which] for name in columns})

    def unmarked(self) -> Score:
        """Without printed dynamics and signs: what a MIDI file of it would hold."""
        nothing = np.zeros(len(self), np.int64)
        return replace(self, level=nothing, swell=nothing, sign=nothing)

    @property
    def group(self) -> Ints:
        """(notes,) index of the note's onset among all onsets: notes that are struck together share it."""
        return np.cumsum(np.diff(self.onset, prepend=self.onset[:1]) > 1e-6).astype(np.int64)

    @property
    def onsets(self) -> Floats:
        """(groups,) beats at which something is struck."""
        onsets: Floats = self.onset[np.append(True, np.diff(self.onset) > 1e-6)[: len(self)]]
        return onsets


@dataclass(frozen=True)
class Performance:
    """How the notes of a score were played, in the score's order.

    Args:
        onset: (notes,) seconds.
        duration: (notes,) seconds the key was down.
        velocity: (notes,) 1..127.
        pedal: (spans, 2) seconds at which the sustain pedal goes down and up.
    """

    onset: Floats
    duration: Floats
    velocity: Floats
    pedal: Floats

    def select(self, which: NDArray[np.bool_] | Ints) -> Performance:
        """Some of the notes; the pedal stays."""
        return Performance(self.onset[which], self.duration[which], self.velocity[which], self.pedal)


def make_score(
    onset: Floats,
    duration: Floats,
    pitch: Ints,
    bars: Floats,
    *,
    level: Ints | None = None,
    swell: Ints | None = None,
    sign: Ints | None = None,
    tempo: float | None = None,
    meter: tuple[int, int] = (4, 4),
) -> tuple[Score, Ints]:
    """A score of notes in any order, and that order: `order[n]` was the place of its note n.

    Onsets that lie within a hundredth of a tick of each other are made one.
    """
    order = np.lexsort((pitch, np.round(onset * TICKS * 100)))
    nothing = np.zeros(len(onset), np.int64)
    levels, swells, signs = (nothing if marks is None else marks for marks in (level, swell, sign))
    onset = onset[order].astype(np.float64)
    same = np.append(False, np.diff(np.round(onset * TICKS * 100)) == 0)[: len(onset)]
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(onset))))
    score = Score(
        onset[first],
        duration[order].astype(np.float64),
        pitch[order].astype(np.int64),
        bars.astype(np.float64),
        levels[order],
        swells[order],
        signs[order],
        tempo=tempo,
        meter=meter,
    )
    return score, order.astype(np.int64)


def same_notes(a: Score, b: Score) -> bool:
    """Whether two scores ask for the same."""
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Score))


def ended(onset: NDArray[N], duration: NDArray[N], pitch: Ints) -> NDArray[N]:
    """Durations that end where the same key is struck again."""
    order = np.lexsort((onset, pitch))
    same = np.diff(pitch[order]) == 0
    gaps = np.diff(onset[order])
    out = duration.copy()
    first = order[:-1][same & (gaps > 0)]
    out[first] = np.minimum(duration[first], gaps[same & (gaps > 0)])
    return out
