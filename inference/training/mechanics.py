"""What sounds on a piano besides the strings that are struck: open strings, dampers, pedal.

Samples are of single keys, so music played on them lacks it all. On a real piano every string
that is open answers what others play, and a network that never heard one answer takes it for struck.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from inference.training.corpus import RATE
from inference.training.modelled import bridges, partials
from inference.training.notes import Floats, NoteTable

_PARTIALS = 5
_HIGHEST_HZ = 3_500.0
_HEARD = 240
"""How many partials of open strings sound in one excerpt."""
_THUMP_S = 0.15
_DAMPED_S = 0.6
"""After that long with the pedal up, no open string is left."""

_compile: Callable[[Any], Any] = numba.njit(fastmath=True, cache=True)


def with_mechanics(
    dry: Floats, notes: NoteTable, pedal: Floats, cents: NDArray[np.float64], random: Generator
) -> Floats:
    """What is played, with what the mechanism and the open strings add to it.

    Args:
        dry: `(samples,)` at 16 kHz.
        notes: with releases, in seconds from the first sample.
        pedal: `(n, 2)` seconds between which the sustain pedal is down.
        cents: how much each of 128 keys is off.
        random: how strings and mechanism are built, and how loud they are beside the notes.
    """
    loudness = float(np.sqrt(np.mean(dry**2)))
    audio = dry.copy()
    _thump(audio, notes.release, loudness * 10 ** (random.uniform(-46, -20) / 20), random)
    _thump(audio, pedal.ravel(), loudness * 10 ** (random.uniform(-40, -16) / 20), random)
    down = np.zeros(len(dry), np.bool_)
    for start, end in (pedal * RATE).astype(np.int64):
        down[max(start, 0) : max(end, 0)] = True
    if not down.any():
        return audio
    wet = _open_strings(audio, down, cents, random)
    share = 10 ** (random.uniform(-34, -13) / 20)
    beside = float(np.sqrt(np.mean(audio[down] ** 2))) / (float(np.sqrt(np.mean(wet[down] ** 2))) + 1e-9)
    mixed: Floats = audio + wet * np.float32(share * beside)
    return mixed


def _thump(audio: Floats, times: Floats, level: float, random: Generator) -> None:
    """Add the same short knock at each of these seconds, about as loud as `level` each time."""
    time = np.arange(int(_THUMP_S * RATE)) / RATE
    modes = 50 * 2 ** random.uniform(0, 4.5, 8)
    parts = np.exp(-time / random.uniform(0.004, 0.04, (8, 1))) * np.sin(2 * np.pi * modes[:, None] * time)
    knock = random.normal(0, 1, 8) @ parts
    knock = (knock / (np.sqrt(np.mean(knock**2)) + 1e-9) * level).astype(np.float32)
    for start in (times * RATE).astype(np.int64):
        if 0 <= start < len(audio) - len(knock):
            audio[start : start + len(knock)] += knock * np.float32(np.exp(random.normal(0, 0.5)))


def _open_strings(
    audio: Floats, down: NDArray[np.bool_], cents: NDArray[np.float64], random: Generator
) -> Floats:
    pitch, number = (grid.ravel() for grid in np.meshgrid(np.arange(21, 109), np.arange(1, _PARTIALS + 1)))
    first = 440 * 2 ** ((pitch + cents[pitch] / 100 - 69) / 12)
    hertz = partials(first, number, sum(bridges(pitch)))
    heard = np.flatnonzero(hertz < _HIGHEST_HZ)
    heard = random.choice(heard, min(_HEARD, len(heard)), replace=False)
    hertz, pitch, number = hertz[heard], pitch[heard], number[heard]
    seconds = 9 * 2 ** (-(pitch - 48) / 20) / np.sqrt(number) * np.exp(random.normal(0, 0.4, len(heard)))
    keep = np.exp(-6.9 / (seconds * RATE))
    # As much energy in the answer of each, and a little less where strings are short.
    gain = np.sqrt(1 - keep**2) * 10 ** (random.normal(0, 5, len(heard)) / 20) * (hertz / 300) ** -0.4
    turn, phase = 2 * np.pi * hertz / RATE, random.uniform(0, 2 * np.pi, len(heard))
    columns = (keep * np.cos(turn), keep * np.sin(turn), gain * np.cos(phase), gain * np.sin(phase))
    damper = np.float32(np.exp(-1 / (random.uniform(0.02, 0.12) * RATE)))
    out = np.zeros_like(audio)
    _resound(audio, down, *(column.astype(np.float32) for column in columns), damper, out)
    return out


@_compile
def _resound(
    sound: Floats,
    down: NDArray[np.bool_],
    cosine: Floats,
    sine: Floats,
    even: Floats,
    odd: Floats,
    damper: np.float32,
    out: Floats,
) -> None:
    count = len(cosine)
    real, imaginary = np.zeros(count, np.float32), np.zeros(count, np.float32)
    longest = int(_DAMPED_S * RATE)
    up = longest
    for j in range(len(sound)):
        up = 0 if down[j] else up + 1
        if up == longest:
            real[:], imaginary[:] = 0, 0
        if up >= longest:
            continue
        drive = sound[j] if up == 0 else np.float32(0)
        held = np.float32(1) if up == 0 else damper
        total = np.float32(0)
        for i in range(count):
            new = held * (cosine[i] * real[i] - sine[i] * imaginary[i]) + drive
            imaginary[i] = held * (sine[i] * real[i] + cosine[i] * imaginary[i])
            real[i] = new
            total += even[i] * new + odd[i] * imaginary[i]
        out[j] = total
