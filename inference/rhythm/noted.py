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
from inference.rhythm.counting import FEWEST, CountingNetwork, hear_tempo, tempo_costs, tempo_cues
from inference.rhythm.struck import StruckNetwork, struck_frames

_WINDOW = 12_000
"""Frames that are thought about at once."""
_LATE_FRAMES = 1.55
"""By which the network over sound is late; what the notes say is put there."""
_PASSAGE_S, _SHARE = 2.0, 0.25
"""What the piano system adds to each velocity, and the networks over notes never learned: see `_alone`."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Noted:
    """Logits of beats and downbeats `(frames,)`, and what each tempo costs `(frames, TEMPI)`, 0 or less.

    `struck` are the notes themselves: rows of frame, pitch and velocity 0..1.
    """

    beat: Floats
    downbeat: Floats
    tempo: NDArray[np.float32]
    struck: Floats

    def part(self, first: int, last: int) -> Noted:
        """Frames `first` to `last`, without that one."""
        struck = self.struck - (first, 0, 0)
        return Noted(self.beat[first:last], self.downbeat[first:last], self.tempo[first:last], struck)


def hear_notes(
    network: StruckNetwork,
    counting: CountingNetwork,
    notes: Sequence[Note],
    frames: int,
    config: FrontEndConfig,
) -> Noted | None:
    """What the notes say; None if there are too few.

    Args:
        network: hears what comes too, as many frames a second as `config` has.
        counting: tells how fast they are counted.
        notes: of the whole recording, times in samples at `config.rate`.
        frames: of the recording.
        config: of the network over sound.
    """
    if len(notes) < FEWEST:
        return None
    rows = np.array([(note.onset, note.pitch, note.velocity) for note in notes], np.float64)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    rows[:, 2] = _alone(rows[:, 0] / config.rate, rows[:, 2])
    at, pitch = np.rint(rows[:, 0] / config.hop).astype(np.int64), rows[:, 1].astype(np.int64)
    keys = struck_frames(at, pitch, rows[:, 2].astype(np.float32), frames)
    logits = np.concatenate([_window(network, keys, first) for first in range(0, frames, _WINDOW)])
    late = np.arange(frames) - _LATE_FRAMES
    beat, downbeat = (np.interp(late, np.arange(frames), logits[:, column]) for column in (0, 1))
    tempi = _tempi(counting, at, pitch, rows[:, 2], frames)
    return Noted(beat, downbeat, tempi, rows / (config.hop, 1, 1))


def _alone(onset: Floats, velocity: Floats) -> Floats:
    """How loud each note would have been told without those before it, nearly: accents as they were learned.

    The piano system adds a share of the mean of the last seconds, which makes accents look smaller.
    """
    total = weight = 0.0
    means = np.zeros(len(velocity))
    kept = np.exp(-np.diff(onset, prepend=onset[:1]) / _PASSAGE_S)
    for place in range(len(velocity)):
        total = total * kept[place] + velocity[place]
        weight = weight * kept[place] + 1
        means[place] = total / weight
    return velocity - _SHARE / (1 + _SHARE) * means


def _window(network: StruckNetwork, keys: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    reach = network.config.reach
    begin, end = max(first - reach, 0), min(first + _WINDOW + reach, len(keys))
    with torch.inference_mode():
        logits = network(torch.from_numpy(keys[begin:end])[None])[0].numpy()
    found: NDArray[np.float32] = logits[first - begin : first - begin + _WINDOW]
    return found


def _tempi(
    counting: CountingNetwork, at: NDArray[np.int64], pitch: NDArray[np.int64], velocity: Floats, frames: int
) -> NDArray[np.float32]:
    """What each tempo costs at each frame, by the window whose middle is nearest."""
    begins = [*range(0, max(frames - _WINDOW, 1), _WINDOW // 2), max(frames - _WINDOW, 0)]
    rows = []
    for begin in begins:
        inside = (at >= begin) & (at < begin + _WINDOW)
        found = tempo_cues(at[inside] - begin, pitch[inside], velocity[inside], min(_WINDOW, frames))
        rows.append(tempo_costs(hear_tempo(counting, found)))
    middles = np.array(begins) + _WINDOW / 2
    nearest = np.abs(np.arange(frames)[:, None] - middles).argmin(1)
    cost: NDArray[np.float32] = np.array(rows, np.float32)[nearest]
    return cost
