"""Trains the network that tells how loud beats are meant, on printed markings of performed scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from inference.rhythm.bars import frame_of
from inference.rhythm.config import FrontEndConfig
from inference.rhythm.dynamics import CLASSES, DynamicsEnsemble, DynamicsNetwork, cues
from inference.rhythm.loudness import BandPowers, features, levelled
from inference.rhythm.mix import faster_rate
from inference.rhythm.noted_dynamics import note_cues
from inference.rhythm.train_counting import SPOIL
from inference.rhythm.train_struck import spoilt
from inference.training.augment import Augment
from inference.training.beats import BeatTable, beats_file, read_beats
from inference.training.corpus import RATE, read_performance
from inference.training.markings import Measure, printed_dynamics, read_score, unfold
from inference.training.notes import Floats, NoteTable
from inference.training.sampler import Sampler

LONGEST_S = 240.0
_SILENCE_S = 5.0
_BEFORE_S = 0.1
"""How long before the first beat of a stretch its notes may be struck."""
_LEVEL = 0.3
"""By how much excerpts differ in level, as log10 of power."""
_TOUCH = 0.7, 1.4
"""Powers of velocities: levels, and pianos, differ in how they tell soft from loud."""
_CROP = 256
_FEWEST = 16
"""Beats with dynamics below which a performance tells too little."""


@dataclass(frozen=True)
class Marked:
    """A performance with printed dynamics: its file, its beats with their classes."""

    midi: Path
    beats: BeatTable


@dataclass(frozen=True)
class Example:
    """Cues `(beats, inputs)` and classes `(beats,)` 1..5, 0 where nothing is printed; which piece it is."""

    piece: str
    cues: Floats
    classes: NDArray[np.int64]


def marked_performances(folder: Path, per_piece: int = 1) -> Iterator[Marked]:
    """The first performances of each piece whose score has dynamics, with what is printed at each beat."""
    for score_file in sorted(folder.rglob("*.mxl")):
        score = read_score(score_file)
        found = 0
        for alignment in sorted(score_file.parent.glob("*.aligned.npz")) if _printed(score) else ():
            midi = alignment.with_name(alignment.name.replace(".aligned.npz", ".mid"))
            beats = printed_dynamics(read_beats(beats_file(midi)), score, alignment)
            if beats is not None and found < per_piece:
                found += 1
                yield Marked(midi, beats)


def collect(
    marked: Sequence[Marked],
    sampler: Sampler,
    augment: Augment,
    front_end: FrontEndConfig,
    seed: int,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Example]:
    """What each stretch of a performance sounds like, beat by beat, on a piano and in a room by chance."""
    random, hear = np.random.default_rng(seed), BandPowers(front_end).eval()
    found = []
    for one in marked:
        for notes, beats in stretches(one, random):
            seen = _seen(notes, sampler, augment, hear, random)
            frames = frame_of(beats.time, front_end)
            inside = frames < len(seen)
            if (beats.dynamics[inside] > 0).sum() >= _FEWEST:
                found.append(
                    Example(str(one.midi.parent), cues(seen, frames[inside]), beats.dynamics[inside])
                )
            if len(found) % 50 == 0:
                progress(f"{len(found)} stretches of music with dynamics")
    return found


def collect_noted(marked: Sequence[Marked], seed: int, copies: int = 3) -> list[Example]:
    """What is struck in each stretch of a performance, beat by beat, spoilt as a transcription is.

    Args:
        marked: performances.
        seed: of everything that is drawn by chance.
        copies: how often each is heard, each time spoilt otherwise.
    """
    random, found = np.random.default_rng(seed), []
    for one in marked:
        for notes, beats in stretches(one, random):
            for _ in range(copies if (beats.dynamics > 0).sum() >= _FEWEST else 0):
                onset, pitch, velocity = spoilt(notes, SPOIL, random)
                velocity = velocity ** random.uniform(*_TOUCH)
                struck = note_cues(onset, pitch, velocity, beats.time)
                found.append(Example(str(one.midi.parent), struck, beats.dynamics))
    return found


def stretches(marked: Marked, random: Generator) -> Iterator[tuple[NoteTable, BeatTable]]:
    """Minutes of a performance that are listened to at once, from 0 s: the first, and more of a long one.

    What is heard of a beat depends on what else is heard, so stretches that overlap are not the same.
    """
    notes, beats = read_performance(marked.midi).notes, marked.beats
    longer = max(float(beats.time[-1]) - LONGEST_S, 0.0)
    more = math.ceil(2 * longer / LONGEST_S)
    for start in (0.0, *random.uniform(0, longer, more)):
        inside = (beats.time >= start) & (beats.time < start + LONGEST_S)
        if inside.sum() >= _FEWEST:
            heard = (notes.onset > start - _BEFORE_S) & (notes.onset < start + LONGEST_S)
            yield notes.select(heard).moved(-start), beats.select(inside).moved(-start)


def fit_members(
    examples: Sequence[Example], members: int, steps: int, seed: int, unseen: float = 0.0
) -> DynamicsEnsemble:
    """So many networks trained on all examples, which differ by chance alone; see `fit`."""
    return DynamicsEnsemble(
        fit(examples, steps, seed=seed * 100 + member, unseen=unseen) for member in range(members)
    )


def fit(
    examples: Sequence[Example],
    steps: int = 1_000,
    batch: int = 16,
    seed: int = 0,
    unseen: float = 0.0,
) -> DynamicsNetwork:
    """A network trained on all examples, each piece as often as any other.

    Args:
        examples: all with the same cues.
        steps: of training.
        batch: excerpts per step.
        seed: of everything that is drawn by chance.
        unseen: share of the cues that are hidden at each step.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = DynamicsNetwork(examples[0].cues.shape[1], unseen=unseen).train()
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    pieces: dict[str, list[Example]] = {}
    for example in examples:
        pieces.setdefault(example.piece, []).append(example)
    names = sorted(pieces)
    weights = _class_weights(examples)
    for _ in range(steps):
        drawn = [pieces[names[i]] for i in random.integers(len(names), size=batch)]
        rows = [_crop(own[int(random.integers(len(own)))], random) for own in drawn]
        x, y, changed = (torch.stack(column) for column in zip(*rows, strict=True))
        classes, change = network(x)
        known = y > 0
        loss = F.cross_entropy(classes[known], y[known] - 1, weights, label_smoothing=0.05)
        apart = (y[:, 1:] > 0) & (y[:, :-1] > 0)
        weight = torch.tensor(8.0)
        loss = loss + 0.3 * F.binary_cross_entropy_with_logits(
            change[:, 1:][apart], changed[:, 1:][apart], pos_weight=weight
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def _printed(score: Sequence[Measure]) -> bool:
    return len({value for _, value in unfold(score, True).markings}) > 1


def _seen(
    notes: NoteTable, sampler: Sampler, augment: Augment, hear: BandPowers, random: Generator
) -> Floats:
    """What the network over beats looks at: minutes of music, at any level."""
    length = int((LONGEST_S + _SILENCE_S) * RATE)  # always the same: transforms like round numbers
    audio = torch.from_numpy(sampler.play(notes, random, length)[0])[None]
    if random.random() < 0.5:
        audio = augment(audio, random)
    end = int((min(float(notes.offset.max()), LONGEST_S) + 1) * hear.config.frames_per_second)
    with torch.no_grad():
        powers = hear(faster_rate(audio, hear.config.rate))[:, :end] * 10 ** random.normal(0, _LEVEL)
        seen: Floats = features(levelled(powers), hear.config)[0].numpy()
    return seen


def _crop(example: Example, random: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """`_CROP` beats, completed with unknown ones: cues, classes, changes."""
    first = int(random.integers(max(len(example.classes) - _CROP, 0) + 1))
    x, y = example.cues[first : first + _CROP], example.classes[first : first + _CROP]
    changed = np.append(0.0, y[1:] != y[:-1]).astype(np.float32)
    missing = _CROP - len(y)
    x, y = np.pad(x, ((0, missing), (0, 0)), mode="edge"), np.pad(y, (0, missing))
    return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(np.pad(changed, (0, missing)))


def _class_weights(examples: Sequence[Example]) -> Tensor:
    """Rare classes count more, but only as the root of how rare they are."""
    counts = sum(np.bincount(example.classes, minlength=CLASSES + 1)[1:] for example in examples)
    weights = np.sqrt(np.sum(counts) / np.maximum(counts, 1))
    return torch.from_numpy((weights / weights.mean()).astype(np.float32))
