"""Measures beats as they are told live: through the same stream as a plug-in's, notes and all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.events import Beat
from inference.pipeline import Stream, advance, open_transcriber
from inference.rhythm.evaluate import SETS, f1, recordings, seconds
from inference.training.beats import BeatTable
from inference.training.corpus import RATE, read_audio
from inference.training.notes import Floats


@dataclass(frozen=True)
class LiveScores:
    """Scores of one recording: F1 within 70 ms, all beats counted, nothing ever taken back.

    `told_ms` is the time from a beat to the moment at which it was told, negative if before it: the
    middle of all beats; `share_early` the share that was told before it sounded.
    """

    name: str
    reference: int
    estimated: int
    beat: float
    downbeat: float
    confidence: float
    told_ms: float
    share_early: float


COLUMNS = ("beat", "downbeat", "confidence", "told_ms", "share_early")


def run(
    data: Path,
    weights: str | None = None,
    *,
    decision_ms: float | None = None,
    beats_ms: float | None = None,
    chunk_ms: float | None = None,
    sets: Iterable[str] = tuple(SETS),
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, list[LiveScores]]:
    """Follow every recording of the chosen sets that has known beats.

    Args:
        data: folder with the sets' folders.
        weights: of the piano system: name or path; default the shipped ones.
        decision_ms: longest time from a sound to the decision about its note.
        beats_ms: when beats are told, after they sound.
        chunk_ms: what one step hears; default one hop.
        sets: names out of `SETS`; those whose folder is missing are skipped.
        progress: called with each recording's name.

    Raises:
        FileNotFoundError: none of the sets is there.
    """
    asked = {"decision_ms": decision_ms, "beats_ms": beats_ms}
    options = {name: value for name, value in asked.items() if value is not None}
    transcriber = open_transcriber("rhythm", weights, **options)
    found: dict[str, list[LiveScores]] = {}
    for name in sets:
        for path, beats in recordings(data / SETS[name]):
            progress(path.stem)
            told = follow(transcriber, read_audio(path), chunk_ms)
            found.setdefault(name, []).append(score(path.stem, beats, told))
    if not found:
        raise FileNotFoundError(f"none of {', '.join(map(str, SETS.values()))} is in {data}")
    return found


def follow(transcriber: Any, audio: Floats, chunk_ms: float | None = None) -> list[tuple[Beat, float]]:
    """Beats of audio at 16 kHz `(samples,)`, each with the second at which it was told."""
    stream = Stream(transcriber, RATE, 1, chunk_ms=chunk_ms)
    found: list[tuple[Beat, float]] = []
    step = stream.chunk * RATE // transcriber.rate
    for end in range(step, len(audio) + step, step):
        stream.push(audio[None, end - step : end])
        (events,) = advance([stream])
        found += [(beat, min(end, len(audio)) / RATE) for beat in events.beats]
    return found + [(beat, len(audio) / RATE) for beat in stream.finish().beats]


def score(name: str, reference: BeatTable, told: Sequence[tuple[Beat, float]]) -> LiveScores:
    """Compare; times are at 16 kHz."""
    beats = [beat for beat, _ in told]
    late = np.array([when - beat.time / RATE for beat, when in told] or [np.nan])
    return LiveScores(
        name,
        len(reference),
        len(beats),
        f1(reference.time, np.sort(seconds(beats, RATE))),
        f1(reference.time[reference.downbeat], np.sort(seconds([b for b in beats if not b.position], RATE))),
        float(np.mean([beat.confidence for beat in beats])) if beats else 0.0,
        float(1000 * np.median(late)),
        float(np.mean(late < 0)),
    )


def table(scores: Sequence[LiveScores]) -> str:
    """Scores of one set as a Markdown table, the mean last."""
    lines = [f"| recording | beats | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    for s in scores:
        cells = " | ".join(f"{getattr(s, column):.3f}" for column in COLUMNS)
        lines.append(f"| {s.name} | {s.reference} | {cells} |")
    means = [float(np.nanmean([getattr(s, column) for s in scores])) for column in COLUMNS]
    cells = " | ".join(f"{value:.3f}" for value in means)
    return "\n".join([*lines, f"| **mean** | {sum(s.reference for s in scores)} | {cells} |"])
