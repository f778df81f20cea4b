"""Which beats begin bars: a small network over beats, told how each differs from its neighbours.

The frame-wise head of the published network needs long training before it tells first beats from
others. Bars begin where harmony changes and the bass enters; counted per beat, that is learned from
minutes of music.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.events import Beat
from inference.rhythm.config import FrontEndConfig
from inference.rhythm.decode import DecodeSettings, bar_places
from inference.rhythm.loudness import BANDS

ACCENTS = 9
_LOW_BANDS, _LOW_MELS = 4, 40
_AROUND = 8
"""Beats before and after, among which a beat stands out or not."""

_USUAL = 0.36
"""Share of beats that begin bars."""

Floats = NDArray[np.float32]


class BarNetwork(nn.Module):
    """Accents `(batch, beats, ACCENTS)` to the logit that a beat begins a bar, `(batch, beats)`."""

    def __init__(self, channels: int = 16, width: int = 5) -> None:
        super().__init__()
        half = width // 2
        self.first = nn.Conv1d(ACCENTS, channels, width, padding=half)
        self.second = nn.Conv1d(channels, channels, width, padding=half)
        self.last = nn.Conv1d(channels, 1, 1)
        self.direct = nn.Conv1d(ACCENTS, 1, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        y = self.dropout(F.relu(self.first(x)))
        y = self.dropout(F.relu(self.second(y)))
        logits: Tensor = (self.last(y) + self.direct(x))[:, 0]
        return logits


def accents(seen: Floats, frames: NDArray[np.int64]) -> Floats:
    """How each beat stands out among its neighbours, `(beats, ACCENTS)`, each about -2..2.

    Args:
        seen: what the fused network looks at, `(frames, bands)`.
        frames: of the beats, rising.
    """
    if len(frames) < 2:
        return np.zeros((len(frames), ACCENTS), np.float32)
    frames = np.clip(frames, 0, len(seen) - 1)
    bark, mel = seen[:, :BANDS], seen[:, BANDS:]
    ends = np.append(frames[1:], 2 * frames[-1] - frames[-2])
    begin = np.minimum(frames + 2, len(seen) - 1)
    end = np.clip(ends - 1, begin + 1, len(seen))
    held = _sums(mel, begin, end) / (end - begin)[:, None]
    new = np.maximum(np.diff(held, axis=0, prepend=held[:1]), 0)
    low, loud = bark[:, :_LOW_BANDS].sum(1), bark.sum(1)
    columns = [
        new.sum(1),
        new[:, :_LOW_MELS].sum(1),
        _rise(low, frames),
        _rise(loud, frames),
        _rise(mel[:, :_LOW_MELS].sum(1), frames),
        _peak(low, frames),
        _peak(loud, frames),
        held[:, :_LOW_MELS].sum(1),
        (ends - frames).astype(np.float64),
    ]
    return _standing_out(np.stack(columns, 1))


def place_bars(beats: Sequence[Beat], logits: Floats, settings: DecodeSettings) -> tuple[Beat, ...]:
    """The same beats in the bars that explain the logits best."""
    if not beats:
        return ()
    places = bar_places(settings.meters)
    earned = _earned(logits)[:, (places.position == 0).astype(np.int64)]
    before = np.arange(len(places.of)) - 1
    change = -settings.meter_change * (1 - np.eye(len(places.first)))
    score, origins = earned[0], []
    for row in earned[1:]:
        origin = before.copy()
        ends = score[places.last][None] + change
        origin[places.first] = places.last[ends.argmax(1)]
        arrived = score[before]
        arrived[places.first] = ends.max(1)
        origins.append(origin)
        score = arrived + row
    path = [int(score.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return tuple(
        replace(beat, position=int(places.position[k]), of=int(places.of[k]))
        for beat, k in zip(beats, path[::-1], strict=True)
    )


def regular(logits: Floats, meters: Sequence[int]) -> float:
    """How well bars of one meter explain the logits of beats `(beats,)`: what a beat earns in the mean.

    Above 0 if that meter says more than how often bars begin.
    """
    earned, best = _earned(logits), -np.inf
    for meter in meters:
        for first in range(min(meter, len(earned))):
            begins = (np.arange(len(earned)) % meter == first).astype(np.int64)
            best = max(best, float(np.take_along_axis(earned, begins[:, None], 1).mean()))
    return best


def _earned(logits: Floats) -> NDArray[np.float64]:
    """What each beat earns if it begins no bar, and if it does, `(beats, 2)`."""
    odds = np.asarray(logits, np.float64)[:, None] * (-1.0, 1.0)
    found: NDArray[np.float64] = -np.logaddexp(0, -odds) - np.log((1 - _USUAL, _USUAL))
    return found


def beat_frames(beats: Sequence[Beat], config: FrontEndConfig) -> NDArray[np.int64]:
    """Frame of each beat, whose time is in samples at the model's rate."""
    return _nearest(np.array([beat.time for beat in beats], np.float64), config)


def frame_of(seconds: NDArray[np.float64], config: FrontEndConfig) -> NDArray[np.int64]:
    """Frame whose middle is nearest."""
    return _nearest(seconds * config.rate, config)


def _nearest(samples: NDArray[np.float64], config: FrontEndConfig) -> NDArray[np.int64]:
    frames: NDArray[np.int64] = np.rint((samples + config.early) / config.hop).astype(np.int64)
    return frames


def hear_bars(network: BarNetwork, seen: Floats, frames: NDArray[np.int64]) -> Floats:
    """Logit per beat."""
    with torch.inference_mode():
        found: Floats = network(torch.from_numpy(accents(seen, frames))[None])[0].numpy()
    return found


def near(logits: Floats | NDArray[np.float64], frames: NDArray[np.int64]) -> Floats:
    """The largest logit within two frames of each beat."""
    around = np.clip(frames[:, None] + np.arange(-2, 3), 0, len(logits) - 1)
    largest: Floats = logits[around].max(1).astype(np.float32)
    return largest


def _sums(rows: Floats, begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of rows from each beginning to each end, that row left out."""
    edges = np.stack([begin, end], 1).ravel()
    padded = np.concatenate([rows, np.zeros_like(rows[:1])])  # an end may lie behind the last row
    sums: NDArray[np.float64] = np.add.reduceat(padded, edges, 0, np.float64)[::2]
    return sums


def _rise(curve: Floats, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far a curve rises from just before a beat to just after it."""
    before = np.stack([curve[np.maximum(frames - k, 0)] for k in (2, 3, 4)]).mean(0)
    rise: NDArray[np.float64] = _peak(curve, frames) - before
    return rise


def _peak(curve: Floats, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    near = [curve[np.clip(frames + k, 0, len(curve) - 1)] for k in range(-1, 5)]
    peak: NDArray[np.float64] = np.stack(near).max(0).astype(np.float64)
    return peak


def _standing_out(columns: NDArray[np.float64]) -> Floats:
    count = len(columns)
    found = np.empty(columns.shape, np.float32)
    for index in range(count):
        near = columns[max(0, index - _AROUND) : index + _AROUND + 1]
        found[index] = (columns[index] - near.mean(0)) / (near.std(0) + 1e-3)
    return found
