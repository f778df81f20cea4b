"""A frame of the light network without torch: spectra by numpy, all else in a graph of ONNX Runtime.

A live step is one frame, and much of what torch takes for that is not arithmetic: this takes four
fifths of the time. It does what the network does in another order, so that results differ by
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
from torch import Tensor, nn

from inference import weights
from inference.features import LogFrequencySpectrogram
from inference.layers import PitchwiseLstm, lstm_frame
from inference.piano.config import LIGHT, PianoConfig
from inference.piano.heads import decided
from inference.piano.network import PianoNetwork
from inference.piano.seen import seen
from inference.streaming import leaves, with_leaves

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
        self._ear = _Ear(network.front_end)
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

    @classmethod
    def of(cls, network: PianoNetwork) -> Self | None:
        """The one for a network; None if there is no graph for its shape."""
        graph = weights.graph(graph_name(network)) if _shape(network.config) == _shape(LIGHT) else None
        return None if graph is None else cls(network, graph)

    def __call__(self, audio: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """A hop `(batch, samples)` to what the decoder sees, `(batch, 1, 6, 88)`, and the state after."""
        samples, peak, tuning, *rest = (leaf.numpy() for leaf in state)
        features, level, *known = self._ear.listen(audio.numpy(), samples, peak, tuning)
        found, *rest = self._session.run(None, dict(zip(self._names, (features, level, *rest), strict=True)))
        return torch.from_numpy(found), tuple(map(torch.from_numpy, (*known, *rest)))


class _Ear:
    """`LogFrequencySpectrogram.listen` for one frame."""

    def __init__(self, front: LogFrequencySpectrogram) -> None:
        self.level, self.fading, self.hop = front.config.level, front.fading, front.hop
        self.tuning, self.frame_s, self.telling = front.config.tuning, front.frame_s, front.telling.numpy()
        self.shape = (-1, 1, front.channels, front.bins)
        self.tapers = [front.get_buffer(f"taper{index}").numpy() for index in range(front.channels)]
        bank = front.filters
        self.first, self.touched, self.weights = (b.numpy() for b in (bank.first, bank.touched, bank.weights))

    def listen(self, audio: Array, carried: Array, peak: Array, tuning: Array) -> tuple[Array, ...]:
        """Features `(batch, 1, windows, bins)`, loudness `(batch, 1, 2)`; samples, peak, tuning to carry."""
        joined = np.concatenate([carried, audio], 1)
        loudest = np.abs(audio).max(1)
        faded = np.where(loudest > self.level.quietest / 10, peak - np.float32(self.fading), peak)
        peak = np.maximum(faded, np.log(np.maximum(loudest, np.float32(1e-9))))
        gain = np.float32(self.level.target) / np.maximum(np.exp(peak), np.float32(self.level.quietest))
        spectra = [np.fft.rfft(joined[:, -len(taper) :] * taper) for taper in self.tapers]
        spectrum = np.concatenate(spectra, 1)
        parts = np.square(spectrum.view(np.float32))
        magnitude = np.sqrt(parts[:, ::2] + parts[:, 1::2])
        energy = np.add.reduceat(magnitude[:, self.touched] * self.weights, self.first, 1) * gain[:, None]
        features = np.log(energy + np.float32(1e-3)) * np.float32(0.3) + np.float32(0.6)
        features = features.reshape(self.shape)
        told = np.square(energy[:, : features.shape[-1]]) @ self.telling
        tuning, bins = self._off(told, tuning)
        if any(bins):
            features = _beside(features, np.array(bins, np.float32)[:, None, None, None])
        level = np.stack([np.square(audio).mean(1) * np.square(gain), np.log(gain)], 1)
        return features, level[:, None], joined[:, self.hop :], peak, tuning

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


class FrameNet(nn.Module):
    """Features and loudness of one frame to what the decoder sees of it; the state is flat."""

    def __init__(self, network: PianoNetwork) -> None:
        super().__init__()
        assert isinstance(network.notes, PitchwiseLstm) and network.touch is not None
        self.acoustic, self.exchange, self.touch = network.note_acoustic, network.exchange, network.touch
        with torch.no_grad():
            folded = [nn.Parameter(part.clone()) for part in network.notes.folded()]
        self.gates, self.own = folded
        self.head, self.sooner = network.head, network.earlier
        self.config, self.like = network.config, network.init_state(3)._replace(front_end=())

    def forward(self, features: Tensor, level: Tensor, *state: Tensor) -> Tensors:
        before = with_leaves(self.like, state)
        heard, acoustic = self.acoustic.step(features, before.note_acoustic)
        level, touch = self.touch.step(level, before.touch)
        hidden, notes = lstm_frame(heard, before.notes, self.gates, self.own)
        output, head = decided(self.exchange(hidden), level, before.head, self.head, self.sooner)
        after = before._replace(note_acoustic=acoustic, notes=notes, head=head, touch=touch)
        return (seen(output, self.config), *leaves(after))


def graph_name(network: PianoNetwork) -> str:
    """What the graph for the delays that a network is set to is called."""
    sooner = "" if network.sooner is None else "-sooner"
    return f"piano-light-{network.head.hindsight}{sooner}"


def _shape(config: PianoConfig) -> dict[str, Any]:
    """What of a configuration the graphs depend on."""
    other = ("name", "delay", "other_delays")
    return {part.name: getattr(config, part.name) for part in fields(config) if part.name not in other}
