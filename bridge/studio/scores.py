"""Reads and writes scores: MIDI files whose ticks are notation, and MusicXML through partitura."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from bridge.errors import EngineError, InputError, MidiError, UsageError
from bridge.files import replacing
from bridge.midi import SUFFIXES, MidiContent, read_midi
from inference.performance import engrave, notation
from inference.performance.grids import DURATIONS
from inference.performance.score import TICKS, Floats, Score, make_score

MUSICXML = (".musicxml", ".mxl", ".xml")
DRUMS = 9
"""Channel from 0 on which MIDI files keep drums."""
RATE = 1_000_000
MOST_NOTES = 400_000
UNSAID_US = 500_000
"""Microseconds per quarter that programs write where nobody has set a tempo."""
NEAR = 0.008
"""Beats by which an onset may miss the grid of a score."""


@dataclass(frozen=True)
class ReadScore:
    """A score, and what was odd about its file."""

    score: Score
    warnings: tuple[str, ...] = ()


def read_score(path: str | Path) -> ReadScore:
    """Read a score.

    Args:
        path: a MIDI or MusicXML file.

    Raises:
        InputError: it cannot be read, or holds nothing that a piano could play.
        UsageError: neither of the two.
        EngineError: MusicXML without partitura.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return score_of_midi(read_midi(path, RATE))
    if suffix in MUSICXML:
        return _read_musicxml(path)
    raise UsageError(
        f"{path.name} is no score", why="its ending is unknown", remedy="Give a .mid, .musicxml or .mxl file"
    )


def check_score_name(path: Path) -> None:
    """Refuse a file that no score can be written as.

    Raises:
        UsageError: its ending is not MusicXML's, or it is a folder.
        EngineError: partitura is missing.
    """
    if path.suffix.lower() not in (".musicxml", ".xml"):
        raise UsageError(f"{path.name} is no name for MusicXML", remedy="Call it .musicxml")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", remedy="Give the name of a file")
    with _partitura("or leave out --score"):
        notation.partitura()


def write_score(path: Path, score: Score) -> None:
    """Write a score as MusicXML, with the notes that reading it finds again.

    Raises:
        EngineError: partitura is missing.
        OutputError: it cannot be written.
    """
    with _partitura("or leave out --score"):
        text = engrave.musicxml(score)
    with replacing(path) as part:
        part.write_bytes(text)


@contextmanager
def _partitura(instead: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise EngineError(
            "MusicXML needs partitura",
            why="it is not installed",
            remedy=f"Install it with: pip install 'dawbridge[notation]', {instead}",
        ) from error


def score_of_midi(content: MidiContent) -> ReadScore:
    """The score that a MIDI file's ticks spell; drums are left out.

    A tempo of 120, once and for all, is what programs write where nobody has set one: it is not taken
    for the score's.
    """
    notes = [note for note in content.notes if note.channel != DRUMS]
    if not notes:
        raise MidiError(f"{content.path} holds only drums", remedy="Choose a file with notes for a piano")
    _check_count(content.path, len(notes))
    beats = _beats(content, np.array([(note.onset, note.offset) for note in notes], np.float64))
    onset, end = beats[:, 0], beats[:, 1]
    pitch = np.array([note.pitch for note in notes], np.int64)
    # One key cannot be struck twice at once, whatever the number of channels.
    ticks = np.round(onset * TICKS * 100).astype(np.int64)
    _, kept = np.unique(np.stack([ticks, pitch], 1), axis=0, return_index=True)
    bars, meter = _bars(content, float(onset.max()))
    said = [piece.us_per_beat for piece in content.tempo.pieces]
    tempo = None if said == [UNSAID_US] else 60e6 / said[0]
    score, _ = make_score(
        onset[kept], _notated((end - onset)[kept]), pitch[kept], bars, tempo=tempo, meter=meter
    )
    found = list(content.warnings)
    if len(kept) < len(notes):
        found.append(f"{len(notes) - len(kept)} notes were there twice; each is played once")
    off = np.minimum(_off(score.onset, TICKS), _off(score.onset, 32)) > NEAR
    if off.mean() > 0.2:
        found.append(
            f"{off.mean():.0%} of the notes lie on no grid: this looks like a performance, not a score"
        )
    return ReadScore(score, tuple(found))


def _read_musicxml(path: Path) -> ReadScore:
    if not path.is_file():
        raise InputError(f"there is no score {path}", remedy="Check the path")
    with _partitura("or give the score as MIDI"):
        notation.partitura()
    try:
        score, _ = notation.read(str(path))
    # What partitura raises for files that are damaged is not written down, and is of every kind.
    except Exception as error:
        raise InputError(
            f"{path} is no MusicXML that can be read",
            why=str(error) or type(error).__name__,
            remedy="Export it again from the notation program, or give the score as MIDI",
        ) from error
    _check_count(path, len(score))
    return ReadScore(score)


def _check_count(path: Path, count: int) -> None:
    if count > MOST_NOTES:
        raise InputError(
            f"{path} holds {count} notes", remedy=f"Split it: at most {MOST_NOTES} can be performed at once"
        )


def _beats(content: MidiContent, samples: Floats) -> Floats:
    """Quarters of positions in samples, along the file's tempo map."""
    pieces = content.tempo.pieces
    starts = np.array([float(piece.seconds * content.rate) for piece in pieces])
    beats = np.array([float(piece.beats) for piece in pieces])
    slopes = np.array([1e6 / (piece.us_per_beat * content.rate) for piece in pieces])
    which = np.searchsorted(starts, samples + 0.25, "right") - 1
    exact: Floats = beats[which] + (samples - starts[which]) * slopes[which]
    return np.maximum(exact, 0.0)


def _notated(lengths: Floats) -> Floats:
    """Durations in beats; those that are just short of a notated one are made it."""
    grid = np.log2(DURATIONS / TICKS)
    logs = np.log2(np.maximum(lengths, 1 / 96))
    nearest = np.abs(logs[:, None] - grid).argmin(1)
    snapped: Floats = np.where(np.abs(logs - grid[nearest]) < 0.1, DURATIONS[nearest] / TICKS, lengths)
    return np.maximum(snapped, 1 / 96)


def _bars(content: MidiContent, last: float) -> tuple[Floats, tuple[int, int]]:
    """Where bars begin, in quarters, and the first meter."""
    meters = [(float(at), over, under) for at, over, under in content.meters]
    if not meters or meters[0][0] > 0:
        meters.insert(0, (0.0, 4, 4))
    ends = [at for at, _, _ in meters[1:]] + [max(last, meters[-1][0]) + 1e-6]
    bars = [
        np.arange(at, end - 5e-7, float(Fraction(4 * over, under)))
        for (at, over, under), end in zip(meters, ends, strict=True)
        if end > at
    ]
    return np.unique(np.append(0.0, np.concatenate(bars))), (meters[0][1], meters[0][2])


def _off(onset: Floats, parts: int) -> Floats:
    away: Floats = np.abs(onset * parts - np.round(onset * parts)) / parts
    return away
