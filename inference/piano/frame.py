"""A frame of the light network without torch: spectra by numpy, most else in a graph of ONNX Runtime.

A live step is one frame, and much of what torch takes for that is not arithmetic: this takes two
thirds of the time. It does what the network does in another order, so that results differ by
rounding. The graphs are files without weights; these come from the network, so that whatever is
trained runs in them. One is for heads without hindsight, one for the heads of the preset `eager`.

`inference.piano.write_graphs` writes them.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Self

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import weights
from inference.features import LogFrequencySpectrogram
from inference.piano.config import LIGHT, PianoConfig
from inference.piano.frame_net import FrameNet
from inference.piano.network import PianoNetwork
from inference.piano.seen import CHANNELS, VELOCITY
from inference.piano.touch import DB, SILENCE

Array = NDArray[np.float32]
Tensors = tuple[Tensor, ...]


class Frame:
    """Steps of one frame of a light network in evaluation mode, its norms folded.

    Args:
        network: whose delays are chosen.
        graph: the ONNX file for these.
    """

    def __init__(self, network: PianoNetwork, graph: bytes) -> None:
        assert isinstance(network.front_end, LogFrequencySpectrogram)
        self._ear, self._touch = _Ear(network.front_end), _Touch(network)
        # Kept, since the session does not copy all of them.
        self._weights = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(value.contiguous().numpy())
            for name, value in FrameNet(network).state_dict().items()
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; it warns of what it leaves as it is
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._names = [given.name for given in self._session.get_inputs()]
        self._convolutions = len(network.note_acoustic.blocks)

    @classmethod
    def of(cls, network: PianoNetwork) -> Self | None:
        """The one for a network; None if there is no graph for its shape."""
        graph = weights.graph(graph_name(network)) if _shape(network.config) == _shape(LIGHT) else None
        return None if graph is None else cls(network, graph)

    def __call__(self, audio: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """A hop `(batch, samples)` to what the decoder sees, `(batch, 1, 6, 88)`, and the state after."""
        samples, peak, tuning, *rest, mean, weight = (leaf.numpy() for leaf in state)
        features, level, *known = self._ear.listen(audio.numpy(), samples, peak, tuning)
        found, *rest = self._session.run(None, dict(zip(self._names, (features, *rest), strict=True)))
        for frames in range(self._convolutions):
            rest[frames] = rest[frames][:, 1:]
        touched = self._touch(found, level, mean, weight)
        return torch.from_numpy(found), tuple(map(torch.from_numpy, (*known, *rest, *touched)))


class _Touch:
    """`Touch` and `DecisionHead.touched` for one frame, number by number: calls are what costs."""

    def __init__(self, network: PianoNetwork) -> None:
        assert network.touch is not None
        self.keep = network.touch.keep.tolist()
        heads = [network.head] if network.earlier is None else [network.head, network.earlier]
        self.heads = [head.touch.tolist() for head in heads]

    def __call__(self, seen: Array, level: Array, mean: Array, weight: Array) -> tuple[Array, Array]:
        """Add to the velocities of what the decoder sees, in place; means and weights after this frame."""
        means, weights = [], []
        for row, (power, gain) in enumerate(level.tolist()):
            values = power * power, power * power, gain
            counts = [
                1 + keep * before for keep, before in zip(self.keep, weight[row, 0].tolist(), strict=True)
            ]
            after = [
                before + (value - before) / count
                for before, value, count in zip(mean[row, 0].tolist(), values, counts, strict=True)
            ]
            loud = DB / 2 * math.log((after[0] + SILENCE) / (after[1] + SILENCE))
            for head, (by_loudness, by_gain) in enumerate(self.heads):
                unusual = by_loudness * loud + by_gain * 2 * DB * (gain - after[2])
                seen[row, 0, head * CHANNELS + VELOCITY] += np.float32(unusual)
            means.append([after])
            weights.append([counts])
        return np.array(means, np.float32), np.array(weights, np.float32)


class _Ear:
    """`LogFrequencySpectrogram.listen` for one frame."""

    def __init__(self, front: LogFrequencySpectrogram) -> None:
        self.level, self.fading, self.hop = front.config.level, front.fading, front.hop
        self.tuning, self.frame_s, self.telling = front.config.tuning, front.frame_s, front.telling.numpy()
        self.shape = (-1, front.channels, front.bins)
        self.tapers = [front.get_buffer(f"taper{index}").numpy() for index in range(front.channels)]
        bank = front.filters
        self.first, self.touched = (index.numpy().astype(np.intp) for index in (bank.first, bank.touched))
        self.weights = bank.weights.numpy()

    def listen(self, audio: Array, carried: Array, peak: Array, tuning: Array) -> tuple[Array, ...]:
        """Features `(batch, 1, bins, windows)`, loudness `(batch, 2)`; samples, peak, tuning to carry."""
        joined = np.concatenate([carried, audio], 1)
        loudest = np.abs(audio).max(1)
        faded = np.where(loudest > self.level.quietest / 10, peak - np.float32(self.fading), peak)
        peak = np.maximum(faded, np.log(np.maximum(loudest, np.float32(1e-9))))
        gain = np.float32(self.level.target) / np.maximum(np.exp(peak), np.float32(self.level.quietest))
        spectra = [np.fft.rfft(joined[:, -len(taper) :] * taper) for taper in self.tapers]
        spectrum = np.concatenate(spectra, 1)
        parts = np.square(spectrum.view(np.float32))
        magnitude = np.sqrt(parts[:, ::2] + parts[:, 1::2])
        touched = magnitude.take(self.touched, 1)
        touched *= self.weights
        energy = np.add.reduceat(touched, self.first, 1) * gain[:, None]
        features = np.log(energy + np.float32(1e-3)) * np.float32(0.3) + np.float32(0.6)
        features = features.reshape(self.shape)
        told = np.square(energy[:, : features.shape[-1]]) @ self.telling
        tuning, bins = self._off(told, tuning)
        if any(bins):
            features = _beside(features, np.array(bins, np.float32)[:, None, None])
        level = np.stack([np.square(audio).mean(1) * np.square(gain), np.log(gain)], 1)
        features = np.ascontiguousarray(features.transpose(0, 2, 1))[:, None]
        return features, level, joined[:, self.hop :], peak, tuning

    def _off(self, told: Array, before: Array) -> tuple[Array, list[float]]:
        """`follow` and `bins_off`: what is remembered, `(batch, 2)`, and bins of each row.

        Number by number: a live batch is so small that calls are what costs.
        """
        config, after, bins = self.tuning, [], []
        for (sharp, across, power), (x, y) in zip(told.tolist(), before.tolist(), strict=True):
            share = 1 / (power + config.enough)
            kept = math.exp(-power * share * self.frame_s / config.memory_s)
            x, y = sharp * share + x * kept, across * share + y * kept
            cents = math.atan2(y, x + config.prior_s / self.frame_s) * 100 / (2 * math.pi)
            over = (abs(cents) - config.from_cents) / (config.until_cents - config.from_cents)
            after.append((x, y))
            bins.append(math.copysign(min(max(over, 0.0), 1.0), cents))
        return np.array(after, np.float32), bins


def _beside(features: Array, bins: Array) -> Array:
    higher = np.concatenate([features[..., 1:], features[..., -1:]], -1) - features
    lower = np.concatenate([features[..., :1], features[..., :-1]], -1) - features
    up: Array = np.maximum(bins, np.float32(0))
    down: Array = np.maximum(-bins, np.float32(0))
    seen: Array = features + up * higher + down * lower
    return seen


def graph_name(network: PianoNetwork) -> str:
    """What the graph for the delays that a network is set to is called."""
    sooner = "" if network.sooner is None else "-sooner"
    return f"piano-light-{network.head.hindsight}{sooner}"


def _shape(config: PianoConfig) -> dict[str, Any]:
    """What of a configuration the graphs depend on."""
    other = ("name", "delay", "other_delays")
    return {part.name: getattr(config, part.name) for part in fields(config) if part.name not in other}
