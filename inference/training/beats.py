"""Beats as columns: read from annotations, shifted and stretched with their music."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.notes import NoteTable

PP_TO_FF = (0.1, 0.35, 0.65, 0.9)
"""Ranks of loudness within a piece that part pp, p, mf, f and ff."""
HYSTERESIS = 0.06
"""A class changes only once the rank is this far beyond its bound."""


@dataclass(frozen=True)
class BeatTable:
    """Beats in seconds, rising; which of them begin a bar; their dynamics 1..5 (pp..ff), 0 if unknown."""

    time: NDArray[np.float64]
    downbeat: NDArray[np.bool_]
    dynamics: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def select(self, rows: NDArray[np.bool_]) -> BeatTable:
        """The beats of a mask."""
        return BeatTable(self.time[rows], self.downbeat[rows], self.dynamics[rows])

    def moved(self, by: float, stretch: float = 1.0) -> BeatTable:
        """Times are shifted by `by` seconds, then multiplied."""
        return BeatTable((self.time + by) * stretch, self.downbeat, self.dynamics)


NO_BEATS = BeatTable(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64))


def read_beats(path: Path) -> BeatTable:
    """Lines of a time, other columns, and a label: `b` a beat, `db` a downbeat, more after a comma.

    The label may also be a number, as in POP909: 1 a downbeat, 0 another beat.

    Raises:
        OSError: no such file.
        ValueError: a line that is none.
    """
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    times = np.array([float(row[0]) for row in rows], np.float64)
    down = np.array([row[-1].split(",")[0].startswith(("db", "1.0")) for row in rows], bool)
    rising = np.append(True, np.diff(np.maximum.accumulate(times)) > 1e-3) if len(times) else down
    return BeatTable(times[rising], down[rising], np.zeros(int(rising.sum()), np.int64))


def beats_file(music: Path) -> Path:
    """The annotation beside a performance or a recording, whichever way its folder names it."""
    endings = ("_annotations.txt", "_annotation.tsv", ".beats.tsv")
    names = ["beat_midi.txt", *(music.stem + ending for ending in endings)]
    found = [music.with_name(name) for name in names if music.with_name(name).is_file()]
    return found[0] if found else music.with_name(names[-1])


def with_played_dynamics(beats: BeatTable, notes: NoteTable, smooth: int = 4) -> BeatTable:
    """Classes from how loud each beat was played, ranked within the piece.

    A stand-in for printed markings: it says how a piece's own range is used, nothing absolute.

    Args:
        beats: of the whole piece.
        notes: of the whole piece, with velocities.
        smooth: beats over which velocity is averaged, centred.
    """
    if len(beats) < 2 or not len(notes):
        return beats
    edges = np.concatenate([beats.time, [2 * beats.time[-1] - beats.time[-2]]])
    place = np.searchsorted(edges, notes.onset + 0.05, "right") - 1
    inside = (place >= 0) & (place < len(beats))
    count = np.bincount(place[inside], minlength=len(beats)).astype(np.float64)
    sums = np.bincount(place[inside], notes.velocity[inside], minlength=len(beats))
    window = np.ones(2 * (smooth // 2) + 1)
    mean = np.convolve(sums, window, "same") / np.maximum(np.convolve(count, window, "same"), 1e-9)
    rank = (np.argsort(np.argsort(mean)) + 0.5) / len(beats)
    return BeatTable(beats.time, beats.downbeat, ranked_classes(rank))


def ranked_classes(rank: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks of loudness 0..1 as classes 1..5, which change only when a rank is well beyond its bound."""
    found = np.empty(len(rank), np.int64)
    now = int(np.searchsorted(PP_TO_FF, rank[0]))
    for index, value in enumerate(rank):
        while now < len(PP_TO_FF) and value > PP_TO_FF[now] + HYSTERESIS:
            now += 1
        while now > 0 and value < PP_TO_FF[now - 1] - HYSTERESIS:
            now -= 1
        found[index] = now + 1
    return found
