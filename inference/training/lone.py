"""Keys struck one by one, as people first try an instrument: what is told of them that was not played."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import mido
import numpy as np
from numpy.random import Generator

from inference.pipeline import open_transcriber
from inference.training import scores as scoring
from inference.training.evaluate import transcribe
from inference.training.played import play
from inference.training.scores import Table

VELOCITIES = 25, 50, 80, 110
_EVERY_S, _SHORTEST_S, _LONGEST_S = 1.3, 0.15, 0.9
_SEED = 3
_NAMES = ("from A0 to B1", "C2 to B3", "C4 to B5", "from C6")
_EDGES = 21, 36, 60, 84, 109


@dataclass(frozen=True)
class LoneScores:
    """All keys of a piano at each of `VELOCITIES`, once each, in an order by chance.

    `false` counts notes that nobody struck; `by_register` has keys struck, found, and false notes while
    they sounded, for each range of `_EDGES`; `told` are mean velocities of what is told at each velocity.
    """

    struck: int
    found: int
    false: int
    by_register: tuple[tuple[int, int, int], ...]
    told: tuple[float, ...]


def run(soundfont: Path, weights: str | None = None, *, chunk_ms: float | None = None) -> LoneScores:
    """Strike every key of a SoundFont's first program, 7.6 minutes, and listen.

    Args:
        soundfont: what plays.
        weights: name or path; default the shipped ones.
        chunk_ms: what one step hears; default one hop, as live.

    Raises:
        FileNotFoundError: no such SoundFont.
    """
    if not soundfont.is_file():
        raise FileNotFoundError(f"there is no SoundFont {soundfont}")
    struck = _keys(np.random.default_rng(_SEED))
    with TemporaryDirectory(prefix="dawbridge-") as folder:
        path = Path(folder) / "lone.mid"
        _file(struck).save(path)
        audio = play(path, soundfont, float(struck[-1, 0]) + 2)
    told, _ = transcribe(open_transcriber("piano", weights), audio, chunk_ms)
    return judge(struck, told)


def judge(struck: Table, told: Table) -> LoneScores:
    """Scores of what is told of keys that were struck one after the other: rows as everywhere."""
    pairs = scoring.hits_of(struck, told)
    false = np.setdiff1d(np.arange(len(told)), pairs[:, 1])
    # Of a false note's causes the last key before it, or just after: nobody else sounds.
    causes = np.searchsorted(struck[:, 0], told[false, 0] + 0.06) - 1 if len(false) else false
    registers = []
    for low, high in pairwise(_EDGES):
        inside = (struck[:, 2] >= low) & (struck[:, 2] < high)
        found, wrong = inside[pairs[:, 0]], inside[np.maximum(causes, 0)]
        registers.append((int(inside.sum()), int(found.sum()), int(wrong.sum())))
    means = []
    for velocity in VELOCITIES:
        own = told[pairs[struck[pairs[:, 0], 3] == velocity, 1], 3]
        means.append(float(own.mean()) if len(own) else float("nan"))
    return LoneScores(len(struck), len(pairs), len(false), tuple(registers), tuple(means))


def table(scores: LoneScores) -> str:
    """As Markdown: keys and false notes by register, then how loud they are told."""
    lines = ["| keys | struck | found | false |", "|---|---|---|---|"]
    for name, counts in zip(_NAMES, scores.by_register, strict=True):
        lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    lines.append(f"| **all** | {scores.struck} | {scores.found} | {scores.false} |")
    lines += ["", "| struck at | " + " | ".join(map(str, VELOCITIES)) + " |", "|---|---|---|---|---|"]
    lines.append("| told | " + " | ".join(f"{velocity:.0f}" for velocity in scores.told) + " |")
    return "\n".join(lines)


def _keys(random: Generator) -> Table:
    order = random.permutation([(pitch, velocity) for velocity in VELOCITIES for pitch in range(21, 109)])
    onset = np.round(0.5 + _EVERY_S * np.arange(len(order)), 3)
    end = np.round(onset + random.uniform(_SHORTEST_S, _LONGEST_S, len(order)), 3)
    return np.column_stack([onset, end, order]).astype(np.float64)


def _file(struck: Table) -> mido.MidiFile:
    file = mido.MidiFile(ticks_per_beat=500)  # 1 ms per tick at 120 bpm
    track = mido.MidiTrack()
    file.tracks.append(track)
    last = 0
    for onset, end, pitch, velocity in struck:
        for kind, time, value in (("note_on", onset, velocity), ("note_off", end, 0)):
            tick = round(1000 * time)
            track.append(mido.Message(kind, note=int(pitch), velocity=int(value), time=tick - last))
            last = tick
    return file
