"""Measures a trained rhythm system on recordings with known beats."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import mir_eval.beat
import numpy as np
from numpy.typing import NDArray

from inference.events import Beat
from inference.rhythm import load
from inference.rhythm.decode import pick_peaks
from inference.rhythm.listener import Frames, RhythmListener
from inference.rhythm.material import SETS, hear, pieces
from inference.training.beats import BeatTable

TOLERANCE_S = 0.07


@dataclass(frozen=True)
class BeatScores:
    """Scores of one recording: F1 within 70 ms, all beats counted; `peaks` without a decoder.

    `dynamics` is the share of reference beats whose loudness, ranked within the recording, is put in
    the same one of five classes as the velocities that were played (see `with_played_dynamics`), NaN
    if there are no notes; `quantiles` is what the ranked loudness itself gets.
    """

    name: str
    reference: int
    estimated: int
    beat: float
    downbeat: float
    beat_peaks: float
    downbeat_peaks: float
    meter: float
    confidence: float
    dynamics: float


COLUMNS = ("beat", "downbeat", "beat_peaks", "downbeat_peaks", "meter", "confidence", "dynamics")


def run(
    data: Path,
    out: Path | None = None,
    weights: str | None = None,
    *,
    sets: Iterable[str] = tuple(SETS),
    soundfont: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, list[BeatScores]]:
    """Score every recording of the chosen sets that has known beats, as a bounce hears it.

    Args:
        data: folder with the sets' folders.
        out: gets `scores.json`, `scores.csv`, `tables.md`; nothing is written if None.
        weights: name or path; default the shipped ones.
        sets: names out of `SETS`; those whose folder is missing are skipped.
        soundfont: plays performances that are scored instead, see `pieces`.
        progress: called with each recording's name.

    Raises:
        FileNotFoundError: none of the sets is there, or no such SoundFont.
    """
    listener = load(weights)
    found: dict[str, list[BeatScores]] = {}
    for piece in pieces(data, sets, soundfont):
        progress(piece.name)
        frames = hear(listener, piece.load())
        found.setdefault(piece.group, []).append(score(piece.name, piece.beats, listener, frames))
    if out is not None:
        _write(found, out)
    return found


def score(name: str, reference: BeatTable, listener: RhythmListener, frames: Frames) -> BeatScores:
    """Decode and compare."""
    config = listener.config
    beats = listener.beats(frames)
    peaks = pick_peaks(frames.beat), pick_peaks(frames.downbeat)
    times = [(p * config.hop - config.early) / config.rate for p in peaks]
    at = np.clip(np.rint((reference.time * config.rate + config.early) / config.hop), 0, len(frames.beat) - 1)
    classes = frames.dynamics[at.astype(np.int64), 1:].argmax(1) + 1
    known = reference.dynamics > 0
    return BeatScores(
        name,
        len(reference),
        len(beats),
        f1(reference.time, seconds(beats, config.rate)),
        f1(reference.time[reference.downbeat], seconds([b for b in beats if not b.position], config.rate)),
        f1(reference.time, times[0]),
        f1(reference.time[reference.downbeat], times[1]),
        _meter(reference, beats),
        float(np.mean([b.confidence for b in beats])) if beats else 0.0,
        float((classes == reference.dynamics)[known].mean()) if known.any() else float("nan"),
    )


def f1(reference: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """F1 of beat times in seconds, within 70 ms."""
    if not len(reference) or not len(estimate):
        return 0.0
    return float(mir_eval.beat.f_measure(reference, estimate, TOLERANCE_S))


def seconds(beats: Iterable[Beat], rate: int) -> NDArray[np.float64]:
    """Times of beats."""
    return np.array([beat.time / rate for beat in beats], np.float64)


def mean(scores: Iterable[BeatScores], column: str) -> float:
    """Mean of a column over recordings, NaN if none has it."""
    values = np.array([getattr(s, column) for s in scores])
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def table(scores: list[BeatScores]) -> str:
    """Scores of one set as a Markdown table, the mean last."""
    lines = [f"| recording | beats | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    for s in scores:
        cells = " | ".join(f"{getattr(s, column):.3f}" for column in COLUMNS)
        lines.append(f"| {s.name} | {s.reference} | {cells} |")
    cells = " | ".join(f"{mean(scores, column):.3f}" for column in COLUMNS)
    return "\n".join([*lines, f"| **mean** | {sum(s.reference for s in scores)} | {cells} |"])


def _meter(reference: BeatTable, beats: tuple[Beat, ...]) -> float:
    """Share of found beats in bars that are as long as most of the reference's."""
    bars = np.diff(np.flatnonzero(reference.downbeat))
    if not len(bars) or not beats:
        return 0.0
    usual = int(np.bincount(bars).argmax())
    return float(np.mean([beat.of == usual for beat in beats]))


def _write(found: dict[str, list[BeatScores]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = {name: [asdict(s) for s in scores] for name, scores in found.items()}
    (out / "scores.json").write_text(json.dumps(rows, indent=1))
    with (out / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "recording", *COLUMNS])
        for name, scores in found.items():
            writer.writerows([name, s.name, *(getattr(s, c) for c in COLUMNS)] for s in scores)
    (out / "tables.md").write_text("\n".join(f"## {n}\n\n{table(s)}\n" for n, s in found.items()))
