"""Renders at a usual loudness, as EBU R 128 counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO

import numpy as np
from pedalboard.io import AudioFile

from bridge.errors import EngineError
from bridge.files import unwritable
from bridge.midi import read_midi
from bridge.studio.audio import Audio
from bridge.studio.render import (
    BLOCK_S,
    BUILT_IN,
    checked_rate,
    checked_suffix,
    counted,
    open_piano,
    render_preset,
    sound,
    write_audio,
)
from bridge.studio.room import Room

TARGET_LUFS = -18.0
"""A piano alone; its loudest chords stay below the limiter at this."""
LARGEST_GAIN_DB = 24.0
SILENCE_LUFS = -70.0


@dataclass(frozen=True)
class LoudReport:
    """What was rendered, how loud it is but for the limiter, and the gain in dB that it took."""

    path: Path
    seconds: float
    loudness: float
    gain_db: float
    elapsed_s: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio per second of work."""
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
    """Render a MIDI file so that it is as loud as others: played once, measured, then brought to its level.

    Args:
        midi: what to play.
        out: the audio file; its ending names the format.
        piano: see `bridge.studio.render.render`.
        target: integrated loudness in LUFS.
        rate: Hz.
        progress: called with seconds done and seconds of music.
    """
    begin = time.perf_counter()
    out, content = Path(out), read_midi(midi, checked_rate(rate))
    checked_suffix(out)
    preset = render_preset(str(piano))
    with TemporaryFile() as store:
        effects = Room(rate, preset.room, preset.level_db, limit=False)
        with closing(open_piano(preset, rate)) as player:
            blocks = sound(content, player, effects, preset.tail_s)
            audio = _stored(counted(blocks, rate, content.length, progress), store)
        count = len(audio)
        found = loudness_of(audio, rate)
        gain = 0.0 if found < SILENCE_LUFS else target - found
        gain = float(np.clip(preset.level_db + gain, -60, LARGEST_GAIN_DB)) - preset.level_db
        write_audio(out, _levelled(audio, Room(rate, level_db=gain), round(BLOCK_S * rate)), rate)
    return LoudReport(out, count / rate, found + gain, gain, time.perf_counter() - begin)


def _stored(blocks: Iterable[Audio], store: IO[bytes]) -> np.ndarray:
    """Audio (samples, 2) that lies in a file, as long as that is open."""
    count = 0
    try:
        for block in blocks:
            store.write(np.ascontiguousarray(block.T, np.float32).tobytes())
            count += block.shape[1]
        store.flush()
    except OSError as error:
        raise unwritable(Path(gettempdir()), error) from error
    return np.memmap(store, np.float32, "r", shape=(count, 2))


def _levelled(audio: np.ndarray, room: Room, size: int) -> Iterator[Audio]:
    for begin in range(0, len(audio), size):
        yield room.process(np.ascontiguousarray(audio[begin : begin + size].T))
    yield room.finish()


def loudness(path: Path) -> float:
    """Integrated loudness of an audio file in LUFS, minus infinity for silence (ITU-R BS.1770-4)."""
    with AudioFile(str(path)) as file:
        return loudness_of(file.read(file.frames).T, int(file.samplerate))


def loudness_of(audio: np.ndarray, rate: int) -> float:
    """The same of audio (samples, channels)."""
    try:
        import pyloudnorm
    except ModuleNotFoundError as error:
        raise EngineError(
            "measuring loudness needs pyloudnorm", remedy="Install it with: pip install pyloudnorm"
        ) from error
    shortest = round(0.4 * rate) + 1
    if len(audio) < shortest:
        audio = np.pad(audio, ((0, shortest - len(audio)), (0, 0)))
    if not np.abs(audio).max(initial=0.0):
        return float("-inf")
    return float(pyloudnorm.Meter(rate).integrated_loudness(audio))
