"""Velocity once more, after training: the best linear reading of what the network already hears.

Velocity is a small part of the training loss, and its readers follow a network that keeps changing.
With the network at rest the best reading is a least-squares problem, solved here at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.piano.config import NoteState, Output
from inference.piano.heads import DecisionHead
from inference.piano.mix import Batch
from inference.piano.network import PianoNetwork

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RefitConfig:
    """`chunk_level`: weight of an error that all notes of a chunk share; `ridge`: pull to the old reading."""

    chunk_level: float = 0.15
    ridge: float = 1e-4


def refit_velocity(network: PianoNetwork, batches: Iterable[Batch], config: RefitConfig) -> None:
    """Replace the velocity readers of all heads, in place."""
    network.eval()
    rows: list[list[tuple[Array, Array]]] = [[] for _ in network.heads]
    with torch.no_grad():
        for batch in batches:
            hidden = network.hidden(batch.features)
            for found, head, delay in zip(rows, network.heads, network.config.delays, strict=True):
                assert isinstance(head, DecisionHead)
                late = (delay - network.config.delay) // network.config.hop
                found += _struck(head.view(hidden), batch, late)
    for found, head in zip(rows, network.heads, strict=True):
        assert isinstance(head, DecisionHead)
        _replace(head, found, config)


def _struck(seen: Tensor, batch: Batch, late: int) -> list[tuple[Array, Array]]:
    """What a head sees at each onset of a chunk, `(onsets, width)`, and the velocities, per chunk."""
    end = seen.shape[1]
    seen = seen[:, max(late, 0) : end + min(late, 0)]
    told = slice(max(-late, 0), end + min(-late, 0))
    state = batch.state[:, told]
    struck = (state == NoteState.ONSET) | (state == NoteState.REONSET)
    chunks = zip(seen, batch.velocity[:, told], struck, strict=True)
    found = [(x[at].double().numpy(), y[at].double().numpy()) for x, y, at in chunks]
    return [(x, y) for x, y in found if len(y) > 1]


def _replace(head: DecisionHead, chunks: list[tuple[Array, Array]], config: RefitConfig) -> None:
    weight, bias = head.keys.weight, head.keys.bias
    old = np.append(weight[Output.VELOCITY].detach().numpy(), bias[Output.VELOCITY].item()).astype(float)
    inputs, targets = [], []
    for x, y in chunks:
        middle, shared = x.mean(0), np.sqrt(config.chunk_level * len(y))
        inputs += [np.c_[x - middle, np.zeros(len(y))], shared * np.append(middle, 1)[None]]
        targets += [y - y.mean(), [shared * y.mean()]]
    a, b = np.concatenate(inputs), np.concatenate(targets)
    gram = a.T @ a
    pull = config.ridge * np.trace(gram) / len(gram)
    new = np.linalg.solve(gram + pull * np.eye(len(gram)), a.T @ b + pull * old)
    with torch.no_grad():
        weight[Output.VELOCITY] = torch.from_numpy(new[:-1])
        bias[Output.VELOCITY] = float(new[-1])
