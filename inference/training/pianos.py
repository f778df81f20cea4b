"""Sampled pianos as banks: one long array of samples with root pitch, velocity and level of each."""

from __future__ import annotations

import ctypes
import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.training.corpus import RATE, read_audio
from inference.training.notes import Floats

log = logging.getLogger(__name__)
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_LAYERS = {"PP": 28, "MP": 58, "MF": 85, "FF": 115}
_SOUNDFONT_ROOTS = range(21, 109, 3)
_SOUNDFONT_VELOCITIES = (16, 36, 56, 76, 96, 120)


@dataclass(frozen=True)
class Tone:
    """One sample: audio from the attack on, mono at 16 kHz."""

    root: int
    velocity: float
    audio: Floats


@dataclass(frozen=True)
class Bank:
    """A piano of tones laid end to end; tone i is `audio[edges[i]:edges[i + 1]]`, peak 32000."""

    name: str
    audio: NDArray[np.int16]
    edges: NDArray[np.int64]
    root: NDArray[np.int64]
    velocity: Floats
    level: Floats
    """RMS of the first half second over the peak, of the stored tone."""
    loudness: Floats
    """RMS of the first half second as recorded."""


def make_bank(name: str, tones: Iterable[Tone]) -> Bank:
    """Lay tones end to end, ordered by root and velocity."""
    tones = sorted(tones, key=lambda tone: (tone.root, tone.velocity))
    peaks = np.array([max(float(np.abs(t.audio).max()), 1e-6) for t in tones], np.float32)
    rms = np.array([np.sqrt(np.mean(t.audio[: RATE // 2] ** 2)) for t in tones], np.float32)
    scaled = [(t.audio / p * 32_000).astype(np.int16) for t, p in zip(tones, peaks, strict=True)]
    return Bank(
        name,
        np.concatenate(scaled),
        np.cumsum([0, *(len(t.audio) for t in tones)]).astype(np.int64),
        np.array([t.root for t in tones]),
        np.array([t.velocity for t in tones], np.float32),
        rms / peaks,
        rms,
    )


def load_folder(folder: Path) -> Bank:
    """A folder of samples named like `Ds4v9` (16 layers) or `MF_Cs5` (PP, MP, MF, FF)."""
    tones = []
    for path in sorted(folder.glob("*.ogg")):
        layered = re.fullmatch(r"([A-G])(s?)(-?\d)v(\d+)", path.stem)
        marked = re.fullmatch(r"(PP|MP|MF|FF)_([A-G])(s?)(-?\d)", path.stem, re.IGNORECASE)
        if layered:
            step, sharp, octave = layered[1], layered[2], int(layered[3]) + 1
            velocity = (int(layered[4]) - 0.5) * 8
        elif marked:
            step, sharp, octave = marked[2], marked[3], int(marked[4]) + 2
            velocity = _LAYERS[marked[1].upper()]
        else:
            log.warning("left out %s: its name tells no pitch and layer", path.name)
            continue
        root = _STEPS[step] + bool(sharp) + 12 * octave
        tones.append(Tone(root, velocity, _trimmed(read_audio(path), 12 if root < 60 else 8)))
    return make_bank(folder.name, tones)


def load_soundfont(path: Path, program: int = 0, bank: int = 0) -> Bank:
    """Play every third key of a SoundFont's piano in six velocities, dry."""
    synth = open_synth(path, 3.0, program, bank)
    tones = []
    for root in _SOUNDFONT_ROOTS:
        for velocity in _SOUNDFONT_VELOCITIES:
            synth.noteon(0, root, velocity)
            stereo = synth.get_samples(6 * RATE).reshape(-1, 2).astype(np.float32) / np.float32(32_768)
            synth.noteoff(0, root)
            synth.all_sounds_off(0)
            synth.get_samples(RATE // 4)
            tones.append(Tone(root, velocity, _trimmed(stereo.mean(1), 6)))
    synth.delete()
    return make_bank(f"{path.stem}-{bank}-{program}", tones)


def open_synth(path: Path, gain: float, program: int = 0, bank: int = 0) -> Any:
    """FluidSynth with one program of a SoundFont, dry, at 16 kHz."""
    import fluidsynth

    if sys.platform != "win32":
        # What it dithers with is drawn by the C library, once in a process: let it be the same in each.
        ctypes.CDLL(None).srand(1)
    synth = fluidsynth.Synth(samplerate=RATE, gain=gain)
    for name in ("synth.reverb.active", "synth.chorus.active"):
        synth.setting(name, 0)
    synth.program_select(0, synth.sfload(str(path)), bank, program)
    return synth


def _trimmed(audio: Floats, longest_s: int) -> Floats:
    first = attack(audio)
    audio = audio[first : first + longest_s * RATE].copy()
    fade = min(4000, len(audio) // 2)
    audio[:8] *= np.linspace(0, 1, 8, dtype=np.float32)
    audio[len(audio) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return audio


def attack(audio: Floats) -> int:
    """Sample at which a tone begins: 2 ms of its high-passed RMS pass 6 % of their early maximum."""
    change = np.diff(audio[: RATE // 2])
    rms = np.sqrt(np.convolve(change**2, np.ones(32) / 32, "full")[: len(change)])
    first = int(np.argmax(rms > 0.06 * rms[: int(0.3 * RATE)].max()))
    return max(0, first - 32)


def save_banks(banks: list[Bank], path: Path) -> None:
    """Keep decoded banks, so that the next start takes seconds."""
    columns = {f"{i}.{key}": value for i, bank in enumerate(banks) for key, value in vars(bank).items()}
    np.savez(path, **columns)


def read_banks(path: Path) -> list[Bank]:
    """The banks of `save_banks`."""
    with np.load(path) as file:
        count = 1 + max(int(key.split(".")[0]) for key in file.files)
        fields = list(Bank.__dataclass_fields__)
        values = [{name: file[f"{i}.{name}"] for name in fields} for i in range(count)]
    return [Bank(**{**v, "name": str(v["name"])}) for v in values]
