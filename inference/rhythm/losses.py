"""Losses of arXiv 2510.18190: events that may be a few frames off, dynamics at beats only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.rhythm.config import Task
from inference.rhythm.labels import UNKNOWN
from inference.rhythm.network import Logits, RhythmNetwork


class Batch(NamedTuple):
    """Features `(batch, frames, bands)` and targets `(batch, frames)`, see `FrameTargets`."""

    features: Tensor
    beat: Tensor
    downbeat: Tensor
    change: Tensor
    dynamics: Tensor


@dataclass(frozen=True)
class LossConfig:
    """Frames by which an event may be off, and what a frame with one weighs: (all - 7 events) / events."""

    tolerance: int = 3
    beat: float = 17.0
    downbeat: float = 60.0
    change: float = 400.0


def rhythm_loss(network: RhythmNetwork, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    """Each task's loss by name, and their sum as `total`."""
    logits: Logits = network(batch.features)
    losses: dict[str, Tensor] = {}
    for task in network.config.tasks:
        if task is Task.DYNAMICS:
            losses[task] = dynamics_loss(logits[task], batch.dynamics)
        else:
            weight = getattr(config, task)
            losses[task] = tolerant_bce(logits[task], getattr(batch, task), weight, config.tolerance)
    return {"total": torch.stack(list(losses.values())).sum(), **losses}


def tolerant_bce(logits: Tensor, target: Tensor, weight: float, tolerance: int = 3) -> Tensor:
    """Binary cross-entropy of the best frame within `tolerance` of each event.

    Frames within twice the tolerance of an event, but not its own, count for nothing; neither do as
    many at both ends, nor rows whose target is unknown.

    Args:
        logits: `(batch, frames)`.
        target: `(batch, frames)`, 1 at events; NaN all along a row if unknown.
        weight: of a frame with an event.
        tolerance: frames.
    """
    edge = 2 * tolerance
    known = ~torch.isnan(target)
    events = torch.nan_to_num(target)
    best = _widest(logits, tolerance)
    near = _widest(events, edge)
    counted = (known & ((events > 0) | (near == 0)))[:, edge:-edge].float()
    each = F.binary_cross_entropy_with_logits(
        best, events, pos_weight=logits.new_tensor(weight), reduction="none"
    )[:, edge:-edge]
    return (each * counted).sum() / counted.sum().clamp(min=1)


def dynamics_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy `(batch, frames, classes)` where the target `(batch, frames)` is known, else 0."""
    known = target != UNKNOWN
    if not bool(known.any()):
        return logits.sum() * 0
    return F.cross_entropy(logits[known], target[known])


def _widest(x: Tensor, by: int) -> Tensor:
    return F.max_pool1d(x[:, None], 2 * by + 1, stride=1, padding=by)[:, 0]
