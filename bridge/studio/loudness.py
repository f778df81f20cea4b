"""Renders at a usual loudness, as EBU R 128 counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pedalboard.io import AudioFile

from bridge.errors import EngineError
from bridge.studio.render import BUILT_IN, RenderReport, render, render_preset

TARGET_LUFS = -18.0
"""A piano alone; its loudest chords stay below the limiter at this."""
LARGEST_GAIN_DB = 24.0
SILENCE_LUFS = -70.0


@dataclass(frozen=True)
class LoudReport:
    """What was rendered, how loud it came out, and the gain in dB that it took."""

    path: Path
    seconds: float
    loudness: float
    gain_db: float
    elapsed_s: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio per second of work, both passes counted."""
        return self.seconds / self.elapsed_s if self.elapsed_s > 0 else 0.0


def render_loud(
    midi: str | Path,
    out: str | Path,
    *,
    piano: str | Path = BUILT_IN,
    target: float = TARGET_LUFS,
    rate: int = 44_100,
    progress: Callable[[float, float], None] | None = None,
) -> LoudReport:
    """Render a MIDI file so that it is as loud as others: once to measure it, once with the gain it needs.

    Args:
        midi: what to play.
        out: the audio file; its ending names the format.
        piano: see `bridge.studio.render.render`.
        target: integrated loudness in LUFS.
        rate: Hz.
        progress: called with seconds done and seconds of music.
    """
    out = Path(out)
    preset = render_preset(str(piano))
    first = render(midi, out, piano=piano, rate=rate, progress=progress)
    found = loudness(out)
    gain = 0.0 if found < SILENCE_LUFS else target - found
    level = float(np.clip(preset.level_db + gain, -60, LARGEST_GAIN_DB))
    if abs(level - preset.level_db) < 0.1:
        return LoudReport(out, first.seconds, found, 0.0, first.elapsed_s)
    second: RenderReport = render(midi, out, piano=piano, level_db=level, rate=rate, progress=progress)
    elapsed = first.elapsed_s + second.elapsed_s
    return LoudReport(out, second.seconds, loudness(out), level - preset.level_db, elapsed)


def loudness(path: Path) -> float:
    """Integrated loudness of an audio file in LUFS, minus infinity for silence (ITU-R BS.1770-4)."""
    try:
        import pyloudnorm
    except ModuleNotFoundError as error:
        raise EngineError(
            "measuring loudness needs pyloudnorm", remedy="Install it with: pip install pyloudnorm"
        ) from error
    with AudioFile(str(path)) as file:
        rate, audio = file.samplerate, file.read(file.frames).T
    shortest = round(0.4 * rate) + 1
    if len(audio) < shortest:
        audio = np.pad(audio, ((0, shortest - len(audio)), (0, 0)))
    if not np.abs(audio).max(initial=0.0):
        return float("-inf")
    return float(pyloudnorm.Meter(rate).integrated_loudness(audio))
