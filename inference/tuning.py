"""Where the A of an instrument lies: what one that is not at 440 Hz needs to be heard right.

Twice: of a recording, exactly, before it is heard; and of a stream, roughly, while it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


@dataclass(frozen=True)
class FollowConfig:
    """How the tuning of a stream is followed, and when something is done about it."""

    lowest: int = 60
    """MIDI pitch from which strong bins tell: strings below have their semitones too close together."""
    highest: int = 92
    enough: float = 1.0
    """Of the power of a frame's bins: with this much it counts half as much as a loud one."""
    prior_s: float = 0.5
    """Being in tune is believed as if it had been heard for so long, by peaks that agree entirely."""
    memory_s: float = 60.0
    """Of sound; silence changes nothing."""
    from_cents: float = 15.0
    """A piano that is off by no more is heard as it is,"""
    until_cents: float = 21.0
    """one that is off by as much is heard a bin beside: these are not far from half a bin."""


def tells(config: FollowConfig, pitches: range, per_semitone: int) -> NDArray[np.float32]:
    """What each bin of a logarithmic spectrum tells of the tuning, `(bins, 3)`.

    Powers times this are, summed, the pull towards sharp as a complex number, whose angle is a whole
    turn per semitone, and the power that counts.
    """
    place = np.arange(len(pitches) * per_semitone)
    turn = 2j * np.pi * (place % per_semitone - (per_semitone - 1) / 2) / per_semitone
    pitch = pitches.start + place // per_semitone
    counts = (pitch >= config.lowest) & (pitch < config.highest)
    pull = np.exp(turn) * counts
    return np.stack([pull.real, pull.imag, counts], 1).astype(np.float32)


def follow(told: Tensor, before: Tensor, config: FollowConfig, frame_s: float) -> Tensor:
    """The pull remembered at each frame `(batch, frames, 2)`, from sums `(batch, frames, 3)` of `tells`.

    Args:
        told: of the powers of each frame.
        before: what was remembered before, `(batch, 2)`, at first zeros.
        config: how.
        frame_s: seconds from frame to frame.
    """
    share = 1 / (told[..., 2:] + config.enough)
    heard = told[..., 2:] * share * (frame_s / config.memory_s)
    forgotten = heard.cumsum(1)  # logarithm of what is left since the beginning
    pulls = (told[..., :2] * share * forgotten.exp()).cumsum(1) + before.unsqueeze(1)
    return pulls * (-forgotten).exp()


def bins_off(pull: Tensor, config: FollowConfig, frame_s: float) -> Tensor:
    """By which part of a bin the instrument is heard higher (if flat: lower), `(...)`, -1 to 1."""
    turn = torch.atan2(pull[..., 1], pull[..., 0] + config.prior_s / frame_s)
    cents = turn * (100 / (2 * math.pi))
    over = (cents.abs() - config.from_cents) / (config.until_cents - config.from_cents)
    return cents.sign() * over.clamp(0, 1)
