"""Spectral front ends that stream: filters from nnAudio, samples carried between steps.

All windows end at the end of their frame: frame n describes the samples up to (n + 1) * hop and
is ready as soon as these are there. Frames are transformed with an FFT, which equals nnAudio's
convolution kernels (a test compares the two) at a small part of their cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from nnAudio import librosa_functions
from scipy.sparse import csr_array
from torch import Tensor, nn

from inference.streaming import Streaming
from inference.tuning import FollowConfig, bins_off, follow, tells

S = TypeVar("S")
_LOG_PER_DB = math.log(10) / 20


class Carried(NamedTuple):
    """Samples that coming frames still need, `(batch, samples)`."""

    samples: Tensor


class Framed(Streaming[S]):
    """Base of the front ends: cuts `(batch, samples)` into overlapping frames, in any portions."""

    time_axis = 1

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop

    def at_its_level(self, x: Tensor) -> Tensor:
        """Features of audio that has the right level already, as in training: none is followed."""
        raise NotImplementedError(f"{type(self).__name__}.at_its_level")

    def _no_samples(self, batch: int) -> Tensor:
        return next(self.buffers()).new_zeros(batch, self.window - self.hop)

    def _cut(self, x: Tensor, carried: Tensor) -> tuple[Tensor, int, Tensor]:
        """Frames `(batch, frames, window)`, how many they are, and the samples left for the next.

        Where there is none, a silent one stands in, so that what follows keeps its shape.
        """
        joined = torch.cat([carried, x], 1)
        samples = int(joined.shape[1])  # a number also in a recording, which is of one length
        count = max(0, (samples - self.window) // self.hop + 1)
        left = joined.narrow(1, count * self.hop, samples - count * self.hop)
        if not count:
            return joined.new_zeros(len(x), 1, self.window), 0, left
        return joined.unfold(1, self.window, self.hop).narrow(1, 0, count), count, left


class Plain(Framed[Carried]):
    """Base of the front ends that make features of frames and remember nothing but samples."""

    def init_state(self, batch: int) -> Carried:
        return Carried(self._no_samples(batch))

    def step(self, x: Tensor, state: Carried) -> tuple[Tensor, Carried]:
        frames, count, left = self._cut(x, state.samples)
        return self.transform(frames)[:, :count], Carried(left)

    def at_its_level(self, x: Tensor) -> Tensor:
        features: Tensor = self(x)
        return features

    def transform(self, frames: Tensor) -> Tensor:
        """Frames `(batch, frames, window)` to features `(batch, frames, ...)`."""
        raise NotImplementedError(f"{type(self).__name__}.transform")


@dataclass(frozen=True)
class MelConfig:
    """The front end of the published PAR networks, scaled as (ln(max(x, floor)) + 7) / 7."""

    rate: int = 16_000
    window: int = 4096
    hop: int = 512
    bins: int = 700
    lowest_hz: float = 27.5
    highest_hz: float = 8000.0
    floor: float = 1e-9


class MelSpectrogram(Plain):
    """Log power mel spectrogram, HTK scale without norm: `(batch, frames, bins)`.

    The published one centres its window; this one ends it at the frame, which is the same
    spectrogram late by half a window.
    """

    def __init__(self, config: MelConfig) -> None:
        super().__init__(config.window, config.hop)
        self.floor = config.floor
        self.bins, self.channels = config.bins, 1
        with np.errstate(divide="ignore", invalid="ignore"):
            filters = librosa_functions.get_mel(
                config.rate,
                config.window,
                n_mels=config.bins,
                fmin=config.lowest_hz,
                fmax=config.highest_hz,
                htk=True,
                norm=None,
            )
        self.register_buffer("filters", _tensor(filters).t().contiguous(), persistent=False)
        self.register_buffer("taper", _hann(config.window).float(), persistent=False)
        self.filters: Tensor
        self.taper: Tensor

    def transform(self, frames: Tensor) -> Tensor:
        power = torch.fft.rfft(frames * self.taper).abs().square()
        mel: Tensor = power @ self.filters
        return (mel.clamp(min=self.floor).log() + 7) / 7


@dataclass(frozen=True)
class LevelConfig:
    """How a stream is brought to one level: by the largest sample so far, which slowly fades from memory.

    Slowly, because all that moves the level moves the velocities that are heard.
    """

    target: float = 0.9
    """What the largest sample is scaled to."""
    assumed: float = 0.3
    """Largest sample of a stream that nothing is known of."""
    quietest: float = 0.02
    """Smallest peak that is brought to the target; nothing is amplified more than that."""
    fading_db_per_minute: float = 2.0
    """In minutes of sound; silence changes nothing."""


@dataclass(frozen=True)
class LogFrequencyConfig:
    """Triangular filters on a logarithmic axis, seen through several windows.

    Long windows tell low neighbours apart, short ones tell when; all end at the frame.
    """

    rate: int = 16_000
    hop: int = 320
    windows: tuple[int, ...] = (4096, 2048, 768)
    per_semitone: int = 3
    lowest: int = 20
    highest: int = 118
    narrowest_hz: float = 9.0
    level: LevelConfig = field(default_factory=LevelConfig)
    tuning: FollowConfig = field(default_factory=FollowConfig)


class Levelled(NamedTuple):
    """What is carried: samples for coming frames, the logarithm of the largest so far, the tuning.

    `(batch, samples)`, `(batch,)`, and `(batch, 2)` of `inference.tuning.follow`.
    """

    samples: Tensor
    peak: Tensor
    tuning: Tensor


class LogFrequencySpectrogram(Framed[Levelled]):
    """Log magnitude per window and bin: `(batch, frames, windows, bins)`.

    Bins count thirds of a semitone from MIDI pitch `lowest`; the middle one of each three is
    centred on the pitch. Magnitudes are relative to the loudest that was heard so far, so that a
    quiet recording looks like a loud one, and its soft passages still look soft. An instrument that is
    out of tune by about a bin is seen a bin beside, so that it looks like one nearly in tune.
    """

    def __init__(self, config: LogFrequencyConfig) -> None:
        super().__init__(max(config.windows), config.hop)
        self.config = config
        self.channels = len(config.windows)
        self.bins = (config.highest - config.lowest + 1) * config.per_semitone
        for index, window in enumerate(config.windows):
            taper = _hann(window).float()
            self.register_buffer(f"taper{index}", taper / taper.sum() * 512, persistent=False)
        self.filters = FilterBank([_triangles(config, window) for window in config.windows])
        pitches = range(config.lowest, config.highest + 1)
        telling = torch.from_numpy(tells(config.tuning, pitches, config.per_semitone))
        self.register_buffer("telling", telling, persistent=False)
        self.telling: Tensor
        self.frame_s = config.hop / config.rate
        self.fading = config.level.fading_db_per_minute / 60 * config.hop / config.rate * _LOG_PER_DB

    def init_state(self, batch: int) -> Levelled:
        samples = self._no_samples(batch)
        peak = samples.new_full((batch,), math.log(self.config.level.assumed))
        return Levelled(samples, peak, samples.new_zeros(batch, 2))

    def step(self, x: Tensor, state: Levelled) -> tuple[Tensor, Levelled]:
        features, _, state = self.listen(x, state)
        return features, state

    def listen(self, x: Tensor, state: Levelled) -> tuple[Tensor, Tensor, Levelled]:
        """A step that also tells, `(batch, frames, 2)`, the power of each hop and the logarithm of its gain.

        Power is the mean square of the newest samples, at the followed level.
        """
        frames, count, left = self._cut(x, state.samples)
        newest = frames.narrow(2, self.window - self.hop, self.hop)
        peaks = self._peaks(newest, state.peak)
        gain = self.config.level.target / peaks.exp().clamp(min=self.config.level.quietest)
        energy = self._magnitude(frames) * gain.unsqueeze(2)
        told = energy[..., : self.bins].square() @ self.telling  # the first window is the longest
        tuning = follow(told, state.tuning, self.config.tuning, self.frame_s)
        features = beside(self._scaled(energy), bins_off(tuning, self.config.tuning, self.frame_s))
        power = newest.square().mean(-1) * gain.square()
        level = torch.stack([power, gain.log()], -1)
        if not count:
            return features[:, :0], level[:, :0], state._replace(samples=left)
        return features, level, Levelled(left, peaks.select(1, -1), tuning.select(1, -1))

    def at_its_level(self, x: Tensor) -> Tensor:
        frames, count, _ = self._cut(x, self._no_samples(len(x)))
        return self._scaled(self._magnitude(frames))[:, :count]

    def _peaks(self, newest: Tensor, peak: Tensor) -> Tensor:
        """Logarithm of the largest sample so far at each frame, whose newest samples are given."""
        loudest = newest.abs().amax(-1)
        loudness, sounds = loudest.clamp(min=1e-9).log(), loudest > self.config.level.quietest / 10
        before = peak.unsqueeze(1)
        if newest.shape[1] == 1:  # a live step, in as few operations as possible
            return torch.maximum(torch.where(sounds, before - self.fading, before), loudness)
        # Where the logarithm has what it lost added again, the peak is a running maximum.
        lost = (sounds.to(newest) * self.fading).cumsum(1)
        return torch.cat([before, loudness + lost], 1).cummax(1).values[:, 1:] - lost

    def _magnitude(self, frames: Tensor) -> Tensor:
        spectra = [self._spectrum(index, frames) for index in range(self.channels)]
        joined = torch.cat(spectra, -1)
        magnitude = (joined.real.square() + joined.imag.square()).sqrt()  # abs() takes 3 times as long
        energy: Tensor = self.filters(magnitude)
        return energy

    def _scaled(self, energy: Tensor) -> Tensor:
        scaled = (energy + 1e-3).log() * 0.3 + 0.6
        return scaled.view(*energy.shape[:2], self.channels, self.bins)

    def _spectrum(self, index: int, frames: Tensor) -> Tensor:
        taper = self.get_buffer(f"taper{index}")
        spectrum: Tensor = torch.fft.rfft(frames[..., -len(taper) :] * taper)
        return spectrum


def beside(features: Tensor, bins: Tensor) -> Tensor:
    """Features `(batch, frames, windows, bins)` seen up to a bin higher or lower, `(batch, frames)`."""
    higher = torch.cat([features[..., 1:], features[..., -1:]], -1) - features
    lower = torch.cat([features[..., :1], features[..., :-1]], -1) - features
    up, down = (part[..., None, None] for part in (bins.clamp(min=0), (-bins).clamp(min=0)))
    return features + up * higher + down * lower


class FilterBank(nn.Module):
    """Banks of filters, each over its own part of the spectrum: `(..., frequencies)` to `(..., filters)`.

    Each filter touches few frequencies, so only those are kept; the sum over them is what an
    embedding bag does, fast and for any batch.

    Args:
        banks: weights of each bank, `(frequencies, filters)`; their frequencies and filters are joined.
    """

    def __init__(self, banks: Sequence[Tensor]) -> None:
        super().__init__()
        weights: Tensor = torch.block_diag(*banks).t()  # type: ignore[no-untyped-call]
        used = weights != 0
        first = used.sum(1).cumsum(0) - used.sum(1)
        self.register_buffer("first", first.int(), persistent=False)
        self.register_buffer("touched", used.nonzero()[:, 1].int(), persistent=False)
        self.register_buffer("weights", weights[used], persistent=False)
        self.first: Tensor
        self.touched: Tensor
        self.weights: Tensor
        self.frequencies = weights.shape[1]

    def matrix(self) -> csr_array:
        """The weights as a sparse matrix, `(filters, frequencies)`: fastest for a single spectrum."""
        ends = np.append(self.first.numpy(), len(self.touched))
        return csr_array(
            (self.weights.numpy(), self.touched.numpy(), ends), shape=(len(self.first), self.frequencies)
        )

    def forward(self, spectrum: Tensor) -> Tensor:
        columns = spectrum.flatten(0, -2).t().contiguous()
        sums = F.embedding_bag(self.touched, columns, self.first, mode="sum", per_sample_weights=self.weights)
        return sums.t().reshape(*spectrum.shape[:-1], -1)


def _triangles(config: LogFrequencyConfig, window: int) -> Tensor:
    count = (config.highest - config.lowest + 1) * config.per_semitone
    pitch = config.lowest - 0.5 + (np.arange(count) + 0.5) / config.per_semitone
    centre = 440 * 2 ** ((pitch - 69) / 12)
    half_width = np.maximum(
        centre * (2 ** (1 / (12 * config.per_semitone)) - 1),
        max(config.narrowest_hz, 1.15 * config.rate / window) if window < 4096 else config.narrowest_hz / 2,
    )
    bins = np.arange(window // 2 + 1) * config.rate / window
    weights = np.maximum(0, 1 - np.abs(bins[:, None] - centre) / half_width)
    return _tensor(weights / np.maximum(weights.sum(0), 1e-6))


def _hann(window: int) -> Tensor:
    """The window of nnAudio, without the second that its `utils` take to import."""
    return torch.hann_window(window, dtype=torch.float64)


def _tensor(values: Sequence[float] | np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
