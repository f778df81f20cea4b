"""Measures how well printed dynamics are heard, on the true beats, in performances that nobody trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.rhythm import load
from inference.rhythm.bars import frame_of
from inference.rhythm.dynamics import CLASSES, Floats, changes, cues, decode_dynamics
from inference.rhythm.listener import RhythmListener
from inference.rhythm.material import hear
from inference.rhythm.train_dynamics import LONGEST_S, Marked, marked_performances
from inference.training.beats import ranked_classes
from inference.training.played import play

SOFTER = 0.1
"""-20 dB."""
_RANK_COLUMN = 4
"""Of the cues: loudness over nine beats, ranked within the piece."""


@dataclass(frozen=True)
class DynamicsScores:
    """Scores of a set of performances, or of one, over all beats whose dynamics are printed.

    `weighted` and `macro` are F1 over pp..ff, weighted by how often each is printed, or not; `change` is
    F1 of the beats where the class changes, `change_near` the same within one beat. `level` is the share
    of beats that get the same class at -20 dB. What begins with `quantiles` is what the ranked loudness
    gets, without any network. `limit` is what loudness could get at all, if each piece's bounds between
    the classes were known: the most of its beats that bounds can put right.
    """

    name: str
    beats: int
    weighted: float
    macro: float
    change: float
    change_near: float
    level: float
    quantiles_weighted: float
    quantiles_macro: float
    quantiles_change: float
    quantiles_change_near: float
    limit_weighted: float
    limit_macro: float


COLUMNS = tuple(name for name in DynamicsScores.__annotations__ if name not in ("name", "beats"))


@dataclass(frozen=True)
class _Compared:
    """Classes `(beats,)` as printed, as heard, as heard at -20 dB, by quantiles, and by the best bounds."""

    printed: NDArray[np.int64]
    heard: NDArray[np.int64]
    softer: NDArray[np.int64]
    quantiles: NDArray[np.int64]
    limit: NDArray[np.int64]


def run(
    data: Path,
    soundfont: Path,
    weights: str | None = None,
    *,
    progress: Callable[[str], None] = lambda name: None,
) -> list[DynamicsScores]:
    """Score one performance of each ASAP validation piece that has dynamics, and all together.

    Args:
        data: folder of the data.
        soundfont: its first program plays.
        weights: name or path; default the shipped ones.
        progress: called with each performance's name.

    Raises:
        FileNotFoundError: no performances with dynamics, or no such SoundFont.
        ValueError: the weights hear no dynamics.
    """
    if not soundfont.is_file():
        raise FileNotFoundError(f"there is no SoundFont {soundfont}")
    listener, folder = load(weights), data / "asap" / "validation"
    if listener.dynamics is None:
        raise ValueError("these weights hear no dynamics")
    compared: dict[str, _Compared] = {}
    for marked in marked_performances(folder):
        name = marked.midi.parent.relative_to(folder).as_posix()
        progress(name)
        compared[name] = _compare(listener, marked, play(marked.midi, soundfont, LONGEST_S))
    if not compared:
        raise FileNotFoundError(f"there are no performances with dynamics in {folder}")
    scores = [_scores(name, [one]) for name, one in compared.items()]
    return [*scores, _scores("all beats", list(compared.values()))]


def table(found: Sequence[DynamicsScores]) -> str:
    """Scores as a Markdown table."""
    lines = [f"| performance | beats | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    for row in found:
        cells = " | ".join(f"{getattr(row, column):.3f}" for column in COLUMNS)
        lines.append(f"| {row.name} | {row.beats} | {cells} |")
    return "\n".join(lines)


def class_f1(printed: NDArray[np.int64], heard: NDArray[np.int64]) -> tuple[float, float]:
    """F1 of each class that is printed: weighted by how often it is, and the plain mean."""
    scores, counts = [], []
    for value in range(1, CLASSES + 1):
        hits = ((printed == value) & (heard == value)).sum()
        total = (printed == value).sum() + (heard == value).sum()
        if (printed == value).any():
            scores.append(2 * hits / total)
            counts.append((printed == value).sum())
    if not scores:
        return float("nan"), float("nan")
    return float(np.average(scores, weights=counts)), float(np.mean(scores))


def change_hits(printed: NDArray[np.int64], heard: NDArray[np.int64], within: int) -> tuple[int, int, int]:
    """Changes that were heard `within` so many beats of a printed one, all that were heard, all printed.

    Where nothing is printed, nothing counts.
    """
    known = (printed[1:] > 0) & (printed[:-1] > 0)
    true = [at for at in changes(printed) if known[at - 1]]
    found = [at for at in changes(heard) if known[at - 1]]
    free, hits = list(true), 0
    for at in found:
        near = [other for other in free if abs(other - at) <= within]
        if near:
            free.remove(min(near, key=lambda other: abs(other - at)))
            hits += 1
    return hits, len(found), len(true)


def _compare(listener: RhythmListener, marked: Marked, audio: Floats) -> _Compared:
    classes = []
    frames = frame_of(marked.beats.time, listener.config)
    for gain in (1.0, SOFTER):
        found = hear(listener, audio * np.float32(gain))
        inside = frames < len(found.seen)
        heard = listener.heard(found, marked.beats.time[inside])
        classes.append(decode_dynamics(heard, listener.loudness))
        if gain == 1.0:
            rank = cues(found.seen, frames[inside])[:, _RANK_COLUMN].astype(np.float64)
    printed = marked.beats.dynamics[inside]
    limit = best_bounds(printed, rank)
    return _Compared(printed, classes[0], classes[1], ranked_classes(rank), limit)


def best_bounds(printed: NDArray[np.int64], loud: NDArray[np.float64]) -> NDArray[np.int64]:
    """Classes by the four bounds of loudness that put most beats into the class that is printed."""
    order = np.argsort(loud, kind="stable")
    hits = np.stack([printed[order] == value for value in range(1, CLASSES + 1)], 1).cumsum(0)
    hits = np.concatenate([np.zeros((1, CLASSES), np.int64), hits])  # (softer beats, class)
    best, origins = hits[:, 0], []
    for value in range(1, CLASSES):
        gain = best - hits[:, value]
        highest = np.maximum.accumulate(gain)
        origins.append(np.maximum.accumulate(np.where(gain == highest, np.arange(len(gain)), 0)))
        best = highest + hits[:, value]
    found, end = np.ones(len(printed), np.int64), len(printed)
    for value in range(CLASSES, 1, -1):
        begin = int(origins[value - 2][end])
        found[order[begin:end]] = value
        end = begin
    return found


def _scores(name: str, compared: Sequence[_Compared]) -> DynamicsScores:
    printed = np.concatenate([one.printed for one in compared])
    known = printed > 0
    row: dict[str, float] = {}
    for prefix, column in (("", "heard"), ("quantiles_", "quantiles")):
        found = np.concatenate([getattr(one, column) for one in compared])
        row[prefix + "weighted"], row[prefix + "macro"] = class_f1(printed[known], found[known])
        for suffix, within in (("", 0), ("_near", 1)):
            hits = [change_hits(one.printed, getattr(one, column), within) for one in compared]
            right, heard, true = np.sum(hits, 0)
            row[f"{prefix}change{suffix}"] = float(2 * right / max(heard + true, 1))
    limit = np.concatenate([one.limit for one in compared])
    row["limit_weighted"], row["limit_macro"] = class_f1(printed[known], limit[known])
    level = float(np.mean(np.concatenate([one.heard == one.softer for one in compared])))
    return DynamicsScores(name, int(known.sum()), level=level, **row)
