"""Notes to frame labels and back: the grid of arXiv 2404.06818, delayed so that a causal net can decide.

The frame that ends at sample (n + 1) * hop is labelled with what happened `delay` samples before
its end. What the grid rounds away of an onset is kept in `shift`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.piano.config import LOWEST, PITCHES, NoteState, PianoConfig
from inference.training.notes import Floats, NoteTable


@dataclass(frozen=True)
class FrameLabels:
    """Targets per frame: `(frames, 88)`, pedal `(frames,)`. NaN where the truth is unknown."""

    state: NDArray[np.uint8]
    velocity: Floats
    shift: Floats
    key: Floats
    pedal: Floats


def frame_labels(notes: NoteTable, pedal: Floats | None, frames: int, config: PianoConfig) -> FrameLabels:
    """Label `frames` frames of a stream.

    Args:
        notes: times in seconds from the stream's first sample; sorted by onset.
        pedal: `(n, 2)` seconds at which the sustain pedal goes down and up, or None if unknown.
        frames: how many frames to label.
        config: gives hop, rate and delay.
    """
    rate, delay = config.rate / config.hop, config.label_delay / config.rate
    labels = FrameLabels(
        np.zeros((frames, PITCHES), np.uint8),
        np.zeros((frames, PITCHES), np.float32),
        np.zeros((frames, PITCHES), np.float32),
        np.full((frames, PITCHES), np.nan, np.float32),
        np.full(frames, np.nan if pedal is None else 0.0, np.float32),
    )
    starts = (notes.onset + delay) * rate - 1
    ends = np.rint((notes.offset + delay) * rate - 1)
    releases = np.rint((notes.release + delay) * rate - 1)
    for start, end, release, pitch, velocity in zip(
        starts, ends, releases, notes.pitch - LOWEST, notes.velocity, strict=True
    ):
        _draw(labels, float(start), int(end), float(release), int(pitch), float(velocity))
    if pedal is not None:
        for down, up in np.rint((pedal + delay) * rate - 1):
            labels.pedal[max(int(down), 0) : max(int(up), 0)] = 1
    return labels


def _draw(labels: FrameLabels, start: float, end: int, release: float, pitch: int, velocity: float) -> None:
    frames = len(labels.state)
    first = round(start)
    end = max(end, first + 1)
    if not 0 <= pitch < PITCHES or end < 0 or first >= frames:
        return
    state = labels.state[:, pitch]
    a, b = max(first, 0), min(end, frames)
    sounded = first > 0 and state[first - 1] in (NoteState.ONSET, NoteState.SUSTAIN, NoteState.REONSET)
    state[a:b] = NoteState.SUSTAIN
    labels.velocity[a:b, pitch] = velocity
    if not np.isnan(release):
        labels.key[a:b, pitch] = np.arange(a, b) < max(release, first + 1)
    else:
        labels.key[a:b, pitch] = np.nan
    if first >= 0:
        state[first] = NoteState.REONSET if sounded else NoteState.ONSET
        labels.shift[first, pitch] = start - first
    if end < frames and state[end] == NoteState.OFF:
        state[end] = NoteState.OFFSET
