"""Scores of transcriptions by mir_eval: onset, offset and velocity F1, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mir_eval.transcription as transcription
import mir_eval.transcription_velocity as with_velocity
import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""Notes as rows: onset s, offset s, pitch, velocity 0..127."""

REGISTERS = ((21, 36), (36, 48), (48, 60), (60, 72), (72, 84), (84, 109))
VELOCITIES = ((1, 20), (20, 40), (40, 60), (60, 80), (80, 128))


@dataclass(frozen=True)
class Scores:
    """Scores of one recording; F1 unless the name says otherwise, times in milliseconds.

    `told_ms` is the median time from an onset to when its note was told, 0 if that is not known.
    `by_register` and `by_velocity` hold hits and reference notes per range of `REGISTERS` and
    `VELOCITIES`.
    """

    name: str
    reference: int
    estimated: int
    by_register: tuple[tuple[int, int], ...] = field(repr=False)
    by_velocity: tuple[tuple[int, int], ...] = field(repr=False)
    onset: float = 0.0
    precision: float = 0.0
    recall: float = 0.0
    onset_offset: float = 0.0
    onset_velocity: float = 0.0
    all_three: float = 0.0
    onset_20: float = 0.0
    onset_100: float = 0.0
    velocity_r: float = 0.0
    lateness_ms: float = 0.0
    spread_ms: float = 0.0
    told_ms: float = 0.0


F1_COLUMNS = ("onset", "onset_offset", "onset_velocity", "all_three", "onset_20", "onset_100")
COLUMNS = (*F1_COLUMNS, "precision", "recall", "velocity_r", "lateness_ms", "spread_ms")


def score(name: str, reference: Table, estimate: Table, waits: Sequence[float] = ()) -> Scores:
    """Compare notes: 50 ms onsets, offsets 50 ms or 20 %, velocities within 0.1 after a linear fit.

    `waits` are the seconds from the onsets of the estimate to when its notes were told, if known.
    """
    reference = reference[np.argsort(reference[:, 0])]
    hits = hits_of(reference, estimate)
    by_register = _counts(reference, hits, 2, REGISTERS)
    by_velocity = _counts(reference, hits, 3, VELOCITIES)
    if not len(estimate):
        return Scores(name, len(reference), 0, by_register, by_velocity)
    spans, hertz, loud = _columns(reference)
    found, pitches, strength = _columns(estimate)
    precision, recall = len(hits) / len(estimate), len(hits) / len(reference)
    late = (found[hits[:, 1], 0] - spans[hits[:, 0], 0]) * 1000
    quartiles = np.percentile(late, [25, 50, 75]) if len(late) else np.zeros(3)
    notes, loudness = (spans, hertz, found, pitches), (spans, hertz, loud, found, pitches, strength)
    return Scores(
        name,
        onset=2 * precision * recall / max(precision + recall, 1e-9),
        precision=precision,
        recall=recall,
        onset_offset=transcription.precision_recall_f1_overlap(*notes)[2],
        onset_velocity=with_velocity.precision_recall_f1_overlap(*loudness, offset_ratio=None)[2],
        all_three=with_velocity.precision_recall_f1_overlap(*loudness)[2],
        onset_20=_onset_f1(notes, 0.02),
        onset_100=_onset_f1(notes, 0.1),
        velocity_r=_correlation(loud[hits[:, 0]], strength[hits[:, 1]]),
        told_ms=float(np.median(waits)) * 1000 if len(waits) else 0.0,
        lateness_ms=float(quartiles[1]),
        spread_ms=float(quartiles[2] - quartiles[0]),
        reference=len(reference),
        estimated=len(estimate),
        by_register=by_register,
        by_velocity=by_velocity,
    )


def onset_f1(reference: Table, estimate: Table, tolerance: float = 0.05) -> float:
    """Onset F1 alone: what thresholds are chosen by."""
    if not len(estimate):
        return 0.0
    spans, hertz, _ = _columns(reference)
    found, pitches, _ = _columns(estimate)
    return _onset_f1((spans, hertz, found, pitches), tolerance)


def matched(reference: Table, estimate: Table) -> tuple[Table, Table]:
    """The notes that were found, and what they were found as, row by row."""
    reference = reference[np.argsort(reference[:, 0])]
    pairs = hits_of(reference, estimate)
    return reference[pairs[:, 0]], estimate[pairs[:, 1]]


def hits_of(reference: Table, estimate: Table) -> NDArray[np.int64]:
    """Pairs of row numbers whose pitches agree and whose onsets lie within 50 ms."""
    if not len(estimate):
        return np.zeros((0, 2), np.int64)
    spans, hertz, _ = _columns(reference)
    found, pitches, _ = _columns(estimate)
    pairs = transcription.match_notes(spans, hertz, found, pitches, offset_ratio=None)
    return np.array(pairs, np.int64).reshape(-1, 2)


def mean(scores: Sequence[Scores], column: str) -> float:
    """Mean of a column over recordings."""
    return float(np.mean([getattr(s, column) for s in scores]))


def recall_by(scores: Sequence[Scores], which: str) -> list[float]:
    """Recall per range, over all notes of all recordings; `which` is `by_register` or `by_velocity`."""
    sums = np.array([getattr(s, which) for s in scores]).sum(0)
    return [float(hits / total) if total else float("nan") for hits, total in sums]


def _onset_f1(notes: tuple[Table, Table, Table, Table], tolerance: float) -> float:
    result = transcription.precision_recall_f1_overlap(*notes, onset_tolerance=tolerance, offset_ratio=None)
    return float(result[2])


def _columns(table: Table) -> tuple[Table, Table, Table]:
    spans = table[:, :2].copy()
    spans[:, 1] = np.maximum(spans[:, 1], spans[:, 0] + 0.01)
    return spans, 440 * 2 ** ((table[:, 2] - 69) / 12), table[:, 3]


def _correlation(a: Table, b: Table) -> float:
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _counts(
    reference: Table, hits: NDArray[np.int64], column: int, ranges: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    hit = np.zeros(len(reference), bool)
    hit[hits[:, 0]] = True
    value = reference[:, column]
    inside = [(value >= low) & (value < high) for low, high in ranges]
    return tuple((int((hit & rows).sum()), int(rows.sum())) for rows in inside)
