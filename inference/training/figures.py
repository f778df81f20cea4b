"""What pianists play and corpora hold little of: octaves, grace notes, repetitions, staccato, lone notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from inference.training.notes import Floats, NoteTable

Numbers = NDArray[np.floating]
Figure = Callable[[NoteTable, Generator], NoteTable]
"""Notes and chance to the notes that are added to them."""


def with_figures(notes: NoteTable, pedal: Floats, random: Generator) -> NoteTable:
    """Notes with figures among them; most often with none, or one kind.

    Args:
        notes: times in seconds.
        pedal: `(n, 2)` seconds between which the sustain pedal is down; added notes sound as long as it is.
        random: which figures, and where.
    """
    for figure, often in FIGURES:
        if random.random() < often:
            notes = _joined(notes, _sustained(_apart(figure(notes, random), notes), pedal))
    return notes


def octaves(notes: NoteTable, random: Generator) -> NoteTable:
    """Some notes are doubled an octave away, at times softer than the note that hides them."""
    chosen = notes.select(random.random(len(notes)) < random.uniform(0.05, 0.4))
    away = random.choice([12, 12, 12, -12, -12, 24, 19], len(chosen))
    late = random.normal(0, 0.008, len(chosen)).astype(np.float32)
    return _table(
        chosen.onset + late,
        chosen.release,
        chosen.pitch + away,
        chosen.velocity * random.uniform(0.45, 1.05, len(chosen)),
    )


def graces(notes: NoteTable, random: Generator) -> NoteTable:
    """Before some notes come one to three very short ones, as in rolled chords."""
    chosen = notes.select(random.random(len(notes)) < random.uniform(0.03, 0.15))
    gap = random.uniform(0.025, 0.07, len(chosen))
    direction = random.choice([-1, -1, 1], len(chosen))
    away = np.cumsum(random.integers(1, 6, (3, len(chosen))), 0) * direction
    number = random.integers(1, 4, len(chosen))
    parts = []
    for k in range(3):
        onset = chosen.onset - (k + 1) * gap
        parts.append(
            _table(
                onset,
                onset + gap * random.uniform(0.7, 1.2, len(chosen)),
                chosen.pitch + away[k],
                chosen.velocity * random.uniform(0.7, 1.05, len(chosen)),
            ).select(number > k)
        )
    return _joined(*parts)


def repetitions(notes: NoteTable, random: Generator) -> NoteTable:
    """Some keys are struck again and again where they were held."""
    long = notes.release - notes.onset > 0.14
    chosen = notes.select(long & (random.random(len(notes)) < random.uniform(0.05, 0.25)))
    slowest = random.choice([0.16, 0.5])
    gap = random.uniform(0.07, slowest, len(chosen))
    softer = random.uniform(0.5, 0.9)
    parts = []
    for k in range(1, 7):
        onset = chosen.onset + k * gap
        parts.append(
            _table(
                onset,
                onset + gap * random.uniform(0.4, 0.98, len(chosen)),
                chosen.pitch,
                chosen.velocity * random.uniform(softer, 1.05, len(chosen)),
            ).select(onset + 0.04 < chosen.release)
        )
    return _joined(*parts)


def staccato(notes: NoteTable, random: Generator) -> NoteTable:
    """Below some key, or everywhere, notes are let go of at once: each sounds for 30 to 150 ms."""
    low = notes.pitch < random.choice([54, 60, 66, 128])
    held = random.uniform(0.03, 0.15, len(notes)).astype(np.float32)
    end = np.where(low, np.minimum(notes.release, notes.onset + held), notes.release).astype(np.float32)
    return replace(notes, offset=end, release=end)


def lone(random: Generator, seconds: float) -> tuple[NoteTable, Floats]:
    """Single keys, now and then two, anywhere and as hard as may be: their overtones are no notes.

    Low ones are the richest in overtones, and corpora hold few of them alone. At times the pedal is down.
    """
    gaps = random.uniform(0.25, 1.5, 2 + int(seconds / 0.25))
    onset = np.cumsum(gaps) - random.uniform(0, 1.5)
    onset = onset[(onset > 0) & (onset < seconds)]
    if not len(onset):
        onset = np.array([seconds / 2])
    together = onset[random.random(len(onset)) < random.choice([0.0, 0.0, 0.3])]
    onset = np.sort(np.concatenate([onset, together + random.uniform(0, 0.03, len(together))]))
    lowest, highest = ((21, 109), (21, 109), (21, 45), (84, 109))[int(random.integers(4))]
    pitch = random.integers(lowest, highest, len(onset))
    held = random.uniform(0.06, 1.2, len(onset))
    notes = _table(onset, onset + held, pitch, random.uniform(0.06, 1, len(onset)))
    pedal = np.zeros((0, 2), np.float32)
    if random.random() < 0.3:
        pedal = np.array([[0, seconds]], np.float32)
    return _sustained(notes, pedal), pedal


FIGURES: tuple[tuple[Figure, float], ...] = ((octaves, 0.2), (graces, 0.15), (repetitions, 0.18))
"""Each with the part of excerpts that has it."""


def _table(onset: Numbers, release: Numbers, pitch: NDArray[np.int64], velocity: Numbers) -> NoteTable:
    end = np.maximum(release, onset + 0.02).astype(np.float32)
    loud = np.clip(velocity, 0.03, 1).astype(np.float32)
    return NoteTable(onset.astype(np.float32), end, end, pitch.astype(np.int64), loud)


def _apart(added: NoteTable, notes: NoteTable) -> NoteTable:
    """Those of the added notes whose key is not struck anyway at about that time."""
    near = np.abs(added.onset[:, None] - notes.onset) < 0.05
    return added.select(~(near & (added.pitch[:, None] == notes.pitch)).any(1))


def _sustained(notes: NoteTable, pedal: Floats) -> NoteTable:
    """Notes that sound until the pedal comes up, where it is down when their key is."""
    if not len(pedal) or not len(notes):
        return notes
    span = np.searchsorted(pedal[:, 0], notes.release, "right") - 1
    held = (span >= 0) & (notes.release < pedal[span, 1])
    offset = np.where(held, pedal[span, 1], notes.release).astype(np.float32)
    return NoteTable(notes.onset, offset, notes.release, notes.pitch, notes.velocity)


def _joined(*tables: NoteTable) -> NoteTable:
    columns = ("onset", "offset", "release", "pitch", "velocity")
    joined = NoteTable(*(np.concatenate([getattr(table, name) for table in tables]) for name in columns))
    return joined.select(np.argsort(joined.onset, kind="stable"))
