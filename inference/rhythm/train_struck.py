"""Trains the networks that hear beats in struck notes, on notes spoilt as a transcription is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from inference.rhythm.losses import tolerant_bce
from inference.rhythm.struck import STRUCK, StruckNetwork, struck_frames
from inference.training.beats import BeatTable, beats_file, read_beats
from inference.training.corpus import load_performances, open_performances, save_performances
from inference.training.loop import LoopConfig, Progress, train
from inference.training.notes import NoteTable

log = logging.getLogger(__name__)
DEFAULT_LOOP = LoopConfig(minutes=20, learning_rate=2e-3, ranks=1, average_last=0.1, weight_decay=1e-3)


@dataclass(frozen=True)
class SpoilConfig:
    """How often notes are missed, invented and misplaced, at most; each excerpt draws its own share."""

    missed: float = 0.25
    octaves: float = 0.12
    invented: float = 0.06
    jitter_s: float = 0.02
    slowest: float = 0.85
    fastest: float = 1.18


@dataclass(frozen=True)
class StruckRun:
    """A training run; `folder` holds everything it writes."""

    data: Path
    folder: Path
    config: str = "struck-live"
    seed: int = 1
    loop: LoopConfig = field(default_factory=lambda: DEFAULT_LOOP)
    spoil: SpoilConfig = field(default_factory=SpoilConfig)
    batch: int = 4
    seconds: float = 60.0
    pop: float = 0.06
    """Share of excerpts out of POP909."""
    every: int = 8
    """Of how many songs of POP909 one is read: they are much alike."""


class StruckBatch(NamedTuple):
    """Frames `(batch, frames, keys)` and targets `(batch, frames)`."""

    frames: Tensor
    beat: Tensor
    downbeat: Tensor


Piece = tuple[NoteTable, BeatTable]


def run(settings: StruckRun) -> Progress:
    """Read the performances once, then train in this process, on one thread.

    Raises:
        FileNotFoundError: there are none.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    pools = open_pools(settings.data, settings.folder, settings.every)
    network = StruckNetwork(STRUCK[settings.config])
    return train(
        network,
        batches(settings, pools),
        struck_loss,
        settings.loop,
        settings.folder,
        settings.batch * settings.seconds,
    )


def open_pools(data: Path, folder: Path, every: int) -> list[list[Piece]]:
    """Those of `open_pieces` that are not empty.

    Raises:
        FileNotFoundError: all are.
    """
    pools = [pool for pool in open_pieces(data, folder, every) if pool]
    if not pools:
        raise FileNotFoundError(f"there are no performances with beats in {data}")
    log.info("performances: %s", ", ".join(str(len(pool)) for pool in pools))
    return pools


def draw_pieces(pools: Sequence[Sequence[Piece]], pop: float, random: Generator) -> Iterator[Piece]:
    """Pieces by chance, without end: a share `pop` of the last pool, longer ones more often."""
    weights = [np.sqrt([float(beats.time[-1]) for _, beats in pool]) for pool in pools]
    while True:
        which = len(pools) - 1 if random.random() < pop else 0
        share = weights[which] / weights[which].sum()
        yield pools[which][int(random.choice(len(share), p=share))]


def open_pieces(data: Path, folder: Path, every: int = 1) -> list[list[Piece]]:
    """Performances with beats, played ones and those of POP909; MIDI is read once, into `folder`."""
    played = [p for p in sorted((data / "asap" / "train").rglob("*.mid")) if p.name != "midi_score.mid"]
    played += sorted((data / "piano-midi-de" / "train").rglob("*.mid"))
    pools = []
    for name, paths in (("played", played), ("pop", sorted((data / "pop909").glob("*/*.mid"))[::every])):
        stored = folder / f"{name}.npz"
        if not stored.exists():
            found = load_performances([path for path in paths if beats_file(path).is_file()], 1)
            if not found:
                continue
            save_performances(found, stored)
        pieces = [(p.notes, read_beats(beats_file(Path(p.name)))) for p in open_performances(stored)]
        pools.append([(notes, beats) for notes, beats in pieces if len(beats) >= 8])
    return pools


def batches(settings: StruckRun, pools: Sequence[Sequence[Piece]]) -> Iterator[StruckBatch]:
    """An endless stream."""
    random = np.random.default_rng(settings.seed)
    rate = STRUCK[settings.config].frames_per_second
    pieces = draw_pieces(pools, settings.pop, random)
    while True:
        rows = []
        for _ in range(settings.batch):
            notes, beats = next(pieces)
            rows.append(excerpt(notes, beats, settings.seconds, rate, settings.spoil, random))
        yield StruckBatch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def excerpt(
    notes: NoteTable, beats: BeatTable, seconds: float, rate: int, spoil: SpoilConfig, random: Generator
) -> tuple[Any, Any, Any]:
    """A part of a performance in another tempo and key: frames, beats, downbeats."""
    stretch = float(np.exp(random.uniform(np.log(spoil.slowest), np.log(spoil.fastest))))
    start = random.uniform(-4, max(float(beats.time[-1]) - 0.6 * seconds / stretch, 0.0))
    count = int(seconds * rate)
    beats = beats.moved(-start, stretch)
    notes = notes.moved(-start, stretch, int(random.integers(-5, 7)))
    onset, pitch, velocity = spoilt(notes.select((notes.onset > 0) & (notes.onset < seconds)), spoil, random)
    frames = struck_frames(np.rint(onset * rate).astype(np.int64), pitch, velocity, count)
    targets = [np.zeros(count, np.float32) for _ in range(2)]
    for target, times in zip(targets, (beats.time, beats.time[beats.downbeat]), strict=True):
        place = np.rint(times * rate).astype(np.int64)
        target[place[(place >= 0) & (place < count)]] = 1
    if not beats.downbeat.any():
        targets[1][:] = np.nan
    return frames, targets[0], targets[1]


def spoilt(notes: NoteTable, spoil: SpoilConfig, random: Generator) -> tuple[Any, Any, Any]:
    """Onsets, pitches and velocities as a transcription might give them."""
    touch = np.clip(notes.velocity * random.uniform(0.75, 1.3) + random.normal(0, 0.06, len(notes)), 0.02, 1)
    soft = np.clip(1.6 - 2 * notes.velocity, 0.2, 2)
    kept = random.random(len(notes)) > random.uniform(0, spoil.missed) * soft
    extra = random.random(len(notes)) < random.uniform(0, spoil.octaves)
    number = int(random.uniform(0, spoil.invented) * len(notes))
    jump = random.choice([12, 19, 24, -12], int(extra.sum()))
    length = float(notes.onset.max()) if len(notes) else 0.0
    onset = np.concatenate([notes.onset[kept], notes.onset[extra], random.uniform(0, length, number)])
    pitch = np.concatenate([notes.pitch[kept], notes.pitch[extra] + jump, random.integers(28, 100, number)])
    velocity = np.concatenate([touch[kept], touch[extra] * 0.6, random.uniform(0.1, 0.4, number)])
    onset = onset + random.normal(0, random.uniform(0, spoil.jitter_s), len(onset))
    return onset, pitch.astype(np.int64), velocity.astype(np.float32)


def struck_loss(network: nn.Module, batch: StruckBatch) -> dict[str, Tensor]:
    """Losses of beats and downbeats, and their sum as `total`."""
    assert isinstance(network, StruckNetwork)
    thought = network.think(batch.frames)
    beat = tolerant_bce(thought.beat, batch.beat, 17.0)
    downbeat = tolerant_bce(thought.downbeat, batch.downbeat, 60.0)
    return {"total": beat + downbeat, "beat": beat, "downbeat": downbeat}
