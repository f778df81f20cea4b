"""What each part of the network is worth: variants that learn from the same few batches, in one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference.piano.config import ABLATIONS, LIGHT, PAR_COMPACT, PianoConfig
from inference.piano.decode import Frame
from inference.piano.export import choose, frames_of, notes_of
from inference.piano.losses import disturbed
from inference.piano.network import Context, PianoNetwork
from inference.piano.train import PianoRun, run
from inference.piano.transcriber import decode_settings
from inference.training import scores
from inference.training.corpus import RATE, read_audio
from inference.training.evaluate import SETS, recordings
from inference.training.loop import LoopConfig
from inference.training.scores import Scores, Table

STEPS = 400
EXCERPT_S, REST_S = 60, 6
"""How much of a recording is scored, and how much more is heard, so that its last notes end."""
RECORDINGS = 8
"""How many of each set, at most."""
LONG_S = 2.0
PUBLISHED_RATE = 1e-3
"""Learning rate of arXiv 2404.06818."""
_COLUMNS = ("onset", "onset_offset", "onset_velocity", "velocity_r")


@dataclass(frozen=True)
class Row:
    """A variant, what it was given, and means over the recordings of disklavier-dev.

    Args:
        name: of the configuration.
        parameters: how many.
        steps: of training.
        minutes: that they took.
        onset: F1, as the next two.
        onset_offset: where notes must end right too.
        onset_velocity: where they must be as loud too.
        velocity_r: correlation.
        long_found: part of the notes of two seconds and more that were found.
        long_ended: part of these whose end was told within a fifth of their length.
    """

    name: str
    parameters: int
    steps: int
    minutes: float
    onset: float
    onset_offset: float
    onset_velocity: float
    velocity_r: float
    long_found: float
    long_ended: float


class CorruptedNetwork(PianoNetwork):
    """One whose recursive context is disturbed as in training, while it transcribes."""

    def follow(self, context: Context, output: Tensor) -> Context:
        after = super().follow(context, output)
        frame = Context(*(value[:, None] for value in after))
        return Context(*(value[:, 0] for value in disturbed(frame, frame.state.long())))


def ablate(
    data: Path, work: Path, steps: int = STEPS, progress: Callable[[str], None] = lambda line: None
) -> list[Row]:
    """Train and score every variant; what `work` holds already is not done again.

    All of them see the same batches in the same order. PARcompact, as published, is much slower: it gets
    the minutes that the light network needed instead. Thresholds are chosen on the beginnings of some
    recordings of software-validation, for each variant.

    Args:
        data: folder of the data sets.
        work: gets the prepared data and a folder for each variant.
        steps: of training.
        progress: called with what is being done.

    Raises:
        FileNotFoundError: a data set is missing.
    """
    equal = LoopConfig(steps=steps, ranks=1)
    rows = [row for config in ABLATIONS for row in _rows(data, work, config, equal, progress)]
    minutes = LoopConfig(minutes=rows[0].minutes, ranks=1)
    return [*rows, *_rows(data, work, PAR_COMPACT, minutes, progress)]


def compare(
    data: Path, work: Path, minutes: float, progress: Callable[[str], None] = lambda line: None
) -> list[Row]:
    """The light network and PARcompact after the same minutes of a thread each, from chance; as `ablate`."""
    loop = LoopConfig(minutes=minutes, ranks=1)
    published = replace(loop, learning_rate=PUBLISHED_RATE)
    return [
        *_rows(data, work, LIGHT, loop, progress),
        *_rows(data, work, PAR_COMPACT, published, progress),
    ]


def _rows(
    data: Path,
    work: Path,
    config: PianoConfig,
    loop: LoopConfig,
    progress: Callable[[str], None],
) -> Iterator[Row]:
    """A variant, trained and scored; a light one with context also with that corrupted."""
    progress(f"training {config.name}")
    folder = work / config.name
    run(PianoRun(data, folder, config.name, loop=loop, corpus=work))
    yield _measured(data, folder, PianoNetwork(config), config.name, progress)
    if config.context and config.joint:
        yield _measured(data, folder, CorruptedNetwork(config), f"{config.name}, corrupted", progress)


def _measured(
    data: Path, folder: Path, network: PianoNetwork, name: str, progress: Callable[[str], None]
) -> Row:
    kept = folder / f"{name}.json"
    if kept.is_file():
        return Row(**json.loads(kept.read_text()))
    progress(f"measuring {name}")
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(state["average"])
    count = sum(parameter.numel() for parameter in network.parameters())
    torch.manual_seed(0)
    heard = list(_heard(network, data, "software-validation"))
    settings = decode_settings(network)
    settings = choose(settings, heard).applied(settings)
    found: list[Scores] = []
    pairs: list[tuple[Table, Table]] = []
    for reference, frames in _heard(network, data, "disklavier-dev"):
        estimate = notes_of(frames, settings)
        estimate = estimate[estimate[:, 0] < EXCERPT_S]
        found.append(scores.score("", reference, estimate))
        pairs.append((reference, estimate))
    done = state["progress"]
    means = {column: scores.mean(found, column) for column in _COLUMNS}
    minutes = done["used_s"] / 60
    row = Row(name, count, done["steps"], minutes, **means, **long_notes(pairs))
    kept.write_text(json.dumps(asdict(row)))
    return row


def _heard(network: PianoNetwork, data: Path, name: str) -> Iterator[tuple[Table, list[Frame]]]:
    """The notes of the beginnings of a set's recordings, and what the decoder sees of them."""
    found = list(recordings(data / SETS[name]))
    if not found:
        raise FileNotFoundError(f"there are no recordings in {data / SETS[name]}")
    for path, reference in found[:RECORDINGS]:
        audio = read_audio(path)[: (EXCERPT_S + REST_S) * RATE]
        yield reference[reference[:, 0] < EXCERPT_S], frames_of(network, torch.from_numpy(audio))


def long_notes(pairs: list[tuple[Table, Table]]) -> dict[str, float]:
    """Which part of the long notes was found, and which part of these has the right end.

    `pairs` are notes that are known, and notes that were told, of each recording.
    """
    total = found = ended = 0
    for reference, estimate in pairs:
        total += int((reference[:, 1] - reference[:, 0] >= LONG_S).sum())
        known, told = scores.matched(reference, estimate)
        length = known[:, 1] - known[:, 0]
        right = np.abs(told[:, 1] - known[:, 1]) <= 0.2 * length
        found += int((length >= LONG_S).sum())
        ended += int((right & (length >= LONG_S)).sum())
    return {"long_found": found / max(total, 1), "long_ended": ended / max(found, 1)}


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    head = ("network", "parameters", "steps", "minutes", *_COLUMNS, "long found", "long ended")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        values = [getattr(row, column) for column in (*_COLUMNS, "long_found", "long_ended")]
        cells = [row.name, f"{row.parameters:,}", str(row.steps), f"{row.minutes:.1f}"]
        lines.append("| " + " | ".join(cells + [f"{value:.3f}" for value in values]) + " |")
    return "\n".join(lines)
