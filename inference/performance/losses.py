"""What both branches are trained on (arXiv 2507.01582; targets are smoothed, and expectations count too)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from inference.performance import words
from inference.performance.network import Coder, Xmvae
from inference.performance.pages import Batch, Pages, pages_of
from inference.performance.playing import FIELDS, LIFTS, PRESSES

SIGMAS = (1.5, 1.0, 1.0, 1.5)
"""Bins by which targets are smoothed."""
SCALES = ((1 / 40, -2.0), (0.2, -4.0), (0.25, -3.90625), (1 / 16, -4.0))
"""Slope and offset from a bin to `Playing.values`."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts, and how much is hidden from the networks.

    Args:
        point: of the distance between expectation and truth, squared where it is small.
        divergence: of the latent from a standard Gaussian, per window.
        tempo: of the error of the piece's tempo, in octaves.
        blind: share of windows that are told without any of the steps before.
        hidden: share of steps that are hidden in the others.
        noisy: share of sub-tokens before that are off by up to three bins.
        unmarked: share of windows without printed marks.
        plain: share of windows whose latent is zero.
        unplanned: share of windows that are written without a plan.
        forgotten: share of words that are hidden from those after them.
    """

    point: float = 2.0
    divergence: float = 1.0
    tempo: float = 0.1
    blind: float = 0.4
    hidden: float = 0.2
    noisy: float = 0.2
    unmarked: float = 0.4
    plain: float = 0.2
    unplanned: float = 0.1
    forgotten: float = 0.05


def pianist_loss(network: Xmvae, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    """Losses of telling performances from scores; cross entropies in nats per note or beat."""
    extras = batch.extras.clone()
    marks = _per_window(batch, config.unmarked)
    extras[..., words.MARKS] *= (~marks)[:, None, None]
    score = network.score_features(batch.tokens, extras, batch.beat)
    style = network.pianist.posterior(score, batch.values)
    with_style = (~_per_window(batch, config.plain))[:, None, None]
    latents = style.mean + torch.randn_like(style.mean) * (0.5 * style.spread).exp()
    memory = network.pianist.memory(score, latents * with_style)
    logits = network.pianist.decoder(memory, _noisy(batch, config), _known(batch, config))
    losses = _played_losses(logits, batch)
    divergence = 0.5 * (style.mean.square() + style.spread.exp() - 1 - style.spread) * with_style
    piece = network.config.piece_latent
    # A piece's latent is the same at all steps, and counts once.
    per_step = (
        divergence[..., piece:].sum(-1).mean() + divergence[:, 0, :piece].sum(-1).mean() / divergence.shape[1]
    )
    losses["divergence"] = per_step
    tempo = network.pianist.tempo(score.mean(1))[:, 0]
    losses["tempo"] = functional.smooth_l1_loss(tempo, batch.tempo)
    told = ("beat_period", "timing", "velocity", "articulation", "pedal")
    losses["total"] = (
        torch.stack([losses[name] for name in told]).sum()
        + config.point * losses["point"]
        + config.divergence * per_step
        + config.tempo * losses["tempo"]
    )
    return losses


def composer_loss(network: Xmvae, pages: Pages, config: LossConfig) -> dict[str, Tensor]:
    """Losses of writing scores, of the codes that are their plan, and of continuing these."""
    composer, by_bar = network.composer, network.writing.bar_codes
    losses: dict[str, Tensor] = {}
    memory: Tensor | float = 0.0
    if by_bar:
        memory = composer.context.about(pages.setting)[:, None] + composer.context(pages.around)
    if network.prior is not None:
        coded = composer.encode(pages.tokens, pages.beat, pages.bar)
        told = cast(Coder, composer.coder).widen(coded.vectors)
        planned = torch.rand(len(told), 1, 1, device=told.device) >= (config.unplanned if by_bar else 0.0)
        memory = memory + (at_bars(told * planned, pages.bar) if by_bar else told)
        losses["commitment"] = coded.commitment
        losses["prior"] = prior_loss(network, coded.codes, pages)
    known = _known(pages, replace(config, hidden=config.forgotten, blind=0.0) if by_bar else config)
    logits = composer.decoder(cast(Tensor, memory), pages.tokens, known)
    written = pages.tokens[..., 0] != words.END
    notes = pages.tokens[..., 0] == words.NOTE
    share = notes.sum() / written.sum()
    for index, name in enumerate(("family", "position", "pitch", "duration")):
        which = notes if index else written
        found = functional.cross_entropy(logits[index][which], pages.tokens[..., index][which])
        losses[name] = found * share if index else found
    losses["total"] = torch.stack(list(losses.values())).sum()
    losses["words"] = torch.stack([losses[n] for n in ("family", "position", "pitch", "duration")]).sum()
    if network.prior is not None:
        losses["perplexity"] = coded.perplexity
    return losses


def at_bars(planned: Tensor, bar: Tensor) -> Tensor:
    """(batch, steps, width) of plans (batch, bars, width): that of the bar which is open before each step."""
    open_ = torch.cat([bar[:, :1], bar[:, :-1]], 1)
    return planned.gather(1, open_[..., None].expand(-1, -1, planned.shape[-1]))


def prior_loss(network: Xmvae, codes: Tensor, pages: Pages) -> Tensor:
    """Nats per step or bar of continuing codes (batch, steps or bars, groups)."""
    assert network.prior is not None
    context = network.composer.context
    left, real = pages.around.left, pages.tokens[..., 0] != words.END
    if network.writing.bar_codes:
        left, real = pages.bars, pages.bars > 0
    memory = (context.about(pages.setting)[:, None] + context.at_bar(left)).expand(*codes.shape[:2], -1)
    logits = network.prior(memory, codes)
    parts = [
        functional.cross_entropy(part[real], codes[..., index][real]) for index, part in enumerate(logits)
    ]
    return torch.stack(parts).sum()


def joint_loss(network: Xmvae, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    """Both branches at once, as published."""
    played = pianist_loss(network, batch, config)
    written = composer_loss(network, pages_of(batch, network.writing.lags), config)
    total = played.pop("total") + written.pop("total")
    return {**played, **{f"score_{name}": value for name, value in written.items()}, "total": total}


def continuation_loss(network: Xmvae, pages: Pages, config: LossConfig) -> dict[str, Tensor]:
    """The loss of continuing codes alone; the Composer that makes them stays as it is."""
    network.composer.eval()
    with torch.no_grad():
        codes = network.composer.encode(pages.tokens, pages.beat, pages.bar).codes
    return {"total": prior_loss(network, codes, pages)}


LOSSES = {
    "pianist": pianist_loss,
    "composer": composer_loss,
    "prior": continuation_loss,
    "joint": joint_loss,
}


def expectations(logits: list[Tensor]) -> Tensor:
    """(..., 4) expected place on each grid of a note's sub-tokens, from 0."""
    parts = []
    for index, size in enumerate(FIELDS):
        share = logits[index][..., 1 : 1 + size].softmax(-1)
        parts.append(share @ torch.arange(size, dtype=share.dtype, device=share.device))
    return torch.stack(parts, -1)


def _played_losses(logits: list[Tensor], batch: Batch) -> dict[str, Tensor]:
    note = batch.tokens[..., 0] == words.NOTE
    first = note & _firsts(batch.tokens)
    losses, points = {}, []
    for index, name in enumerate(("beat_period", "timing", "velocity", "articulation")):
        which = first if index == 0 else note
        size = FIELDS[index]
        share = logits[index][which][:, 1 : 1 + size].log_softmax(-1)
        target = _smoothed(size, SIGMAS[index], share)[
            (batch.played[..., index][which] - 1).clamp(0, size - 1)
        ]
        losses[name] = -(target * share).sum(-1).mean()
        slope, offset = SCALES[index]
        ramp = slope * torch.arange(size, dtype=share.dtype, device=share.device) + offset
        true = batch.values[..., index][which].clamp(float(ramp[0]), float(ramp[-1]))
        points.append(functional.smooth_l1_loss(share.exp() @ ramp, true))
    beats = ~note & (batch.played[..., 0] > 0)
    lift = logits[0][beats][:, 1 + FIELDS[0] :]
    press = logits[1][beats][:, 1 + FIELDS[1] :]
    assert lift.shape[1] == LIFTS and press.shape[1] == PRESSES
    losses["pedal"] = functional.cross_entropy(
        lift, batch.played[..., 0][beats] - 1 - FIELDS[0]
    ) + functional.cross_entropy(press, batch.played[..., 1][beats] - 1 - FIELDS[1])
    losses["point"] = torch.stack(points).sum()
    return losses


def _firsts(tokens: Tensor) -> Tensor:
    """(batch, steps) where the step before is a beat or lies elsewhere in the beat."""
    before = torch.roll(tokens, 1, 1)
    first = (before[..., 0] != words.NOTE) | (before[..., 1] != tokens[..., 1])
    first[:, 0] = True
    return first


def _smoothed(size: int, sigma: float, like: Tensor) -> Tensor:
    index = torch.arange(size, dtype=like.dtype, device=like.device)
    return (-0.5 * ((index[:, None] - index) / sigma).square()).softmax(-1)


def _per_window(batch: Batch | Pages, share: float) -> Tensor:
    return torch.rand(len(batch.tokens), device=batch.tokens.device) < share


def _known(batch: Batch | Pages, config: LossConfig) -> Tensor:
    seen = torch.rand(batch.beat.shape, device=batch.beat.device) >= config.hidden
    return seen & ~_per_window(batch, config.blind)[:, None]


def _noisy(batch: Batch, config: LossConfig) -> Tensor:
    """The sub-tokens of the notes, some of them a little off."""
    played = batch.played
    off = torch.randint(-3, 4, played.shape, device=played.device)
    off *= torch.rand(played.shape, device=played.device) < config.noisy
    sizes = torch.tensor(FIELDS, device=played.device)
    moved = torch.minimum((played + off).clamp(min=1), sizes)
    return torch.where((batch.tokens[..., :1] == words.NOTE) & (played > 0), moved, played)
