"""The loop closed: what was generated is rendered, heard, and compared with itself, note by note."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bridge.errors import EngineError
from bridge.midi import read_midi
from bridge.presets import Preset, load
from bridge.studio.bounce import BounceOptions, bounce
from bridge.studio.generate import GenerateOptions, generate
from bridge.studio.loudness import render_loud
from inference.events import Note
from inference.performance.compose import Writer
from inference.performance.perform import Performer

RATE = 44_100


@dataclass(frozen=True)
class Loop:
    """How well one piece came back: onset F1 within 50 ms, and of the notes that did, the rest.

    `velocity_r` is the correlation of velocities, `tempo_ms` the median error of the time from one
    onset to the next, `render_factor` how many times faster than real time it was rendered.
    """

    seed: int
    notes: int
    seconds: float
    onset_f1: float
    velocity_r: float
    tempo_ms: float
    render_factor: float
    written_s: float


def close(
    writer: Writer,
    performer: Performer,
    seeds: Sequence[int] = range(5),
    bars: int = 16,
    preset: Preset | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Loop]:
    """Generate, render through the built-in piano, bounce and compare, once for each seed."""
    preset = preset or load(["offline"])
    rows = []
    for seed in seeds:
        progress(f"seed {seed}")
        with TemporaryDirectory() as folder:
            place = Path(folder)
            options = GenerateOptions(bars, seed)
            written = generate(place / "played.mid", writer, performer, options)
            rendered = render_loud(place / "played.mid", place / "take.wav")
            (heard,) = bounce([place / "take.wav"], place, BounceOptions(preset)).results
            if heard.status == "failed":
                raise EngineError(
                    "a piece could not be heard", why=heard.error, remedy="Run: dawbridge doctor"
                )
            truth, estimate = (
                read_midi(path, RATE).notes for path in (place / "played.mid", heard.outputs[0])
            )
        f1, pairs = compare(truth, estimate)
        rows.append(
            Loop(
                seed,
                len(truth),
                written.seconds,
                f1,
                _correlation([(a.velocity, b.velocity) for a, b in pairs]),
                _tempo_error(pairs),
                rendered.real_time_factor,
                written.elapsed_s,
            )
        )
    return rows


def compare(truth: Sequence[Note], estimate: Sequence[Note]) -> tuple[float, list[tuple[Note, Note]]]:
    """Onset F1 within 50 ms, and the pairs of notes that agree."""
    from mir_eval.transcription import match_notes

    tables = [_table(notes) for notes in (truth, estimate)]
    found = match_notes(*tables[0], *tables[1], onset_tolerance=0.05, offset_ratio=None)
    f1 = 2 * len(found) / (len(truth) + len(estimate))
    return f1, [(truth[a], estimate[b]) for a, b in found]


def table(rows: Sequence[Loop]) -> str:
    """As Markdown, the mean last."""
    names = ("notes", "seconds", "onset_f1", "velocity_r", "tempo_ms", "render_factor", "written_s")
    lines = [f"| seed | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
    for row in rows:
        cells = " | ".join(f"{getattr(row, name):.4g}" for name in names)
        lines.append(f"| {row.seed} | {cells} |")
    means = " | ".join(f"{np.mean([getattr(row, name) for row in rows]):.4g}" for name in names)
    return "\n".join([*lines, f"| **mean** | {means} |"])


def _table(notes: Sequence[Note]) -> tuple[np.ndarray, np.ndarray]:
    times = np.array([(n.onset / RATE, n.offset / RATE) for n in notes])
    return times, 440 * np.exp2((np.array([n.pitch for n in notes]) - 69) / 12)


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    a, b = np.array(pairs, np.float64).reshape(-1, 2).T
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _tempo_error(pairs: Sequence[tuple[Note, Note]]) -> float:
    """Median error in ms of the time between onsets that follow each other by at least 50 ms."""
    onsets = np.array(sorted((a.onset / RATE, b.onset / RATE) for a, b in pairs)).reshape(-1, 2)
    gaps = np.diff(onsets, axis=0)
    gaps = gaps[gaps[:, 0] >= 0.05]
    return float(1000 * np.median(np.abs(gaps[:, 0] - gaps[:, 1]))) if len(gaps) else 0.0
