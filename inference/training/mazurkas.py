"""MazurkaBL: beats and printed dynamics of some 2,000 recordings of Chopin's mazurkas (no audio).

Three tables per piece, as its authors publish them: `beat_time` with a row per beat and a column per
recording, and `markings_dyn` with the places of printed dynamics. Who has the recordings can train and
measure with the five folds below.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.beats import BeatTable
from inference.training.markings import CLASSES

FOLDS = 5
RENAMED = {("M41-1", "pid9070b-01"): "pid9070b-09"}
"""Columns whose name is not that of the recording that they describe."""
BEFORE = CLASSES["mf"]
"""What holds before the first printed marking, as published."""


@dataclass(frozen=True)
class Mazurka:
    """A piece: the beats of each recording by its id, all with the same bars and printed dynamics."""

    piece: str
    recordings: Mapping[str, BeatTable]


@dataclass(frozen=True)
class Fold:
    """Pieces to train on, to choose by, and to test on; none is in two of them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def pieces(folder: Path) -> list[str]:
    """Names of the pieces, such as `M06-1`."""
    return sorted(path.name.removesuffix("beat_time.csv") for path in folder.glob("beat_time/*beat_time.csv"))


def read_mazurka(folder: Path, piece: str) -> Mazurka:
    """One piece. The first beat of a bar is its downbeat; a recording's gaps are left out.

    Raises:
        OSError: a table is missing.
        ValueError: a table is damaged.
    """
    with (folder / "beat_time" / f"{piece}beat_time.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    if head[1:3] != ["measure_number", "beat_number"]:
        raise ValueError(f"{piece}: a table of beats begins with measure_number and beat_number")
    downbeat = np.array([int(float(row[2])) == 0 for row in rows], bool)
    dynamics = printed(folder, piece, len(rows))
    found = {}
    for column, name in enumerate(head[3:], 3):
        time = np.array([float(row[column]) if row[column].strip() else np.nan for row in rows])
        known = np.isfinite(time)
        if (np.diff(time[known]) <= 0).any():
            raise ValueError(f"{piece}: the beats of {name} do not rise")
        beats = BeatTable(time[known], downbeat[known], dynamics[known])
        found[RENAMED.get((piece, name), name)] = beats
    return Mazurka(piece, found)


def printed(folder: Path, piece: str, beats: int) -> NDArray[np.int64]:
    """Class of dynamics 1..5 at each beat: a marking holds until the next.

    Raises:
        OSError: no table of markings.
        ValueError: it is damaged.
    """
    (path,) = sorted((folder / "markings_dyn").glob(f"{piece}*.csv")) or [Path(piece)]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if len(rows) < 3:
        raise ValueError(f"{path} has {len(rows)} lines: words, places and classes are needed")
    found = np.full(beats, BEFORE, np.int64)
    for place, marking in zip(rows[1], rows[2], strict=False):
        if place.strip():
            if not 1 <= int(float(place)) <= beats:
                raise ValueError(f"{path}: beat {place} is not in the piece")
            if marking.strip() in CLASSES:  # some lines also tell of fermatas
                found[int(float(place)) - 1 :] = CLASSES[marking.strip()]
    return found


def folds(recordings: Mapping[str, int], count: int = FOLDS) -> list[Fold]:
    """Each piece is tested on once; the next fold's test pieces are this one's validation.

    Pieces go, the most recorded first, to the fold that has fewest recordings so far.

    Args:
        recordings: how many there are of each piece.
        count: folds, at least 3.
    """
    if count < 3 or len(recordings) < count:
        raise ValueError(f"{len(recordings)} pieces make no {count} folds")
    groups: list[list[str]] = [[] for _ in range(count)]
    load = [0] * count
    for piece in sorted(recordings, key=lambda name: (-recordings[name], name)):
        lightest = load.index(min(load))
        groups[lightest].append(piece)
        load[lightest] += recordings[piece]
    found = []
    for test in range(count):
        validation = (test + 1) % count
        train = [piece for i, group in enumerate(groups) if i not in (test, validation) for piece in group]
        parts = (train, groups[validation], groups[test])
        found.append(Fold(*(tuple(sorted(part)) for part in parts)))
    return found
