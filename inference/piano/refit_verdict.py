"""The weights of verdicts, solved on training music once the network is at rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from inference.piano.decode import AGAIN, DecodeSettings, Frame, onset_time, peaks_of
from inference.piano.heads import DecisionHead, together
from inference.piano.network import PianoNetwork
from inference.piano.refit_touch import hear_all
from inference.piano.seen import seen
from inference.piano.transcriber import as_frames, decode_settings
from inference.piano.verdict import CANDIDATE, EVIDENCE, evidence, probability
from inference.training.corpus import RATE, Recording
from inference.training.scores import Table, hits_of

Array = NDArray[np.float64]

RIDGE = 3.0
"""Pull to weights of zero, of evidence of unit variance."""
_STEPS = 30
_SILENT = Frame.silent(88)


def refit_verdicts(network: PianoNetwork, music: Iterable[Recording]) -> list[tuple[float, ...]]:
    """What decides which peaks are notes, for each delay of a network: see `inference.piano.verdict`.

    Args:
        network: in evaluation mode; at most the first minute of each recording is heard.
        music: of the kind that it was trained on, rooms and noise included, or verdicts would be too sure.
    """
    found: list[list[tuple[Array, NDArray[np.bool_]]]] = [[] for _ in network.heads]
    for recording in music:
        notes = recording.notes
        truth = np.stack([notes.onset, notes.offset, notes.pitch, 127 * notes.velocity], 1).astype(float)
        for delay, frames in enumerate(_told(network, recording)):
            settings = decode_settings(network, delay)
            inside = truth[truth[:, 0] < len(frames) * settings.hop / RATE - 0.3]
            found[delay].append(candidates(frames, settings, inside))
    return [solve(*map(np.concatenate, zip(*rows, strict=True))) for rows in found]


def candidates(
    frames: Sequence[Frame], settings: DecodeSettings, truth: Table
) -> tuple[Array, NDArray[np.bool_]]:
    """Evidence of each peak, `(peaks, EVIDENCE)`, and whether it is one of the true notes."""
    told, rows, last = [], [], np.full(len(_SILENT.onset), -AGAIN)
    for index in range(1, len(frames) - 1):
        earlier = frames[index - 2] if index > 1 else _SILENT
        before, frame, after = frames[index - 1 : index + 2]
        keys = np.flatnonzero(peaks_of(before, frame, after, CANDIDATE) & (index - last >= AGAIN))
        if not len(keys):
            continue
        last[keys] = index
        place = (index + 1) * settings.hop - settings.delay
        rows.append(evidence((earlier, before, frame, after), keys))
        told += [(onset_time(place, frame, int(key), settings) / RATE, settings.lowest + key) for key in keys]
    if not rows:
        return np.zeros((0, EVIDENCE)), np.zeros(0, np.bool_)
    time, pitch = np.array(told, np.float64).T
    right = np.zeros(len(time), np.bool_)
    if len(truth):
        estimate = np.stack([time, time + 0.1, pitch, np.full(len(time), 64.0)], 1)
        right[hits_of(truth, estimate)[:, 1]] = True
    return np.concatenate(rows), right


def solve(found: Array, right: NDArray[np.bool_]) -> tuple[float, ...]:
    """A logistic regression by Newton's method: weights of `evidence`, and the constant."""
    if not right.any() or right.all():
        return ()
    middle, spread = found.mean(0), found.std(0) + 1e-6
    x = np.c_[(found - middle) / spread, np.ones(len(found))]
    pull = np.diag([*np.full(EVIDENCE, RIDGE), 0.0])
    weights = np.zeros(EVIDENCE + 1)
    for _ in range(_STEPS):
        told = probability(x[:, :-1], weights.tolist())
        slope = x.T @ (told - right) + pull @ weights
        curve = (x * (told * (1 - told))[:, None]).T @ x + pull + 1e-9 * np.eye(len(pull))
        weights -= np.linalg.solve(curve, slope)
    each = weights[:-1] / spread
    return (*each.tolist(), float(weights[-1] - each @ middle))


def _told(network: PianoNetwork, recording: Recording) -> Iterator[list[Frame]]:
    """What the decoder sees of a recording, for each delay."""
    hidden, _, unusual = hear_all(network, recording)
    level = torch.from_numpy(unusual).float()[None]
    with torch.no_grad():
        pooled = together(hidden)
        for head in network.heads:
            assert isinstance(head, DecisionHead)
            output = head.touched(head.whole(hidden, pooled), level)
            yield as_frames(seen(output, network.config)[0].numpy())
