"""Bark-scale specific loudness, as arXiv 2510.18190 computes it, and log-mel beside it.

Everything up to the powers in bands is linear in the power of the sound, so a gain can still be
chosen when they are known: the level of a recording need not be known before it was heard.
"""

from __future__ import annotations

import numpy as np
import torch
from nnAudio import librosa_functions
from numpy.typing import NDArray
from torch import Tensor

from inference.features import Plain
from inference.rhythm.config import FrontEndConfig, Input

FULL_SCALE_DB = 96.0
EDGES_HZ = (
    *(100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480),
    *(1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400, 7700, 9500),
)
"""Upper edges of the critical bands."""
BANDS = len(EDGES_HZ)
TARGET_DB = 70.0
"""Where `levelled` puts the loud passages."""
LARGEST_GAIN_DB = 50.0


class BandPowers(Plain):
    """Powers in critical bands (after spreading), in mel bands, or both: `(batch, frames, bands)`.

    0 dB is the threshold of hearing if full scale is 96 dB. Bands of loudness come first.
    """

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__(config.window, config.hop)
        self.config = config
        taper = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(config.window) / config.window)
        scale = 10 ** (FULL_SCALE_DB / 10) / float(taper.sum()) ** 2
        parts = []
        if config.input is not Input.MEL:
            parts.append(critical_bands(config))
        if config.input is not Input.BARK:
            parts.append(_mel_bands(config))
        weights = np.concatenate(parts, 1)
        if config.highest_hz is not None:
            weights[_frequencies(config) > config.highest_hz] = 0
        self.register_buffer("taper", taper, persistent=False)
        self.register_buffer("bands", torch.from_numpy(weights * scale).float(), persistent=False)
        self.taper: Tensor
        self.bands: Tensor

    def transform(self, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames * self.taper)
        powers: Tensor = (spectrum.real.square() + spectrum.imag.square()) @ self.bands
        return powers


def critical_bands(config: FrontEndConfig) -> NDArray[np.float64]:
    """Power of the spectrum to power in bands, `(window // 2 + 1, 22)`: ear, bands and spreading.

    The ear is Terhardt's, whose weight of bin 0 is left at 1.
    """
    hertz = _frequencies(config)
    khz = np.maximum(hertz, 1e-9) / 1000
    ear = -3.64 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) - 0.001 * khz**4
    ear[0] = 0
    band = np.searchsorted(EDGES_HZ, hertz)
    into = (band[:, None] == np.arange(BANDS)) * 10 ** (ear[:, None] / 10)
    distance = np.arange(BANDS)[:, None] - np.arange(BANDS) + 0.474
    spreading = 10 ** ((15.81 + 7.5 * distance - 17.5 * np.sqrt(1 + distance**2)) / 10)
    powers: NDArray[np.float64] = into @ spreading.T
    return powers


def sones(powers: Tensor) -> Tensor:
    """Loudness of powers: 1 sone at 40 dB, doubled by every 10 dB more; 0 at the threshold."""
    level = 10 * powers.clamp(min=1).log10()
    return torch.where(level >= 40, 2 ** ((level - 40) / 10), (level / 40) ** 2.642)


def features(powers: Tensor, config: FrontEndConfig) -> Tensor:
    """What the network looks at: sones of the critical bands, log10 of the mel bands."""
    if config.input is Input.MEL:
        return powers.clamp(min=1).log10()
    heard = sones(powers[..., :BANDS])
    return torch.cat([heard, powers[..., BANDS:].clamp(min=1).log10()], -1)


def total_loudness(specific: Tensor) -> Tensor:
    """One number per frame from specific loudness `(..., 22)` in sones, for display."""
    loudest = specific.amax(-1)
    return loudest + 0.15 * (specific.sum(-1) - loudest)


def loud_level(powers: Tensor) -> Tensor:
    """Level in dB that the loud passages have, `(batch, 1, 1)`: the 95th percentile over frames."""
    level = 10 * powers[..., :BANDS].sum(-1).clamp(min=1).log10()
    return torch.quantile(level, 0.95, dim=-1)[:, None, None]


def levelled(powers: Tensor, level: Tensor | None = None) -> Tensor:
    """Powers with the loud passages (or `level`, in dB) at `TARGET_DB`; faint noise stays faint."""
    gain = TARGET_DB - (loud_level(powers) if level is None else level)
    amplified: Tensor = powers * 10 ** (gain.clamp(max=LARGEST_GAIN_DB) / 10)
    return amplified


def _frequencies(config: FrontEndConfig) -> NDArray[np.float64]:
    hertz: NDArray[np.float64] = np.arange(config.window // 2 + 1) * np.float64(config.rate / config.window)
    return hertz


def _mel_bands(config: FrontEndConfig) -> NDArray[np.float64]:
    # A filter narrower than the distance of two bins may hold none: it then hears nothing.
    with np.errstate(divide="ignore", invalid="ignore"):
        filters = librosa_functions.get_mel(
            config.rate, config.window, n_mels=config.mels, fmin=30.0, fmax=config.highest_hz, norm=None
        )
    return np.asarray(filters, np.float64).T
