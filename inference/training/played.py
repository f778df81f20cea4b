"""Performances played by a SoundFont: everything is known of them, pedal and key releases too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mido
import numpy as np

from inference.events import Control, Controller, NoteCollector
from inference.pipeline import Stream, advance, open_transcriber
from inference.training import scores as scoring
from inference.training.corpus import RATE, read_performance
from inference.training.notes import Floats
from inference.training.pianos import open_synth
from inference.training.scores import Table

_FRAME_S = 0.02


@dataclass(frozen=True)
class PlayedScores:
    """Scores of one performance; F1 unless the name says otherwise.

    `onset_offset` and what follows it are about sounding ends, as the pedal makes them;
    `key_release` about onsets with the ends of keys; `pedal` about 20 ms frames with the sustain
    pedal down, `None` where it never is.
    """

    name: str
    onset: float
    onset_offset: float
    onset_velocity: float
    all_three: float
    key_release: float
    pedal: float | None


COLUMNS = ("onset", "onset_offset", "onset_velocity", "all_three", "key_release", "pedal")


def run(
    data: Path,
    soundfont: Path,
    weights: str | None = None,
    *,
    chunk_ms: float | None = None,
    seconds: float = 60.0,
    progress: Callable[[str], None] = lambda name: None,
) -> list[PlayedScores]:
    """Score one performance of each piece of `asap/validation`, its first `seconds`.

    Args:
        data: folder of the data.
        soundfont: its first program plays.
        weights: name or path; default the shipped ones.
        chunk_ms: what one step hears; default one hop, as live.
        seconds: of each performance.
        progress: called with each performance's name.

    Raises:
        FileNotFoundError: no performances, or no such SoundFont.
    """
    if not soundfont.is_file():
        raise FileNotFoundError(f"there is no SoundFont {soundfont}")
    folder, found = data / "asap" / "validation", []
    for path in one_of_each(folder):
        name = path.parent.relative_to(folder).as_posix()
        progress(name)
        found.append(_score(name, path, play(path, soundfont, seconds), weights, chunk_ms, seconds))
    if not found:
        raise FileNotFoundError(f"there are no performances in {folder}")
    return found


def table(found: list[PlayedScores]) -> str:
    """Scores as a Markdown table, the mean last."""
    lines = ["| performance | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    columns = [[getattr(row, name) for row in found] for name in COLUMNS]
    means = [float(np.mean([v for v in column if v is not None] or [np.nan])) for column in columns]
    for name, values in [*((r.name, [getattr(r, c) for c in COLUMNS]) for r in found), ("**mean**", means)]:
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def play(path: Path, soundfont: Path, seconds: float) -> Floats:
    """The beginning of a MIDI file by FluidSynth, without room: mono at 16 kHz."""
    synth = open_synth(soundfont, 0.5)
    parts, time, done = list[Floats](), 0.0, 0
    for message in mido.MidiFile(path):
        time += message.time
        until = round(min(time, seconds) * RATE)
        if until > done:
            stereo = synth.get_samples(until - done).reshape(-1, 2)
            parts.append(stereo.mean(1).astype(np.float32) / np.float32(32_768))
            done = until
        if time >= seconds:
            break
        if message.type == "note_on" and message.velocity:
            synth.noteon(0, message.note, message.velocity)
        elif message.type in {"note_on", "note_off"}:
            synth.noteoff(0, message.note)
        elif message.type == "control_change" and message.control == 64:
            synth.cc(0, 64, message.value)
    synth.delete()
    return np.concatenate(parts)


def one_of_each(folder: Path) -> Iterator[Path]:
    """The first performance of each piece of a folder."""
    for piece in sorted({path.parent for path in folder.rglob("*.mid")}):
        yield from sorted(path for path in piece.glob("*.mid") if path.name != "midi_score.mid")[:1]


def _score(
    name: str, path: Path, audio: Floats, weights: str | None, chunk_ms: float | None, seconds: float
) -> PlayedScores:
    performance = read_performance(path)
    notes = performance.notes.select(performance.notes.onset < seconds)
    sounding, keys = (
        np.stack([notes.onset, np.minimum(end, seconds), notes.pitch, 127 * notes.velocity], 1).astype(float)
        for end in (notes.offset, notes.release)
    )
    heard, _ = _hear(audio, weights, chunk_ms, "extended")
    raw, spans = _hear(audio, weights, chunk_ms, "raw")
    score = scoring.score(name, sounding, heard)
    return PlayedScores(
        name,
        score.onset,
        score.onset_offset,
        score.onset_velocity,
        score.all_three,
        scoring.score(name, keys, raw).onset_offset,
        _frame_f1(performance.pedal, spans, seconds),
    )


def _hear(audio: Floats, weights: str | None, chunk_ms: float | None, pedal: str) -> tuple[Table, Table]:
    """Notes, and seconds between which the sustain pedal is down, `(n, 2)`."""
    stream = Stream(open_transcriber("piano", weights, pedal=pedal), RATE, 1, chunk_ms=chunk_ms)
    collector, notes, controls = NoteCollector(), [], list[Control]()
    for piece in np.array_split(audio, max(1, len(audio) // RATE)):
        stream.push(piece[None])
        (events,) = advance([stream])
        notes += collector.add(events)
        controls += events.controls
    last = stream.finish()
    notes += collector.add(last)
    moves = [c for c in [*controls, *last.controls] if c.controller is Controller.SUSTAIN]
    downs = [(c.time / RATE, d.time / RATE) for c, d in pairwise(moves) if c.value >= 0.5]
    rows = [(n.onset / RATE, n.offset / RATE, n.pitch, n.velocity * 127) for n in notes]
    return np.array(sorted(rows), np.float64).reshape(-1, 4), np.array(downs, np.float64).reshape(-1, 2)


def _frame_f1(truth: Floats, found: Table, seconds: float) -> float | None:
    down, heard = _frames(truth, seconds), _frames(found, seconds)
    if not down.any():
        return None
    return float(2 * (down & heard).sum() / (down.sum() + heard.sum()))


def _frames(spans: Floats | Table, seconds: float) -> np.ndarray:
    frames = np.zeros(round(seconds / _FRAME_S), bool)
    for start, end in spans:
        frames[round(start / _FRAME_S) : round(end / _FRAME_S)] = True
    return frames
