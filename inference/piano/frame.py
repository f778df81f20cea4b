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
from numpy.typing import NDArray

from inference import weights
from inference.features import LogFrequencySpectrogram
from inference.piano.config import LIGHT, PianoConfig
from inference.piano.frame_net import FrameNet
from inference.piano.network import PianoNetwork
from inference.piano.seen import CHANNELS, VELOCITY
from inference.piano.touch import DB, SILENCE

Array = NDArray[np.float32]
Arrays = tuple[Array, ...]


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

    def __call__(self, audio: Array, state: Arrays) -> tuple[Array, Arrays]:
        """A hop `(batch, samples)` to what the decoder sees, `(batch, 6, 88)`, and the state after."""
        samples, peak, tuning, *rest, mean, weight = state
        told = [self._ear.listen(*row) for row in zip(audio, samples, peak, tuning, strict=True)]
        features, *heard = _batch([arrays for arrays, _ in told])
        seen, *rest = self._session.run(None, dict(zip(self._names, (features, *rest), strict=True)))
        for frames in range(self._convolutions):
            rest[frames] = rest[frames][:, 1:]
        levels = [level for _, level in told]
        touched = _batch([self._touch(*row) for row in zip(seen, levels, mean, weight, strict=True)])
        return seen, (*heard, *rest, *touched)


def _batch(rows: list[tuple[Array, ...]]) -> list[Array]:
    """What several streams have of each kind as one array; that of a single one is not copied."""
    if len(rows) == 1:
        return [array[None] for array in rows[0]]
    return [np.stack(arrays) for arrays in zip(*rows, strict=True)]


class _Touch:
    """`Touch` and `DecisionHead.touched` for a frame of a stream, number by number: calls are what costs."""

    def __init__(self, network: PianoNetwork) -> None:
        assert network.touch is not None
        self.keep = network.touch.keep.tolist()
        heads = [network.head] if network.earlier is None else [network.head, network.earlier]
        self.heads = [head.touch.tolist() for head in heads]

    def __call__(
        self, seen: Array, level: tuple[float, float], mean: Array, weight: Array
    ) -> tuple[Array, Array]:
        """Add to the velocities of what the decoder sees, in place; mean and weight after this frame."""
        power, gain = level
        square = power * power
        (loud, usual, gains), counts = mean[0].tolist(), weight[0].tolist()
        counts = [1 + keep * count for keep, count in zip(self.keep, counts, strict=True)]
        loud += (square - loud) / counts[0]
        usual += (square - usual) / counts[1]
        gains += (gain - gains) / counts[2]
        louder = DB / 2 * math.log((loud + SILENCE) / (usual + SILENCE))
        for head, (by_loudness, by_gain) in enumerate(self.heads):
            unusual = by_loudness * louder + by_gain * 2 * DB * (gain - gains)
            seen[head * CHANNELS + VELOCITY] += unusual
        return np.array([(loud, usual, gains)], np.float32), np.array([counts], np.float32)


class _Ear:
    """`LogFrequencySpectrogram.listen` for one frame of one stream."""

    def __init__(self, front: LogFrequencySpectrogram) -> None:
        self.level, self.fading, self.hop = front.config.level, front.fading, front.hop
        self.tuning, self.frame_s, self.telling = front.config.tuning, front.frame_s, front.telling.numpy()
        self.bins, self.windows = front.bins, front.channels
        self.tapers = [front.get_buffer(f"taper{index}").numpy() for index in range(self.windows)]
        # All windows of a bin beside each other, as the network wants them.
        order = np.arange(self.windows * self.bins).reshape(self.windows, -1).T.ravel()
        self.filters = front.filters.matrix()[order]

    def listen(
        self, audio: Array, carried: Array, peak: Array, tuning: Array
    ) -> tuple[tuple[Array, ...], tuple[float, float]]:
        """Features `(1, bins, windows)` with samples, peak and tuning to carry; power and log gain."""
        joined = np.concatenate([carried, audio])
        loudest, before = float(np.abs(audio).max()), float(peak)
        faded = before - self.fading if loudest > self.level.quietest / 10 else before
        newest = max(faded, math.log(max(loudest, 1e-9)))
        gain = self.level.target / max(math.exp(newest), self.level.quietest)
        spectrum = np.concatenate([np.fft.rfft(joined[-len(taper) :] * taper) for taper in self.tapers])
        # numpy 1 transforms in double precision.
        magnitude = np.abs(spectrum).astype(np.float32, copy=False)
        energy = (self.filters @ magnitude) * np.float32(gain)
        features = np.log(energy + np.float32(1e-3)) * np.float32(0.3) + np.float32(0.6)
        told = np.square(energy[:: self.windows]) @ self.telling  # the first window is the longest
        pull, bins = self._off(told, tuning)
        seen = _beside(features.reshape(1, self.bins, self.windows), bins)
        power = float(np.dot(audio, audio)) / len(audio) * gain * gain
        return (seen, joined[self.hop :], np.array(newest, np.float32), pull), (power, math.log(gain))

    def _off(self, told: Array, before: Array) -> tuple[Array, float]:
        """`follow` and `bins_off`: what is remembered, `(2,)`, and bins; number by number too."""
        config = self.tuning
        (sharp, across, power), (x, y) = told.tolist(), before.tolist()
        share = 1 / (power + config.enough)
        kept = math.exp(-power * share * self.frame_s / config.memory_s)
        x, y = sharp * share + x * kept, across * share + y * kept
        cents = math.atan2(y, x + config.prior_s / self.frame_s) * 100 / (2 * math.pi)
        over = (abs(cents) - config.from_cents) / (config.until_cents - config.from_cents)
        return np.array((x, y), np.float32), math.copysign(min(max(over, 0.0), 1.0), cents)


def _beside(features: Array, bins: float) -> Array:
    """Features `(1, bins, windows)` as seen up to a bin higher or lower."""
    if not bins:
        return features
    if bins > 0:
        other = np.concatenate([features[:, 1:], features[:, -1:]], 1)
    else:
        other = np.concatenate([features[:, :1], features[:, :-1]], 1)
    seen: Array = features + np.float32(abs(bins)) * (other - features)
    return seen


def graph_name(network: PianoNetwork) -> str:
    """What the graph for the delays that a network is set to is called."""
    sooner = "" if network.sooner is None else "-sooner"
    return f"piano-light-{network.head.hindsight}{sooner}"


def _shape(config: PianoConfig) -> dict[str, Any]:
    """What of a configuration the graphs depend on."""
    other = ("name", "delay", "other_delays")
    return {part.name: getattr(config, part.name) for part in fields(config) if part.name not in other}
