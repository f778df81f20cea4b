"""The run that trains the performance networks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from inference import weights
from inference.performance import corpus, pairs, steps
from inference.performance.config import CONFIGS
from inference.performance.corpus import Sheet
from inference.performance.example import Example
from inference.performance.losses import LOSSES, LossConfig
from inference.performance.network import Xmvae
from inference.performance.pages import POP_SHARE, PageWindows
from inference.performance.steps import SHEETS, STEPS, load_sheets, save_sheets
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
    corpus: Path | None = None
    """Folder that holds what the run learns from, prepared, if it is not its own."""

    @property
    def prepared(self) -> Path:
        """Where the data is, or will be, prepared."""
        return self.corpus or self.folder


def run(settings: PerformanceRun) -> Progress:
    """Prepare the data, then train in this process, on one thread.

    Raises:
        FileNotFoundError: there is nothing to learn from.
        ValueError: the weights to begin from are of another shape.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    network = Xmvae(CONFIGS[settings.config])
    if settings.start:
        _begin(network, settings.start, settings.config)
    windows = _windows(settings)
    # What has no part in a branch is left as it is.
    for name, part in network.named_children():
        part.requires_grad_(settings.branch == "joint" or name in PARTS[settings.branch])
    progress = train(
        network,
        iter(windows),
        lambda net, batch: LOSSES[settings.branch](net, batch, settings.loss),  # type: ignore[operator]
        settings.loop,
        settings.folder,
        windows.seconds(),
    )
    log.info("done: %.1f h of music in %d steps", progress.seen_s / 3600, progress.steps)
    return progress


def _begin(network: Xmvae, start: str, config: str) -> None:
    """Load what there is; what has been added to the network since stays as it is."""
    stored = weights.read(start)
    try:
        network.load_state_dict(stored.tensors, strict=False)
    except RuntimeError as error:
        theirs = stored.metadata.get("config", "another system")
        raise ValueError(f"{stored.path.name} is of {theirs!r}, which does not fit {config!r}") from error


PARTS = {"pianist": ("pianist", "composer"), "composer": ("composer", "prior"), "prior": ("prior",)}
"""What each branch trains; the published Pianist sees scores through the Composer's codes."""


def _windows(settings: PerformanceRun) -> Windows | PageWindows:
    config = CONFIGS[settings.config]
    if settings.branch in ("composer", "prior"):
        own = config.composing or config
        sheets = prepare_sheets(settings)
        log.info("%d scores, %d steps", len(sheets), sum(map(len, sheets)))
        pop = POP_SHARE if own.bar_codes else 0.0
        return PageWindows(sheets, settings.batch, own.steps, own.lags, settings.seed * 1000, pop)
    examples = prepare(settings)
    log.info("%d performances, %d steps", len(examples), sum(map(len, examples)))
    return Windows(examples, settings.batch, config.steps, settings.seed * 1000)


def prepare(settings: PerformanceRun) -> list[Example]:
    """The steps of all performances of the training pieces, read once."""
    path = settings.prepared / STEPS
    if not path.exists():
        found = list(steps.examples(pairs.pieces(settings.data / "asap" / "train")))
        steps.save(found, path)
    return steps.load(path)


def prepare_sheets(settings: PerformanceRun) -> list[Sheet]:
    """The words of all scores to learn writing from, read once."""
    path = settings.prepared / SHEETS
    if not path.exists():
        save_sheets(list(corpus.sheets(settings.data)), path)
    return load_sheets(path)
