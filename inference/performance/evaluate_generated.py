"""Measures what is generated against pieces that were never trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from inference.performance import load, load_writer
from inference.performance.evaluate import FOLDER, TRAINED
from inference.performance.pairs import pieces
from inference.performance.perform import Choices
from inference.performance.score import Performance, Score, make_score
from inference.performance.statistics import (
    Description,
    Returns,
    describe,
    excerpts,
    longest_shared,
    mean,
    mean_returns,
    melody,
    returns,
    table,
)
from inference.performance.wishes import Wishes

SAMPLES, BARS, TOGETHER = 200, 32, 50
"""How many are written, how long each is, and how many are written at a time."""
METERS = (3, 4, 3, 4, 2, 3, 4, 3, 4, 2)
"""Quarters per bar, in turn, about as often as in the classical training pieces."""
LIVELY = 0.5


@dataclass(frozen=True)
class Generated:
    """How samples and people's music compare.

    Args:
        samples: means over what was generated.
        people: means over excerpts of as many bars of the validation pieces.
        shared: notes of the longest run that a sample shares with the training pieces.
        shared_by_people: the same of the validation pieces.
        seconds: to write and perform a sample, the median.
        count: of samples.
        velocity_spread: standard deviation of velocities, samples and people.
        shortest: seconds of the shortest note of all samples.
        returns: what comes back in the samples and in people's music, means over pieces.
    """

    samples: Description
    people: Description
    shared: int
    shared_by_people: int
    seconds: float
    count: int
    velocity_spread: tuple[float, float]
    shortest: float
    returns: tuple[Returns, Returns]


def run(
    data: Path,
    out: Path | None = None,
    weights: str | None = None,
    progress: Callable[[str], None] = lambda name: None,
    samples: int = SAMPLES,
) -> list[Generated]:
    """Generate `samples` pieces of 32 bars and compare them with the validation pieces.

    Args:
        data: folder with `asap`.
        out: gets `generated.md`; nothing is written if None.
        weights: name or path; default the shipped ones.
        progress: called with what is being done.
        samples: how many.

    Raises:
        FileNotFoundError: the pieces are not there.
    """
    writer, performer = load_writer(weights), load(weights)
    known = _people(data, progress)
    own: list[Description] = []
    scores: list[Score] = []
    times: list[float] = []
    spreads, shortest = [], np.inf
    for first in range(0, samples, TOGETHER):
        seeds = range(first, min(first + TOGETHER, samples))
        progress(f"writing {seeds[-1] + 1} of {samples}")
        wishes = [Wishes(BARS, METERS[seed % len(METERS)], seed=seed) for seed in seeds]
        for seed, score in zip(seeds, writer.write_many(wishes), strict=True):
            if len(score) < BARS:
                continue
            played = performer.perform(score, Choices(temperature=LIVELY, seed=seed))
            scores.append(score)
            own.append(describe(score, played))
            spreads.append(float(played.velocity.std()))
            shortest = min(shortest, float(played.duration.min()))
    progress("writing alone, for the time it takes")
    for seed in range(3):
        begin = time.perf_counter()
        performer.perform(writer.write(Wishes(BARS, seed=seed)), Choices(temperature=LIVELY, seed=seed))
        times.append(time.perf_counter() - begin)
    progress("comparing with the training pieces")
    trained = [read_melody(path) for path in sorted((data / TRAINED).rglob("midi_score.mid"))]
    found = Generated(
        mean(own),
        mean(known.descriptions),
        longest_shared([melody(score) for score in scores], trained),
        longest_shared(known.melodies, trained),
        float(np.median(times)),
        len(own),
        (float(np.mean(spreads)), float(np.mean(known.spreads))),
        float(shortest),
        (mean_returns(map(returns, scores)), mean_returns(known.returns)),
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "generated.md").write_text(report([found]) + "\n")
    return [found]


@dataclass
class _Known:
    descriptions: list[Description]
    melodies: list[list[int]]
    spreads: list[float]
    returns: list[Returns]


def _people(data: Path, progress: Callable[[str], None]) -> _Known:
    known = _Known([], [], [], [])
    for piece in pieces(data / FOLDER):
        progress(piece.name)
        known.melodies.append(melody(piece.score))
        whole = Performance(piece.score.onset, piece.score.duration, piece.score.onset, np.zeros((0, 2)))
        known.returns += [returns(score) for score, _ in excerpts(piece.score, whole, BARS)]
        for one in piece.played:
            for score, played in excerpts(piece.score.select(one.notes), one.performance, BARS):
                known.descriptions.append(describe(score, played))
                known.spreads.append(float(played.velocity.std()))
    return known


def read_melody(path: Path) -> list[int]:
    """`melody` of a score as MIDI."""
    file = mido.MidiFile(path)
    notes = []
    for track in file.tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                notes.append((now / file.ticks_per_beat, message.note))
    onset, pitch = np.array(sorted(notes), np.float64).reshape(-1, 2).T
    score, _ = make_score(onset, np.ones(len(onset)), pitch.astype(np.int64), np.zeros(1))
    return melody(score)


def report(rows: list[Generated]) -> str:
    """What was found, as Markdown."""
    (row,) = rows
    return "\n".join(
        [
            table({f"{row.count} samples": row.samples, "people, validation": row.people}),
            "",
            f"Longest run shared with the training pieces: {row.shared} notes; that of the validation "
            f"pieces: {row.shared_by_people}. Writing and performing {BARS} bars: {row.seconds:.1f} s. "
            f"Velocities spread by {row.velocity_spread[0]:.1f}, people's by {row.velocity_spread[1]:.1f}. "
            f"Shortest note {1000 * row.shortest:.0f} ms. Bars with the rhythm of an earlier one: "
            f"{row.returns[0].rhythm:.0%}, people's {row.returns[1].rhythm:.0%}; with most of its notes: "
            f"{row.returns[0].notes:.0%}, people's {row.returns[1].notes:.0%}.",
        ]
    )
