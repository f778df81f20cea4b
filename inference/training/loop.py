"""One training loop: ranks that average gradients, a wall-clock budget, checkpoints to resume from."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """Optimisation and budget. The learning rate follows a cosine over the budget."""

    minutes: float = 60.0
    steps: int = 0
    """Budget in steps, if not 0, instead of the one in minutes."""
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-2
    warm_up_steps: int = 100
    clip: float = 5.0
    ranks: int = 2
    checkpoint_minutes: float = 5.0
    log_steps: int = 50
    average_last: float = 0.12
    """Weights are averaged exponentially over about this part of the steps so far."""

    def done(self, progress: Progress) -> float:
        """The part of the budget that is used, 0..1 and beyond."""
        return progress.steps / self.steps if self.steps else progress.used_s / (60 * self.minutes)


@dataclass(frozen=True)
class Progress:
    """Where a run stands: seconds of budget used, steps, and seconds of audio seen by all ranks."""

    used_s: float = 0.0
    steps: int = 0
    seen_s: float = 0.0


Loss = Callable[[nn.Module, Any], Mapping[str, Tensor]]
"""Network and batch to named losses; the one named `total` is minimised."""


def train(
    network: nn.Module,
    batches: Iterator[Any],
    loss: Loss,
    config: LoopConfig,
    folder: Path,
    seconds_per_step: float,
    rank: int = 0,
) -> Progress:
    """Train until the budget is used, from the folder's checkpoint if there is one.

    Args:
        network: weights are changed in place; at the end they are the averaged ones.
        batches: endless.
        loss: see `Loss`.
        config: budget and optimisation.
        folder: gets `checkpoint.pt` and `curve.csv`.
        seconds_per_step: audio that one rank sees per step.
        rank: of this process; rank 0 writes.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    progress = _resume(network, optimiser, average, folder)
    curve, started = _Curve(folder / "curve.csv", rank), time.monotonic()
    before = saved = progress.used_s
    network.train()
    while config.done(progress) < 1:
        losses = _gradients(network, optimiser, loss, next(batches), config, progress)
        used = _agree(parameters, config, before + time.monotonic() - started)
        nn.utils.clip_grad_norm_(parameters, config.clip)
        optimiser.step()
        progress = Progress(used, progress.steps + 1, progress.seen_s + config.ranks * seconds_per_step)
        _update_average(average, network, progress.steps, config.average_last)
        curve.add(losses, progress)
        if progress.steps % config.log_steps == 0:
            curve.write(progress)
        if progress.used_s - saved > 60 * config.checkpoint_minutes:
            # By the clock that the ranks agree on: saving is a collective step too.
            saved = progress.used_s
            _save(network, optimiser, average, progress, config, folder, rank)
    _save(network, optimiser, average, progress, config, folder, rank)
    network.load_state_dict(average)
    return progress


def _gradients(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    batch: Any,
    config: LoopConfig,
    progress: Progress,
) -> dict[str, float]:
    done = min(1.0, config.done(progress))
    rate = config.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done)))
    for group in optimiser.param_groups:
        group["lr"] = rate * min(1.0, (progress.steps + 1) / config.warm_up_steps)
    losses = loss(network, batch)
    optimiser.zero_grad()
    losses["total"].backward()  # type: ignore[no-untyped-call]
    return {name: float(value.detach()) for name, value in losses.items()}


def _agree(parameters: list[nn.Parameter], config: LoopConfig, used_s: float) -> float:
    """Average gradients and the clock over the ranks, in one message."""
    if config.ranks == 1:
        return used_s
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.reshape(-1) for g in grads] + [torch.tensor([used_s])])
    dist.all_reduce(flat)
    flat /= config.ranks
    parts = torch.split(flat[:-1], [p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return float(flat[-1])


def _update_average(average: dict[str, Tensor], network: nn.Module, steps: int, part: float) -> None:
    weight = 1 / max(1.0, part * steps)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, weight)
            else:
                average[name].copy_(value)


def _save(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
    progress: Progress,
    config: LoopConfig,
    folder: Path,
    rank: int,
) -> None:
    if config.ranks > 1:
        # Batch statistics differ between ranks; what is kept is their mean.
        for name, value in average.items():
            if "running" in name:
                dist.all_reduce(value)
                value /= config.ranks
    if rank:
        return
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average,
        "progress": asdict(progress),
        "config": asdict(config),
    }
    part = folder / "checkpoint.pt.part"
    torch.save(state, part)
    os.replace(part, folder / "checkpoint.pt")
    log.info("checkpoint after %.1f min, %d steps", progress.used_s / 60, progress.steps)


def _resume(
    network: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor], folder: Path
) -> Progress:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True, map_location=next(network.parameters()).device)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return Progress(**state["progress"])


class _Curve:
    """Means of the losses since the last line, appended to a CSV by rank 0."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path, self.rank = path, rank
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, losses: Mapping[str, float], progress: Progress) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def write(self, progress: Progress) -> None:
        means = {name: value / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        if self.rank:
            return
        row = {
            "minutes": round(progress.used_s / 60, 3),
            "step": progress.steps,
            "hours_seen": round(progress.seen_s / 3600, 4),
            **{name: round(value, 5) for name, value in means.items()},
        }
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        log.info("%s", "  ".join(f"{name} {value}" for name, value in row.items()))
