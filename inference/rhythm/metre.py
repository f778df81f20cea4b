"""Which beats begin bars, and whether they are counted as meant: networks that count in beats, not seconds.

A network over frames has to find out how long a beat is before it can compare one with another. Given
the beats, a bar of a slow piece looks like one of a fast piece, and a little music teaches more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.streaming import Streaming

TASKS = "bars", "counted"
"""What there is a network for: which beats begin bars, and whether beats are counted as they are meant."""
SLOTS = 4
"""Parts of a beat that are looked at; the first one's notes lie around the beat itself."""
_SLOT = 30
"""Numbers of a part: pitch classes, those of the bass, and what sums them up."""
FEATURES = SLOTS * _SLOT + 2
"""Numbers of a beat: its parts, how long it is, and how much longer than the one before."""
INPUTS = FEATURES + _SLOT
FEWEST = 4
"""Beats below which there is nothing to compare."""
_BASS, _LOWEST, _KEYS = 52, 21, 88
_MOST = 3.0
"""What several notes at once add up to at most."""

Floats = NDArray[np.float32]
Times = NDArray[np.float64]


class MetreNetwork(Streaming[Tensor]):
    """Beats `(batch, beats, INPUTS)`, see `seen_at`, to a logit of each, `(batch, beats)`.

    One such network says that it begins a bar, another that beats are what is counted here, not every
    second one, or half of one: taught both, a network did either less well.

    It remembers, and hears nothing that comes: one that did was no better, and could not be asked live.
    State: `(batch, layers, channels)`.
    """

    time_axis = 1

    def __init__(self, channels: int = 64, layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.enter = nn.Linear(INPUTS, channels)
        self.norm = nn.LayerNorm(channels)
        self.remember = nn.GRU(channels, channels, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Linear(channels, 1)
        self.direct = nn.Linear(channels, 1)

    def init_state(self, batch: int) -> Tensor:
        return self.leave.weight.new_zeros(batch, self.remember.num_layers, self.remember.hidden_size)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.dropout(F.relu(self.enter(x)))
        remembered, after = self.remember(self.norm(heard), state.transpose(0, 1).contiguous())
        logits: Tensor = self.leave(self.dropout(remembered)) + self.direct(heard)
        return logits[..., 0], after.transpose(0, 1)


def beat_features(onset: Times, pitch: NDArray[np.int64], velocity: Floats, beats: Times) -> Floats:
    """What is struck in each part of each beat, `(beats, FEATURES)`.

    Args:
        onset: of each note, in seconds, in any order.
        pitch: MIDI pitch of each.
        velocity: of each, 0..1.
        beats: rising, in seconds, two or more; the last one lasts as long as the one before.
    """
    count = len(beats) * SLOTS
    edges = np.append(beats, 2 * beats[-1] - beats[-2])
    grid = np.interp(np.arange(count + 1) / SLOTS, np.arange(len(edges)), edges)
    slot = np.searchsorted((grid[1:] + grid[:-1]) / 2, onset)
    inside = (onset > grid[0] - (grid[1] - grid[0]) / 2) & (slot < count)
    slot, pitch, velocity = slot[inside], pitch[inside], velocity[inside]
    low, weight = pitch < _BASS, np.minimum(velocity + 0.3, 1)
    found = np.zeros((count, _SLOT), np.float32)
    np.add.at(found, (slot, pitch % 12), weight)
    np.add.at(found, (slot[low], 12 + pitch[low] % 12), weight[low])
    number, bass, top = np.bincount(slot, minlength=count), np.full(count, 127), np.zeros(count)
    np.minimum.at(bass, slot, pitch)
    np.maximum.at(top, slot, pitch)
    loudest = np.zeros(count)
    np.maximum.at(loudest, slot, velocity)
    found[:, 24] = np.minimum(number, 8) / 4
    found[:, 25] = np.bincount(slot, velocity, minlength=count)
    found[:, 26] = loudest
    found[:, 27] = np.where(number, 1 - (bass - _LOWEST) / _KEYS, 0)
    found[:, 28] = np.where(number, (top - _LOWEST) / _KEYS, 0)
    found[:, 29] = np.bincount(slot[low], minlength=count)
    length = np.log2(np.diff(edges))
    lengths = np.stack([length, np.diff(length, prepend=length[:1])], 1)
    parts = np.minimum(found, _MOST).reshape(len(beats), -1)
    return np.concatenate([parts, np.clip(lengths, -3, 3)], 1, dtype=np.float32)


def seen_at(features: Floats) -> Floats:
    """What is known of each beat when it is there, `(beats, INPUTS)`: the one before, and its first part."""
    before = np.concatenate([np.zeros_like(features[:1]), features[:-1]])
    return np.concatenate([before, features[:, :_SLOT]], 1)


def hear_metre(
    network: MetreNetwork, beats: Times, notes: Sequence[tuple[float, int, float]] | NDArray[np.float64]
) -> Floats:
    """What notes say of each beat, `(beats,)`; nothing of very few.

    Args:
        network: in evaluation mode.
        beats: rising, in seconds.
        notes: rows of onset in seconds, pitch, and velocity 0..1.
    """
    if len(beats) < FEWEST:
        return np.zeros(len(beats), np.float32)
    rows = np.asarray(notes, np.float64).reshape(-1, 3)
    features = beat_features(rows[:, 0], rows[:, 1].astype(np.int64), rows[:, 2].astype(np.float32), beats)
    with torch.inference_mode():
        logits: Floats = network(torch.from_numpy(seen_at(features))[None])[0].numpy()
    return logits
