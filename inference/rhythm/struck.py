"""Beats from the notes that were struck: a causal network over what the piano system heard.

No published tracker listens to notes; where they are heard anyway, it costs nearly nothing: a frame is
a row of keys, and tells bass from treble and chords from runs better than a spectrum does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.streaming import Streaming

LOWEST, KEYS = 21, 88
EXTRAS = 3
Floats = NDArray[np.float32]
Rows = tuple[Floats, ...]


@dataclass(frozen=True)
class StruckConfig:
    """Frames of struck keys, and the network over them.

    Args:
        name: what metadata and commands call it.
        frames_per_second: rate of the frames.
        channels: width of all layers.
        depth: layers, each looking twice as far back as the one before.
        again: how far apart the taps of further layers are, which look closer once more: a bar is
            easier to tell where beats are known.
        behind: frames by which the answer is late, so that a chord can be complete.
        causal: whether nothing later than that is looked at.
    """

    name: str = "struck-live"
    frames_per_second: int = 50
    channels: int = 48
    depth: int = 9
    again: tuple[int, ...] = ()
    behind: int = 3
    causal: bool = True

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each layer: frames between its taps."""
        return (*(2**level for level in range(self.depth)), *self.again)

    @property
    def reach(self) -> int:
        """Frames that an answer depends on: on each side; if causal, half of those before."""
        return sum(self.dilations)


LIVE = StruckConfig(channels=96, depth=10, again=(1, 4, 16, 64, 256))
WHOLE = StruckConfig(
    "struck-whole", channels=96, depth=10, again=(1, 4, 16, 64, 256, 1024), behind=0, causal=False
)
STRUCK = {config.name: config for config in (LIVE, WHOLE)}


class Thought(NamedTuple):
    """Logits per frame of a beat and of a downbeat, each `(batch, frames)`."""

    beat: Tensor
    downbeat: Tensor


class Dilated(Streaming[Tensor]):
    """Three taps with holes between them, over `(batch, frames, channels)`, added to the input.

    State: the last `2 * dilation` input frames, `(batch, 2 * dilation, channels)`.
    """

    def __init__(self, channels: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.taps = nn.Linear(3 * channels, channels)
        self.mix = nn.Linear(channels, channels)
        self.dilation, self.causal = dilation, causal
        self.dropout = nn.Dropout(0.1)

    def init_state(self, batch: int) -> Tensor:
        return self.mix.weight.new_zeros(batch, 2 * self.dilation, self.mix.in_features)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([state, self.norm(x)], 1)
        return x + self._heard(joined), joined[:, -2 * self.dilation :]

    def forward(self, x: Tensor) -> Tensor:
        """Whole input at once; if not causal, as much of what comes as of what was."""
        reach = 2 * self.dilation
        left, right = (reach, 0) if self.causal else (reach // 2, reach // 2)
        return x + self._heard(F.pad(self.norm(x), (0, 0, left, right)))

    def _heard(self, x: Tensor) -> Tensor:
        count, d = x.shape[1] - 2 * self.dilation, self.dilation
        taps = torch.cat([x[:, :count], x[:, d : d + count], x[:, 2 * d :]], 2)
        found: Tensor = self.mix(self.dropout(F.relu(self.taps(taps))))
        return found


class StruckNetwork(Streaming[tuple[Tensor, ...]]):
    """Frames of keys `(batch, frames, KEYS + EXTRAS)` to logits `(batch, frames, 2)`, see `Thought`.

    The answer for frame n comes with frame `n + behind`.
    """

    def __init__(self, config: StruckConfig) -> None:
        super().__init__()
        self.config, self.latency = config, config.behind
        self.enter = nn.Linear(KEYS + EXTRAS, config.channels)
        self.layers = nn.ModuleList(
            Dilated(config.channels, dilation, config.causal) for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, 2)

    def init_state(self, batch: int) -> tuple[Tensor, ...]:
        return tuple(layer.init_state(batch) for layer in self.layers)  # type: ignore[operator]

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, after = self.enter(x), []
        for layer, own in zip(self.layers, state, strict=True):
            x, own = layer.step(x, own)  # type: ignore[operator]
            after.append(own)
        return self.leave(F.relu(self.norm(x))), tuple(after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.leave(F.relu(self.norm(x)))
        return logits

    def think(self, x: Tensor) -> Thought:
        """The whole input's logits, each at its own frame."""
        logits = self(F.pad(x, (0, 0, 0, self.latency)))[:, self.latency :]
        return Thought(logits[..., 0], logits[..., 1])


class QuickStep:
    """`StruckNetwork.step` of one stream without a tensor: for single frames, calls are what costs.

    Frames `(frames, KEYS + EXTRAS)` to logits `(frames, 2)`. The state of a layer are `2 * dilation` rows
    `(channels,)` of what was normalised, before its scale: that of each norm is part of the weights after it.
    Rows, since to copy them all for each frame would take longer than to think.
    """

    def __init__(self, network: StruckNetwork) -> None:
        self.channels = network.config.channels
        # Norms take the mean away. Nothing else needs it, so it is left out of all that is added up.
        self.enter = _centred(*_matrix(network.enter))
        self.leave, self.norm = _matrix(network.leave), _scale(network.norm)
        self.layers: list[_Layer] = []
        self._empty: list[Rows] = []
        for layer in network.layers:
            assert isinstance(layer, Dilated)
            (scale, shift), (taps, bias) = _scale(layer.norm), _matrix(layer.taps)
            scaled = taps * np.tile(scale, 3)[:, None], bias + np.tile(shift, 3) @ taps
            self.layers.append(_Layer(*scaled, *_centred(*_matrix(layer.mix)), layer.dilation))
            self._empty.append((-shift / scale,) * (2 * layer.dilation))

    def start(self) -> tuple[Rows, ...]:
        """State before the first frame."""
        return tuple(self._empty)

    def step(self, x: Floats, state: tuple[Rows, ...]) -> tuple[Floats, tuple[Rows, ...]]:
        """The next frames; the state that is given stays as it is."""
        after = []
        # Row by row: products of a vector are the quickest calls, and any partition gives the same bits.
        rows = [row.dot(self.enter[0]) + self.enter[1] for row in x]
        for layer, own in zip(self.layers, state, strict=True):
            joined = list(own)
            for at, row in enumerate(rows):
                joined.append(_normed(row))
                rows[at] = row + _heard(layer, joined[at], joined[at + layer.dilation], joined[-1])
            after.append(tuple(joined[len(x) :]))
        ready = [np.maximum(_normed(row) * self.norm[0] + self.norm[1], 0) for row in rows]
        return np.array(ready).reshape(-1, self.channels) @ self.leave[0] + self.leave[1], tuple(after)


class _Layer(NamedTuple):
    """Weights of a `Dilated`, for rows from the left."""

    taps: Floats
    taps_bias: Floats
    mix: Floats
    mix_bias: Floats
    dilation: int


def _matrix(layer: nn.Linear) -> tuple[Floats, Floats]:
    return layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()


def _scale(layer: nn.LayerNorm) -> tuple[Floats, Floats]:
    return layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()


def _centred(weights: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """The same without the mean over what comes out."""
    return weights - weights.mean(1, keepdims=True), bias - bias.mean()


def _normed(row: Floats) -> Floats:
    """A row without mean, at length 1 per channel."""
    normed: Floats = row * (1 / sqrt(float(row.dot(row)) / len(row) + 1e-5))
    return normed


def _heard(layer: _Layer, long_ago: Floats, before: Floats, now: Floats) -> Floats:
    """What a layer adds to a row, from the norms at its three taps."""
    heard: Floats = np.concatenate((long_ago, before, now)).dot(layer.taps)
    heard += layer.taps_bias
    heard = np.maximum(heard, 0, out=heard).dot(layer.mix)
    heard += layer.mix_bias
    return heard


def struck_frames(frame: NDArray[np.int64], pitch: NDArray[np.int64], velocity: Floats, count: int) -> Floats:
    """Keys as they are struck, `(count, KEYS + EXTRAS)`: velocities 0..1, then what sums them up.

    Args:
        frame: of each note, those outside `0 .. count - 1` are left out.
        pitch: MIDI pitch of each; other keys than a piano's are left out.
        velocity: of each, 0..1.
        count: frames.
    """
    found = np.zeros((count, KEYS + EXTRAS), np.float32)
    if not len(frame):
        return found
    inside = (frame >= 0) & (frame < count) & (pitch >= LOWEST) & (pitch < LOWEST + KEYS)
    rows, keys = frame[inside], pitch[inside] - LOWEST
    np.maximum.at(found, (rows, keys), velocity[inside])
    struck = found[:, :KEYS] > 0
    number = struck.sum(1)
    found[:, KEYS] = np.minimum(found[:, :KEYS].sum(1), 4)
    found[:, KEYS + 1] = np.minimum(number, 8) / 4
    found[:, KEYS + 2] = np.where(number > 0, 1 - struck.argmax(1) / KEYS, 0)
    return found


def joined(notes: Sequence[tuple[float, int, float]], rate: float, count: int) -> Floats:
    """`struck_frames` of rows `(second, pitch, velocity)`."""
    table = np.array(notes, np.float64).reshape(-1, 3)
    frame = np.rint(table[:, 0] * rate).astype(np.int64)
    return struck_frames(frame, table[:, 1].astype(np.int64), table[:, 2].astype(np.float32), count)
