"""How loud each beat is meant, pp to ff, and where that changes: a small network over beats.

A marking is a matter of context: what comes before and after, how wide the range of the piece is, and
how bright the sound. Counted per beat, that is learned from hours of music in minutes. The level of the
recording does not matter: what is looked at was brought to one level before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.rhythm.config import Loudness
from inference.rhythm.loudness import BANDS

_MEL_BANDS = 16
SMOOTH = 4
"""Beats on each side that are looked at together."""
CUES = 2 * _MEL_BANDS + 12
CLASSES = len(Loudness) - 1
"""pp to ff; beats before the first have none."""
_DILATIONS = (1, 2, 4, 8, 16, 32)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DynamicsSettings:
    """What it costs the class to change at a beat: `change`, less `weight` times the network's logit."""

    change: float = 0.5
    weight: float = 1.0


class Heard(NamedTuple):
    """Per beat: log probabilities of pp to ff `(beats, CLASSES)`, and the logit of a change `(beats,)`."""

    classes: Floats
    change: Floats


class DynamicsNetwork(nn.Module):
    """Cues `(batch, beats, inputs)` to logits of pp to ff `(batch, beats, CLASSES)` and of a change.

    Args:
        inputs: cues of a beat.
        channels: width.
        unseen: share of the cues that are hidden in training.
    """

    def __init__(self, inputs: int = CUES, channels: int = 40, unseen: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs)
        self.unseen = nn.Dropout(unseen)
        self.enter = nn.Conv1d(inputs, channels, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation) for dilation in _DILATIONS
        )
        self.leave = nn.Conv1d(channels, CLASSES + 1, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.enter(self.unseen(self.norm(x.transpose(1, 2)))))
        for layer in self.layers:
            x = x + self.dropout(F.relu(layer(x)))
        found = self.leave(self.dropout(x)).transpose(1, 2)
        return found[..., :CLASSES], found[..., CLASSES]


class DynamicsEnsemble(nn.Module):
    """Networks over the same cues, asked together: the means of their log probabilities and logits.

    Which markings a score has is little to learn from, and each training errs in its own way.
    """

    def __init__(self, members: Iterable[DynamicsNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], inputs: int = CUES) -> DynamicsEnsemble:
        """The networks, in evaluation mode, whose tensors these are."""
        count = len({name.split(".")[1] for name in tensors})
        made = cls(DynamicsNetwork(inputs) for _ in range(count))
        made.load_state_dict(tensors)
        return made.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        told = [member(x) for member in self.members]
        classes = torch.stack([classes.log_softmax(-1) for classes, _ in told])
        return classes.mean(0), torch.stack([change for _, change in told]).mean(0)


def cues(seen: Floats, frames: NDArray[np.int64]) -> Floats:
    """What each beat sounds like, on its own and within the piece, `(beats, CUES)`.

    Args:
        seen: what the fused network looks at, `(frames, bands)`, levelled.
        frames: of the beats, rising.
    """
    if not len(frames):
        return np.zeros((0, CUES), np.float32)
    frames = np.clip(frames, 0, len(seen) - 1)
    loud, mel = seen[:, :BANDS].sum(1), _banded(seen[:, BANDS:])
    rise = np.maximum(np.diff(mel, axis=0, prepend=mel[:1]), 0)
    begins, ends = _spans(frames, len(seen))
    peak, mean = _per_beat(loud, begins, ends)
    highest, level = _per_beat(mel, begins, ends)
    _, flux = _per_beat(rise, begins, ends)
    peak, mean = np.log(peak + 0.1), np.log(mean + 0.1)
    smooth = smoothed(mean, SMOOTH)
    length = np.log((ends - begins).astype(np.float64))
    columns = [
        *(peak, mean, smooth, ranks(peak), ranks(smooth), ranks(smoothed(mean, 4 * SMOOTH))),
        *(mean - smooth, smooth - smoothed(mean, 4 * SMOOTH), length, length - np.median(length)),
        *(flux[:, : _MEL_BANDS // 2].sum(1), flux[:, _MEL_BANDS // 2 :].sum(1)),
    ]
    return np.concatenate([np.stack(columns, 1), level, highest], 1).astype(np.float32)


def hear_dynamics(network: nn.Module, seen: Floats, frames: NDArray[np.int64]) -> Heard:
    """What a network over `cues`, in evaluation mode, thinks of each beat."""
    if not len(frames):
        return Heard(np.zeros((0, CLASSES), np.float32), np.zeros(0, np.float32))
    with torch.inference_mode():
        classes, change = network(torch.from_numpy(cues(seen, frames))[None])
    return Heard(classes[0].log_softmax(-1).numpy(), change[0].numpy())


def decode_dynamics(heard: Heard, settings: DynamicsSettings) -> NDArray[np.int64]:
    """The most likely class 1..5 (see `Loudness`) of each beat, if changes have their price."""
    count = len(heard.classes)
    if not count:
        return np.zeros(0, np.int64)
    same = np.eye(CLASSES, dtype=bool)
    score, origins = heard.classes[0].astype(np.float64), np.zeros((count, CLASSES), np.int64)
    for now in range(1, count):
        cost = max(0.0, settings.change - settings.weight * float(heard.change[now]))
        options = score[:, None] - np.where(same, 0.0, cost)
        origins[now] = options.argmax(0)
        score = options.max(0) + heard.classes[now]
    path = [int(score.argmax())]
    for row in origins[:0:-1]:
        path.append(int(row[path[-1]]))
    return np.array(path[::-1], np.int64) + 1


def level(heard: Heard, classes: NDArray[np.int64]) -> Floats:
    """Each beat's place between silent and full, `(beats,)`, within the fifth of its class.

    What the network expects on average, kept where the class says: 0.0..0.2 is pp, 0.8..1.0 is ff.
    """
    expected = np.exp(heard.classes) @ (np.arange(CLASSES) + 0.5) / CLASSES
    low = (classes - 1) / CLASSES
    inside = np.clip(expected, low + 0.01, low + 1 / CLASSES - 0.01)
    found: Floats = inside.astype(np.float32)
    return found


def class_of(value: float) -> Loudness:
    """The class of a point of the dynamics lane."""
    return Loudness(min(max(int(value * CLASSES), 0), CLASSES - 1) + 1)


def changes(classes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the beats whose class differs from the one before."""
    return np.flatnonzero(np.diff(classes)) + 1


def _banded(mel: Floats) -> Floats:
    width = mel.shape[1] // _MEL_BANDS
    bands: Floats = mel[:, : width * _MEL_BANDS].reshape(len(mel), _MEL_BANDS, width).mean(2)
    return bands


def _spans(frames: NDArray[np.int64], total: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames from just before each beat to just before the next; the last is as long as the one before."""
    last = frames[-1] + (frames[-1] - frames[-2] if len(frames) > 1 else 25)
    begins = np.clip(frames - 1, 0, total - 1)
    ends = np.clip(np.append(frames[1:], last) - 1, begins + 1, total)
    return begins, ends


def _per_beat(
    curve: Floats, begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest value and mean of a curve `(frames, ...)` over each beat."""
    edges = np.stack([begins, np.minimum(ends, len(curve) - 1)], 1).reshape(-1)
    highest = np.maximum.reduceat(curve, edges)[::2].astype(np.float64)
    sums = np.concatenate([np.zeros((1, *curve.shape[1:])), np.cumsum(curve, 0, np.float64)])
    length = (ends - begins).reshape(-1, *[1] * (curve.ndim - 1))
    return highest, (sums[ends] - sums[begins]) / length


def smoothed(curve: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Mean over `by` beats on each side."""
    sums = np.concatenate([[0.0], np.cumsum(curve)])
    index = np.arange(len(curve))
    first, last = np.maximum(index - by, 0), np.minimum(index + by + 1, len(curve))
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return mean


def ranks(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of each value among all, 0..1."""
    rank: NDArray[np.float64] = (np.argsort(np.argsort(curve, kind="stable"), kind="stable") + 0.5) / len(
        curve
    )
    return rank
