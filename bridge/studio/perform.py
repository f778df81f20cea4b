"""Perform: a score to an expressive MIDI file, its ticks still the score's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from bridge.errors import InputError, UsageError
from bridge.midi import Meter, read_midi, write_midi
from bridge.presets import InstrumentPreset, VelocityCurve, suggest
from bridge.studio.scores import RATE, read_score, write_score
from bridge.tempo import fine_ppq
from inference.clock import PPQ, TempoMap
from inference.events import Control, Controller, Note
from inference.performance import matching, parameters
from inference.performance.manners import Manner, on_grid, tidy
from inference.performance.perform import Choices, Performer
from inference.performance.score import Floats, Performance, Score

LEAST_MATCHED = 0.6
"""Share of a score's notes that an example must have played to be taken for it."""
SLOWEST_US = 16_777_215
"""What a MIDI file can hold as microseconds per quarter."""


@dataclass(frozen=True)
class PerformOptions:
    """How to perform; the defaults are those of the command.

    Args:
        style: name of a learned style.
        like: a performance whose style to take.
        like_score: what that performance plays; None: the score itself.
        rubato: factor of what tempo and timing do.
        dynamics: factor of what velocities do.
        articulation: factor of what lengths do.
        pedal: whether to use it.
        grid: keep one tempo, and play only what is off it by a little.
        tempo: beats per minute.
        seed: of what is drawn, if `temperature` is above 0.
        temperature: 0 plays what is expected.
    """

    style: str | None = None
    like: Path | None = None
    like_score: Path | None = None
    rubato: float = 1.0
    dynamics: float = 1.0
    articulation: float = 1.0
    pedal: bool = True
    grid: bool = False
    tempo: float | None = None
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True)
class PerformReport:
    """What was written."""

    path: Path
    notes: int
    seconds: float
    tempo: float
    elapsed_s: float
    warnings: tuple[str, ...]


def perform(
    source: Path,
    out: Path,
    performer: Performer,
    options: PerformOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
    notation: Path | None = None,
) -> PerformReport:
    """Perform a score file as a MIDI file.

    Args:
        source: MIDI or MusicXML.
        out: the MIDI file.
        performer: see `inference.performance.load`.
        options: see `PerformOptions`.
        progress: called with steps done, and of how many.
        notation: MusicXML file that gets the score as it was read.
    """
    begin, options = time.perf_counter(), options or PerformOptions()
    read = read_score(source)
    style = _style(performer, read.score, options)
    choices = Choices(
        style,
        options.temperature,
        options.seed,
        tempo=options.tempo,
        pedal=options.pedal,
        manner=Manner(options.rubato, options.dynamics, options.articulation),
    )
    played = performer.perform(read.score, choices, progress)
    if options.grid:
        period = 60 / (options.tempo or read.score.tempo or 120)
        played = tidy(read.score, on_grid(read.score, played, period))
        write_performance(out, read.score, played, period)
    else:
        write_performance(out, read.score, played)
    if notation is not None:
        write_score(notation, read.score)
    seconds = float((played.onset + played.duration).max())
    beats = float(np.ptp(read.score.onset))
    tempo = 60 * beats / float(np.ptp(played.onset)) if beats else 60.0
    return PerformReport(out, len(read.score), seconds, tempo, time.perf_counter() - begin, read.warnings)


def write_performance(path: Path, score: Score, played: Performance, period: float | None = None) -> None:
    """Write a performance so that bars and beats of the file are the score's.

    Args:
        path: the MIDI file.
        score: what is played.
        played: how.
        period: seconds per beat of a file of one tempo; None: the tempo follows the performance.
    """
    # Nothing may sound before the file begins.
    early = min(0.0, float(played.onset.min()))
    onset = played.onset - early
    end = onset + played.duration
    notes = [
        Note(round(a * RATE), max(round(b * RATE), round(a * RATE) + 1), int(pitch), round(float(v)) / 127)
        for a, b, pitch, v in zip(onset, end, score.pitch, np.clip(played.velocity, 1, 127), strict=True)
    ]
    pedals = [
        Control(round((seconds - early) * RATE), Controller.SUSTAIN, value)
        for span in played.pedal
        for seconds, value in zip(span, (1.0, 0.0), strict=True)
    ]
    tempo = TempoMap([(0, round(period * 1e6))]) if period else tempo_map(score, played, early)
    write_midi(
        path,
        notes,
        [pedal for pedal in pedals if pedal.time >= 0],
        RATE,
        instrument=InstrumentPreset(pedal="raw", velocity=VelocityCurve()),
        tempo=tempo,
        meters=meters(score),
        ppq=fine_ppq(max(piece.us_per_beat for piece in tempo.pieces)),
    )


def tempo_map(score: Score, played: Performance, early: float = 0.0) -> TempoMap:
    """A tempo per quarter of the score, such that its beats fall where they were played."""
    numbers = parameters.measure(score, played)
    times = parameters.clock(score, numbers.beat_period, numbers.start)
    quarters = np.arange(np.floor(score.onset[-1]) + 2)
    at = np.maximum.accumulate(parameters.time_of(quarters, score, times) - early)
    changes: list[tuple[Fraction | int, int]] = []
    clock = 0
    for quarter, moment in enumerate(np.rint(at[1:] * 1e6).astype(np.int64).tolist()):
        # Against the clock of what was written, so that rounding does not add up.
        length = min(max(moment - clock, 10_000), SLOWEST_US)
        clock += length
        if not changes or changes[-1][1] != length:
            changes.append((quarter, length))
    return TempoMap(changes)


def meters(score: Score) -> list[Meter]:
    """Where the length of a bar changes, counted in quarters, or in eighths or smaller where need be."""
    edges = np.append(score.bars, score.bars[-1])
    lengths = np.diff(edges)
    nominal = 4 * score.meter[0] / score.meter[1]
    lengths[-1] = lengths[-2] if len(lengths) > 1 else nominal
    found: list[Meter] = []
    last = 0.0
    for begin, length in zip(score.bars, lengths, strict=True):
        if abs(length - last) < 1e-3:
            continue
        meter = score.meter if abs(length - nominal) < 1e-3 else _meter(length)
        if meter is not None:
            found.append((Fraction(round(begin * PPQ), PPQ), *meter))
            last = length
    return found


def _meter(quarters: float) -> tuple[int, int] | None:
    for under in (4, 8, 16, 32):
        over = quarters * under / 4
        if abs(over - round(over)) < 1e-3 and 1 <= round(over) <= 255:
            return round(over), under
    return None


def _style(performer: Performer, score: Score, options: PerformOptions) -> Floats | None:
    if options.style is not None and options.like is not None:
        raise UsageError("--style and --like exclude each other", remedy="Give one of them")
    if options.like_score is not None and options.like is None:
        raise UsageError("--like-score says what --like plays", remedy="Give --like too")
    if options.style is not None:
        if options.style not in performer.styles:
            names = sorted(performer.styles)
            raise UsageError(
                f"there is no style {options.style!r}",
                remedy=suggest(options.style, names) or f"There are: {', '.join(names) or 'none'}",
            )
        return performer.styles[options.style]
    if options.like is None:
        return None
    if options.like_score is not None:
        score = read_score(options.like_score).score
    return style_like(performer, score, options.like)


def style_like(performer: Performer, score: Score, path: Path) -> Floats:
    """The style of a MIDI performance of a score.

    Raises:
        InputError: it plays something else.
    """
    content = read_midi(path, RATE)
    table = np.array([(n.onset / RATE, n.offset / RATE, n.pitch, 127 * n.velocity) for n in content.notes])
    rows, sources = matching.match(score, table[:, 0], table[:, 2].astype(np.int64))
    if len(rows) < LEAST_MATCHED * len(score):
        raise InputError(
            f"{path} does not play that score",
            why=f"{len(rows)} of its {len(score)} notes were found",
            remedy="Say what it plays with --like-score",
        )
    found = table[sources]
    return performer.style_of(
        score.select(rows),
        Performance(found[:, 0], found[:, 1] - found[:, 0], found[:, 3], np.zeros((0, 2))),
    )
