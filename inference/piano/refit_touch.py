"""What loudness adds to the velocities that a trained network reads, solved with the network at rest.

It is a least-squares problem over recordings that are longer than training's chunks (see
`inference.piano.touch`); with it, velocities get the scale and the mean of those recordings.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.features import LogFrequencySpectrogram
from inference.piano.config import NoteState, Output
from inference.piano.heads import DecisionHead
from inference.piano.labels import frame_labels
from inference.piano.network import PianoNetwork
from inference.training.corpus import RATE, Recording

Array = NDArray[np.float64]
_LONGEST_S = 60
"""Of each recording that loudness is measured on."""
_PIECE = 250
"""Frames of it at once."""


def refit_touch(network: PianoNetwork, recordings: Iterable[Recording]) -> None:
    """Measure what loudness adds to the velocities of all heads, in place.

    Recordings as they were made: rooms and levels drawn by chance would hide what is sought. What
    all notes of a recording share is left to it, but for the mean over all recordings.
    """
    network.eval()
    rows: list[list[tuple[Array, Array, Array]]] = [[] for _ in network.heads]
    for recording in recordings:
        for found, row in zip(rows, _heard(network, recording), strict=True):
            if len(row[2]) > 30:
                found.append(row)
    for head, found in zip(network.heads, rows, strict=True):
        assert isinstance(head, DecisionHead)
        inputs, targets = [], []
        for x, _, y in found:
            weight = 1 / (y.std() + 0.025)  # music in one dynamic tells as much as music in many
            inputs.append((x - x.mean(0)) * weight)
            targets.append((y - y.mean()) * weight)
        scale, *touch = np.linalg.lstsq(np.concatenate(inputs), np.concatenate(targets))[0]
        # Measured is the whole effect, so that a bang makes nothing after it softer; told is what is unusual.
        rest = [y.mean() - (x[:, 0] * scale + unusual @ touch).mean() for x, unusual, y in found]
        with torch.no_grad():
            head.keys.weight[Output.VELOCITY] *= scale
            head.keys.bias[Output.VELOCITY] *= scale
            head.keys.bias[Output.VELOCITY] += float(np.mean(rest))
            head.touch.copy_(torch.tensor(touch))


def _heard(network: PianoNetwork, recording: Recording) -> list[tuple[Array, Array, Array]]:
    """Of each onset, for each head: velocity, loudness and gain; both as unusual; the true velocity."""
    with torch.no_grad():
        hidden, now, unusual = hear_all(network, recording)
        heads = [head for head in network.heads if isinstance(head, DecisionHead)]
        velocities = [head.keys(head.view(hidden))[0, :, :, Output.VELOCITY].double() for head in heads]
    labels = frame_labels(recording.notes, None, len(now), network.config)
    struck = (labels.state == NoteState.ONSET) | (labels.state == NoteState.REONSET)
    told, keys = np.nonzero(struck)
    found = []
    for velocity, delay in zip(velocities, network.config.delays, strict=True):
        at = told + (delay - network.config.delay) // network.config.hop
        inside = (at >= 0) & (at < len(now))
        at, key = at[inside], keys[inside]
        x = np.column_stack([velocity.numpy()[at, key], now[at]])
        truth = labels.velocity[told[inside], key].astype(np.float64)
        found.append((x, unusual[at], truth))
    return found


def hear_all(network: PianoNetwork, recording: Recording) -> tuple[Tensor, Array, Array]:
    """What heads read, loudness and gain `(frames, 2)`, and both as unusual; in pieces that memory holds."""
    front, touch = network.front_end, network.touch
    assert isinstance(front, LogFrequencySpectrogram) and touch is not None
    audio = recording.audio[: _LONGEST_S * RATE].astype(np.float32) / np.float32(32_768)
    state, hidden, levels, usuals = network.init_state(1), list[Tensor](), list[Tensor](), list[Tensor]()
    for piece in torch.split(torch.from_numpy(audio)[None], _PIECE * network.config.hop, dim=1):
        features, level, heard = front.listen(piece, state.front_end)
        found, acoustic = network.note_acoustic.step(features, state.note_acoustic)
        found, notes = network.notes.step(found, state.notes)
        now, usual, touched = touch.compare(level, state.touch)
        state = state._replace(front_end=heard, note_acoustic=acoustic, notes=notes, touch=touched)
        hidden.append(network.exchange(found))
        levels.append(now[0])
        usuals.append(usual[0])
    level = torch.cat(levels).double()
    return torch.cat(hidden, 1), level.numpy(), (level - torch.cat(usuals)).numpy()
