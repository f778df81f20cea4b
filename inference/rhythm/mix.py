"""The training diet: minutes of recordings and of freshly sampled performances, with their beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from inference.rhythm.config import FrontEndConfig
from inference.rhythm.labels import FrameTargets, frame_targets
from inference.rhythm.losses import Batch
from inference.rhythm.loudness import BandPowers, features, levelled
from inference.training.augment import Augment
from inference.training.beats import NO_BEATS, BeatTable
from inference.training.corpus import RATE, Performance, Recording
from inference.training.notes import Floats
from inference.training.sampler import LEAD_S, Sampler
from inference.training.unmusical import unmusical


class Heard(NamedTuple):
    """Band powers of one excerpt, `(frames, bands)` as log10 in half precision, and what is to be told."""

    powers: Tensor
    targets: FrameTargets


@dataclass(frozen=True)
class MixConfig:
    """What a batch is made of.

    Playing and analysing costs as much as learning, so an excerpt is heard several times, each time
    at another level and with other noise: a part of each batch is `fresh`, the rest is drawn from the
    last `kept` excerpts.
    """

    chunk_s: float = 60.0
    batch: int = 4
    fresh: int = 2
    kept: int = 240
    recorded: float = 0.3
    unmusical: float = 0.05
    slowest: float = 0.75
    fastest: float = 1.3
    level_db: float = 4.0
    noise: float = 0.6


class Mix:
    """An endless stream of batches, different for each seed."""

    def __init__(
        self,
        front_end: FrontEndConfig,
        recordings: Sequence[tuple[Recording, BeatTable]],
        performances: Sequence[tuple[Performance, BeatTable]],
        sampler: Sampler,
        augment: Augment,
        config: MixConfig,
        seed: int,
    ) -> None:
        self.front_end, self.hear = front_end, BandPowers(front_end)
        self.recordings, self.performances = recordings, performances
        self.sampler, self.augment, self.config, self.seed = sampler, augment, config, seed
        self.weights = _weights([float(beats.time[-1]) for _, beats in performances])
        self.recorded_weights = _weights([len(recording.audio) for recording, _ in recordings])
        self.frames = int(config.chunk_s * front_end.frames_per_second)

    def __iter__(self) -> Iterator[Batch]:
        random = np.random.default_rng(self.seed)
        kept: list[Heard] = []
        while True:
            fresh = [self.excerpt(random) for _ in range(self.config.fresh)]
            old = (
                [kept[i] for i in random.integers(len(kept), size=self.config.batch - len(fresh))]
                if kept
                else []
            )
            yield self._batch([*fresh, *old], random)
            kept = [*kept, *fresh][-self.config.kept :]

    def excerpt(self, random: Generator) -> Heard:
        """A minute of music: its band powers and its targets."""
        length = round(self.config.chunk_s * RATE)
        if random.random() < self.config.unmusical:
            audio, beats = unmusical(random, length), NO_BEATS
        elif random.random() < self.config.recorded:
            audio, beats = self._cut(random, length)
        else:
            audio, beats = self._play(random, length)
        wet = self.augment(torch.from_numpy(audio)[None], random)
        with torch.no_grad():
            powers = self.hear(faster_rate(wet, self.front_end.rate))[0, : self.frames]
        targets = frame_targets(beats, self.frames, self.front_end)
        return Heard(powers.clamp(min=1e-4).log10().half(), targets)

    def _batch(self, heard: Sequence[Heard], random: Generator) -> Batch:
        powers = torch.stack([10 ** one.powers.float() for one in heard])
        powers = levelled(powers)
        powers = powers * 10 ** (
            torch.from_numpy(random.normal(0, self.config.level_db / 10, (len(heard), 1, 1)))
        )
        for row in powers:
            if random.random() < self.config.noise:
                row += _noise(row.shape[-1], random)
        columns = zip(*[vars(one.targets).values() for one in heard], strict=True)
        targets = [torch.from_numpy(np.stack(column)) for column in columns]
        return Batch(features(powers.float(), self.front_end), *targets)

    def _play(self, random: Generator, length: int) -> tuple[Floats, BeatTable]:
        seconds = length / RATE
        while True:
            performance, beats = self.performances[random.choice(len(self.performances), p=self.weights)]
            stretch = float(np.exp(random.uniform(np.log(self.config.slowest), np.log(self.config.fastest))))
            end = float(performance.notes.offset.max())
            start = random.uniform(-4, max(end - 0.6 * seconds / stretch, 0))
            notes = performance.notes.moved(-start, stretch, int(random.integers(-5, 7)))
            near = (notes.offset > -LEAD_S) & (notes.onset < seconds) & (notes.onset > -LEAD_S)
            notes = notes.select(near & (notes.pitch >= 21) & (notes.pitch <= 108))
            if len(notes) >= 20:
                return self.sampler.play(notes, random, length)[0], beats.moved(-start, stretch)

    def _cut(self, random: Generator, length: int) -> tuple[Floats, BeatTable]:
        """A piece of a recording, played faster or slower, with its pitch."""
        index = random.choice(len(self.recordings), p=self.recorded_weights)
        recording, beats = self.recordings[index]
        speed = float(np.exp(random.uniform(-0.2, 0.2)))
        need = int(length * speed) + 2
        first = -min(4 * RATE, len(recording.audio))
        start = int(random.integers(first, max(len(recording.audio) - need, first + 1)))
        a, b = max(start, 0), min(start + need, len(recording.audio))
        audio = np.zeros(need, np.float32)
        audio[a - start : b - start] = recording.audio[a:b].astype(np.float32) / np.float32(32_768)
        place = np.arange(length) * speed
        whole = place.astype(np.int64)
        part = (place - whole).astype(np.float32)
        faster = (audio[whole] * (1 - part) + audio[whole + 1] * part).astype(np.float32)
        return faster, beats.moved(-start / RATE, 1 / speed)


def faster_rate(audio: Tensor, rate: int) -> Tensor:
    """Audio `(batch, samples)` at 16 kHz as at `rate`; the ends may ring, as if it went round."""
    length = audio.shape[1]
    longer = round(length * rate / RATE)
    resampled: Tensor = torch.fft.irfft(torch.fft.rfft(audio), longer) * (longer / length)
    return resampled


def _noise(bands: int, random: Generator) -> Tensor:
    """A steady floor of `(bands,)`, up to 20 dB below the loud passages, sloping either way."""
    slope = random.uniform(-1.5, 0.5) * torch.linspace(0, 1, bands)
    noise: Tensor = 10 ** (random.uniform(0, 4.0) + slope)
    return noise


def _weights(lengths: Sequence[float]) -> NDArray[np.float64]:
    """Longer music more often, but only as the root of its length."""
    root = np.sqrt(np.maximum(np.array(lengths, np.float64), 1e-6))
    weights: NDArray[np.float64] = root / root.sum()
    return weights
