"""Measures a trained piano system on recordings with known notes, through the live path."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from inference import piano
from inference.events import Events, Note, NoteCollector, NoteOn
from inference.pipeline import Stream, advance, open_transcriber
from inference.streaming import Transcriber
from inference.training import scores as scoring
from inference.training.corpus import RATE, read_audio
from inference.training.disturb import DISTURBANCES, Disturb
from inference.training.notes import Floats
from inference.training.scores import Scores, Table

SETS = {
    "disklavier-dev": Path("maps/disklavier-dev"),
    "software-validation": Path("maps/software/validation"),
}
"""Folders of recordings, relative to the data folder; none of them is ever trained on."""


@dataclass(frozen=True)
class Report:
    """Scores per recording of each set, and the notes they were computed from."""

    scores: dict[str, list[Scores]]
    notes: dict[str, tuple[Table, Table]]

    def table(self, name: str) -> str:
        """Scores of one set as a Markdown table, the mean last."""
        rows = self.scores[name]
        head = ["recording", *scoring.COLUMNS]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row in rows:
            lines.append(_line(row.name, [getattr(row, column) for column in scoring.COLUMNS]))
        lines.append(_line("**mean**", [scoring.mean(rows, column) for column in scoring.COLUMNS]))
        return "\n".join(lines)

    def ranges(self, name: str) -> str:
        """Recall by register and by velocity of one set, as two Markdown tables."""
        parts = []
        for title, which, ranges in (
            ("MIDI pitch", "by_register", scoring.REGISTERS),
            ("velocity", "by_velocity", scoring.VELOCITIES),
        ):
            recall = scoring.recall_by(self.scores[name], which)
            labels = [f"{low}-{high - 1}" for low, high in ranges]
            parts += [f"| {title} | " + " | ".join(labels) + " |", "|" + "---|" * (len(labels) + 1)]
            parts += ["| recall | " + " | ".join(f"{value:.3f}" for value in recall) + " |", ""]
        return "\n".join(parts)


def _line(name: str, values: Iterable[float]) -> str:
    cells = [f"{v:.1f}" if abs(v) > 1.5 else f"{v:.3f}" for v in values]
    return "| " + " | ".join([name, *cells]) + " |"


def run(
    data: Path,
    out: Path | None = None,
    weights: str | None = None,
    *,
    chunk_ms: float | None = None,
    sets: Iterable[str] = tuple(SETS),
    plot: bool = False,
    disturb: Disturb | None = None,
    decision_ms: float | None = None,
    early_ms: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Transcribe and score every recording of the chosen sets.

    Args:
        data: folder with the sets' folders.
        out: gets `scores.json`, `scores.csv`, `tables.md`; nothing is written if None.
        weights: name or path; default the shipped ones.
        chunk_ms: what one step hears; default one hop, as live.
        sets: names out of `SETS`; those whose folder is missing are skipped.
        plot: also draw `errors-SET.png` into `out` (needs matplotlib).
        disturb: changes each recording before it is heard.
        decision_ms: longest time from a sound to the decision about it.
        early_ms: the same for what is told early.
        progress: called with each recording's name.

    Raises:
        FileNotFoundError: none of the sets is there.
    """
    asked = {"decision_ms": decision_ms, "early_ms": early_ms}
    options = {name: ms for name, ms in asked.items() if ms is not None}
    transcriber = open_transcriber("piano", weights, **options)
    scores: dict[str, list[Scores]] = {}
    notes: dict[str, tuple[Table, Table]] = {}
    for name in sets:
        for path, reference in recordings(data / SETS[name]):
            progress(path.stem)
            audio = read_audio(path)
            if disturb is not None:
                audio, reference = disturb(audio, reference)
            estimate, waits = transcribe(transcriber, audio, chunk_ms)
            scores.setdefault(name, []).append(scoring.score(path.stem, reference, estimate, waits))
            notes[path.stem] = (reference, estimate)
    if not scores:
        raise FileNotFoundError(f"none of {', '.join(map(str, SETS.values()))} is in {data}")
    report = Report(scores, notes)
    if out is not None:
        _write(report, out)
        if plot:
            from inference.training import plots

            for name in report.scores:
                plots.errors(report, name, out / f"errors-{name}.png")
    return report


def robustness(
    data: Path,
    weights: str | None = None,
    *,
    chunk_ms: float | None = None,
    sets: Iterable[str] = tuple(SETS),
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[str, list[Scores]]]:
    """Scores per disturbance and set; arguments as of `run`."""
    found = {}
    for name, disturb in DISTURBANCES.items():
        progress(name)
        found[name] = run(data, None, weights, chunk_ms=chunk_ms, sets=sets, disturb=disturb).scores
    return found


def robustness_table(found: dict[str, dict[str, list[Scores]]], name: str) -> str:
    """Mean scores of one set as a Markdown table, a line per disturbance; onsets by piano, if several."""
    columns = ("onset", "onset_offset", "onset_velocity", "all_three", "precision", "recall", "velocity_r")
    lines = ["| disturbance | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for disturbance, scores in found.items():
        lines.append(_line(disturbance, [scoring.mean(scores[name], column) for column in columns]))
    pianos = sorted({_piano(score) for score in next(iter(found.values()))[name]})
    if len(pianos) > 1:
        lines += ["", "| onset | " + " | ".join(pianos) + " |", "|" + "---|" * (len(pianos) + 1)]
        for disturbance, scores in found.items():
            by_piano = [[score for score in scores[name] if _piano(score) == piano] for piano in pianos]
            lines.append(_line(disturbance, [scoring.mean(rows, "onset") for rows in by_piano]))
    return "\n".join(lines)


def _piano(score: Scores) -> str:
    """What MAPS calls the piano of a recording, at the end of its name."""
    return score.name.rsplit("_", 1)[-1]


EARLY: tuple[tuple[float | None, float], ...] = ((None, 40), (140, 80))
"""Rows of `latencies` with notes that are told early: decision and early ms; the latter is preset `eager`."""


def latencies(
    data: Path,
    weights: str | None = None,
    *,
    chunk_ms: float | None = None,
    sets: Iterable[str] = tuple(SETS),
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[str, list[Scores]]]:
    """Scores per set for each delay the network can decide after, and for telling notes early.

    Keys are milliseconds from a sound to its note at the latest, the hop that has to fill included;
    arguments as of `run`.
    """
    transcriber = piano.load(weights)
    hop_ms = 1000 * transcriber.hop / transcriber.rate
    asked: list[tuple[float | None, float | None]] = [(ms, None) for ms in transcriber.decisions_ms]
    found = {}
    for decision, early in [*asked, *EARLY]:
        last = 1000 * transcriber.latency / transcriber.rate if decision is None else decision
        total = f"{last + hop_ms:g}" if early is None else f"{early + hop_ms:g}, else {last + hop_ms:g}"
        progress(f"{total} ms")
        found[total] = run(
            data, None, weights, chunk_ms=chunk_ms, sets=sets, decision_ms=decision, early_ms=early
        ).scores
    return found


def latency_table(found: dict[str, dict[str, list[Scores]]], name: str) -> str:
    """Mean scores of one set as a Markdown table, a line per latency."""
    columns = (
        *scoring.F1_COLUMNS[:5],
        "precision",
        "recall",
        "velocity_r",
        "lateness_ms",
        "spread_ms",
        "told_ms",
    )
    lines = ["| latency ms | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for total, scores in found.items():
        lines.append(_line(total, [scoring.mean(scores[name], column) for column in columns]))
    return "\n".join(lines)


def transcribe(
    transcriber: Transcriber[object], audio: Floats, chunk_ms: float | None = None
) -> tuple[Table, list[float]]:
    """Notes of audio at 16 kHz `(samples,)`, heard in live-sized pieces.

    Returns:
        The notes as a table, and the seconds from each onset to when its note was told, in any order.
    """
    stream = Stream(transcriber, RATE, 1, chunk_ms=chunk_ms)
    collector, found, waits = NoteCollector(), list[Note](), list[float]()

    def take(events: Events, heard: int) -> None:
        waits.extend((heard - event.time) / RATE for event in events.notes if isinstance(event, NoteOn))
        found.extend(collector.add(events))

    for begin in range(0, len(audio), stream.chunk):
        stream.push(audio[None, begin : begin + stream.chunk])
        (events,) = advance([stream])
        take(events, min(begin + stream.chunk, len(audio)))
    take(stream.finish(), len(audio))
    rows = [(n.onset / RATE, n.offset / RATE, n.pitch, n.velocity * 127) for n in found]
    return np.array(sorted(rows), np.float64).reshape(-1, 4), waits


def read_reference(path: Path) -> Table:
    """Notes of a tsv, times as they stand."""
    return np.loadtxt(path, comments="#", ndmin=2)[:, :4]


def recordings(folder: Path) -> Iterator[tuple[Path, Table]]:
    """Audio files of a folder, and the notes that they are known to hold."""
    for table in sorted(folder.glob("*.notes.tsv")):
        stem = table.name.removesuffix(".notes.tsv")
        audio = next((p for p in sorted(folder.glob(f"{stem}.*")) if p.suffix != ".tsv"), None)
        if audio is not None:
            yield audio, read_reference(table)


def _write(report: Report, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = {name: [asdict(s) for s in scores] for name, scores in report.scores.items()}
    (out / "scores.json").write_text(json.dumps(rows, indent=1))
    with (out / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "recording", *scoring.COLUMNS])
        for name, scores in report.scores.items():
            writer.writerows([name, s.name, *(getattr(s, c) for c in scoring.COLUMNS)] for s in scores)
    sections = [f"## {n}\n\n{report.table(n)}\n\n{report.ranges(n)}" for n in report.scores]
    (out / "tables.md").write_text("\n".join(sections))
