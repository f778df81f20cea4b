"""What the notes of each beat tell of how loudly it is meant.

Sound tells how loud it is; notes tell how hard each key was struck, whatever else sounds, and what kind
of passage it is: how many notes, how far apart, how fast. A network over either errs in its own way.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.rhythm.dynamics import SMOOTH, Floats, Heard, ranks, smoothed

SHARE = 0.3
"""How much notes count beside sound. Velocities depend on the level of a recording, and must not decide."""
_CURVE, _TEXTURE, _PLACE, _PIECE = 8, 11, 4, 6
NOTE_CUES = 3 * _CURVE + _TEXTURE + _PLACE + _PIECE
_BASS, _TREBLE, _MIDDLE = 52, 76, 60
_EDGE = 32
"""Beats from the beginning and the end of a piece within which it matters how many."""
_AHEAD_S = 0.05
"""How long before a beat its notes may be struck."""

Times = NDArray[np.float64]


def note_cues(onset: Times, pitch: NDArray[np.int64], velocity: Times, beats: Times) -> Floats:
    """What is struck in each beat, on its own and within the piece, `(beats, NOTE_CUES)`.

    Args:
        onset: of each note, in seconds, in any order.
        pitch: MIDI pitch of each.
        velocity: of each, 0..1.
        beats: rising, in seconds, two or more; the last one lasts as long as the one before.
    """
    total = len(beats)
    edges = np.append(beats, 2 * beats[-1] - beats[-2])
    beat = np.searchsorted(edges, onset + _AHEAD_S, "right") - 1
    inside = (beat >= 0) & (beat < total)
    beat, pitch, velocity = beat[inside], pitch[inside], velocity[inside]
    number = np.bincount(beat, minlength=total)
    hardest, highest, lowest = np.zeros(total), np.zeros(total), np.full(total, 127.0)
    np.maximum.at(hardest, beat, velocity)
    np.maximum.at(highest, beat, pitch)
    np.minimum.at(lowest, beat, pitch)
    mean = np.bincount(beat, velocity, minlength=total) / np.maximum(number, 1)
    power = np.log(np.bincount(beat, velocity**2, minlength=total) + 0.02)
    mean, hardest, highest, lowest = (
        _filled(curve, number > 0) for curve in (mean, hardest, highest, lowest)
    )
    length, density = np.log(np.diff(edges)), np.log(smoothed(number.astype(np.float64), SMOOTH) + 0.5)
    varied = mean.std() / max(mean.mean(), 1e-3)
    usual, place = np.log(number.mean() + 0.5), np.arange(total)
    columns = [
        *_within(mean),
        *_within(hardest),
        *_within(power),
        *(np.log(number + 1), density, density - usual),
        *((lowest - _MIDDLE) / 24, (highest - _MIDDLE) / 24, (highest - lowest) / 24),
        *(np.bincount(beat[side], minlength=total) / 4 for side in (pitch < _BASS, pitch > _TREBLE)),
        *(length, length - np.median(length), smoothed(length, SMOOTH) - np.median(length)),
        *(place / total, 1 - place / total),
        *(np.minimum(place, _EDGE) / _EDGE, np.minimum(total - place, _EDGE) / _EDGE),
        *(np.full(total, of_all) for of_all in (varied, usual, np.median(length), np.log(total) / 5)),
        *(np.full(total, (np.median(side) - _MIDDLE) / 24) for side in (lowest, highest)),
    ]
    return np.stack(columns, 1).astype(np.float32)


def hear_noted_dynamics(network: nn.Module, notes: Times, beats: Times) -> Heard:
    """What the network thinks of each beat.

    Args:
        network: over `note_cues`, in evaluation mode.
        notes: rows of onset in seconds, pitch, and velocity 0..1; one or more.
        beats: rising, in seconds, two or more.
    """
    found = note_cues(notes[:, 0], notes[:, 1].astype(np.int64), notes[:, 2], beats)
    with torch.inference_mode():
        classes, change = network(torch.from_numpy(found)[None])
    return Heard(classes[0].log_softmax(-1).numpy(), change[0].numpy())


def together(sound: Heard, notes: Heard) -> Heard:
    """What is thought of sound and of notes as one."""
    share = np.float32(SHARE)
    classes, change = ((1 - share) * a + share * b for a, b in zip(sound, notes, strict=True))
    return Heard(classes, change)


def _within(curve: Times) -> tuple[Times, ...]:
    """How a curve over beats lies within the piece and among its neighbours; not how high it is."""
    near, far = smoothed(curve, SMOOTH), smoothed(curve, 4 * SMOOTH)
    middle, spread = np.median(curve), curve.std() + 1e-3
    return (
        *((curve - middle) / spread, (near - middle) / spread),
        *(ranks(curve), ranks(smoothed(curve, SMOOTH // 2)), ranks(near), ranks(far)),
        *((curve - near) / spread, (near - far) / spread),
    )


def _filled(curve: Times, known: NDArray[np.bool_]) -> Times:
    """A curve with straight lines where nothing is struck."""
    at = np.flatnonzero(known)
    return np.interp(np.arange(len(curve)), at, curve[at]) if len(at) else curve
