"""Where the A of a recording lies: what an instrument that is not at 440 Hz needs to be heard right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_S, HOP_S = 0.512, 0.256
LOWEST_HZ, HIGHEST_HZ = 110.0, 1000.0
"""Between these, strings are long enough to be in tune with themselves, and partials few."""
LOUD_ENOUGH = 0.05
"""Peaks of the spectrum that are weaker than this, beside the strongest, are not counted."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Frequency of A4 in Hz, within half a semitone of 440, and how well the peaks agree, 0..1.

    Pianos agree to 0.4 and more, noise does not.
    """

    a4_hz: float
    agreement: float

    @property
    def cents(self) -> float:
        """How far it is from 440 Hz."""
        return 1200 * math.log2(self.a4_hz / 440)


def estimate(audio: NDArray[np.float32], rate: int) -> Tuning:
    """The tuning of mono audio `(samples,)`: the circular mean of how far its peaks are from semitones."""
    size, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    if len(audio) < size:
        return Tuning(440.0, 0.0)
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32), axis=1))
    low, high = (round(hz * size / rate) for hz in (LOWEST_HZ, HIGHEST_HZ))
    levels = np.log(spectrum[:, low - 1 : high + 1] + 1e-9)
    before, here, after = levels[:, :-2], levels[:, 1:-1], levels[:, 2:]
    strong = spectrum[:, low:high] > LOUD_ENOUGH * spectrum.max(1, keepdims=True) + 1e-6
    frame, place = np.nonzero((here > before) & (here > after) & strong)
    if not len(frame):
        return Tuning(440.0, 0.0)
    a, b, c = (part[frame, place] for part in (before, here, after))
    peaks = (place + low + 0.5 * (a - c) / (a - 2 * b + c)) * rate / size  # of a parabola through three bins
    weights = spectrum[frame, place + low]
    mean = (weights * np.exp(2j * np.pi * 12 * np.log2(peaks / 440))).sum() / weights.sum()
    return Tuning(float(440 * 2 ** (np.angle(mean) / (2 * np.pi * 12))), float(abs(mean)))
