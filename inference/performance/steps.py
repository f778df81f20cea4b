"""What the networks learn from: the steps of many performances and scores, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.performance.corpus import Sheet
from inference.performance.example import Example, example
from inference.performance.pairs import Piece

STEPS, SHEETS = "steps.npz", "sheets.npz"
"""Names of the files in a run's folder: performances, and scores."""
COLUMNS = {"tokens": 4, "extras": 7, "played": 4, "values": 4, "beat": 1}


def examples(pieces: Iterable[Piece]) -> Iterator[Example]:
    """One example for each performance."""
    for piece in pieces:
        for one in piece.played:
            yield example(f"{piece.name}/{one.name}", piece.score.select(one.notes), one.performance)


def save(found: list[Example], path: Path) -> None:
    """Keep examples in one file."""
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(one, name) for one in found]) for name in COLUMNS
    }
    np.savez(
        path,
        allow_pickle=False,
        edges=np.cumsum([0, *(len(one) for one in found)]),
        names=np.array([one.name for one in found]),
        tempo=np.array([one.tempo for one in found]),
        **columns,
    )


def load(path: Path) -> list[Example]:
    """The examples of `save`."""
    with np.load(path) as file:
        columns = {name: file[name] for name in COLUMNS}
        edges, names, tempo = file["edges"], file["names"], file["tempo"]
    return [
        Example(
            str(names[index]),
            tempo=float(tempo[index]),
            **{name: column[edges[index] : edges[index + 1]] for name, column in columns.items()},
        )
        for index in range(len(names))
    ]


def save_sheets(found: list[Sheet], path: Path) -> None:
    """Keep scores in one file."""
    np.savez(
        path,
        allow_pickle=False,
        tokens=np.concatenate([one.tokens for one in found]).astype(np.int16),
        edges=np.cumsum([0, *(len(one) for one in found)]),
        names=np.array([one.name for one in found]),
        idioms=np.array([one.idiom for one in found]),
    )


def load_sheets(path: Path) -> list[Sheet]:
    """The scores of `save_sheets`."""
    with np.load(path) as file:
        tokens, edges, names, idioms = (file[name] for name in ("tokens", "edges", "names", "idioms"))
    return [
        Sheet(str(name), int(idiom), tokens[a:b])
        for name, idiom, a, b in zip(names, idioms, edges[:-1], edges[1:], strict=True)
    ]
