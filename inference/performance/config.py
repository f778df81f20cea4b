"""The performance networks as data: the published one, the ablations, and the one that is shipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inference.performance.playing import PLAYED_SIZES
from inference.performance.words import EXTRA_SIZES, SCORE_SIZES

METERS = 8
"""Writers are told how many quarters a bar has, 1 to 7; 0: anything."""
CLASSES = 12


@dataclass(frozen=True)
class XmvaeConfig:
    """Everything that shapes the networks; the defaults are of the published scale (arXiv 2507.01582).

    The paper gives no sizes; those of the defaults are a proposal after its first author's earlier
    work.

    Args:
        name: what metadata and commands call it.
        width: of all layers.
        heads: of all attention.
        inner: width of the feed-forward layers.
        dropout: in training.
        encoder_layers: pairs of a layer over everything and one within each beat.
        beat_attention: whether the second of each pair is there.
        style_layers: of the encoder of performances.
        temporal_layers: of the decoders, along time.
        word_layers: of the decoders, along the sub-tokens of a step.
        word_decoder: whether there is such a decoder; without it all sub-tokens come at once.
        cross_attention: temporal decoders also look at all steps of what they are conditioned on,
            not only at the step in question.
        through_codes: the Pianist sees the score through the Composer's codes, as published; else as
            the encoder sees it.
        extras: the score encoder of the Pianist is also told what follows from the score (place in
            the chord, beat of the bar, wait) and printed marks; the published one is not.
        note_latent: size of the Pianist's latent per step.
        piece_latent: size of its latent for the whole.
        code_groups: codes per step.
        codes: in each group's book.
        code_width: of each group.
        prior_layers: of the network that continues codes.
        steps: longest window.
        plan: whether there are codes at all; without them the decoder writes alone.
        bar_codes: codes stand for bars, not for steps, and words are written after each other, with the
            codes as a plan; the beat of the bar, the bars left, mode and idiom are told too.
        lags: how many bars back it is told what followed at the same place; if there are any, also which
            pitch classes this bar and the one before have had.
        family_first: without a decoder along sub-tokens, the others at least follow from the family.
        composing: sizes of the Composer and its prior, if not these.
    """

    name: str = "xmvae"
    width: int = 512
    heads: int = 8
    inner: int = 2048
    dropout: float = 0.1
    encoder_layers: int = 4
    beat_attention: bool = True
    style_layers: int = 4
    temporal_layers: int = 6
    word_layers: int = 2
    word_decoder: bool = True
    cross_attention: bool = True
    through_codes: bool = True
    extras: bool = False
    note_latent: int = 16
    piece_latent: int = 0
    code_groups: int = 8
    codes: int = 512
    code_width: int = 8
    prior_layers: int = 6
    steps: int = 256
    plan: bool = True
    bar_codes: bool = False
    lags: tuple[int, ...] = ()
    family_first: bool = False
    composing: XmvaeConfig | None = None

    @property
    def score_sizes(self) -> tuple[int, ...]:
        """Of the score's sub-tokens."""
        return SCORE_SIZES

    @property
    def played_sizes(self) -> tuple[int, ...]:
        """Of the performance's sub-tokens."""
        return PLAYED_SIZES

    @property
    def extra_sizes(self) -> tuple[int, ...]:
        """Of what the score encoder is told beside the sub-tokens."""
        return EXTRA_SIZES if self.extras else ()


XMVAE = XmvaeConfig()
LIGHT = XmvaeConfig(
    "light",
    width=128,
    heads=4,
    inner=256,
    dropout=0.0,
    encoder_layers=2,
    style_layers=1,
    temporal_layers=2,
    word_layers=1,
    cross_attention=False,
    through_codes=False,
    extras=True,
    note_latent=0,
    piece_latent=24,
    code_groups=4,
    codes=128,
    prior_layers=3,
)
BAR_WRITER = replace(
    LIGHT,
    name="bar-writer",
    encoder_layers=1,
    temporal_layers=4,
    code_groups=2,
    codes=64,
    prior_layers=2,
    steps=512,
    bar_codes=True,
    lags=(1, 2, 4, 8),
)
"""Writes words one after the other along a plan of codes per bar, and hears what earlier bars had."""
COMPOUND_WORD_WRITER = replace(
    BAR_WRITER,
    name="compound-word-writer",
    temporal_layers=11,
    word_decoder=False,
    family_first=True,
    plan=False,
    lags=(),
)
"""A Compound Word transformer (arXiv 2101.02402) of as many parameters, to be measured against."""


def _without(name: str, **parts: Any) -> XmvaeConfig:
    return replace(LIGHT, name=name, **parts, composing=replace(BAR_WRITER, name=f"{name}-writer", **parts))


CONFIGS = {
    config.name: config
    for config in (
        XMVAE,
        LIGHT,
        replace(LIGHT, name="bars", composing=BAR_WRITER),
        _without("bars-no-beats", beat_attention=False),
        _without("bars-no-words", word_decoder=False),
        replace(LIGHT, name="compound-word", composing=COMPOUND_WORD_WRITER),
    )
}
ABLATIONS = ("bars", "bars-no-beats", "bars-no-words", "compound-word")
"""What is compared: what is shipped, without attention within beats, without the decoder along
sub-tokens, and a Compound Word transformer."""
