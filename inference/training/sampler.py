"""Performances through sampled pianos, thousands of times faster than they sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numba
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from inference.training.corpus import RATE, Performance, cut_repeats
from inference.training.figures import lone, staccato, with_figures
from inference.training.mechanics import with_mechanics
from inference.training.notes import NO_PEDAL, Floats, NoteTable
from inference.training.pianos import Bank

LEAD_S = 3.0
"""Seconds before an excerpt that are played too, so that it begins with sounding notes."""

_MECHANICS = 0.6
"""How often strings and mechanism are heard; some sampled pianos have some of it already."""

_LONE = 0.06
"""How often keys are struck one by one, as chance will have it: first of all, people try single notes."""

_compile: Callable[[Any], Any] = numba.njit(fastmath=True, cache=True)


@_compile
def _play(
    audio: NDArray[np.int16],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    ratio: Floats,
    gain: Floats,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    release: Floats,
    ring: Floats,
    left: Floats,
    out: Floats,
) -> None:
    length = out.shape[0]
    for i in range(len(begin)):
        decay, slow = np.exp(-1.0 / release[i]), np.exp(-1.0 / ring[i])
        last = min(length, stop[i] + int(max(7 * release[i], 5 * ring[i] if left[i] > 0 else 0)))
        available = end[i] - begin[i]
        damped = gain[i] / 32000.0 * (1 - left[i])
        ringing = gain[i] / 32000.0 * left[i]
        position = 0.0
        for j in range(start[i], last):
            whole = int(position)
            if whole >= available - 1:
                break
            if j >= stop[i]:
                damped *= decay
                ringing *= slow
            if j >= 0:
                part = position - whole
                k = begin[i] + whole
                out[j] += (damped + ringing) * (audio[k] * (1 - part) + audio[k + 1] * part)
            position += ratio[i]


class Sampler:
    """Draws an excerpt of a performance and plays it on a piano that no two excerpts share.

    Per excerpt: piano, tempo, transposition, touch, velocity curve, tuning and its stretch,
    level and voicing per key, how soon and fast dampers work, what the mechanism and the open strings
    add, and how much of the range is soft, low or without pedal.
    """

    def __init__(self, performances: Sequence[Performance], banks: Sequence[Bank], weights: Floats) -> None:
        self.performances, self.banks = performances, banks
        self.weights = weights / weights.sum()
        self.loudness = _loudness_model(banks[0])

    def excerpt(self, random: Generator, length: int) -> tuple[Floats, NoteTable, Floats] | None:
        """`length` samples, their notes and pedal spans in seconds; None if the place is empty."""
        if random.random() < _LONE:
            notes, pedal = lone(random, length / RATE)
            notes = cut_repeats(notes)
        else:
            performance = self.performances[int(random.integers(len(self.performances)))]
            found = _cut(performance, random, length / RATE)
            if found is None:
                return None
            notes, pedal = found
        audio, notes = self.play(notes, random, length, pedal)
        return audio, notes, pedal

    def play(
        self, notes: NoteTable, random: Generator, length: int, pedal: Floats = NO_PEDAL
    ) -> tuple[Floats, NoteTable]:
        """Notes on a piano and with a touch of its own: `length` samples, and the notes as struck."""
        velocity, slope = _touch(notes, random)
        notes = replace(notes, velocity=(velocity / 127).astype(np.float32))
        bank = self.banks[random.choice(len(self.banks), p=self.weights)]
        return self._render(bank, notes, pedal, slope, random, length), notes

    def _render(
        self, bank: Bank, notes: NoteTable, pedal: Floats, slope: float, random: Generator, length: int
    ) -> Floats:
        pitch, velocity = notes.pitch, notes.velocity * 127
        tone = _nearest_tone(bank, pitch, velocity, random)
        keys = np.arange(128)
        cents = random.normal(0, 2.5, 128) + tuning(random) + (keys - 64) / 64 * random.normal(0, 5)
        colour = random.normal(0, 2, 128) + (keys - 64) / 64 * random.normal(0, 4)
        if random.random() < 0.3:
            # Far from the strings, and on small pianos, the bass is soft beside the rest.
            colour = colour - np.clip((64 - keys) / 24, 0, 1) * random.uniform(0, 10)
        middle = self.loudness[pitch, 75]
        decibels = middle + (self.loudness[pitch, velocity.astype(int)] - middle) * slope + colour[pitch]
        ratio = 2 ** ((pitch - bank.root[tone] + cents[pitch] / 100) / 12)
        # Worn dampers let tones ring on for long after the key has come up.
        damper = np.where(pitch > random.integers(86, 93), 2.0, 0.04 + 0.10 * (1 - (pitch - 21) / 88))
        uneven = random.normal(0, random.uniform(0.1, 0.5), len(pitch))
        damper = damper * np.exp(random.normal(0, 0.7) + uneven)
        lag = _lag(random, len(pitch))
        ring, left = _ringing(random, pitch)
        lead = int(LEAD_S * RATE)
        out = np.zeros(length + lead, np.float32)
        _play(
            bank.audio,
            bank.edges[tone],
            bank.edges[tone + 1],
            ratio.astype(np.float32),
            (10 ** (decibels / 20) / bank.level[tone]).astype(np.float32),
            (notes.onset * RATE).astype(np.int64) + lead,
            ((notes.offset + lag) * RATE).astype(np.int64) + lead,
            (damper * RATE).astype(np.float32),
            (ring * RATE).astype(np.float32),
            left,
            out,
        )
        if random.random() < _MECHANICS:
            out = with_mechanics(out, notes.moved(LEAD_S, 1), pedal + np.float32(LEAD_S), cents, random)
        # Soft passages stay softer than loud ones, though every excerpt is scaled.
        quiet = float(np.clip(0.35 * (np.percentile(velocity, 95) - 100), -24, 0)) * slope
        scale = np.float32(0.9 * 10 ** (quiet / 20) / (np.abs(out[lead:]).max() + 1e-3))
        scaled: Floats = out[lead:] * scale
        return scaled


def tuning(random: Generator) -> float:
    """Cents by which a piano is off; a good part are nearly a quarter tone."""
    return random.uniform(-47, 47) if random.random() < 0.35 else random.normal(0, 10)


def _lag(random: Generator, count: int) -> Floats:
    """Seconds from the release of each key until its damper touches; some pianos have none."""
    usual = random.uniform(0, 0.09) if random.random() < 0.7 else 0.0
    lag: Floats = (usual * random.uniform(0.5, 1.5, count)).astype(np.float32)
    return lag


def _ringing(random: Generator, pitch: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """What dampers leave of each tone, soundboards and far ends of strings: seconds to fall 8.7 dB, share.

    On a Disklavier (one of MAPS) a tone falls by 10 to 20 dB in the first quarter of a second after its
    key has come up, and hardly any further in the next.
    """
    seconds = random.uniform(0.1, 0.9) * 2 ** (-(pitch - 60) / 36) * np.exp(random.normal(0, 0.3, len(pitch)))
    if random.random() < 0.4:
        return seconds.astype(np.float32), np.zeros(len(pitch), np.float32)
    decibels = np.minimum(random.uniform(-36, -10) + random.normal(0, 4, len(pitch)), -3)
    return seconds.astype(np.float32), (10 ** (decibels / 20)).astype(np.float32)


def _cut(performance: Performance, random: Generator, seconds: float) -> tuple[NoteTable, Floats] | None:
    stretch, transpose = random.uniform(0.85, 1.2), int(random.integers(-6, 7))
    notes = performance.notes
    start = float(notes.onset[random.integers(len(notes))]) - random.uniform(0, seconds) / stretch
    notes = notes.moved(-start, stretch, transpose)
    pedal = (performance.pedal - start) * np.float32(stretch)
    deep = random.random()
    if deep < 0.12:
        notes = notes.moved(0, 1, -12 if notes.pitch.mean() > 55 else 0)
    elif deep < 0.37:
        # Music is rarely low: the left hand plays an octave deeper.
        notes = replace(notes, pitch=np.where(notes.pitch < 60, notes.pitch - 12, notes.pitch))
    notes = notes.select(_heard(notes, seconds))
    notes = with_figures(notes, pedal, random)
    notes = notes.select(_heard(notes, seconds) & (notes.pitch >= 21) & (notes.pitch <= 108))
    if len(notes) < 3:
        return None
    if random.random() < 0.2:
        # Music hides that overtones are not notes: now and then only a few notes of it are left.
        keep = random.random(len(notes)) < random.uniform(0.04, 0.5)
        notes = notes.select(keep if keep.any() else np.arange(len(notes)) == 0)
    if random.random() < 0.12:
        notes, pedal = staccato(notes, random), np.zeros((0, 2), np.float32)
    elif random.random() < 0.2:
        notes = replace(notes, offset=notes.release)
        pedal = np.zeros((0, 2), np.float32)
    return cut_repeats(notes), pedal


def _heard(notes: NoteTable, seconds: float) -> NDArray[np.bool_]:
    heard: NDArray[np.bool_] = (notes.onset > -LEAD_S) & (notes.onset < seconds) & (notes.offset > -LEAD_S)
    return heard


def _touch(notes: NoteTable, random: Generator) -> tuple[NDArray[np.float64], float]:
    velocity = 127 * notes.velocity ** (2 ** random.normal(0, 0.35)) + random.normal(0, 6)
    if random.random() < 0.15:
        # Music tells how loud a note should be: now and then each is struck as chance will have it.
        velocity = velocity + random.normal(0, 22, len(velocity))
    if random.random() < 0.3:
        velocity = velocity * random.uniform(0.4, 0.8)
    if random.random() < 0.25:
        # An accompaniment: what is low is struck softly, under a melody that hides it.
        low = notes.pitch < random.integers(50, 63)
        velocity = np.where(low, velocity * random.uniform(0.4, 0.9), velocity)
    return np.clip(velocity, 4, 127), random.uniform(0.75, 1.6)


def _nearest_tone(
    bank: Bank, pitch: NDArray[np.int64], velocity: Floats, random: Generator
) -> NDArray[np.int64]:
    # The sound of other keys, tuned to these: strings of another thickness, another stiffness.
    away = random.normal(0, 2.0 if random.random() < 0.35 else 0.5, 1)
    uneven = random.random() < 0.3
    if uneven:
        away = away + random.normal(0, 2.0, 128)[pitch]
    wanted = pitch + away
    distance = np.abs(bank.root[None] - wanted[:, None])
    near = distance.min(1, keepdims=True)
    # Hammers are hard or soft, all of them or each by itself, and no two pianos are voiced alike.
    strength = velocity + random.normal(0, 12) + (random.normal(0, 14, 128)[pitch] if uneven else 0)
    cost = np.where(distance <= near + 0.3, 0, 1e6) + np.abs(bank.velocity[None] - strength[:, None])
    best: NDArray[np.int64] = cost.argmin(1)
    return best


def _loudness_model(bank: Bank) -> Floats:
    """Decibels by pitch and velocity, `(128, 128)`, smoothed from one well recorded piano."""
    roots = np.unique(bank.root)
    rows = []
    for root in roots:
        own = bank.root == root
        rows.append(np.interp(np.arange(128), bank.velocity[own], 20 * np.log10(bank.loudness[own] + 1e-6)))
    table = np.array(rows)
    table = (np.vstack([table[:1], table[:-1]]) + 2 * table + np.vstack([table[1:], table[-1:]])) / 4
    return np.stack([np.interp(np.arange(128), roots, table[:, v]) for v in range(128)], 1).astype(np.float32)
