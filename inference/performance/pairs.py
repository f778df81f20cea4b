"""Scores with their performances, out of folders of aligned files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from inference.performance import notation
from inference.performance.score import Floats, Ints, Performance, Score

log = logging.getLogger(__name__)
SCORE, ALIGNED = "xml_score.mxl", ".aligned.npz"
FEWEST_MATCHED = 0.9
"""A file of which less is found in its score belongs to another edition."""


@dataclass(frozen=True)
class Played:
    """One performance.

    Args:
        name: of its file.
        notes: (played,) which notes of the score were played, rising.
        performance: of these.
    """

    name: str
    notes: Ints
    performance: Performance


@dataclass(frozen=True)
class Piece:
    """A score and the performances of it that are known."""

    name: str
    score: Score
    played: tuple[Played, ...]


def pieces(folder: Path) -> Iterator[Piece]:
    """The pieces below a folder, each a folder with a MusicXML score and aligned performances.

    Performances whose notes are not found in their score are left out and logged.

    Raises:
        FileNotFoundError: there are none.
    """
    folders = sorted({path.parent for path in folder.rglob(f"*{ALIGNED}")})
    if not folders:
        raise FileNotFoundError(f"there are no aligned performances in {folder}")
    for place in folders:
        name = str(place.relative_to(folder))
        try:
            score, beats = notation.read(str(place / SCORE))
        except (OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
            log.warning("left out %s: %s", name, error)
            continue
        found = [_played(path, score, beats) for path in sorted(place.glob(f"*{ALIGNED}"))]
        played = tuple(one for one in found if one is not None)
        if played:
            yield Piece(name, score, played)


def _played(path: Path, score: Score, beats: Floats) -> Played | None:
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    rows, sources = _match(columns["score_onset"], columns["pitch"], score, beats)
    if len(rows) < FEWEST_MATCHED * len(columns["pitch"]):
        log.warning(
            "left out %s: only %d of %d notes are in its score", path, len(rows), len(columns["pitch"])
        )
        return None
    seconds = float(columns["seconds_per_tick"])
    onset = columns["onset_tick"][sources] * seconds
    length = columns["offset_tick"][sources] * seconds - onset
    velocity = columns["velocity"][sources].astype(np.float64)
    pedal = read_pedal(mido.MidiFile(path.with_name(path.name.replace(ALIGNED, ".mid"))))
    return Played(path.name.replace(ALIGNED, ""), rows, Performance(onset, length, velocity, pedal))


def _match(onsets: Floats, pitches: Ints, score: Score, beats: Floats) -> tuple[Ints, Ints]:
    """Which notes of the score those of an alignment are, and which of the alignment's they are."""
    places: dict[tuple[float, int], list[int]] = {}
    for index in range(len(score) - 1, -1, -1):
        places.setdefault((round(float(beats[index]), 2), int(score.pitch[index])), []).append(index)
    rows, sources = [], []
    for source, (onset, pitch) in enumerate(zip(onsets, pitches, strict=True)):
        there = places.get((round(float(onset), 2), int(pitch)))
        if there:
            rows.append(there.pop())
            sources.append(source)
    order = np.argsort(rows)
    return np.array(rows, np.int64)[order], np.array(sources, np.int64)[order]


def read_pedal(file: mido.MidiFile) -> Floats:
    """(spans, 2) seconds at which the sustain pedal goes down and up."""
    now, held = 0.0, False
    moves: list[float] = []
    for message in file:
        now += message.time
        if message.type == "control_change" and message.control == 64 and (message.value >= 64) != held:
            held = not held
            moves.append(now)
    if held:
        moves.append(now + 0.01)
    return np.array(moves, np.float64).reshape(-1, 2)
