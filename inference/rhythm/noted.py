"""What the notes of a recording say of its beats, frame by frame beside what its sound says.

Two networks that err differently: the one that listens to sound hears attacks, and the one that listens
to notes hears bass, chords and figures, and how fast these are meant to be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.events import Note
from inference.rhythm.config import FrontEndConfig
from inference.rhythm.struck import StruckNetwork, struck_frames

FEWEST = 8
"""Notes below which they say nothing."""
_WINDOW, _EDGE = 12_000, 600
"""Frames that are thought about at once, and what they need on each side."""
_LATE_FRAMES = 1.55
"""By which the network over sound is late; what the notes say is put there."""
_AROUND = 500
"""Frames on each side over which the tempo is averaged."""
_LOCAL, _LEAST = 0.5, 0.002
"""Share of the tempo nearby against that of the whole recording, and what any tempo has."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Noted:
    """Logits of beats and downbeats `(frames,)`, and log probabilities of tempi `(frames, tempi)`."""

    beat: Floats
    downbeat: Floats
    tempo: NDArray[np.float32]

    def part(self, first: int, last: int) -> Noted:
        """Frames `first` to `last`, without that one."""
        return Noted(self.beat[first:last], self.downbeat[first:last], self.tempo[first:last])


def hear_notes(
    network: StruckNetwork, notes: Sequence[Note], frames: int, config: FrontEndConfig
) -> Noted | None:
    """What the notes say; None if there are too few.

    Args:
        network: one that hears what comes, and tells tempi; as many frames a second as `config`.
        notes: of the whole recording, times in samples at `config.rate`.
        frames: of the recording.
        config: of the network over sound.
    """
    if len(notes) < FEWEST:
        return None
    rows = np.array([(note.onset, note.pitch, note.velocity) for note in notes], np.float64)
    at = np.rint(rows[:, 0] / config.hop).astype(np.int64)
    keys = struck_frames(at, rows[:, 1].astype(np.int64), rows[:, 2].astype(np.float32), frames)
    logits = np.concatenate([_window(network, keys, first) for first in range(0, frames, _WINDOW)])
    late = np.arange(frames) - _LATE_FRAMES
    beat, downbeat = (np.interp(late, np.arange(frames), logits[:, column]) for column in (0, 1))
    return Noted(beat, downbeat, _tempi(logits[:, 2:]))


def _window(network: StruckNetwork, keys: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    begin, end = max(first - _EDGE, 0), min(first + _WINDOW + _EDGE, len(keys))
    with torch.inference_mode():
        logits = network(torch.from_numpy(keys[begin:end])[None])[0].numpy()
    found: NDArray[np.float32] = logits[first - begin : first - begin + _WINDOW]
    return found


def _tempi(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    sums = np.concatenate([np.zeros((1, odds.shape[1])), np.cumsum(odds, 0, np.float64)])
    index = np.arange(len(odds))
    first, last = np.maximum(index - _AROUND, 0), np.minimum(index + _AROUND + 1, len(odds))
    near = (sums[last] - sums[first]) / (last - first)[:, None]
    mixed = _LOCAL * near + (1 - _LOCAL) * odds.mean(0) + _LEAST
    found: NDArray[np.float32] = np.log(mixed).astype(np.float32)
    return found
