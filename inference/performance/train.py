"""The run that trains the performance networks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from inference import weights
from inference.performance import pairs, steps
from inference.performance.config import CONFIGS
from inference.performance.example import Example
from inference.performance.losses import LOSSES, LossConfig
from inference.performance.network import Xmvae
from inference.performance.windows import Windows
from inference.training.loop import LoopConfig, Progress, train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PerformanceRun:
    """A training run: which branch, on what, for how long. `folder` holds everything it writes."""

    data: Path
    folder: Path
    branch: str = "pianist"
    config: str = "light"
    seed: int = 1
    batch: int = 8
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(learning_rate=1.5e-3, ranks=1, warm_up_steps=200, clip=1.0)
    )
    loss: LossConfig = field(default_factory=LossConfig)
    start: str | None = None
    """Shipped name or path of the weights to begin from, instead of from chance."""


def run(settings: PerformanceRun) -> Progress:
    """Prepare the data, then train in this process, on one thread."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    examples = prepare(settings)
    torch.manual_seed(settings.seed)
    network = Xmvae(CONFIGS[settings.config])
    if settings.start:
        network.load_state_dict(weights.read(settings.start).tensors, strict=False)
    windows = Windows(examples, settings.batch, network.config.steps, settings.seed * 1000)
    log.info("%d performances, %d steps", len(examples), sum(map(len, examples)))
    progress = train(
        network,
        iter(windows),
        lambda net, batch: LOSSES[settings.branch](net, batch, settings.loss),  # type: ignore[arg-type]
        settings.loop,
        settings.folder,
        windows.seconds(),
    )
    log.info("done: %.1f h of music in %d steps", progress.seen_s / 3600, progress.steps)
    return progress


def prepare(settings: PerformanceRun) -> list[Example]:
    """The steps of all performances of the training pieces, read once into the run's folder."""
    path = settings.folder / "steps.npz"
    if not path.exists():
        found = list(steps.examples(pairs.pieces(settings.data / "asap" / "train")))
        steps.save(found, path)
    return steps.load(path)
