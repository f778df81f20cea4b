"""How fast music is meant to be counted, from all its notes: a small network over what repeats in them.

Beats alone leave it open whether every second one counts. How dense the notes are, after which times they
and the bass come again, and how long they last says more, if a whole piece is asked.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.rhythm.tempi import TEMPI

FRAMES_PER_SECOND = 50
_LAGS = np.unique(np.rint(100 * 2 ** (-np.arange(41) / 8))).astype(np.int64)
"""Frames after which something may come again: two seconds to a sixteenth of these."""
_BASS = 52
_BLUR = (0.3, 0.7, 1.0, 0.7, 0.3)
_LOUDEST = 4.0
_CURVES = 4
_INTERVALS = np.linspace(-5, 2, 29)
"""Edges, in octaves of a second, of the intervals from one attack to the next that are counted together."""
_CHORD_S = 0.03
FEWEST = 8
"""Notes below which they say nothing."""
_LEAST = 0.05
"""Probability that any tempo has beside what the notes say."""
CUES = _CURVES * len(_LAGS) + len(_INTERVALS) - 1 + 4

Floats = NDArray[np.float64]


class CountingNetwork(nn.Module):
    """Cues `(batch, CUES)` to logits of the tempi `(batch, TEMPI)`."""

    def __init__(self, channels: int = 64, members: int = 3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CUES)
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(0.1),
                nn.Linear(CUES, channels),
                nn.ReLU(),
                nn.Dropout(0.4),
                nn.Linear(channels, TEMPI),
            )
            for _ in range(members)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.stack([member(x).log_softmax(-1) for member in self.members]).logsumexp(0)


def tempo_cues(
    frame: NDArray[np.int64], pitch: NDArray[np.int64], velocity: Floats, count: int
) -> NDArray[np.float32]:
    """What repeats in notes, and how dense they are, `(CUES,)`.

    Args:
        frame: of each note, rising, at `FRAMES_PER_SECOND`, those outside `0 .. count - 1` left out before.
        pitch: of each.
        velocity: of each, 0..1.
        count: frames.
    """
    curves = np.zeros((_CURVES, count))
    low = pitch < _BASS
    np.add.at(curves[0], frame, np.minimum(velocity + 0.3, 1))
    np.add.at(curves[1], frame[low], 1.0)
    curves[2][frame] = 1.0
    np.add.at(curves[3], frame, velocity**2)
    repeats = [_repeats(np.convolve(np.minimum(curve, _LOUDEST), _BLUR, "same")) for curve in curves]
    intervals = np.diff(frame) / FRAMES_PER_SECOND
    apart = np.clip(intervals[intervals > _CHORD_S], 2.0 ** _INTERVALS[0], 2.0 ** _INTERVALS[-1])
    shares = np.histogram(np.log2(apart), _INTERVALS)[0] / max(len(apart), 1)
    length = count / FRAMES_PER_SECOND
    dense = np.log(np.array([len(frame), len(apart) + 1]) / length + 0.1)
    means = [velocity.mean(), low.mean()] if len(frame) else [0.0, 0.0]
    return np.concatenate([*repeats, shares, dense, means]).astype(np.float32)


def tempo_costs(odds: Floats) -> Floats:
    """What each tempo costs, `(TEMPI,)`, 0 or less, where any may be meant after all."""
    possible = odds + _LEAST
    costs: Floats = np.log(possible / possible.max())
    return costs


def hear_tempo(network: CountingNetwork, found: NDArray[np.float32]) -> Floats:
    """Probabilities of the tempi, `(TEMPI,)`, of what `tempo_cues` found."""
    with torch.inference_mode():
        odds: Floats = network(torch.from_numpy(found)[None]).softmax(-1)[0].double().numpy()
    return odds


def _repeats(curve: Floats) -> Floats:
    """How like itself a curve is after each of the lags, 1 if it is the same."""
    centred = curve - curve.mean()
    likeness = np.array([centred[lag:] @ centred[: max(len(curve) - lag, 0)] for lag in _LAGS])
    found: Floats = likeness / (centred @ centred + 1e-9)
    return found
