"""The network's step without Python in between: recorded once per length, replayed for any batch.

A live step is so short that calling its hundred operations from Python takes a third of its
time. Results are the same to the bit. A single frame of the light network runs in a graph
(`inference.piano.frame`), and differs by rounding; tests compare both.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from inference.piano.frame import Array, Arrays, Frame
from inference.piano.network import NetworkState, PianoNetwork
from inference.piano.seen import seen
from inference.recording import Recording, record
from inference.streaming import leaves, with_leaves

Tensors = tuple[Tensor, ...]
Leaves: TypeAlias = Tensors | Arrays
"""A state as the flat tuple of its tensors, or, where they came out of a graph, of its arrays."""


class Row(NamedTuple):
    """One stream's state: row `place` of a batch's, cut out only once the batch is another."""

    batch: Leaves
    place: int


def join(rows: Sequence[Row]) -> Leaves:
    """The states of several streams as one batch; as it is, if they were one before, in this order."""
    batch = rows[0].batch
    if len(batch[0]) == len(rows) and all(
        [row.batch is batch and row.place == index for index, row in enumerate(rows)]
    ):
        return batch
    parts = [[leaf[row.place : row.place + 1] for leaf in _tensors(row.batch)] for row in rows]
    return tuple(torch.cat(leaves) for leaves in zip(*parts, strict=True))


def _tensors(state: Leaves) -> Tensors:
    return tuple(map(torch.as_tensor, state))


def _arrays(state: Leaves) -> Arrays:
    return tuple([leaf.numpy() if isinstance(leaf, Tensor) else leaf for leaf in state])


_LONGEST = 10
"""Frames up to which a step is recorded; longer ones lose nothing to Python."""
_MOST = 4
"""Streams up to which a graph is faster."""


class RecordedStep:
    """`network.step`, seen as the decoder does, of a network whose weights no longer change.

    The state's leaves have the batch as their first axis.

    Args:
        network: what is stepped, in evaluation mode, its norms folded.
        graph: whether frames run in the graph that there is for them, if there is one.
    """

    def __init__(self, network: PianoNetwork, *, graph: bool = True) -> None:
        self.network = network
        self._like = network.init_state(1)
        self._device = next(network.parameters()).device
        self._hop = network.config.hop
        self._frame = Frame.of(network) if graph and self._device.type == "cpu" else None
        self._recordings: dict[int, Recording] = {}
        self._lock = threading.Lock()

    def init_state(self) -> Leaves:
        """State of one stream that has heard nothing."""
        return tuple(leaves(self.network.init_state(1)))

    def __call__(self, audio: Tensor, state: Leaves) -> tuple[Array, Leaves]:
        """Step `(batch, samples)` of whole hops; returns what is seen and the state.

        What is seen is `(batch, frames, 6, 88)`.
        """
        batch, samples = audio.shape
        if self._frame is not None and samples == self._hop and batch <= _MOST:
            found, after = self._frame(audio.numpy(), _arrays(state))
            return found[:, None], after
        with torch.inference_mode():
            told, left = self._on_device(audio.to(self._device), _tensors(state))
            return told.cpu().numpy(), left

    def _on_device(self, audio: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        samples = audio.shape[1]
        if samples > _LONGEST * self._hop:
            output, after = self.network.step(audio, with_leaves(self._like, state))
            return seen(output, self.network.config), tuple(leaves(after))
        with self._lock:
            if samples not in self._recordings:
                example = torch.zeros(2, samples, device=self._device), *leaves(self.network.init_state(2))
                self._recordings[samples] = record(_Flat(self.network, self._like), *example)
        found, *rest = self._recordings[samples](audio, *state)
        return found, tuple(rest)


class _Flat(nn.Module):
    """A step between flat lists of tensors, as recording wants it."""

    def __init__(self, network: PianoNetwork, like: NetworkState) -> None:
        super().__init__()
        self.network, self.like = network, like

    def forward(self, audio: Tensor, *state: Tensor) -> Tensors:
        output, after = self.network.step(audio, with_leaves(self.like, state))
        return (seen(output, self.network.config), *leaves(after))
