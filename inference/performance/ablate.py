"""What the parts of the performance networks are worth: variants that learn equally long, in one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import torch

from inference.performance import evaluate, evaluate_generated, load
from inference.performance.config import ABLATIONS
from inference.performance.export import export
from inference.performance.pairs import pieces
from inference.performance.statistics import Description
from inference.performance.train import PerformanceRun, run
from inference.training.loop import LoopConfig

BRANCHES = {"pianist": (4, 1.5e-3), "composer": (2, 2e-3)}
"""Windows per step, and the learning rate at its highest."""
JOINT, PEOPLE = "bars, jointly", "people"
"""The former as published: both branches at once, on scores that were performed; the others learn apart."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """A variant and what came of it.

    Args:
        name: of the configuration.
        parameters: of all parts together.
        minutes: that training took.
        likeness: correlation with the nearest person, in the order of `evaluate.ASPECTS`.
        music: what it writes and performs, means over samples.
    """

    name: str
    parameters: int
    minutes: float
    likeness: tuple[float, ...]
    music: Description


def ablate(
    data: Path,
    work: Path,
    steps: int,
    samples: int,
    progress: Progress = lambda line: None,
) -> list[Row]:
    """Train and measure every variant; what `work` holds already is not done again.

    All of them see the same windows in the same order, and as many; the last row is of people.

    Args:
        data: folder of the data sets.
        work: gets the prepared data and a folder for each variant.
        steps: of training, for each branch.
        samples: pieces of 32 bars that each variant writes.
        progress: called with what is being done.

    Raises:
        FileNotFoundError: a data set is missing.
    """
    for name in (*ABLATIONS, JOINT):
        if not _kept(work, name).is_file():
            weights, minutes = _trained(data, work, name, steps, progress)
            for row in _measured(data, name, weights, minutes, samples, progress):
                _kept(work, row.name).write_text(json.dumps(asdict(row)))
    return [_read(_kept(work, name)) for name in (*ABLATIONS, JOINT, PEOPLE)]


def _trained(data: Path, work: Path, name: str, steps: int, progress: Progress) -> tuple[Path, float]:
    """The weights of a variant, and the minutes that its training took."""
    branches = ["joint"] if name == JOINT else list(BRANCHES)
    folders = [work / f"{name}-{branch}" for branch in branches]
    for branch, folder in zip(branches, folders, strict=True):
        progress(f"training {name}, {branch}")
        batch, rate = BRANCHES.get(branch, BRANCHES["pianist"])
        loop = LoopConfig(steps=steps, learning_rate=rate, ranks=1, warm_up_steps=200, clip=1.0)
        run(PerformanceRun(data, folder, branch, _config(name), batch=batch, loop=loop, corpus=work))
    weights = work / f"{name}.safetensors"
    export(folders[0], folders[-1], weights, _config(name), progress, work)
    checkpoints = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in folders]
    return weights, sum(checkpoint["progress"]["used_s"] for checkpoint in checkpoints) / 60


def _measured(
    data: Path, name: str, weights: Path, minutes: float, samples: int, progress: Progress
) -> tuple[Row, Row]:
    """The row of people, and that of a variant."""
    progress(f"measuring {name}")
    performer = load(str(weights))
    found = [
        row
        for piece in pieces(data / evaluate.FOLDER)
        if len(piece.played) >= evaluate.FEWEST_PEOPLE
        for row in evaluate.compare(piece, {name: performer.perform})
    ]
    (generated,) = evaluate_generated.run(data, weights=str(weights), progress=progress, samples=samples)
    likeness = {
        player: tuple(evaluate.mean(found, player, aspect) for aspect in evaluate.ASPECTS)
        for player in (name, PEOPLE)
    }
    count = sum(parameter.numel() for parameter in performer.network.parameters())
    return (
        Row(PEOPLE, 0, 0.0, likeness[PEOPLE], generated.people),
        Row(name, count, minutes, likeness[name], generated.samples),
    )


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    measures = [field.name.upper() for field in fields(Description)]
    head = ["network", "parameters", "minutes", *(f"{aspect} r" for aspect in evaluate.ASPECTS), *measures]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        trained = (f"{row.parameters:,}", f"{row.minutes:.1f}") if row.parameters else ("", "")
        values = [f"{value:.3f}" for value in (*row.likeness, *astuple(row.music))]
        lines.append("| " + " | ".join([row.name, *trained, *values]) + " |")
    return "\n".join(lines)


def _config(name: str) -> str:
    return "bars" if name == JOINT else name


def _kept(work: Path, name: str) -> Path:
    return work / f"{name}.json"


def _read(path: Path) -> Row:
    row = json.loads(path.read_text())
    return Row(**{**row, "likeness": tuple(row["likeness"]), "music": Description(**row["music"])})
