"""Acoustic nets: features to a vector per frame and pitch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from inference.layers import CausalConv2d, Delay, FrequencyFilm, FrequencyTable, HarmonicGather
from inference.piano.config import LOWEST, PITCHES, BlockConfig, Head, PianoConfig
from inference.streaming import Streaming


class FilmBlockState(NamedTuple):
    """Carried frames of both convolutions and of the residual path."""

    first: Tensor
    second: Tensor
    residual: Tensor


class FilmBlock(Streaming[FilmBlockState]):
    """conv, ReLU, FiLM = x; conv, BatchNorm, the same FiLM = r; ReLU(x + r), then frequency pooling.

    The second convolution is late by `second.latency` frames; x waits for it in a delay line.
    """

    time_axis = 2

    def __init__(self, in_channels: int, bins: int, config: BlockConfig, film: bool) -> None:
        super().__init__()
        channels, (first, second) = config.channels, config.time_widths
        self.first = CausalConv2d(in_channels, channels, first, 3, bins)
        self.second = CausalConv2d(channels, channels, second, 3, bins)
        self.norm = nn.BatchNorm2d(channels)
        self.film = FrequencyFilm(channels, bins) if film else nn.Identity()
        self.wait = Delay(self.second.latency, channels, bins)
        self.pool = config.pool
        self.latency = self.first.latency + self.second.latency

    def init_state(self, batch: int) -> FilmBlockState:
        return FilmBlockState(
            self.first.init_state(batch),
            self.second.init_state(batch),
            self.wait.init_state(batch).to(self.first.conv.weight.device),
        )

    def step(self, x: Tensor, state: FilmBlockState) -> tuple[Tensor, FilmBlockState]:
        x, first = self.first.step(x, state.first)
        x = self.film(F.relu(x))
        y, second = self.second.step(x, state.second)
        waited, residual = self.wait.step(x, state.residual)
        y = F.relu(waited + self.film(self.norm(y)))
        return F.max_pool2d(y, (1, self.pool)), FilmBlockState(first, second, residual)


class FullHead(nn.Module):
    """Bins and channels to pitches through two dense layers: `(b, c, t, bins)` to `(b, t, 88, c)`."""

    def __init__(self, channels: int, bins: int, features: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels * bins, 768)
        self.expand = nn.Linear(768, features * PITCHES)
        self.norm = nn.LayerNorm((features, PITCHES))
        self.dropout = nn.Dropout(0.25)
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, _ = x.shape
        x = x.permute(0, 2, 1, 3).flatten(2)
        x = self.expand(F.relu(self.dropout(self.squeeze(x))))
        x = F.relu(self.norm(x.view(batch, frames, self.features, PITCHES)))
        return x.transpose(2, 3)


class CompactHead(nn.Module):
    """Channels are mixed down to one, then every pitch has its own small layers.

    The published code mixes up pitches and channels between its grouped layers; here a group is
    a pitch, as the paper says. Parameter counts are the same.
    """

    def __init__(self, channels: int, bins: int, features: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.ReLU()
        )
        wide = features * PITCHES
        self.expand = nn.Sequential(
            nn.Conv1d(bins, wide, 1), nn.BatchNorm1d(wide), nn.Dropout(0.25), nn.ReLU()
        )
        self.grouped = nn.Sequential(*[_grouped(wide) for _ in range(2)])
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x).squeeze(1).transpose(1, 2)
        x = self.grouped(self.expand(x))
        batch, _, frames = x.shape
        return x.view(batch, PITCHES, self.features, frames).permute(0, 3, 1, 2)


def _grouped(wide: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(wide, wide, 1, groups=PITCHES), nn.BatchNorm1d(wide), nn.ReLU())


class HarmonicHead(nn.Module):
    """Semitone bins to pitches: each pitch sees its harmonics, and a low-rank view of all bins."""

    def __init__(self, config: PianoConfig, bins: int, first: int) -> None:
        super().__init__()
        trunk = config.harmonic
        self.gather = HarmonicGather(trunk.harmonics, first, PITCHES, bins)
        self.query = nn.Linear(trunk.channels, trunk.gather_channels, bias=False)
        self.gathered = nn.Linear(trunk.gather_channels * len(trunk.harmonics), config.features, bias=False)
        self.overview = nn.Linear(trunk.channels, trunk.global_channels)
        self.spread = nn.Parameter(torch.randn(trunk.global_channels, bins, PITCHES) * 0.02)
        self.heard = nn.Linear(trunk.global_channels, config.features, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(config.features)
        self.film = _film(config, config.features, PITCHES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        near = self.gather(self.query(x))
        # Channel by channel, as contiguous rows: a product with others is three times as slow.
        channels = F.relu(self.overview(x)).flatten(0, 1).permute(2, 0, 1).contiguous()
        far = torch.bmm(channels, self.spread).permute(1, 2, 0).view(*x.shape[:2], PITCHES, -1)
        y = self.gathered(near) + self.heard(far)
        if not isinstance(self.norm, nn.Identity):
            y = self.norm(y.view(-1, y.shape[-1])).view(y.shape)
        return F.relu(self.film(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def _film(config: PianoConfig, channels: int, bins: int) -> nn.Module:
    if not config.film:
        return nn.Identity()
    return FrequencyTable(channels, bins) if config.harmonic.tables else FrequencyFilm(channels, bins)


class ResidualBlock(Streaming[Tensor]):
    """x + ReLU(BatchNorm(conv(x))), causal, 3 frames by 3 bins; without `residual`, no sum."""

    time_axis = 2

    def __init__(self, in_channels: int, channels: int, bins: int) -> None:
        super().__init__()
        self.conv = CausalConv2d(in_channels, channels, 3, 3, bins, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels)
        self.residual = in_channels == channels

    def init_state(self, batch: int) -> Tensor:
        return self.conv.init_state(batch)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.conv.step(x, state)
        y = F.relu(self.norm(y), inplace=not torch.is_grad_enabled())
        if self.residual:
            y = x + y if torch.is_grad_enabled() else y.add_(x)
        return y, state


class FirstBlock(Streaming[Tensor]):
    """Thirds of semitones to semitones: a 3 x 7 convolution with stride 3, BatchNorm, FiLM, ReLU."""

    time_axis = 2

    def __init__(self, config: PianoConfig, in_channels: int, bins: int) -> None:
        super().__init__()
        channels = config.harmonic.first_channels
        self.conv = CausalConv2d(in_channels, channels, 3, 7, bins, bin_stride=3, bin_padding=2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels)
        self.film = _film(config, channels, bins // 3)

    def init_state(self, batch: int) -> Tensor:
        return self.conv.init_state(batch)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.conv.step(x, state)
        return F.relu(self.film(self.norm(y)), inplace=not torch.is_grad_enabled()), state


def fold_norms(module: nn.Module) -> None:
    """Fold batch norms into the layers before them; for evaluation only."""
    for block in module.modules():
        if isinstance(block, FirstBlock | ResidualBlock) and isinstance(block.norm, nn.BatchNorm2d):
            block.conv.conv = fuse_conv_bn_eval(block.conv.conv, block.norm)
            block.norm = nn.Identity()
        elif isinstance(block, HarmonicHead) and isinstance(block.norm, nn.BatchNorm1d):
            block.heard = fuse_linear_bn_eval(block.heard, block.norm)
            block.gathered = fuse_linear_bn_eval(block.gathered, block.norm)
            block.gathered.register_parameter("bias", None)  # the other path has it
            block.norm = nn.Identity()


class AcousticNet(Streaming[tuple[Any, ...]]):
    """Features `(batch, frames, [windows,] bins)` to `(batch, frames, 88, features)`."""

    time_axis = 1

    def __init__(self, config: PianoConfig, windows: int, bins: int) -> None:
        super().__init__()
        if config.head is Head.HARMONIC:
            self.blocks, self.head = _harmonic_trunk(config, windows, bins)
        else:
            self.blocks, self.head = _published_trunk(config, windows, bins)
        # The light trunk has no look-ahead of its own: its labels are delayed instead.
        self.latency = sum([block.latency for block in self.blocks if isinstance(block, FilmBlock)])

    def init_state(self, batch: int) -> tuple[Any, ...]:
        return tuple(block.init_state(batch) for block in self.blocks)  # type: ignore[operator]

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        x = x.unsqueeze(1) if x.ndim == 3 else x.transpose(1, 2)
        after = []
        for block, before in zip(self.blocks, state, strict=True):
            x, kept = block.step(x, before)  # type: ignore[operator]
            after.append(kept)
        return self.head(x), tuple(after)


def _published_trunk(config: PianoConfig, windows: int, bins: int) -> tuple[nn.ModuleList, nn.Module]:
    blocks, channels = nn.ModuleList(), windows
    for block in config.blocks:
        blocks.append(FilmBlock(channels, bins, block, config.film))
        channels, bins = block.channels, bins // block.pool
    make = FullHead if config.head is Head.FULL else CompactHead
    return blocks, make(channels, bins, config.features)


def _harmonic_trunk(config: PianoConfig, windows: int, bins: int) -> tuple[nn.ModuleList, nn.Module]:
    trunk = config.harmonic
    semitones = bins // 3
    widths = [trunk.first_channels] + [trunk.channels] * (trunk.residual_blocks + 1)
    blocks = nn.ModuleList([FirstBlock(config, windows, bins)])
    blocks.extend(ResidualBlock(a, b, semitones) for a, b in pairwise(widths))
    lowest = getattr(config.front_end, "lowest", LOWEST)
    return blocks, HarmonicHead(config, semitones, LOWEST - lowest)
