"""Generate: a new piece, written by the Composer and performed by the Pianist."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import InputError, UsageError
from bridge.studio.perform import write_performance
from bridge.studio.scores import read_score, write_score
from inference.performance import keys
from inference.performance.compose import Writer
from inference.performance.config import METERS
from inference.performance.perform import Choices, Performer
from inference.performance.score import Performance, Score
from inference.performance.wishes import Wishes

LIVELY = 0.5
"""Temperature of the performance, for each of the score's."""


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate; see the command.

    Args:
        bars: to write, after the prompt if there is one.
        seed: of everything drawn.
        temperature: how bold.
        key: as `keys.parse` takes it, to keep to; None: any, or the prompt's.
        meter: quarters per bar; None: the prompt's, or 4.
        tempo: beats per minute.
        prompt: a score to go on from.
    """

    bars: int = 32
    seed: int = 0
    temperature: float = 0.97
    key: str | None = None
    meter: int | None = None
    tempo: float | None = None
    prompt: Path | None = None


@dataclass(frozen=True)
class GenerateReport:
    """What was written."""

    path: Path
    notes: int
    bars: int
    seconds: float
    elapsed_s: float
    warnings: tuple[str, ...] = ()


def generate(
    out: Path,
    writer: Writer,
    performer: Performer,
    options: GenerateOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
    notation: Path | None = None,
) -> GenerateReport:
    """Write a piece and its performance as a MIDI file; the same options give the same bytes.

    Args:
        out: the MIDI file.
        writer: see `inference.performance.load_writer`.
        performer: see `inference.performance.load`.
        options: see `GenerateOptions`.
        progress: called with bars done, and of how many.
        notation: MusicXML file that gets the score.
    """
    begin, options = time.perf_counter(), options or GenerateOptions()
    key = _key(options.key)
    prompt, warnings = _prompt(options)
    wishes = Wishes(
        options.bars,
        _meter(options, prompt),
        options.temperature,
        seed=options.seed,
        tempo=options.tempo,
        key=key,
    )
    score = writer.write(wishes, prompt, progress)
    if not len(score):
        raise InputError("nothing but rests came out", remedy="Try another --seed, or a higher --temperature")
    played = played_by(performer, score, options)
    write_performance(out, score, played)
    if notation is not None:
        write_score(notation, score)
    seconds = float((played.onset + played.duration).max())
    return GenerateReport(out, len(score), len(score.bars), seconds, time.perf_counter() - begin, warnings)


def played_by(performer: Performer, score: Score, options: GenerateOptions) -> Performance:
    """The performance of what was written."""
    choices = Choices(temperature=LIVELY * options.temperature, seed=options.seed, tempo=options.tempo)
    return performer.perform(score, choices)


def _key(name: str | None) -> tuple[int, bool] | None:
    if name is None:
        return None
    try:
        return keys.parse(name)
    except ValueError as error:
        raise UsageError(str(error), remedy="Give C, F#, Bbm or 'c minor', for example") from error


def _prompt(options: GenerateOptions) -> tuple[Score | None, tuple[str, ...]]:
    if options.prompt is None:
        return None, ()
    read = read_score(options.prompt)
    return read.score, read.warnings


def _meter(options: GenerateOptions, prompt: Score | None) -> int:
    if options.meter is not None:
        meter = options.meter
    elif prompt is not None:
        quarters = 4 * prompt.meter[0] / prompt.meter[1]
        meter = round(quarters) if quarters == round(quarters) else 0
    else:
        meter = 4
    if not 1 <= meter < METERS:
        raise UsageError(
            "bars of that length cannot be written", remedy=f"Give a --meter of 1 to {METERS - 1} quarters"
        )
    return meter
