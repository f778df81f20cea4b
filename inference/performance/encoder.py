"""Multiscale encoders: everything sees everything, and each beat sees itself (arXiv 2507.01582)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from inference.performance.attention import Layer, Sum, around, together
from inference.performance.config import XmvaeConfig


class MultiscaleEncoder(nn.Module):
    """Layers over the whole window and within beats, in turn.

    Args:
        config: sizes.
        sizes: of the sub-tokens of a step.
    """

    def __init__(self, config: XmvaeConfig, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        self.words = Sum(sizes, config.width)
        count = config.encoder_layers * (2 if config.beat_attention else 1)
        self.layers = nn.ModuleList(_layer(config) for _ in range(count))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, beat: Tensor) -> Tensor:
        """(batch, steps, width) of tokens (batch, steps, sub-tokens) in beats (batch, steps)."""
        x = self.words(tokens)
        wide = around(self.config.heads, x.shape[1]).to(x.device)
        narrow = together(beat) if self.config.beat_attention else wide
        for index, layer in enumerate(self.layers):
            x = layer(x, narrow if self.config.beat_attention and index % 2 else wide)
        return cast(Tensor, self.norm(x))


class StyleEncoder(nn.Module):
    """What is particular to a performance: a Gaussian for each step, one for the whole, or both."""

    def __init__(self, config: XmvaeConfig) -> None:
        super().__init__()
        self.config = config
        self.values = nn.Linear(4, config.width)
        self.layers = nn.ModuleList(_layer(config) for _ in range(config.style_layers))
        self.norm = nn.LayerNorm(config.width)
        self.note = nn.Linear(config.width, 2 * config.note_latent) if config.note_latent else None
        self.piece = nn.Linear(config.width, 2 * config.piece_latent) if config.piece_latent else None

    def forward(self, score: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (batch, steps, latents), those of the piece the same at all steps.

        Args:
            score: (batch, steps, width) as the encoder sees it.
            values: (batch, steps, 4) the parameters of the performance.
        """
        x = score + self.values(values)
        wide = around(self.config.heads, x.shape[1]).to(x.device)
        for layer in self.layers:
            x = layer(x, wide)
        x = self.norm(x)
        parts = []
        if self.piece is not None:
            parts.append(self.piece(x.mean(1, keepdim=True)).expand(-1, x.shape[1], -1))
        if self.note is not None:
            parts.append(self.note(x))
        means, spreads = zip(*(part.chunk(2, -1) for part in parts), strict=True)
        return torch.cat(means, -1), torch.cat(spreads, -1).clamp(-10, 4)


def _layer(config: XmvaeConfig) -> Layer:
    return Layer(config.width, config.heads, config.inner, config.dropout)
