"""Measures beats as they are told live: through the same stream as a plug-in's, notes and all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.events import Beat, Events
from inference.follow import open_follower
from inference.pipeline import Stream, advance, open_transcriber
from inference.pulses import PER_BEAT, Kind, Pulse, Pulses
from inference.rhythm.evaluate import f1, seconds
from inference.rhythm.follower import Follower
from inference.rhythm.material import SETS, pieces
from inference.streaming import Transcriber
from inference.training.beats import BeatTable
from inference.training.corpus import RATE
from inference.training.notes import Floats

LATENCIES_MS = (-100.0, 0.0, 100.0, 160.0, 240.0, 400.0)
"""When beats may be told, after they sound."""


@dataclass(frozen=True)
class LiveScores:
    """Scores of one recording: F1 within 70 ms, all beats counted, nothing ever taken back.

    `told_ms` is the time from a beat to the moment at which it was told, negative if before it: the
    middle of all beats; `share_early` the share that was told before it sounded; `core` the share of
    one core that following the notes takes, without hearing them. `clock` is the F1 of the beats of a
    MIDI clock that runs by what is told, against all beats, those before it starts too.
    """

    name: str
    reference: int
    estimated: int
    beat: float
    downbeat: float
    confidence: float
    told_ms: float
    share_early: float
    core: float
    clock: float


COLUMNS = ("beat", "downbeat", "confidence", "told_ms", "share_early", "core", "clock")
Portions = list[tuple[Events, float]]
"""Notes as they were heard, each portion with the second at which it was known."""


def run(
    data: Path,
    weights: str | None = None,
    *,
    told: Sequence[float | None] = (None,),
    decision_ms: float | None = None,
    chunk_ms: float | None = None,
    sets: Iterable[str] = tuple(SETS),
    soundfont: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[float | None, dict[str, list[LiveScores]]]:
    """Follow every recording of the chosen sets that has known beats, once for each of `told`.

    Args:
        data: folder with the sets' folders.
        weights: of the piano system: name or path; default the shipped ones.
        told: when beats are told, in milliseconds after they sound, see `inference.follow.load`.
        decision_ms: longest time from a sound to the decision about its note.
        chunk_ms: what one step hears; default one hop.
        sets: names out of `SETS`; those whose folder is missing are skipped.
        soundfont: plays performances that are followed instead, see `pieces`.
        progress: called with each recording's name.

    Raises:
        FileNotFoundError: none of the sets is there, or no such SoundFont.
        ValueError: a time at which beats cannot be told.
    """
    transcriber = open_transcriber("piano", weights, decision_ms=decision_ms)
    followers = {when: open_follower(transcriber, when) for when in told}
    found: dict[float | None, dict[str, list[LiveScores]]] = {when: {} for when in told}
    for piece in pieces(data, sets, soundfont):
        progress(piece.name)
        portions = listen(transcriber, piece.load(), chunk_ms)
        for when, follower in followers.items():
            row = score(piece.name, piece.beats, *follow(follower, portions))
            found[when].setdefault(piece.group, []).append(row)
    return found


def listen(transcriber: Transcriber[Any], audio: Floats, chunk_ms: float | None = None) -> Portions:
    """Notes in audio at 16 kHz `(samples,)`, as a stream gives them."""
    stream = Stream(transcriber, RATE, 1, chunk_ms=chunk_ms)
    found: Portions = []
    step = stream.chunk * RATE // transcriber.rate
    for end in range(step, len(audio) + step, step):
        stream.push(audio[None, end - step : end])
        found.append((advance([stream])[0], min(end, len(audio)) / RATE))
    return [*found, (stream.finish(), len(audio) / RATE)]


def follow(follower: Follower, portions: Portions) -> tuple[list[tuple[Beat, float]], float]:
    """Beats, each with the second at which it was told, and the share of one core that this took."""
    state, found, begin = follower.start(), list[tuple[Beat, float]](), process_time()
    for events, when in portions:
        told, state = follower.step(state, events.notes, events.final_until)
        found += [(beat, when) for beat in told.beats]
    last = portions[-1][1]
    found += [(beat, last) for beat in follower.finish(state).beats]
    return found, (process_time() - begin) / max(last, 1e-9)


def score(name: str, reference: BeatTable, told: Sequence[tuple[Beat, float]], core: float) -> LiveScores:
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
        core,
        f1(reference.time, clocked(told)),
    )


def clocked(told: Iterable[tuple[Beat, float]]) -> NDArray[np.float64]:
    """Seconds of the whole beats of a clock that runs by beats told at these seconds, times at 16 kHz."""
    pulses, sent = Pulses(), list[Pulse]()
    for beat, when in told:
        sent += pulses.tell([beat], when * RATE)
    found, count = [], -1
    for pulse in sent:
        if pulse.kind is Kind.CLOCK and count >= 0:
            if count % PER_BEAT == 0:
                found.append(pulse.time / RATE)
            count += 1
        elif pulse.kind is not Kind.CLOCK:
            count = 0 if pulse.kind is Kind.START else -1
    return np.array(found)


def table(scores: Sequence[LiveScores]) -> str:
    """Scores of one set as a Markdown table, the mean last."""
    lines = [f"| recording | beats | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    for s in scores:
        cells = " | ".join(f"{getattr(s, column):.3f}" for column in COLUMNS)
        lines.append(f"| {s.name} | {s.reference} | {cells} |")
    return "\n".join([*lines, f"| **mean** | {sum(s.reference for s in scores)} | {_means(scores)} |"])


def latency_table(found: Mapping[float | None, Mapping[str, Sequence[LiveScores]]], group: str) -> str:
    """Means of one set for each time at which beats were told."""
    lines = [f"| asked, ms | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 1)]
    for when, sets in found.items():
        lines.append(f"| {'default' if when is None else f'{when:g}'} | {_means(sets[group])} |")
    return "\n".join(lines)


def _means(scores: Sequence[LiveScores]) -> str:
    means = [float(np.nanmean([getattr(s, column) for s in scores])) for column in COLUMNS]
    return " | ".join(f"{value:.3f}" for value in means)
