"""Sound without beats: noise, speech-like bursts and hum, so that a listener learns to hear none."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from inference.training.corpus import RATE
from inference.training.notes import Floats


def unmusical(random: Generator, length: int) -> Floats:
    """`length` samples at 16 kHz that nobody could tap along with, peak at most 0.5."""
    make = (_bursts, _bursts, _noise, _babble)[int(random.integers(4))]
    audio = make(random, length)
    peak = float(np.abs(audio).max())
    return (audio / max(peak, 1e-6) * random.uniform(0.1, 0.5)).astype(np.float32)


def _noise(random: Generator, length: int) -> Floats:
    """Steady noise of any colour that swells slowly."""
    knots = random.uniform(0.3, 1, max(2, length // (2 * RATE)))
    swell = np.interp(np.arange(length), np.linspace(0, length, len(knots)), knots)
    return (_coloured(random, length) * swell).astype(np.float32)


def _bursts(random: Generator, length: int) -> Floats:
    """Bursts of noise, as long and as far apart as chance will have it."""
    audio = np.zeros(length, np.float32)
    noise, pause = _coloured(random, length), random.uniform(0.1, 0.6)
    at = int(random.exponential(pause) * RATE)
    while at < length:
        size = min(int(random.uniform(0.04, 0.5) * RATE), length - at)
        audio[at : at + size] = noise[at : at + size] * np.hanning(size) * random.uniform(0.2, 1)
        at += size + int(random.exponential(pause) * RATE)
    return audio


def _babble(random: Generator, length: int) -> Floats:
    """Syllables: gliding harmonic tones between hisses."""
    audio = np.zeros(length, np.float32)
    at = int(random.exponential(0.3) * RATE)
    while at < length:
        size = min(int(random.gamma(4, 0.05) * RATE) + 400, length - at)
        if random.random() < 0.75:
            pitch = random.uniform(90, 260) * np.linspace(1, random.uniform(0.7, 1.3), size)
            phase = 2 * np.pi * np.cumsum(pitch) / RATE
            tones = sum(np.sin(n * phase + n) * random.uniform(0, 1) / n for n in range(1, 9))
        else:
            tones = np.diff(random.normal(0, 0.3, size + 1))
        audio[at : at + size] += (tones * np.hanning(size) * random.uniform(0.3, 1)).astype(np.float32)
        at += size + int(
            (random.exponential(0.07) + (random.random() < 0.15) * random.uniform(0.3, 1.5)) * RATE
        )
    return audio


def _coloured(random: Generator, length: int) -> Floats:
    """Noise whose spectrum falls or rises."""
    white = np.fft.rfft(random.normal(0, 1, length))
    slope = np.maximum(np.arange(len(white)), 1.0) ** random.uniform(-1.0, 0.3)
    return np.fft.irfft(white * slope, length).astype(np.float32)
