"""Small music for training tests: notes by chance, tones by sines."""

import numpy as np

from inference.training.corpus import RATE, Performance
from inference.training.notes import NoteTable
from inference.training.pianos import Tone, make_bank


def table(rows):
    """Rows of onset, offset, release, pitch, velocity."""
    columns = np.array(rows, np.float64).reshape(-1, 5).T
    onset, offset, release = (column.astype(np.float32) for column in columns[:3])
    return NoteTable(onset, offset, release, columns[3].astype(np.int64), columns[4].astype(np.float32))


def chance(seed=0, count=120, seconds=30.0):
    """Notes by chance, no two of a pitch overlapping, as sorted rows for `table`."""
    random = np.random.default_rng(seed)
    rows, free = [], dict.fromkeys(range(21, 109), 0.0)
    for onset in np.sort(random.uniform(0, seconds, count)):
        pitch = int(random.integers(21, 109))
        if onset < free[pitch] + 0.1:
            continue
        offset = onset + random.uniform(0.1, 1.5)
        free[pitch] = offset
        rows.append((onset, offset, onset + 0.8 * (offset - onset), pitch, random.uniform(0.1, 1)))
    return rows


def performance(seed=0, count=400, seconds=120.0):
    return Performance(
        f"chance-{seed}", table(chance(seed, count, seconds)), np.array([[1.0, 2.5]], np.float32)
    )


def bank(name="sines"):
    """A piano of decaying sines: every octave, two layers."""
    time = np.arange(2 * RATE) / RATE
    tones = [
        Tone(
            root,
            velocity,
            (velocity / 127 * np.exp(-2 * time) * np.sin(2 * np.pi * hertz * time)).astype(np.float32),
        )
        for root in range(21, 109, 12)
        for velocity in (40, 100)
        for hertz in [440 * 2 ** ((root - 69) / 12)]
    ]
    return make_bank(name, tones)
