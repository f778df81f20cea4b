"""Scores out of notation software's objects: notes, bars, printed dynamics and signs of partitura."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.performance.score import (
    ACCENT,
    CRESCENDO,
    DIMINUENDO,
    FERMATA,
    LEVELS,
    NO_SIGN,
    SHORT_ACCENT,
    STACCATO,
    TENUTO,
    Floats,
    Ints,
    Score,
    make_score,
)

LOUD = ("sf", "sfz", "fz", "sffz", "rf", "rfz", "fp", "sfp")
"""Marks that hold for one onset."""


def partitura() -> Any:
    """The package, without what plays its scores: on import that would fetch a SoundFont.

    Raises:
        ModuleNotFoundError: partitura is not installed.
    """
    if "partitura" not in sys.modules:
        hidden = "fluidsynth"
        missing = object()
        before = sys.modules.get(hidden, missing)
        sys.modules[hidden] = None  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what it imports in turn
                import_module("partitura")
        finally:
            if before is missing:
                del sys.modules[hidden]
            else:
                sys.modules[hidden] = before  # type: ignore[assignment]
    return import_module("partitura")


def read(path: str) -> tuple[Score, Floats]:
    """`score_of` a MusicXML file; what partitura remarks about its oddities is not passed on.

    Raises:
        ModuleNotFoundError: partitura is not installed.
        Exception: of any kind, if the file is damaged; partitura promises nothing narrower.
    """
    load = partitura().load_musicxml
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score_of(load(path))


def score_of(notation: Any) -> tuple[Score, Floats]:
    """A score, repeats played, and the notes' onsets in the notated beats that alignments count.

    Args:
        notation: a `partitura.score.Score`.

    Raises:
        ValueError: it holds no notes.
    """
    kinds = partitura().score
    part = kinds.unfold_part_maximal(kinds.merge_parts(notation.parts))
    table = part.note_array(include_grace_notes=True)
    if not len(table):
        raise ValueError("it holds no notes")
    quarter = part.quarter_map
    start = min(float(table["onset_quarter"].min()), float(quarter(part.first_point.t)))
    onset = table["onset_quarter"].astype(np.float64) - start
    level, swell, sign = _marks(part, kinds, table)
    bars = np.array([float(quarter(bar.start.t)) - start for bar in part.iter_all(kinds.Measure)])
    bars = np.unique(np.round(bars[bars < onset.max() + 1e-6], 6))
    if not len(bars) or bars[0] > 0:
        bars = np.append(0.0, bars)
    meters = [(bar.beats, bar.beat_type) for bar in part.iter_all(kinds.TimeSignature)]
    score, order = make_score(
        onset,
        table["duration_quarter"].astype(np.float64),
        table["pitch"].astype(np.int64),
        bars,
        level=level,
        swell=swell,
        sign=sign,
        tempo=_tempo(part, kinds),
        meter=meters[0] if meters else (4, 4),
    )
    return score, table["onset_beat"].astype(np.float64)[order]


def _tempo(part: Any, kinds: Any) -> float | None:
    for tempo in part.iter_all(kinds.Tempo):
        unit = {"h": 2.0, "h.": 3.0, "q": 1.0, "q.": 1.5, "e": 0.5, "e.": 0.75}.get(tempo.unit or "q")
        if unit and tempo.bpm and 10 <= tempo.bpm * unit <= 400:
            return float(tempo.bpm * unit)
    return None


def _marks(part: Any, kinds: Any, table: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    """Level, swell and sign of each note of the table."""
    onset = table["onset_div"]
    level, swell, sign = (np.zeros(len(table), np.int64) for _ in range(3))
    for mark in sorted(part.iter_all(kinds.ConstantLoudnessDirection), key=lambda m: m.start.t):
        if mark.text in LEVELS:
            level[onset >= mark.start.t] = 1 + LEVELS.index(mark.text)
    for kind, value in (
        (kinds.IncreasingLoudnessDirection, CRESCENDO),
        (kinds.DecreasingLoudnessDirection, DIMINUENDO),
    ):
        for mark in part.iter_all(kind, include_subclasses=True):
            if mark.end is not None:
                swell[(onset >= mark.start.t) & (onset <= mark.end.t)] = value
    signs = {(note.start.t, note.midi_pitch): _sign(note) for note in part.notes}
    for index, place in enumerate(zip(onset.tolist(), table["pitch"].tolist(), strict=True)):
        sign[index] = signs.get(place, NO_SIGN)
    for mark in part.iter_all(kinds.ImpulsiveLoudnessDirection):
        if mark.text in LOUD:
            sign[onset == mark.start.t] = ACCENT
    return level, swell, sign


def _sign(note: Any) -> int:
    signs = set(note.articulations or ())
    if getattr(note, "fermata", None) is not None:
        return FERMATA
    loud, short = bool(signs & {"accent", "strong-accent"}), bool(signs & {"staccato", "staccatissimo"})
    if loud:
        return SHORT_ACCENT if short else ACCENT
    if short:
        return STACCATO
    return TENUTO if signs & {"tenuto", "detached-legato"} else NO_SIGN
