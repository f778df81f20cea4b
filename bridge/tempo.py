"""From beats that were heard to the tempo map and bars of a file, such that no note moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from inference.clock import PPQ, TempoMap
from inference.events import Beat, Lane, LanePoint

HALF_TICK_US = 250
"""A note may move by half a tick: at most this long, whatever the tempo."""
FEWEST = 4
"""Beats below which there is no tempo to speak of."""
_LONGEST_PPQ = 15_360


@dataclass(frozen=True, slots=True)
class Grid:
    """A file's tempo, its bars, and ticks per quarter; every beat is written as a quarter.

    Args:
        tempo: the map.
        meters: `(quarter, beats per bar)` where the length of a bar changes, the first at 0.
        ppq: fine enough for the slowest beat.
    """

    tempo: TempoMap
    meters: tuple[tuple[int, int], ...]
    ppq: int


@dataclass(frozen=True, slots=True)
class _Place:
    time_us: int
    downbeat: bool


def heard_grid(beats: Sequence[Beat], rate: int) -> Grid | None:
    """A tempo per beat and a bar line before each downbeat; None if there are too few beats.

    What lies before the first beat, and pauses, are filled with beats of about the tempo around
    them; a bar is short where a downbeat comes early.

    Args:
        beats: in order of time, in samples at `rate`.
        rate: Hz.
    """
    if len(beats) < FEWEST:
        return None
    places = _filled(beats, rate)
    times = [place.time_us for place in places]
    changes: list[tuple[int, int]] = []
    for index, (a, b) in enumerate(pairwise(times)):
        if not changes or changes[-1][1] != b - a:
            changes.append((index, b - a))
    slowest = max(length for _, length in changes)
    return Grid(TempoMap(changes), _meters(places, beats[-1].of), fine_ppq(slowest))


def one_tempo(beats: Sequence[Beat], rate: int) -> Grid | None:
    """The middle one of the tempi that were heard, throughout; None if there are too few beats."""
    if len(beats) < FEWEST:
        return None
    length = round(median(b.time - a.time for a, b in pairwise(beats)) * 1_000_000 / rate)
    of = max((beat.of for beat in beats), key=[beat.of for beat in beats].count)
    return Grid(TempoMap([(0, length)]), ((0, of),), fine_ppq(length))


def fine_ppq(slowest_us: int) -> int:
    """Ticks per quarter that are fine enough for the slowest one, in microseconds."""
    ppq = PPQ
    while slowest_us > 2 * HALF_TICK_US * ppq and ppq < _LONGEST_PPQ:
        ppq *= 2
    return ppq


def beats_as_dict(
    beats: Sequence[Beat],
    rate: int,
    markers: Sequence[tuple[int, str]] = (),
    lanes: Sequence[LanePoint] = (),
    spans: Sequence[tuple[int, int, str]] = (),
) -> dict[str, Any]:
    """Plain values, for JSON: times in seconds, the tempo at each beat in beats per minute.

    Args:
        beats: in order of time.
        rate: samples per second of all times.
        markers: `(time, "pp".."ff")` where the dynamics change.
        lanes: the dynamics lane has a value 0..1 per beat.
        spans: `(begin, end, name)` of each crescendo and diminuendo.
    """
    loud = {point.time: round(point.value, 3) for point in lanes if point.lane is Lane.DYNAMICS}
    lengths = [(b.time - a.time) / rate for a, b in pairwise(beats)]
    tempi = [60 / length for length in [*lengths, *lengths[-1:]]] or [0.0] * len(beats)
    return {
        "tempo_bpm": round(median(tempi), 2) if lengths else None,
        "confidence": round(sum(beat.confidence for beat in beats) / len(beats), 3) if beats else 0.0,
        "beats": [
            {
                "time": round(beat.time / rate, 6),
                "position": beat.position,
                "of": beat.of,
                "bpm": round(tempo, 2),
                "confidence": round(beat.confidence, 3),
                **({"dynamics": loud[beat.time]} if beat.time in loud else {}),
            }
            for beat, tempo in zip(beats, tempi, strict=True)
        ],
        "dynamics": [{"time": round(time / rate, 6), "marking": text} for time, text in markers],
        "swells": [
            {"begin": round(begin / rate, 6), "end": round(end / rate, 6), "marking": name}
            for begin, end, name in spans
        ],
    }


def _filled(beats: Sequence[Beat], rate: int) -> list[_Place]:
    """All beats from time 0 on, at whole microseconds."""
    heard = [_Place(round(beat.time * 1_000_000 / rate), beat.position == 0) for beat in beats]
    places = _lead_in(heard, beats, median(b.time_us - a.time_us for a, b in pairwise(heard[:8])))
    for index, (a, b) in enumerate(pairwise(heard)):
        around = [d.time_us - c.time_us for c, d in pairwise(heard[max(index - 4, 0) : index + 6])]
        parts = _parts(b.time_us - a.time_us, median(around))
        since = beats[index].position
        for part in range(1, parts):
            time = a.time_us + (b.time_us - a.time_us) * part // parts
            places.append(_Place(time, (since + part) % beats[index].of == 0))
        places.append(b)
    return places


def _parts(length: int, usual: float) -> int:
    """Beats that a pause is worth; rubato alone makes none."""
    return round(length / usual) if length > 2.5 * usual else 1


def _lead_in(heard: Sequence[_Place], beats: Sequence[Beat], usual: float) -> list[_Place]:
    """The first beat and what is counted before it, from time 0."""
    first = heard[0]
    count = round(first.time_us / usual)
    if count == 0:
        # No room for a beat: the first one begins with the file, and is a little longer.
        return [_Place(0, first.downbeat)]
    position, of = beats[0].position, beats[0].of
    lead = [_Place(first.time_us * i // count, (position - count + i) % of == 0) for i in range(count)]
    return [*lead, first]


def _meters(places: Sequence[_Place], of: int) -> tuple[tuple[int, int], ...]:
    bars = [0, *(index for index, place in enumerate(places) if place.downbeat and index)]
    lengths = [*(b - a for a, b in pairwise(bars)), max(of, len(places) - bars[-1])]
    found: list[tuple[int, int]] = []
    for begin, length in zip(bars, lengths, strict=True):
        if not found or found[-1][1] != length:
            found.append((begin, length))
    return tuple(found)
