"""The network's step without Python in between: recorded once per length, replayed for any batch.

A live step is so short that calling its hundred operations from Python takes a third of its
time. Results are the same to the bit; a test compares them.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from inference.piano.network import NetworkState, PianoNetwork
from inference.streaming import leaves, with_leaves

_LONGEST = 10
"""Frames up to which a step is recorded; longer ones lose nothing to Python."""


class RecordedStep:
    """`network.step` for a network in evaluation mode whose weights no longer change."""

    def __init__(self, network: PianoNetwork) -> None:
        self.network = network
        self._recordings: dict[int, Callable[..., tuple[Tensor, ...]]] = {}
        self._lock = threading.Lock()

    def __call__(self, audio: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Like `PianoNetwork.step`, for audio of whole hops."""
        samples = audio.shape[1]
        if samples > _LONGEST * self.network.config.hop:
            return self.network.step(audio, state)
        with self._lock:
            if samples not in self._recordings:
                self._recordings[samples] = _record(self.network, samples)
        output, *after = self._recordings[samples](audio, *leaves(state))
        return output, with_leaves(state, after)


class _Flat(nn.Module):
    """A step between flat lists of tensors, as recording wants it."""

    def __init__(self, network: PianoNetwork, state: NetworkState) -> None:
        super().__init__()
        self.network, self.like = network, state

    def forward(self, audio: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        output, after = self.network.step(audio, with_leaves(self.like, state))
        return (output, *leaves(after))


def _record(network: PianoNetwork, samples: int) -> Callable[..., tuple[Tensor, ...]]:
    state = network.init_state(2)
    audio = torch.zeros(2, samples)
    with torch.no_grad(), warnings.catch_warnings():
        # Deprecated in favour of torch.compile, which needs a C++ compiler on the user's machine;
        # and the branches it warns of depend on the piece's length only, which is fixed here.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        network.step(audio, state)  # what depends on weights alone is computed here, not recorded
        flat = _Flat(network, state).eval()
        recording: Callable[..., tuple[Tensor, ...]]
        recording = torch.jit.trace(  # type: ignore[no-untyped-call]
            flat, (audio, *leaves(state)), check_trace=False
        )
        for _ in range(3):  # its first calls are slow: they profile
            recording(audio, *leaves(state))
    return recording
