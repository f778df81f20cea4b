"""What a bounce makes of the beats and the dynamics that were heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from bridge.errors import EngineError, InputError, UsageError
from bridge.tempo import Grid, heard_grid, one_tempo
from bridge.voicing import beat_strike
from inference.events import Beat, Lane, LanePoint, Note

LONGEST_CLICK_S = 0.05
"""High and low wood block of the General MIDI drum channel."""


@dataclass(frozen=True, slots=True)
class RhythmOptions:
    """What to do with the beats, and what is known of them.

    Args:
        tempo: `heard`: a tempo per beat; `one`: the middle one throughout; None: as without beats.
        beats: write beats and dynamics as JSON beside the MIDI file.
        dynamics: write the dynamics as a controller curve; pp..ff as markers where they change, and two
            markers for each crescendo and diminuendo.
        beat_notes: write each beat as a note on this channel, 1..16; None: none.
        meters: beats per bar that may occur, None: 2, 3 and 4.
        range_bpm: slowest and fastest tempo, None: 30 to 280.
        first_downbeat: where the first bar begins, in seconds.
        taps: beats as they were tapped, in seconds.
        weights: of the system that hears beats, None: its own.
    """

    tempo: Literal["heard", "one"] | None = "heard"
    beats: bool = False
    dynamics: bool = False
    beat_notes: int | None = None
    meters: tuple[int, ...] | None = None
    range_bpm: tuple[float, float] | None = None
    first_downbeat: float | None = None
    taps: tuple[float, ...] = ()
    weights: str | None = None


def open_listener(options: RhythmOptions) -> Any:
    """What hears beats; whatever keeps it from opening becomes an `EngineError`."""
    from inference.rhythm import load as load_rhythm
    from inference.weights import WeightsError

    try:
        return load_rhythm(
            options.weights,
            meters=options.meters,
            tempo=options.range_bpm,
            first_downbeat=options.first_downbeat,
            taps=options.taps,
        )
    except WeightsError as error:
        raise EngineError(
            "the system that hears beats cannot be opened",
            why=str(error),
            remedy="Check its weights with: dawbridge doctor",
        ) from error
    except ValueError as error:
        raise UsageError("the hints for the beats do not fit", why=str(error)) from error


def read_taps(path: Path) -> tuple[float, ...]:
    """Times in seconds, the first word of each line; what follows it is ignored, and so are lines with #.

    Raises:
        InputError: no such file, or no rising times in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.replace(",", " ").split() for line in lines if not line.lstrip().startswith("#")]
        times = tuple(float(row[0]) for row in rows if row)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(
            f"taps cannot be read from {path}",
            why=str(error),
            remedy="Give a text file with one time in seconds per line",
        ) from error
    if len(times) < 2 or any(b <= a for a, b in pairwise(times)):
        raise InputError(
            f"{path} holds no taps", why="at least two rising times are needed", remedy="Tap at least twice"
        )
    return times


def tempo_grid(beats: Sequence[Beat], rate: int, options: RhythmOptions | None) -> Grid | None:
    """The tempo map that was asked for; None if none was, or there are too few beats."""
    if options is None or options.tempo is None:
        return None
    return (heard_grid if options.tempo == "heard" else one_tempo)(beats, rate)


def markers(lanes: Sequence[LanePoint]) -> list[tuple[int, str]]:
    """`(time, "pp".."ff")` at the first point of the dynamics lane and wherever its class changes."""
    from inference.rhythm.dynamics import class_of

    found: list[tuple[int, str]] = []
    for point in lanes:
        if point.lane is Lane.DYNAMICS:
            name = class_of(point.value).name.lower()
            if not found or found[-1][1] != name:
                found.append((point.time, name))
    return found


def spans(lanes: Sequence[LanePoint]) -> list[tuple[int, int, str]]:
    """`(begin, end, "crescendo" or "diminuendo")` where the dynamics lane changes gradually."""
    from inference.rhythm.swells import swells

    points = [point for point in lanes if point.lane is Lane.DYNAMICS]
    found = swells([point.value for point in points])
    return [(points[swell.first].time, points[swell.last].time, swell.name) for swell in found]


def with_spans(
    marks: Sequence[tuple[int, str]], found: Sequence[tuple[int, int, str]]
) -> list[tuple[int, str]]:
    """Markers, and two more for each span: its name where it begins, `end of ...` where it ends."""
    edges = [(begin, name) for begin, _, name in found] + [(end, f"end of {name}") for _, end, name in found]
    return sorted([*marks, *edges], key=lambda mark: mark[0])


def beat_notes(beats: Sequence[Beat], rate: int, channel: int) -> list[Note]:
    """A short note per beat on `channel` (1..16), high and strong where a bar begins."""
    length = round(LONGEST_CLICK_S * rate)
    ends = [beat.time for beat in beats[1:]] + [beats[-1].time + length] if beats else []
    return [
        Note(
            beat.time,
            min(beat.time + length, end),
            *beat_strike(beat),
            channel - 1,
            beat.confidence,
        )
        for beat, end in zip(beats, ends, strict=True)
    ]
