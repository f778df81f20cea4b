"""Trains the networks that tell metre from the notes of beats, on notes spoilt as a transcription is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.rhythm.metre import TASKS, MetreNetwork, beat_features, seen_at
from inference.rhythm.train_counting import SPOIL
from inference.rhythm.train_struck import Piece, draw_pieces, open_pools, spoilt
from inference.training.loop import LoopConfig, Progress, train

Floats = NDArray[np.float32]


class Counting(NamedTuple):
    """One out of `every` so many beats is counted, and `times` that."""

    every: int
    times: int


_MISCOUNTED = (Counting(1, 2), Counting(2, 1), Counting(3, 1), Counting(1, 3), Counting(3, 2), Counting(2, 3))
_HOW_OFTEN = (0.3, 0.35, 0.15, 0.1, 0.05, 0.05)
DEFAULT_LOOP = LoopConfig(steps=3_500, learning_rate=2e-3, ranks=1, average_last=0.1)
_FEWEST_BEATS, _FEWEST_NOTES = 12, 10
_MISSED, _BETWEEN, _STRETCHES, _LONGEST = 0.08, 0.06, 0.5, 32
"""At most: shares of beats missed and put between, then how often a stretch is miscounted, and its beats."""
_USUAL = 0.05, 0.95
"""Shares of downbeats between which an excerpt has bars."""


@dataclass(frozen=True)
class MetreRun:
    """A training run; `folder` holds everything it writes, `stored` the performances as they were read."""

    data: Path
    folder: Path
    stored: Path
    task: str = TASKS[0]
    seed: int = 1
    loop: LoopConfig = field(default_factory=lambda: DEFAULT_LOOP)
    batch: int = 24
    beats: int = 128
    misplaced_s: float = 0.025
    """How far beats are off, as they will be when they are heard: at most, as a standard deviation."""
    miscounted: tuple[float, float] = (0.25, 0.6)
    """Share of excerpts whose beats are counted faster or slower than they are meant, for each task."""
    stumbling: tuple[float, float] = (0.7, 0.0)
    """Share of excerpts whose beats are missed, doubled and miscounted here and there, for each task."""
    pop: float = 0.1
    """Share of excerpts out of POP909."""
    every: int = 8
    """Of how many songs of POP909 one is read: they are much alike."""


class MetreBatch(NamedTuple):
    """Beats `(batch, beats, INPUTS)`; 1 where bars begin `(batch, beats)`, NaN where nothing is known.

    `counted` `(batch,)` is 1 where beats are counted as they are meant; `there` `(batch, beats)` tells
    beats from what fills up shorter rows.
    """

    features: Tensor
    downbeat: Tensor
    counted: Tensor
    there: Tensor


class Excerpt(NamedTuple):
    """One row of a batch."""

    features: Floats
    downbeat: Floats
    counted: bool


def run(settings: MetreRun) -> Progress:
    """Read the performances once, then train in this process, on one thread.

    Raises:
        FileNotFoundError: there are none.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    pools = open_pools(settings.data, settings.stored, settings.every)
    network = MetreNetwork()
    per_step = settings.batch * settings.beats * 0.5  # beats last about half a second
    return train(
        network, batches(settings, pools), LOSSES[settings.task], settings.loop, settings.folder, per_step
    )


def batches(settings: MetreRun, pools: Sequence[Sequence[Piece]]) -> Iterator[MetreBatch]:
    """An endless stream."""
    random = np.random.default_rng(settings.seed)
    pieces = draw_pieces(pools, settings.pop, random)
    while True:
        rows: list[Excerpt] = []
        while len(rows) < settings.batch:
            if (found := excerpt(next(pieces), settings, random)) is not None:
                rows.append(found)
        longest = max(len(row.downbeat) for row in rows)
        missing = [longest - len(row.downbeat) for row in rows]
        features = [np.pad(seen_at(r.features), ((0, n), (0, 0))) for r, n in zip(rows, missing, strict=True)]
        down = [
            np.pad(r.downbeat, (0, n), constant_values=np.nan) for r, n in zip(rows, missing, strict=True)
        ]
        there = np.arange(longest) < longest - np.array(missing)[:, None]
        counted = np.array([row.counted for row in rows], np.float32)
        columns = np.stack(features), np.stack(down), counted, there
        yield MetreBatch(*(torch.from_numpy(column) for column in columns))


def excerpt(piece: Piece, settings: MetreRun, random: Generator) -> Excerpt | None:
    """Some beats of a performance in nearly its tempo and any key; None if they are too few."""
    notes, beats = piece
    count = Counting(1, 1)
    if random.random() < settings.miscounted[TASKS.index(settings.task)]:
        count = _miscounted(random)
    number = settings.beats * count.every // count.times
    first = int(random.integers(0, max(1, len(beats) - number // 2)))
    time, down = beats.time[first : first + number], beats.downbeat[first : first + number]
    if len(time) * count.times < _FEWEST_BEATS * count.every:
        return None
    time, bars = recounted(time, down, count, random)
    if random.random() < settings.stumbling[TASKS.index(settings.task)]:
        time, bars = stumbled(time, bars, random)
    stretch = float(np.exp(random.uniform(np.log(SPOIL.slowest), np.log(SPOIL.fastest))))
    inside = notes.select((notes.onset > time[0] - 1) & (notes.onset < time[-1] + 2))
    if len(inside) < _FEWEST_NOTES:
        return None
    onset, pitch, velocity = spoilt(inside.moved(0.0, stretch, int(random.integers(-6, 6))), SPOIL, random)
    off = random.normal(0, random.uniform(0, settings.misplaced_s), len(time))
    heard = np.maximum.accumulate(time * stretch + off) + 1e-4 * np.arange(len(time))
    known = bars.astype(np.float32)
    if not _USUAL[0] < bars.mean() < _USUAL[1]:
        known[:] = np.nan
    return Excerpt(beat_features(onset, pitch, velocity, heard), known, count == Counting(1, 1))


def recounted(
    time: NDArray[np.float64], down: NDArray[np.bool_], count: Counting, random: Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Beats counted in another way, from any of them on, and which begin bars then."""
    first = int(random.integers(count.every))
    time, down = time[first :: count.every], down[first :: count.every]
    length = max(count.times * (len(time) - 1) + 1, 0)
    bars = np.zeros(length, bool)
    bars[:: count.times] = down[: len(bars[:: count.times])]
    return np.interp(np.arange(length) / count.times, np.arange(len(time)), time), bars


def stumbled(
    time: NDArray[np.float64], down: NDArray[np.bool_], random: Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Beats as they are followed: some missed, some put between, at times a stretch counted otherwise.

    Without these, a network learns to count bars through, and after one such beat it is lost.
    """
    kept = random.random(len(time)) >= random.uniform(0, _MISSED)
    time, down = time[kept], down[kept]
    between = 1 + np.flatnonzero(random.random(max(len(time) - 1, 0)) < random.uniform(0, _BETWEEN))
    time = np.insert(time, between, (time[between - 1] + time[between]) / 2)
    down = np.insert(down, between, False)
    if random.random() < _STRETCHES and len(time) > 2 * _LONGEST:
        first = int(random.integers(len(time) - _LONGEST))
        last = first + int(random.integers(4, _LONGEST))
        times, bars = recounted(time[first:last], down[first:last], _miscounted(random), random)
        time = np.concatenate([time[:first], times, time[last:]])
        down = np.concatenate([down[:first], bars, down[last:]])
    return time, down


def _miscounted(random: Generator) -> Counting:
    return _MISCOUNTED[int(random.choice(len(_MISCOUNTED), p=_HOW_OFTEN))]


def bars_loss(network: nn.Module, batch: MetreBatch) -> dict[str, Tensor]:
    """Cross entropy of what begins bars, where it is known, as `total`."""
    known = ~batch.downbeat.isnan()
    logits = network(batch.features)
    return {"total": F.binary_cross_entropy_with_logits(logits[known], batch.downbeat[known])}


def counted_loss(network: nn.Module, batch: MetreBatch) -> dict[str, Tensor]:
    """Cross entropy of how beats are counted, by each of them and by all together, as `total`."""
    logits, there = network(batch.features), batch.there.float()
    each = F.binary_cross_entropy_with_logits(
        logits[batch.there], batch.counted[:, None].expand_as(there)[batch.there]
    )
    mean = (logits * there).sum(1) / there.sum(1)
    return {"total": (each + F.binary_cross_entropy_with_logits(mean, batch.counted)) / 2}


LOSSES = dict(zip(TASKS, (bars_loss, counted_loss), strict=True))
