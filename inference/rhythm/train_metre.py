"""Trains the network that tells bars from the notes of beats, on notes spoilt as a transcription is."""

from __future__ import annotations

import logging
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

from inference.rhythm.metre import MetreNetwork, beat_features, seen_at
from inference.rhythm.train_counting import SPOIL
from inference.rhythm.train_struck import Piece, open_pieces, spoilt
from inference.training.loop import LoopConfig, Progress, train

log = logging.getLogger(__name__)
DEFAULT_LOOP = LoopConfig(steps=3_000, learning_rate=2e-3, ranks=1, average_last=0.1)
_FEWEST_NOTES = 10
_USUAL = 0.05, 0.95
"""Shares of downbeats between which an excerpt has bars."""


@dataclass(frozen=True)
class MetreRun:
    """A training run; `folder` holds everything it writes, `stored` the performances as they were read."""

    data: Path
    folder: Path
    stored: Path
    seed: int = 1
    loop: LoopConfig = field(default_factory=lambda: DEFAULT_LOOP)
    batch: int = 24
    beats: int = 128
    misplaced_s: float = 0.025
    """How far beats are off, as they will be when they are heard: at most, as a standard deviation."""
    miscounted: float = 0.25
    """Share of excerpts whose beats are counted twice or half as fast, as they will be heard at times."""
    pop: float = 0.1
    """Share of excerpts out of POP909."""
    every: int = 8
    """Of how many songs of POP909 one is read: they are much alike."""


class MetreBatch(NamedTuple):
    """Beats `(batch, beats, features)`, and 1 where bars begin `(batch, beats)`, NaN beyond the excerpt."""

    features: Tensor
    downbeat: Tensor


def run(settings: MetreRun) -> Progress:
    """Read the performances once, then train in this process, on one thread.

    Raises:
        FileNotFoundError: there are none.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    pools = [pool for pool in open_pieces(settings.data, settings.stored, settings.every) if pool]
    if not pools:
        raise FileNotFoundError(f"there are no performances with beats in {settings.data}")
    log.info("performances: %s", ", ".join(str(len(pool)) for pool in pools))
    network = MetreNetwork()
    per_step = settings.batch * settings.beats * 0.5  # beats last about half a second
    return train(network, batches(settings, pools), metre_loss, settings.loop, settings.folder, per_step)


def batches(settings: MetreRun, pools: Sequence[Sequence[Piece]]) -> Iterator[MetreBatch]:
    """An endless stream."""
    random = np.random.default_rng(settings.seed)
    weights = [np.sqrt([float(beats.time[-1]) for _, beats in pool]) for pool in pools]
    while True:
        rows: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        while len(rows) < settings.batch:
            which = len(pools) - 1 if random.random() < settings.pop else 0
            share = weights[which] / weights[which].sum()
            piece = pools[which][int(random.choice(len(share), p=share))]
            if (found := excerpt(piece, settings, random)) is not None:
                rows.append((seen_at(found[0]), found[1]))
        longest = max(len(known) for _, known in rows)
        features = [np.pad(x, ((0, longest - len(x)), (0, 0))) for x, _ in rows]
        downbeat = [np.pad(y, (0, longest - len(y)), constant_values=np.nan) for _, y in rows]
        yield MetreBatch(torch.from_numpy(np.stack(features)), torch.from_numpy(np.stack(downbeat)))


def excerpt(
    piece: Piece, settings: MetreRun, random: Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Some beats of a performance in nearly its tempo and any key; None if they have no bars."""
    notes, beats = piece
    first = int(random.integers(0, max(1, len(beats) - settings.beats // 2)))
    time, down = beats.time[first : first + settings.beats], beats.downbeat[first : first + settings.beats]
    if random.random() < settings.miscounted:
        time, down = miscounted(time, down, random)
    if len(time) < 12 or not _USUAL[0] < down.mean() < _USUAL[1]:
        return None
    stretch = float(np.exp(random.uniform(np.log(SPOIL.slowest), np.log(SPOIL.fastest))))
    inside = notes.select((notes.onset > time[0] - 1) & (notes.onset < time[-1] + 2))
    if len(inside) < _FEWEST_NOTES:
        return None
    onset, pitch, velocity = spoilt(inside.moved(0.0, stretch, int(random.integers(-6, 6))), SPOIL, random)
    off = random.normal(0, random.uniform(0, settings.misplaced_s), len(time))
    heard = np.maximum.accumulate(time * stretch + off) + 1e-4 * np.arange(len(time))
    return beat_features(onset, pitch, velocity, heard), down.astype(np.float32)


def miscounted(
    time: NDArray[np.float64], down: NDArray[np.bool_], random: Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The same beats counted twice as fast, or half as fast from either one on, and which begin bars then."""
    if random.random() < 0.5:
        first = int(random.integers(2))
        return time[first::2], down[first::2]
    twice = np.zeros(max(2 * len(time) - 1, 0), bool)
    twice[::2] = down
    return np.interp(np.arange(len(twice)) / 2, np.arange(len(time)), time), twice


def metre_loss(network: nn.Module, batch: MetreBatch) -> dict[str, Tensor]:
    """Cross entropy of the beats whose place is known, as `total`."""
    assert isinstance(network, MetreNetwork)
    known = ~batch.downbeat.isnan()
    logits = network(batch.features)
    return {"total": F.binary_cross_entropy_with_logits(logits[known], batch.downbeat[known])}
