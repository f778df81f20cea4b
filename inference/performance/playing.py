"""Performances as Expressive Compound Words: four sub-tokens per note, two per beat for the pedal.

Onsets are sums of beat periods, so that rounding errors of these would grow along a piece. Each beat
period is therefore chosen against the clock of those before it, and a note's timing against that clock:
what is decoded stays within half a step of what was played (arXiv 2507.01582 has no such remedy).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference.performance import grids, parameters
from inference.performance.parameters import Parameters
from inference.performance.score import TICKS, Floats, Ints, Performance, Score
from inference.performance.words import Words

LIFTS, PRESSES = TICKS + 1, TICKS + 1
"""In which tick of a beat the pedal goes up and down; 0: it does not."""
FIELDS = (grids.BEAT_PERIODS, grids.TIMINGS, grids.VELOCITIES, grids.ARTICULATIONS)
PLAYED_SIZES = (1 + FIELDS[0] + LIFTS, 1 + FIELDS[1] + PRESSES, 1 + FIELDS[2], 1 + FIELDS[3])
"""Sizes of the four sub-tokens; 0 says nothing, then come those of notes, then those of beats."""


@dataclass(frozen=True)
class Playing:
    """A performance in the steps of `Words`.

    Args:
        tokens: (steps, 4) beat period, timing, velocity, articulation; lift and press at beats.
        values: (steps, 4) the parameters as real numbers of about unit size, 0 at beats.
    """

    tokens: Ints
    values: Floats


def spell(words: Words, score: Score, played: Performance) -> tuple[Playing, Parameters]:
    """The sub-tokens of a performance, and its parameters as the sub-tokens tell them apart.

    The parameters keep what rounding takes away: decoding them gives the performance back.
    """
    numbers = _measure_rounded(score, played)
    tokens = np.zeros((len(words), 4), np.int64)
    notes = words.note >= 0
    tokens[notes] = 1 + bins(numbers)
    lift, press = _pedal_words(words, score, numbers, played.pedal)
    beats = ~notes
    tokens[beats, 0] = 1 + FIELDS[0] + lift[words.beat[beats]]
    tokens[beats, 1] = 1 + FIELDS[1] + press[words.beat[beats]]
    values = np.zeros((len(words), 4))
    values[notes] = np.stack(
        [
            np.log2(np.clip(numbers.beat_period, 0.05, 12) / 0.75),
            np.clip(numbers.timing, -0.5, 0.5) / 0.05,
            (numbers.velocity - 64) / 16,
            np.clip(numbers.articulation, -6, 3),
        ],
        1,
    )
    return Playing(tokens, values), numbers


def bins(numbers: Parameters) -> Ints:
    """(notes, 4) each parameter's place on its grid, from 0."""
    return np.stack(
        [
            grids.beat_period_bin(numbers.beat_period),
            grids.timing_bin(numbers.timing),
            grids.velocity_bin(numbers.velocity),
            grids.articulation_bin(numbers.articulation),
        ],
        1,
    )


def unspell(words: Words, score: Score, places: Floats, start: float = 0.0) -> Performance:
    """The performance of sub-tokens.

    Args:
        words: of the score.
        score: its notes.
        places: (steps, 4) places on the grids from 0, also between two; at beats tick of lift and
            press from 1, or 0.
        start: seconds of the first onset.
    """
    notes = words.note >= 0
    order = np.argsort(words.note[notes], kind="stable")
    rows = places[notes][order]
    firsts = np.flatnonzero(np.diff(score.group, prepend=-1))
    numbers = Parameters(
        grids.beat_period(rows[firsts, 0])[score.group],
        grids.timing(rows[:, 1]),
        grids.velocity(rows[:, 2]),
        grids.articulation(rows[:, 3]),
        start,
    )
    played = parameters.realise(score, numbers)
    times = parameters.clock(score, numbers.beat_period, start)
    beats = np.flatnonzero(~notes)
    spans = _pedal_spans(
        words, score, times, places[beats, :2], float((played.onset + played.duration).max())
    )
    return replace(played, pedal=spans)


def _measure_rounded(score: Score, played: Performance) -> Parameters:
    """Parameters whose beat periods lie on the grid, chosen one after the other."""
    exact = parameters.onset_times(score, played)
    gaps = np.diff(score.onsets)
    times, periods = np.empty(len(exact)), np.full(len(exact), 0.5)
    times[0] = exact[0]
    for index, gap in enumerate(gaps):
        wanted = (exact[index + 1] - times[index]) / gap
        periods[index] = grids.beat_period(grids.beat_period_bin(np.array([wanted])))[0]
        times[index + 1] = times[index] + periods[index] * gap
    if len(periods) > 1:
        periods[-1] = periods[-2]
    group = score.group
    period = periods[group]
    length = np.maximum(played.duration, 1e-3)
    return Parameters(
        period,
        played.onset - times[group],
        played.velocity.astype(np.float64),
        np.log2(length / (period * parameters.notated(score))),
        float(times[0]),
    )


def _pedal_words(words: Words, score: Score, numbers: Parameters, pedal: Floats) -> tuple[Ints, Ints]:
    """(beats,) tick of the lift and of the press in each beat from 1, or 0."""
    count = len(words.grid)
    lift, press = np.zeros(count, np.int64), np.zeros(count, np.int64)
    times = parameters.clock(score, numbers.beat_period, numbers.start)
    at = parameters.beat_of(pedal.reshape(-1), score, times)
    inside = at < words.grid[-1] + 1
    at = np.maximum(at, words.grid[0])
    beat = np.searchsorted(words.grid, at, "right") - 1
    tick = np.clip(np.floor((at - words.grid[beat]) * TICKS), 0, TICKS - 1).astype(np.int64) + 1
    downs = np.arange(len(at)) % 2 == 0
    for index in np.unique(beat[inside]):
        which = np.flatnonzero((beat == index) & inside)
        moves = which[[0]] if len(which) % 2 else which[[0, -1]]
        for move in moves:
            (press if downs[move] else lift)[index] = tick[move]
    return lift, press


def _pedal_spans(words: Words, score: Score, times: Floats, places: Floats, end: float) -> Floats:
    """(spans, 2) seconds of the pedal; it is up at the end of the last note."""
    down = False
    moves: list[float] = []
    for start, (lift, press) in zip(words.grid, np.rint(places).astype(np.int64), strict=True):
        steps = [(lift, False), (press, True)]
        for tick, wanted in sorted(steps, key=lambda step: (step[0], step[1] == down)):
            if tick and wanted != down:
                down = wanted
                moves.append(start + (tick - 0.5) / TICKS)
    seconds = parameters.time_of(np.array(moves, np.float64), score, times)
    if down:
        seconds = np.append(seconds, max(end, seconds[-1] + 0.01))
    return seconds.reshape(-1, 2)
