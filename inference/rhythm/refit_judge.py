"""The weights of the judge, solved on training music that the other networks have heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference import weights
from inference.rhythm import DEFAULT_WEIGHTS, JUDGE, load
from inference.rhythm.evaluate import f1, seconds
from inference.rhythm.judge import EVIDENCE
from inference.rhythm.listener import Frames, RhythmListener
from inference.rhythm.material import Piece, hear, performances, recordings
from inference.rhythm.settle import settle
from inference.training.beats import BeatTable
from inference.training.corpus import RATE, read_audio

LONGEST_S = 180.0
"""Of each piece."""
RIDGE = 100.0
"""Pull to weights of zero, of evidence of unit variance within pieces."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """The readings of a piece: evidence `(readings, EVIDENCE)`, F1 of beats and downbeats `(readings, 2)`."""

    told: Rows
    scores: Rows


def refit(
    data: Path,
    soundfonts: Sequence[Path],
    out: Path,
    name: str | None = None,
    pieces: int = 60,
    progress: Callable[[str], None] = lambda line: None,
) -> str:
    """Write weights again as `out`, with a judge that is solved on training music.

    Args:
        data: its `asap/train` and `maps/software/train` are heard.
        soundfonts: play the performances, each its share.
        out: a safetensors file.
        name: the weights to judge with; default the shipped ones.
        pieces: how many are heard.
        progress: called with a line for each piece.

    Returns a line that says how well it went.

    Raises:
        FileNotFoundError: there is no training music with beats.
        WeightsError: there are no such weights.
    """
    for soundfont in soundfonts:
        if not soundfont.is_file():
            raise FileNotFoundError(f"there is no SoundFont {soundfont}")
    listener, found = load(name), []
    for piece in _drawn(data, soundfonts, pieces):
        progress(piece.name)
        audio = piece.load()[: int(LONGEST_S * RATE)]
        found += judged(
            listener, hear(listener, audio), piece.beats.select(piece.beats.time < len(audio) / RATE)
        )
    if not found:
        raise FileNotFoundError(f"there is no music with beats in {data}")
    solved = solve(found)
    stored = weights.read(name or DEFAULT_WEIGHTS)
    tensors = {**stored.tensors, f"{JUDGE}weight": torch.from_numpy(solved)}
    weights.write(out, tensors, stored.metadata)
    weights.record(out)
    usual = np.mean([one.scores[0] for one in found], 0)
    chosen = np.mean([one.scores[(one.told @ solved).argmax()] for one in found], 0)
    return (
        f"{len(found)} pieces: beats {usual[0]:.3f} to {chosen[0]:.3f}, "
        f"downbeats {usual[1]:.3f} to {chosen[1]:.3f}"
    )


def judged(listener: RhythmListener, frames: Frames, truth: BeatTable) -> list[Judged]:
    """The readings of a piece of music; nothing if there are not two that are long enough."""
    told, scores = [], []
    for beats, known in listener.readings(frames):
        if known is None:
            continue
        settled = settle(beats, frames.seen, listener.config)
        down = [beat for beat in settled if beat.position == 0]
        told.append(known)
        scores.append(
            (
                f1(truth.time, seconds(settled, listener.rate)),
                f1(truth.time[truth.downbeat], seconds(down, listener.rate)),
            )
        )
    return [Judged(np.array(told), np.array(scores))] if len(told) > 1 else []


def solve(found: Sequence[Judged]) -> Rows:
    """Weights by which the readings of a piece differ as their scores do, `(EVIDENCE,)`."""
    told = np.concatenate([one.told - one.told.mean(0) for one in found])
    wanted = np.concatenate([total - total.mean() for total in (one.scores.sum(1) for one in found)])
    spread = told.std(0) + 1e-9
    x = told / spread
    solved: Rows = np.linalg.solve(x.T @ x + RIDGE * np.eye(EVIDENCE), x.T @ wanted) / spread
    return solved


def _drawn(data: Path, soundfonts: Sequence[Path], count: int) -> Iterator[Piece]:
    """Performances, each SoundFont's in turn, and recordings of the training, by turns and in mixed order."""
    played = [
        piece
        for turn, soundfont in enumerate(soundfonts)
        for piece in list(performances(data / "asap" / "train", soundfont))[turn :: len(soundfonts)]
    ]
    recorded = [
        Piece("software-train", path.stem, beats, partial(read_audio, path))
        for path, beats in recordings(data / "maps" / "software" / "train")
    ]
    order = np.random.default_rng(1)
    mixed = [[group[i] for i in order.permutation(len(group))] for group in (played, recorded)]
    by_turns = chain.from_iterable(zip_longest(*mixed))
    return islice((piece for piece in by_turns if piece is not None), count)
