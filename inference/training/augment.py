"""What lies between a piano and its recording: equalisation, room, level, distortion, noise, codecs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from inference.training.codecs import LOSSY, coded
from inference.training.corpus import RATE
from inference.training.notes import Floats

_TAIL = RATE
"""Longest impulse response in samples."""


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how strongly each disturbance is applied."""

    equaliser: float = 0.8
    colour: float = 0.5
    thin: float = 0.3
    reflected: float = 0.4
    room: float = 0.65
    sampled_room: float = 0.7
    distortion: float = 0.12
    noise: float = 0.65
    hum: float = 0.08
    lossy: float = 0.12
    level_kept: float = 0.8
    quietest_db: float = -26.0


class Augment:
    """Disturbs a batch of audio `(batch, samples)`; labels stay as they are."""

    def __init__(self, rooms: Sequence[Floats], config: AugmentConfig | None = None, seed: int = 5) -> None:
        self.config = config or AugmentConfig()
        self.rooms = [torch.from_numpy(room) for room in rooms]
        self.noises = _coloured_noise(np.random.default_rng(seed))

    def __call__(self, audio: Tensor, random: Generator) -> Tensor:
        """Disturbed copy of the batch."""
        batch, length = audio.shape
        size = _fast_size(length + _TAIL)
        spectrum = torch.fft.rfft(audio, size)
        for row in range(batch):
            if random.random() < self.config.equaliser:
                spectrum[row] *= _equaliser(spectrum.shape[1], random)
            if random.random() < self.config.colour:
                spectrum[row] *= _colour(spectrum.shape[1], random)
            if random.random() < self.config.thin:
                spectrum[row] *= _without_bass(spectrum.shape[1], random)
            if random.random() < self.config.reflected:
                spectrum[row] *= _reflections(spectrum.shape[1], random)
            if random.random() < self.config.room:
                spectrum[row] *= torch.fft.rfft(self._room(random), size)
        wet = torch.fft.irfft(spectrum, size)[:, :length]
        rows = [self._capture(w, float(a.abs().max()), random) for w, a in zip(wet, audio, strict=True)]
        return torch.stack(rows)

    def _room(self, random: Generator) -> Tensor:
        response = torch.zeros(_TAIL)
        response[0] = 1
        if self.rooms and random.random() < self.config.sampled_room:
            tail = self.rooms[random.integers(len(self.rooms))]
            tail = tail * torch.exp(-torch.arange(len(tail)) / (RATE * random.uniform(0.08, 1.5)))
            level = random.uniform(-20, 3)
        else:
            decay = random.uniform(0.06, 0.5) * RATE / 6.9
            tail = torch.from_numpy(random.standard_normal(int(min(12_000, decay * 5))).astype(np.float32))
            tail = tail * torch.exp(-torch.arange(len(tail)) / decay)
            level = random.uniform(-22, -4)
        first = int(random.uniform(0, 0.012) * RATE)
        tail = tail[: _TAIL - first] / tail.norm()
        response[first : first + len(tail)] += tail * 10 ** (level / 20)
        return response

    def _capture(self, audio: Tensor, dry_peak: float, random: Generator) -> Tensor:
        config = self.config
        peak = float(audio.abs().max()) + 1e-4
        if random.random() < config.level_kept:
            gain = dry_peak * 10 ** (random.uniform(-9, 5) / 20) / peak
        else:
            gain = 0.9 * 10 ** (random.uniform(config.quietest_db, 0) / 20) / (peak + 0.02)
        audio = audio * min(gain, 3 / peak)
        if random.random() < config.distortion:
            audio = torch.tanh(audio * random.uniform(0.7, 2)) * 0.8
        # Where no music is, the front end amplifies what noise there is.
        spread = max(float(audio.std()), 1e-4) if dry_peak > 0 else 10 ** (random.uniform(-30, 5) / 20)
        if random.random() < config.noise:
            noise = self.noises[random.integers(len(self.noises))]
            if len(noise) <= len(audio):
                noise = noise.repeat(len(audio) // len(noise) + 1)
            start = random.integers(0, len(noise) - len(audio))
            audio = audio + noise[start : start + len(audio)] * spread * 10 ** (-random.uniform(16, 60) / 20)
        if random.random() < config.hum:
            audio = audio + _hum(len(audio), random) * spread * 10 ** (-random.uniform(20, 45) / 20)
        if random.random() < config.lossy:
            audio = torch.from_numpy(coded(audio.numpy(), *LOSSY[random.integers(len(LOSSY))]))
        return audio


def _equaliser(bins: int, random: Generator) -> Tensor:
    position = torch.linspace(0, 1, bins) ** 0.4
    curve = random.normal(0, 4) * (position - 0.5) * 2
    for _ in range(3):
        width = random.uniform(0.05, 0.25)
        curve = curve + random.normal(0, 4) * torch.exp(-(((position - random.random()) / width) ** 2))
    gain: Tensor = 10 ** (curve / 20)
    return gain


def _colour(bins: int, random: Generator) -> Tensor:
    """What a soundboard and the place of a microphone do: peaks and dips of a few semitones."""
    octaves = np.log2(np.maximum(np.linspace(0, RATE / 2, bins), 20) / 20)
    knots = np.linspace(0, octaves[-1] + 0.01, int(random.integers(16, 60)))
    decibels = np.interp(octaves, knots, random.normal(0, random.uniform(1, 5), len(knots)))
    return torch.from_numpy(10 ** (decibels / 20)).float()


def _reflections(bins: int, random: Generator) -> Tensor:
    """What a lid and a floor send to a microphone a few milliseconds later: a comb, with notches.

    Where one lies on the third partial of a key, what is left looks like the octave above.
    """
    frequency = torch.linspace(0, RATE / 2, bins)
    gain = torch.ones(bins, dtype=torch.complex64)
    for _ in range(int(random.integers(1, 4))):
        level = random.choice((-1, 1)) * 10 ** (random.uniform(-14, -1) / 20)
        dull = 1 / (1 + (frequency / random.uniform(1500, 8000)) ** 2)
        turned = -2 * torch.pi * random.uniform(2e-4, 6e-3) * frequency
        gain = gain + level * torch.polar(dull, turned)
    return gain / gain.abs().square().mean().sqrt()


def _without_bass(bins: int, random: Generator) -> Tensor:
    """A high-pass: many microphones hear little of the lowest fundamentals."""
    frequency = torch.linspace(0, RATE / 2, bins).clamp(min=1)
    cutoff, slope = random.uniform(40, 160), random.uniform(2, 4)
    gain: Tensor = (1 + (cutoff / frequency) ** slope).rsqrt()
    return gain


def _hum(length: int, random: Generator) -> Tensor:
    mains = random.choice([50.0, 60.0]) * torch.arange(length) / RATE * 2 * np.pi
    return sum((torch.sin(mains * k) / k for k in (1, 2, 3, 5)), torch.zeros(length))


def _coloured_noise(random: Generator, seconds: int = 40) -> list[Tensor]:
    white = random.standard_normal(RATE * seconds).astype(np.float32)
    spectrum = np.fft.rfft(white)
    frequency = np.maximum(np.fft.rfftfreq(len(white), 1 / RATE), 30)
    noises = [np.fft.irfft(spectrum / frequency**slope).astype(np.float32) for slope in (0, 0.5, 1)]
    return [torch.from_numpy(noise / noise.std()) for noise in noises]


def _fast_size(length: int) -> int:
    """Smallest size of the form m * 2^k, m in 4, 5, 6, that holds `length`."""
    return min(m << k for m in (4, 5, 6) for k in range(8, 24) if m << k >= length)
