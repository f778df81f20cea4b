"""What the networks learn from: recordings with notes, performances as MIDI, rooms."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import mido
import numpy as np
from numpy.typing import NDArray
from pedalboard.io import AudioFile

from inference.training.notes import Floats, NoteTable

log = logging.getLogger(__name__)
RATE = 16_000


@dataclass(frozen=True)
class Recording:
    """Audio as int16 at 16 kHz (peak near full scale), its notes, and which piano played."""

    name: str
    piano: str
    audio: NDArray[np.int16]
    notes: NoteTable


@dataclass(frozen=True)
class Performance:
    """A played MIDI file: notes with key release and sounding end, and the sustain pedal."""

    name: str
    notes: NoteTable
    pedal: Floats


def load_recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder that have a `.notes.tsv` beside them."""
    files = sorted(p for p in folder.iterdir() if p.suffix in {".ogg", ".flac", ".wav"})
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(load_recording, files))


def load_recording(path: Path) -> Recording:
    """A recording named `piece_piano`, with its notes from the table beside it."""
    audio = read_audio(path)
    scaled = (audio / max(float(np.abs(audio).max()), 1e-6) * 0.9 * 32767).astype(np.int16)
    notes = read_notes(path.parent / f"{path.stem}.notes.tsv")
    return Recording(path.stem, path.stem.rpartition("_")[2], scaled, notes)


def save_recordings(recordings: list[Recording], folder: Path) -> None:
    """Keep decoded recordings so that all processes share one copy in memory."""
    np.save(folder / "audio.npy", np.concatenate([r.audio for r in recordings]))
    columns = {
        "edges": _edges(r.audio for r in recordings),
        "names": np.array([r.name for r in recordings]),
        "pianos": np.array([r.piano for r in recordings]),
        **_join([r.notes for r in recordings]),
    }
    np.savez(folder / "recordings.npz", allow_pickle=False, **columns)


def open_recordings(folder: Path) -> list[Recording]:
    """The recordings of `save_recordings`; audio stays on disk until it is used."""
    audio = np.load(folder / "audio.npy", mmap_mode="r")
    with np.load(folder / "recordings.npz") as file:
        edges, tables = file["edges"], _cut_apart(file)
        return [
            Recording(str(name), str(piano), audio[edges[i] : edges[i + 1]], tables[i])
            for i, (name, piano) in enumerate(zip(file["names"], file["pianos"], strict=True))
        ]


def save_performances(performances: list[Performance], path: Path) -> None:
    """Keep parsed performances."""
    columns = {
        "names": np.array([p.name for p in performances]),
        "pedal": np.concatenate([p.pedal for p in performances]),
        "pedal_edges": _edges(p.pedal for p in performances),
        **_join([p.notes for p in performances]),
    }
    np.savez(path, allow_pickle=False, **columns)


def open_performances(path: Path) -> list[Performance]:
    """The performances of `save_performances`."""
    with np.load(path) as file:
        pedal, edges, tables = file["pedal"], file["pedal_edges"], _cut_apart(file)
        return [
            Performance(str(name), tables[i], pedal[edges[i] : edges[i + 1]])
            for i, name in enumerate(file["names"])
        ]


def _edges(parts: Iterable[NDArray[Any]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(part) for part in parts)]).astype(np.int64)


def _join(tables: list[NoteTable]) -> dict[str, NDArray[Any]]:
    columns = {f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(NoteTable)}
    return {"note_edges": _edges(t.onset for t in tables), **columns}


def _cut_apart(file: Mapping[str, NDArray[Any]]) -> list[NoteTable]:
    columns = [file[f.name] for f in fields(NoteTable)]
    return [NoteTable(*(c[a:b] for c in columns)) for a, b in pairwise(file["note_edges"])]


def read_audio(path: Path) -> Floats:
    """Mono float32 at 16 kHz."""
    with AudioFile(str(path)).resampled_to(RATE) as file:
        audio: Floats = file.read(file.frames).mean(0).astype(np.float32)
        return audio


def read_notes(path: Path) -> NoteTable:
    """Notes of a tsv with onset, offset (sounding), pitch, velocity; releases are unknown."""
    rows = np.loadtxt(path, comments="#", ndmin=2)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    onset, offset = rows[:, 0].astype(np.float32), rows[:, 1].astype(np.float32)
    velocity = (rows[:, 3] / 127).astype(np.float32)
    return NoteTable(
        onset, offset, np.full_like(onset, np.nan), rows[:, 2].round().astype(np.int64), velocity
    )


def load_performances(paths: Iterable[Path], processes: int = 2) -> list[Performance]:
    """Read MIDI performances in parallel; broken or nearly empty files are left out and logged."""
    with ProcessPoolExecutor(processes) as pool:
        found = pool.map(_performance_or_none, list(paths), chunksize=8)
        return [p for p in found if p is not None and len(p.notes) > 50]


def _performance_or_none(path: Path) -> Performance | None:
    try:
        return read_performance(path)
    except (OSError, ValueError, EOFError, KeyError, IndexError) as error:
        log.warning("left out %s: %s", path, error)
        return None


def read_performance(path: Path) -> Performance:
    """One MIDI file; sounding ends are the pedal's, but never beyond the key's next stroke."""
    notes, pedal, end = _strokes(mido.MidiFile(path))
    down, held = [], False
    for time, value in [*pedal, (end, 0)]:
        if (value >= 64) != held:
            held = value >= 64
            down.append(time)
    spans = np.array(down, np.float64).reshape(-1, 2)
    rows = np.array(sorted(notes), np.float64).reshape(-1, 4)
    onset, release, pitch = rows[:, 0], np.maximum(rows[:, 1], rows[:, 0] + 0.01), rows[:, 2].astype(np.int64)
    offset = release.copy()
    if len(spans):
        span = np.searchsorted(spans[:, 0], release, "right") - 1
        inside = (span >= 0) & (spans[span, 1] > release)
        offset = np.where(inside, spans[span, 1], release)
    table = NoteTable(
        onset.astype(np.float32),
        offset.astype(np.float32),
        release.astype(np.float32),
        pitch,
        (rows[:, 3] / 127).astype(np.float32),
    )
    return Performance(str(path), cut_repeats(table), spans.astype(np.float32))


def cut_repeats(notes: NoteTable) -> NoteTable:
    """A note ends at the latest when its key is struck again; too short ones are dropped."""
    order = np.lexsort((notes.onset, notes.pitch))
    notes = notes.select(order)
    again = np.append(notes.pitch[1:] == notes.pitch[:-1], False)
    following = np.append(notes.onset[1:], np.inf).astype(np.float32)
    limit = np.where(again, following, np.float32(np.inf))
    cut = NoteTable(
        notes.onset,
        np.minimum(notes.offset, limit),
        np.minimum(notes.release, limit),
        notes.pitch,
        notes.velocity,
    )
    cut = cut.select(cut.offset > cut.onset + 0.01)
    return cut.select(np.argsort(cut.onset, kind="stable"))


def _strokes(
    file: mido.MidiFile,
) -> tuple[list[tuple[float, float, int, int]], list[tuple[float, int]], float]:
    time, sounding = 0.0, dict[int, tuple[float, int]]()
    notes: list[tuple[float, float, int, int]] = []
    pedal: list[tuple[float, int]] = []
    for message in file:
        time += message.time
        if message.type in {"note_on", "note_off"}:
            if message.note in sounding:
                start, velocity = sounding.pop(message.note)
                notes.append((start, time, message.note, velocity))
            if message.type == "note_on" and message.velocity:
                sounding[message.note] = (time, message.velocity)
        elif message.type == "control_change" and message.control == 64:
            pedal.append((time, message.value))
    notes += [(start, time, key, velocity) for key, (start, velocity) in sounding.items()]
    return notes, pedal, time


def load_rooms(folder: Path, longest: int = 14_000) -> list[Floats]:
    """Impulse responses from their direct sound on, at most `longest` samples, unit energy."""
    rooms = []
    for path in sorted(folder.glob("*.flac")):
        response = read_audio(path)
        first = int(np.argmax(np.abs(response) > 0.1 * np.abs(response).max()))
        response = response[first : first + longest].copy()
        fade = min(2000, len(response))
        response[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        rooms.append(response / np.sqrt((response**2).sum()))
    return rooms
