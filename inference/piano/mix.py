"""The training diet: chunks of recordings and of freshly sampled performances, with labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from inference.features import LogFrequencySpectrogram, MelSpectrogram
from inference.piano.config import PianoConfig
from inference.piano.labels import FrameLabels, frame_labels
from inference.training.augment import Augment
from inference.training.corpus import RATE, Recording
from inference.training.notes import NO_NOTES, NO_PEDAL, Floats, NoteTable
from inference.training.sampler import Sampler, tuning


class Batch(NamedTuple):
    """Features `(batch, frames, windows, bins)` and targets `(batch, frames, 88)`; NaN = unknown."""

    features: Tensor
    state: Tensor
    velocity: Tensor
    shift: Tensor
    key: Tensor
    pedal: Tensor


@dataclass(frozen=True)
class MixConfig:
    """Chunk length, batch size, and the part of chunks that comes from recordings or is noise alone."""

    chunk_s: float = 6.0
    batch: int = 2
    recorded: float = 0.45
    silent: float = 0.02


class Mix(IterableDataset[Batch]):
    """An endless stream of batches, different for each seed and each process that loads them."""

    def __init__(
        self,
        network: PianoConfig,
        front_end: LogFrequencySpectrogram | MelSpectrogram,
        recordings: Sequence[Recording],
        sampler: Sampler,
        augment: Augment,
        config: MixConfig,
        seed: int,
    ) -> None:
        self.network, self.front_end, self.recordings = network, front_end, recordings
        self.sampler, self.augment, self.config, self.seed = sampler, augment, config, seed
        self.weights = _even_pianos(recordings)

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        random = np.random.default_rng(self.seed if worker is None else (self.seed, worker.id))
        while True:
            yield self.draw(random)

    def draw(self, random: Generator) -> Batch:
        """One batch."""
        frames = int(self.config.chunk_s * RATE / self.network.hop)
        length = frames * self.network.hop
        chunks = [self._chunk(random, frames, length) for _ in range(self.config.batch)]
        audio = self.augment(torch.from_numpy(np.stack([audio for audio, _ in chunks])), random)
        with torch.no_grad():
            features = self.front_end.at_its_level(audio)
        columns = zip(*[vars(labels).values() for _, labels in chunks], strict=True)
        return Batch(features, *[torch.from_numpy(np.stack(column)) for column in columns])

    def heard(self, random: Generator, seconds: float) -> Recording:
        """An excerpt as microphones hear it, with its notes."""
        audio, notes, _ = self._excerpt(random, int(seconds * RATE))
        wet = self.augment(torch.from_numpy(audio)[None], random)[0].numpy()
        peak = max(float(np.abs(wet).max()), 1e-6)
        return Recording("excerpt", "mix", (wet / peak * 32_000).astype(np.int16), notes)

    def _chunk(self, random: Generator, frames: int, length: int) -> tuple[Floats, FrameLabels]:
        if random.random() < self.config.silent:
            nothing = np.zeros(length, np.float32)
            return nothing, frame_labels(NO_NOTES, NO_PEDAL, frames, self.network)
        audio, notes, pedal = self._excerpt(random, length)
        return audio, frame_labels(notes, pedal, frames, self.network)

    def _excerpt(self, random: Generator, length: int) -> tuple[Floats, NoteTable, Floats | None]:
        """A piece of a recording, whose pedal is unknown, or a sampled performance."""
        while True:
            if random.random() < self.config.recorded:
                index = random.choice(len(self.recordings), p=self.weights)
                cut = _cut(self.recordings[index], random, length)
                if cut is not None:
                    return *cut, None
            else:
                sampled = self.sampler.excerpt(random, length)
                if sampled is not None:
                    return sampled


def _cut(recording: Recording, random: Generator, length: int) -> tuple[Floats, NoteTable] | None:
    """A piece of a recording, at times transposed and detuned by resampling."""
    semitones = int(random.choice([-2, -1, 1, 2])) if random.random() < 0.4 else 0
    cents = tuning(random) if random.random() < 0.7 else 0.0
    speed = 2 ** ((semitones + cents / 100) / 12)
    need = int(length * speed) + 2
    if len(recording.audio) <= need + 1:
        return None
    start = int(random.integers(0, len(recording.audio) - need))
    audio = recording.audio[start : start + need].astype(np.float32) / np.float32(32_768)
    if speed == 1:
        audio = audio[:length]
    else:
        position = np.arange(length) * speed
        whole = position.astype(np.int64)
        part = (position - whole).astype(np.float32)
        audio = (audio[whole] * (1 - part) + audio[whole + 1] * part).astype(np.float32)
    notes = recording.notes
    near = (notes.offset > start / RATE - 1) & (notes.onset < (start + need) / RATE + 1)
    notes = notes.select(near).moved(-start / RATE, 1 / speed, semitones)
    return audio, notes.select((notes.pitch >= 21) & (notes.pitch <= 108))


def _even_pianos(recordings: Sequence[Recording]) -> Floats:
    """Long recordings weigh more, but a piano with much audio only as the root of it."""
    length = np.array([len(r.audio) for r in recordings], np.float64)
    pianos = np.array([r.piano for r in recordings])
    totals = np.array([length[pianos == piano].sum() for piano in pianos])
    weights = length / np.sqrt(totals)
    even: Floats = weights / weights.sum()
    return even
