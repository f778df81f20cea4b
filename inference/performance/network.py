"""XMVAE: a Composer with vector quantisation, a Pianist with a Gaussian latent (arXiv 2507.01582)."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.performance.config import XmvaeConfig
from inference.performance.context import Context
from inference.performance.encoder import MultiscaleEncoder, StyleEncoder
from inference.performance.orthogonal import OrthogonalDecoder
from inference.performance.quantiser import GroupedQuantiser, Quantised


class Coder(nn.Module):
    """Scores to codes: some for each step, or for each bar, one for each group of channels."""

    def __init__(self, config: XmvaeConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.code_groups * config.code_width
        self.encoder = MultiscaleEncoder(config, config.score_sizes)
        self.narrow = nn.Linear(config.width, channels)
        self.quantiser = GroupedQuantiser(config.code_groups, config.codes, config.code_width)
        self.widen = nn.Linear(channels, config.width)

    def forward(self, tokens: Tensor, beat: Tensor, bar: Tensor) -> Quantised:
        """Codes of tokens (batch, steps, 4) in beats and bars (batch, steps): see `Composer.encode`."""
        x = self.encoder(tokens, beat)
        if self.config.bar_codes:
            share = functional.one_hot(bar).transpose(1, 2).to(x.dtype)
            x = share @ x / share.sum(-1, keepdim=True).clamp(min=1)
        return cast(Quantised, self.quantiser(self.narrow(x)))


class Composer(nn.Module):
    """Scores to codes and back."""

    def __init__(self, config: XmvaeConfig) -> None:
        super().__init__()
        self.config = config
        self.coder = Coder(config) if config.plan else None
        self.context = Context(config)
        self.decoder = OrthogonalDecoder(
            config, config.score_sizes, config.temporal_layers, config.cross_attention
        )

    def encode(self, tokens: Tensor, beat: Tensor, bar: Tensor) -> Quantised:
        """Codes of tokens (batch, steps, 4) in beats and bars (batch, steps), per step or per bar.

        Raises:
            ValueError: a Composer without a plan.
        """
        if self.coder is None:
            raise ValueError(f"{self.config.name} has no codes")
        return cast(Quantised, self.coder(tokens, beat, bar))

    def memory(self, codes: Tensor) -> Tensor:
        """(batch, steps or bars, width) what the decoder is told of codes (batch, steps or bars, groups)."""
        assert self.coder is not None
        return cast(Tensor, self.coder.widen(self.coder.quantiser.vectors(codes)))


class Style(NamedTuple):
    """Posterior of a performance's latents, each (batch, steps, latents)."""

    mean: Tensor
    spread: Tensor
    """Log variance."""


class Pianist(nn.Module):
    """Performances of scores, given what is particular to a performer."""

    def __init__(self, config: XmvaeConfig) -> None:
        super().__init__()
        latents = config.piece_latent + config.note_latent
        sizes = config.score_sizes + config.extra_sizes
        self.encoder = None if config.through_codes else MultiscaleEncoder(config, sizes)
        self.style = StyleEncoder(config)
        self.inject = nn.Linear(latents, config.width)
        self.decoder = OrthogonalDecoder(
            config, config.played_sizes, config.temporal_layers, config.cross_attention
        )
        self.tempo = nn.Linear(config.width, 1)

    def posterior(self, score: Tensor, values: Tensor) -> Style:
        """What a performance tells of its performer; see `StyleEncoder`."""
        return Style(*self.style(score, values))

    def memory(self, score: Tensor, latents: Tensor) -> Tensor:
        """(batch, steps, width) of score features and latents (batch, steps, latents)."""
        return score + cast(Tensor, self.inject(latents))


class Xmvae(nn.Module):
    """Both branches, and a prior that continues codes, so that there can be music out of nothing."""

    def __init__(self, config: XmvaeConfig) -> None:
        super().__init__()
        self.config = config
        self.writing = config.composing or config
        own = self.writing
        self.composer = Composer(own)
        self.pianist = Pianist(config)
        self.prior = (
            OrthogonalDecoder(own, (own.codes,) * own.code_groups, own.prior_layers) if own.plan else None
        )

    def score_features(self, tokens: Tensor, extras: Tensor, beat: Tensor) -> Tensor:
        """(batch, steps, width) of a score, as the Pianist sees it.

        Args:
            tokens: (batch, steps, 4) sub-tokens.
            extras: (batch, steps, 7) what else is known; see `words.EXTRA_SIZES`.
            beat: (batch, steps) index of each step's beat.
        """
        if self.pianist.encoder is None:
            assert self.composer.coder is not None
            return cast(Tensor, self.composer.coder.widen(self.composer.encode(tokens, beat, beat).vectors))
        if self.config.extras:
            tokens = torch.cat([tokens, extras], -1)
        return cast(Tensor, self.pianist.encoder(tokens, beat))
