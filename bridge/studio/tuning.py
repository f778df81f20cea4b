"""At which pitch a recording is heard: as the preset says, or as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bridge.presets import Preset
from bridge.studio.audio import open_audio
from inference.resample import resample
from inference.tuning import estimate

LISTEN_S = 60
RATE = 4_000
"""Enough for the frequencies that tell."""
SURE = 0.35
"""How well the peaks of a recording must agree on its tuning; see `inference.tuning`."""


def choose_tuning(
    path: Path, channels: tuple[int, ...] | None, preset: Preset, find: bool
) -> tuple[float, list[str]]:
    """Hz of A4 to hear a recording with, and what the user should know.

    Args:
        path: the recording; its first minute is listened to.
        channels: which of it, counted from 1.
        preset: says what to take if nothing is to be found.
        find: take what the recording says, if it says so clearly.
    """
    told = preset.system.tuning_hz
    if not find:
        return told, []
    found = estimate(*_beginning(path, channels))
    if found.agreement < SURE:
        return told, ["its tuning is not clear; heard as the preset says"]
    return min(max(found.a4_hz, 380.0), 500.0), []


def _beginning(path: Path, channels: tuple[int, ...] | None) -> tuple[np.ndarray, int]:
    source, blocks, seconds = open_audio(path, channels), [], 0.0
    for block in source.blocks():
        blocks.append(np.nan_to_num(block.mean(0)))
        seconds += block.shape[1] / source.rate
        if seconds > LISTEN_S:
            break
    audio = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return resample(audio.astype(np.float32), source.rate, RATE), RATE
