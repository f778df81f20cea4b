"""What the rhythm systems are measured on: recordings, and performances that a SoundFont plays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from inference.events import Note, NoteCollector
from inference.pipeline import Stream, advance, open_transcriber
from inference.resample import resample
from inference.rhythm.listener import Frames, RhythmListener
from inference.training.beats import BeatTable, beats_file, read_beats, with_played_dynamics
from inference.training.corpus import RATE, read_audio, read_notes
from inference.training.notes import Floats
from inference.training.played import one_of_each, play

SETS = {
    "disklavier-dev": Path("maps/disklavier-dev"),
    "software-validation": Path("maps/software/validation"),
}
"""Folders of recordings, relative to the data folder; none of them is ever trained on."""
PLAYED = "asap-validation"
"""What the performances that a SoundFont plays are called."""
LONGEST_S = 240.0
"""Of each performance."""
_DECISION_MS, _CHUNK_MS = 300.0, 2_000.0
"""As a bounce hears notes."""


@dataclass(frozen=True)
class Piece:
    """Music with known beats; `load` gives its audio, `(samples,)` at 16 kHz."""

    group: str
    name: str
    beats: BeatTable
    load: Callable[[], Floats]


def pieces(data: Path, sets: Iterable[str] = tuple(SETS), soundfont: Path | None = None) -> Iterator[Piece]:
    """The recordings of the chosen sets; or, with a SoundFont, one performance of each ASAP validation piece.

    Raises:
        FileNotFoundError: no such SoundFont, or nothing to measure.
    """
    if soundfont is not None and not soundfont.is_file():
        raise FileNotFoundError(f"there is no SoundFont {soundfont}")
    some = False
    if soundfont is None:
        for group in sets:
            for path, beats in recordings(data / SETS[group]):
                some = True
                yield Piece(group, path.stem, beats, partial(read_audio, path))
    else:
        for piece in performances(data / "asap" / "validation", soundfont):
            some = True
            yield piece
    if not some:
        raise FileNotFoundError(f"there are no recordings or performances with beats in {data}")


def recordings(folder: Path) -> Iterator[tuple[Path, BeatTable]]:
    """Recordings of a folder that have beats, with these and the dynamics that were played."""
    for path in sorted(folder.glob("*")):
        if path.suffix not in {".ogg", ".flac", ".wav"} or not beats_file(path).is_file():
            continue
        beats, notes = read_beats(beats_file(path)), path.with_name(f"{path.stem}.notes.tsv")
        yield path, with_played_dynamics(beats, read_notes(notes)) if notes.is_file() else beats


def performances(folder: Path, soundfont: Path) -> Iterator[Piece]:
    """The first performance of each piece that has beats, its first `LONGEST_S` seconds."""
    for path in one_of_each(folder):
        if beats_file(path).is_file():
            beats = read_beats(beats_file(path))
            kept = beats.time < LONGEST_S
            table = BeatTable(beats.time[kept], beats.downbeat[kept], beats.dynamics[kept])
            name = path.parent.relative_to(folder).as_posix()
            yield Piece(PLAYED, name, table, partial(play, path, soundfont, LONGEST_S))


def hear(listener: RhythmListener, audio: Floats, notes: Sequence[Note] | None = None) -> Frames:
    """What the networks think of audio at 16 kHz, and of the notes that the piano system hears in it.

    Args:
        listener: those that listen to no notes are told none.
        audio: `(samples,)`.
        notes: what `transcribe` heard, if that is known.
    """
    sound = resample(audio, RATE, listener.rate)
    if listener.struck is None:
        return listener.hear(sound)
    scale = listener.rate / RATE
    known = transcribe(audio) if notes is None else notes
    return listener.hear(
        sound, [Note(round(n.onset * scale), round(n.offset * scale), n.pitch, n.velocity) for n in known]
    )


def transcribe(audio: Floats) -> list[Note]:
    """The notes that a bounce hears in audio at 16 kHz, in order of onset."""
    stream = Stream(open_transcriber("piano", decision_ms=_DECISION_MS), RATE, 1, chunk_ms=_CHUNK_MS)
    collector, notes = NoteCollector(), list[Note]()
    for piece in np.array_split(audio, max(1, len(audio) // RATE)):
        stream.push(piece[None])
        notes += collector.add(advance([stream])[0])
    notes += collector.add(stream.finish()) + collector.close(len(audio))
    return sorted(notes, key=lambda note: (note.onset, note.pitch))
