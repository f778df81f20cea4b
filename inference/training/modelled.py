"""Pianos that nobody built: tones summed from the partials of stiff strings, no two pianos alike.

There are few recorded pianos, and uprights, worn hammers and short bass strings are not among them.
What a network must not rely on is therefore drawn by chance: how far partials are stretched
(arXiv 1309.6628 gives the curve of a piano), where the hammer strikes, how the soundboard colours,
how weak the fundamentals of the bass are, how fast and in how many stages tones decay, how they beat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from inference.training.corpus import RATE
from inference.training.notes import Floats
from inference.training.pianos import Bank, Tone, make_bank

MODELLED = "modelled"
"""What the names of these pianos begin with."""

_ROOTS = range(21, 109, 3)
_VELOCITIES = (20, 45, 70, 95, 120)
_MOST_PARTIALS = 56
_HIGHEST_HZ = 7_800.0

_compile: Callable[[Any], Any] = numba.njit(fastmath=True, cache=True)


@dataclass(frozen=True)
class Build:
    """What is drawn once per piano. Frequencies in Hz, levels in decibels."""

    stretch: float
    """Factor of the inharmonicity of a common piano."""
    bass_stretch: float
    strike: float
    """Where the hammer strikes, as a part of the string."""
    brightness: float
    """Octaves by which hammers are harder than common ones."""
    slope: float
    """Fall of partials per octave."""
    cutoff: float
    """Below it the soundboard radiates little."""
    cutoff_slope: float
    colour: Floats
    """Response of the soundboard, a value per sixth of an octave from 20 Hz."""
    decay: float
    damping: float
    second_stage: float
    beating: float
    knock: float
    modes: Floats
    """Frequency of each mode that the knock of the hammer excites."""


def draw(random: Generator) -> Build:
    """A piano by chance: from concert grand to tired upright."""
    smooth = np.convolve(random.normal(0, random.uniform(2, 7), 64), np.hanning(5) / 2, "same")
    return Build(
        stretch=float(np.exp(random.normal(0.2, 0.5))),
        bass_stretch=float(np.exp(random.normal(0.7, 0.8))),
        strike=random.uniform(1 / 10, 1 / 6.5),
        brightness=random.normal(0, 0.6),
        slope=random.uniform(1.5, 7),
        cutoff=random.uniform(35, 170),
        cutoff_slope=random.uniform(6, 18),
        colour=smooth.astype(np.float32),
        decay=float(np.exp(random.normal(0, 0.4))),
        damping=float(np.exp(random.normal(0, 0.5))),
        second_stage=random.uniform(-26, -6),
        beating=random.uniform(0.1, 1.6),
        knock=random.uniform(-46, -22),
        modes=(60 * 2 ** random.uniform(0, 4.5, 24)).astype(np.float32),
    )


def modelled_bank(name: str, random: Generator) -> Bank:
    """A piano by chance, every third key in five strengths."""
    build = draw(random)
    tones = []
    for root in _ROOTS:
        voice = _Voice(build, root, random)
        tones += [Tone(root, velocity, voice.tone(velocity, random)) for velocity in _VELOCITIES]
    return make_bank(name, tones)


def inharmonicity(build: Build, pitch: float) -> float:
    """Coefficient B of a key's strings, see `partials`."""
    treble, bass = bridges(np.array(pitch))
    return float(build.stretch * treble + build.bass_stretch * bass)


def bridges(pitch: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the treble bridge and the bass bridge of a common piano add to B; pitches as MIDI counts them."""
    return np.exp(0.0926 * pitch - 13.64), np.exp(-0.0847 * pitch - 5.82)


def partials(hertz: Any, number: NDArray[Any], stiffness: Any) -> NDArray[np.float64]:
    """Frequencies of partials `n f sqrt(1 + B n^2)`, if the first one is at `hertz`."""
    found: NDArray[np.float64] = number * hertz * np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
    return found


class _Voice:
    """One key of a piano: its partials are the same however it is struck."""

    def __init__(self, build: Build, root: int, random: Generator) -> None:
        self.build, self.root = build, root
        stiffness = inharmonicity(build, root)
        number = np.arange(1, _MOST_PARTIALS + 1)
        hertz = 440 * 2 ** ((root - 69) / 12)
        frequency = partials(hertz, number, stiffness)
        inside = frequency < _HIGHEST_HZ
        self.number, self.frequency = number[inside], frequency[inside]
        self.detail = random.normal(0, 3.5, len(self.number))
        self.beats = build.beating * np.exp(random.normal(0, 0.6, len(self.number)))
        self.balance = random.normal(0, 4, len(self.number))

    def tone(self, velocity: int, random: Generator) -> Floats:
        build, frequency = self.build, self.frequency
        octaves = np.log2(frequency / self.frequency[0])
        comb = np.abs(np.sin(np.pi * self.number * build.strike)) + 0.03
        hardness = 900 * 2 ** (build.brightness + (velocity - 64) / 34 + (self.root - 60) / 22)
        level = (
            20 * np.log10(comb)
            - build.slope * octaves
            - 10 * np.log10(1 + (frequency / hardness) ** 3)
            - build.cutoff_slope / 2 * np.log2(1 + (build.cutoff / frequency) ** 2)
            + np.interp(np.log2(frequency / 20) * 6, np.arange(len(build.colour)), build.colour)
            + self.detail
        )
        seconds = build.decay * 12 * 2 ** (-(self.root - 48) / 17)
        slow = 6.9 / seconds * (1 + build.damping * 0.25 * (frequency / 1000) ** 1.5)
        fast = slow * random.uniform(1.5, 4.5)
        after = 10 ** ((build.second_stage + self.balance) / 20)
        length = int(RATE * float(np.clip(seconds * 0.9, 0.6, 10 if self.root < 60 else 6)))
        out = np.zeros(length, np.float32)
        amplitude = 10 ** ((level - level.max()) / 20)
        detuned = frequency + self.beats * random.choice([-1, 1], len(frequency))
        for f, a, d in ((frequency, amplitude, fast), (detuned, amplitude * after, slow)):
            _add_partials(
                out, _angle(f), a.astype(np.float64), d / RATE, random.uniform(0, 2 * np.pi, len(f))
            )
        rise = random.uniform(0.5, 3.5) * (1.5 - velocity / 127) * 2 ** ((60 - self.root) / 40)
        ramp = int(max(2, rise * RATE / 1000))
        out[:ramp] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(ramp, dtype=np.float32) / ramp)
        return out + self._knock(len(out), float(np.abs(out).max()), velocity, random)

    def _knock(self, length: int, peak: float, velocity: int, random: Generator) -> Floats:
        modes = self.build.modes
        out = np.zeros(length, np.float32)
        strength = np.exp(random.normal(0, 0.5, len(modes)))
        decay = 2 * np.pi * modes / random.uniform(8, 30, len(modes)) / RATE
        phase = random.uniform(0, 2 * np.pi, len(modes))
        _add_partials(out, _angle(modes), strength.astype(np.float64), decay, phase)
        loudness = self.build.knock + (velocity - 64) / 127 * 10 + max(0.0, self.root - 72) * 0.4
        scaled: Floats = out * np.float32(peak / (np.abs(out).max() + 1e-9) * 10 ** (loudness / 20))
        return scaled


def _angle(frequency: NDArray[Any]) -> NDArray[np.float64]:
    return (2 * np.pi * frequency / RATE).astype(np.float64)


@_compile
def _add_partials(
    out: Floats,
    angle: NDArray[np.float64],
    amplitude: NDArray[np.float64],
    decay: NDArray[np.float64],
    phase: NDArray[np.float64],
) -> None:
    for i in range(len(angle)):
        # A decaying oscillation is a recursion of two steps; it ends where it cannot be heard.
        shrink = np.exp(-decay[i])
        b, c = 2 * shrink * np.cos(angle[i]), shrink * shrink
        last = min(len(out), int(9.0 / decay[i]))
        older = amplitude[i] * np.sin(phase[i] - 2 * angle[i]) / (shrink * shrink)
        old = amplitude[i] * np.sin(phase[i] - angle[i]) / shrink
        for j in range(last):
            now = b * old - c * older
            out[j] += now
            older, old = old, now
