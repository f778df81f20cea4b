"""Notation out of scores: MusicXML with two staves, bars and meters, through partitura."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np

from inference.performance import keys
from inference.performance.notation import partitura
from inference.performance.score import TICKS, Floats, Ints, Score, ended

DIVISIONS = 20 * TICKS
"""Of a quarter: as fine as partitura writes without trouble, with thirds and fifths."""
MIDDLE = 60
"""The pitch from which notes are in the upper staff."""
FIFTHS = {0: 0, 7: 1, 2: 2, 9: 3, 4: 4, 11: 5, 6: 6, 1: -5, 8: -4, 3: -3, 10: -2, 5: -1}
"""Signs of major keys by their tonic."""


def musicxml(score: Score) -> bytes:
    """A score as a MusicXML file; `notation.read` finds the same notes in it.

    Onsets and durations are rounded to `DIVISIONS` of a quarter, and a note ends where its key is struck
    again: ties would be read as something else.

    Raises:
        ModuleNotFoundError: partitura is not installed.
    """
    package = partitura()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how it guesses at tuplets
        return bytes(package.save_musicxml(_part(package, score), None))


def _part(package: Any, score: Score) -> Any:
    kinds = package.score
    part = kinds.Part("P1", part_name="Piano", quarter_duration=DIVISIONS)
    begin, length = (np.rint(x * DIVISIONS).astype(np.int64) for x in (score.onset, score.duration))
    length = ended(begin, length, score.pitch)
    bars = np.rint(score.bars * DIVISIONS).astype(np.int64)
    end = int((begin + length).max())
    edges = _edges(bars, end, round(4 * DIVISIONS * score.meter[0] / score.meter[1]))
    part.add(kinds.Clef(1, "G", 2, 0), 0)
    part.add(kinds.Clef(2, "F", 4, 0), 0)
    tonic, minor = keys.find(np.bincount(score.pitch % 12, np.minimum(score.duration, 4), 12))
    part.add(kinds.KeySignature(FIFTHS[(tonic + 3 * minor) % 12], "minor" if minor else "major"), 0)
    if score.tempo:
        part.add(kinds.Tempo(score.tempo, "q"), 0)
    for number, (at, until, meter) in enumerate(_measures(edges), 1):
        part.add(kinds.Measure(number), at, until)
        if meter is not None:
            part.add(kinds.TimeSignature(*meter), at)
    staff = np.where(score.pitch >= MIDDLE, 1, 2)
    spelled = package.musicanalysis.estimate_spelling(_table(score, begin, length))
    voice = voices(begin, length, staff)
    for index, name in enumerate(spelled):
        about = {
            "step": str(name["step"]),
            "octave": int(name["octave"]),
            "alter": int(name["alter"]) or None,
            "voice": int(voice[index]),
            "staff": int(staff[index]),
            "id": f"n{index}",
        }
        note = kinds.Note(**about) if length[index] else kinds.GraceNote("appoggiatura", **about)
        part.add(note, int(begin[index]), int(begin[index] + length[index]))
    kinds.tie_notes(part)
    _rest(part, kinds)
    return part


def _rest(part: Any, kinds: Any) -> None:
    """Rests before and between the notes of each voice, and to the end of the bar in one of them."""
    bars = sorted((measure.start.t, measure.end.t) for measure in part.iter_all(kinds.Measure))
    starts = [at for at, _ in bars]
    done: list[dict[int, int]] = [{} for _ in bars]
    for note in sorted(part.iter_all(kinds.Note, include_subclasses=True), key=lambda note: note.start.t):
        index = bisect_right(starts, note.start.t) - 1
        before = done[index].get(note.voice, starts[index])
        if note.start.t > before:
            part.add(kinds.Rest(voice=note.voice, staff=note.staff), before, note.start.t)
        done[index][note.voice] = max(note.end.t, before)
    for (at, end), voices_ in zip(bars, done, strict=True):
        voice, until = max(voices_.items(), key=lambda one: one[1], default=(1, at))
        if until < end:
            part.add(kinds.Rest(voice=voice), until, end)


def voices(begin: Ints, length: Ints, staff: Ints) -> Ints:
    """(notes,) voices from 1, no two notes of a voice at once unless they begin and end together."""
    found = np.zeros(len(begin), np.int64)
    free: dict[int, tuple[int, int, int]] = {}
    for index in np.lexsort((-length, begin)):
        now = (int(begin[index]), int(length[index]), int(staff[index]))
        for voice in range(1, len(free) + 2):
            last = free.get(voice)
            if last is None or last == now or (last[2] == now[2] and last[0] + max(last[1], 1) <= now[0]):
                free[voice], found[index] = now, voice
                break
    return found


def _edges(bars: Ints, end: int, usual: int) -> Ints:
    """Where bars begin, and where the last one ends."""
    last = int(bars[-1]) + usual
    more = [last] if last >= end else [last, *range(last + usual, end + usual, usual)]
    return np.append(bars, more)


def _measures(edges: Ints) -> Iterator[tuple[int, int, tuple[int, int] | None]]:
    """Begin and end of each bar, and its meter where that is another than before."""
    last = 0
    for at, until in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield at, until, None if until - at == last else _meter(until - at)
        last = until - at


def _meter(length: int) -> tuple[int, int]:
    for under in (4, 8, 16, 32):
        over = length * under / (4 * DIVISIONS)
        if over == round(over) and over >= 1:
            return int(over), under
    return max(1, round(length * 32 / (4 * DIVISIONS))), 32


def _table(score: Score, begin: Ints, length: Ints) -> Any:
    """What partitura spells pitches from."""
    columns: dict[str, Floats | Ints] = {
        "onset_div": begin,
        "duration_div": length,
        "pitch": score.pitch,
        "onset_beat": score.onset,
        "duration_beat": score.duration,
    }
    table = np.zeros(len(begin), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table
