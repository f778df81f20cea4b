"""Scores to learn writing from: MIDI files whose ticks are notation, without what was played of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mido
import numpy as np

from inference.performance import words
from inference.performance.config import METERS
from inference.performance.grids import DURATIONS
from inference.performance.score import TICKS, Floats, Ints, Score, make_score

log = logging.getLogger(__name__)
ANY, CLASSICAL, POP = range(3)
"""Idioms."""
FOLDERS = (
    ("asap", "asap/{}", "midi_score.mid", CLASSICAL),
    ("piano-midi-de", "piano-midi-de/{}", "*.mid", CLASSICAL),
    ("pop909", "pop909", "???.mid", POP),
)
"""Name, folder ({} is the split), files in it, idiom. POP909 knows no split; see `HELD_OUT`."""
HELD_OUT = 10
"""Of POP909, every song whose number this divides is not trained on."""
GRID = 6
"""Ticks: what was sung over a pop song's beats is put on its sixteenths."""
DRUMS = 9
NEAR = 0.1
"""Octaves by which a length may miss a notated one that it is taken for."""
FEWEST_WORDS = 64


@dataclass(frozen=True)
class Sheet:
    """A score as words alone: `tokens` (steps, 4) are those of `words.spell`."""

    name: str
    idiom: int
    tokens: Ints

    def __len__(self) -> int:
        return len(self.tokens)


def sheets(data: Path, split: str = "train") -> Iterator[Sheet]:
    """The scores of a split (`train`, `validation`) in whole quarters per bar; others are logged.

    Raises:
        FileNotFoundError: there are none.
    """
    found = 0
    for name, folder, pattern, idiom in FOLDERS:
        for path in sorted((data / folder.format(split)).rglob(pattern)):
            if idiom == POP and (int(path.stem) % HELD_OUT == 0) != (split == "validation"):
                continue
            score = whole_bars(pop_score(path) if idiom == POP else midi_score(path))
            if score is None:
                log.info("left out %s: its bars are not whole quarters", path)
                continue
            tokens = words.spell(score).tokens
            if len(tokens) >= FEWEST_WORDS:
                found += 1
                yield Sheet(f"{name}/{path.relative_to(data / folder.format(split))}", idiom, tokens)
    if not found:
        raise FileNotFoundError(f"there are no scores in {data}")


def midi_score(path: Path) -> Score:
    """The score that a MIDI file's ticks spell."""
    file = mido.MidiFile(path)
    notes = _notes(file, {track.name for track in file.tracks})
    meters = sorted(
        (now / file.ticks_per_beat, 4 * message.numerator / message.denominator)
        for track in file.tracks
        for now, message in _timed(track)
        if message.type == "time_signature"
    )
    end = float(notes[:, 0].max())
    starts = [0.0, *(at for at, _ in meters if at > 0)]
    lengths = [next((length for at, length in reversed(meters) if at <= s + 1e-6), 4.0) for s in starts]
    edges = [*starts[1:], end + 1e-6]
    bars = [np.arange(a, b - 1e-6, length) for a, b, length in zip(starts, edges, lengths, strict=True)]
    return _score(notes, np.unique(np.concatenate(bars)), TICKS * 100)


def pop_score(path: Path) -> Score:
    """A song of POP909 as one piano would play it, on the sixteenths between its beats."""
    file = mido.MidiFile(path)
    notes = _notes(file, {"MELODY", "BRIDGE", "PIANO"})
    table = np.loadtxt(path.with_name("beat_midi.txt"), ndmin=2)
    tempo = next(m.tempo for track in file.tracks for m in track if m.type == "set_tempo")
    beats = table[:, 0] / tempo * 1e6
    extra = np.arange(1, 65)
    beats = np.append(beats, beats[-1] + extra * (beats[-1] - beats[-2]))
    index = np.arange(len(beats), dtype=np.float64)
    onset, end = (np.interp(moment, beats, index) for moment in (notes[:, 0], notes[:, 0] + notes[:, 1]))
    parts = TICKS / GRID
    onset = np.rint(onset * parts) / parts
    length = np.maximum(np.rint((end - onset) * parts) / parts, 1 / parts)
    first = int(np.flatnonzero(table[:, 2])[0]) % 4
    bars = np.arange(first, onset.max() + 1e-6, 4)
    kept = onset >= first
    return _score(np.stack([onset, length, notes[:, 2]], 1)[kept], bars, parts)


def whole_bars(score: Score) -> Score | None:
    """A score whose usual bar is a whole number of quarters, counted twice as fast if need be, or None."""
    lengths = np.round(np.diff(score.bars), 3)
    if not len(lengths):
        return None
    usual = Counter(lengths.tolist()).most_common(1)[0][0]
    factor = 1 if usual == round(usual) else 2
    if usual * factor != round(usual * factor) or not 1 <= usual * factor < METERS:
        return None
    return replace(
        score, onset=factor * score.onset, duration=factor * score.duration, bars=factor * score.bars
    )


def _score(notes: Floats, bars: Floats, parts: float) -> Score:
    """Rows of onset, length and pitch from the first bar on; no key is struck twice at once."""
    notes = notes[np.argsort(-notes[:, 1], kind="stable")]
    place = np.stack([np.rint(notes[:, 0] * parts), notes[:, 2]], 1)
    _, kept = np.unique(place, axis=0, return_index=True)
    onset, length, pitch = notes[kept].T
    bars = bars[bars >= bars[np.searchsorted(bars, onset.min() + 1e-6, "right") - 1]]
    score, _ = make_score(onset - bars[0], length, pitch.astype(np.int64), bars - bars[0])
    return score


def _notes(file: mido.MidiFile, names: set[str]) -> Floats:
    """(notes, 3) onset and length in quarters, pitch, of the tracks of these names."""
    rows = []
    for track in file.tracks:
        held: dict[tuple[int, int], int] = {}
        for now, message in _timed(track) if track.name in names else ():
            if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
                continue
            start = held.pop((message.channel, message.note), None)
            if start is not None and now > start:
                rows.append((start, now - start, message.note))
            if message.type == "note_on" and message.velocity:
                held[message.channel, message.note] = now
    table = np.array(rows, np.float64).reshape(-1, 3)
    if not len(table):
        raise ValueError("it holds no notes")
    table[:, :2] /= file.ticks_per_beat
    table[:, 1] = _notated(table[:, 1])
    return table


def _timed(track: mido.MidiTrack) -> Iterator[tuple[int, mido.Message]]:
    now = 0
    for message in track:
        now += message.time
        yield now, message


def _notated(lengths: Floats) -> Floats:
    """Lengths in quarters; those just off a notated one are made it."""
    grid = np.log2(DURATIONS / TICKS)
    logs = np.log2(np.maximum(lengths, 1 / 96))
    nearest = np.abs(logs[:, None] - grid).argmin(1)
    near = np.abs(logs - grid[nearest]) < NEAR
    snapped: Floats = np.where(near, DURATIONS[nearest] / TICKS, lengths)
    return snapped
