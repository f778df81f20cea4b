"""What may be wrong with a recording, as named changes of its audio: does the hearing survive them?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import default_rng

from inference.training.codecs import coded
from inference.training.corpus import RATE
from inference.training.notes import Floats
from inference.training.scores import Table

Disturb = Callable[[Floats, Table], tuple[Floats, Table]]
"""Audio `(samples,)` at 16 kHz and its notes to what is heard instead, and when it then sounds."""


def _level(decibels: float) -> Disturb:
    def change(audio: Floats, notes: Table) -> tuple[Floats, Table]:
        peak = max(float(np.abs(audio).max()), 1e-9)
        return _floats(audio / peak * 10 ** (decibels / 20)), notes

    return change


def _noise(decibels: float) -> Disturb:
    """Noise that falls by 3 dB an octave, that far below the recording's mean power."""

    def change(audio: Floats, notes: Table) -> tuple[Floats, Table]:
        spectrum = np.fft.rfft(default_rng(0).standard_normal(len(audio)))
        noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(audio))
        scale = np.sqrt(np.mean(audio**2) / np.mean(noise**2)) * 10 ** (-decibels / 20)
        return _floats(audio + noise * scale), notes

    return change


def _room(seconds: float, decibels: float) -> Disturb:
    """A tail of noise that falls by 60 dB in `seconds`, that far below the direct sound."""

    def change(audio: Floats, notes: Table) -> tuple[Floats, Table]:
        time = np.arange(round(seconds * RATE)) / RATE
        tail = default_rng(1).standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        tail *= 10 ** (decibels / 20) / np.sqrt(np.sum(tail**2))
        size = len(audio) + len(tail)
        wet = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(tail, size), size)[: len(audio)]
        return _floats(audio + wet), notes

    return change


def _detuned(cents: float) -> Disturb:
    """Played back that much faster or slower: pitch and time change together."""

    def change(audio: Floats, notes: Table) -> tuple[Floats, Table]:
        speed = 2 ** (cents / 1200)
        places = np.arange(int(len(audio) / speed)) * speed
        moved = notes.copy()
        moved[:, :2] /= speed
        return _floats(np.interp(places, np.arange(len(audio)), audio)), moved

    return change


def _bits(bits: int) -> Disturb:
    def change(audio: Floats, notes: Table) -> tuple[Floats, Table]:
        steps = 2 ** (bits - 1)
        peak = max(float(np.abs(audio).max()), 1e-9)
        return _floats(np.round(audio / peak * steps) / steps * peak), notes

    return change


def _vorbis(quality: str) -> Disturb:
    def change(audio: Floats, notes: Table) -> tuple[Floats, Table]:
        return coded(audio, "ogg", quality), notes

    return change


def _floats(audio: object) -> Floats:
    return np.asarray(audio, np.float32)


DISTURBANCES: dict[str, Disturb] = {
    "none": lambda audio, notes: (audio, notes),
    "peak at 0 dB": _level(0),
    "peak at -20 dB": _level(-20),
    "peak at -40 dB": _level(-40),
    "noise at -20 dB": _noise(20),
    "room, 0.8 s at -6 dB": _room(0.8, -6),
    "40 cents flat": _detuned(-40),
    "40 cents sharp": _detuned(40),
    "8 bits": _bits(8),
    "Vorbis, 64 kbit/s": _vorbis("64 kbps"),
}
