"""A SoundFont piano: FluidSynth, with note-ons on exact samples."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bridge.errors import EngineError
from bridge.studio.audio import Audio

PlayedEvent = tuple[int, bytes]
"""Sample within the block, MIDI message."""

GRID = 64
"""FluidSynth renders internally in pieces of this many samples; a note begins at the next piece."""
LARGEST_POOL = 24
"""Synthesizers that share the notes; with so many, a note is rarely more than a few samples late."""
LARGEST_POOL_PACKED = 8
"""The same for .sf3 files, which each synthesizer must decode."""
CHANNELS = 16
GAIN = 1.5
SETTINGS = {
    "synth.reverb.active": 0,
    "synth.chorus.active": 0,
    "synth.polyphony": 128,
    "synth.dynamic-sample-loading": 1,  # load the samples of the chosen program only
}
NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0


def built_in_soundfont() -> Path:
    """The SoundFont that comes with pretty_midi."""
    spec = importlib.util.find_spec("pretty_midi")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "TimGM6mb.sf2").is_file():
            return path
    raise EngineError(
        "the built-in piano is missing",
        why="pretty_midi's SoundFont was not found",
        remedy="Install pretty_midi again, or name a SoundFont with --piano FILE.sf2",
    )


class SoundFontPiano:
    """Plays MIDI through a SoundFont.

    FluidSynth alone begins a note up to 63 samples late. So there is a pool of synthesizers, and
    each note goes to one whose next piece begins where the note does: an idle one can be put there,
    and while there are few, one is added.

    Args:
        soundfont: .sf2 or .sf3 file.
        rate: Hz.
        program: General MIDI program, 0 is a grand piano.
    """

    latency = 0

    def __init__(self, soundfont: str | Path, rate: int, program: int = 0) -> None:
        self.rate, self._program = rate, program
        self._soundfont = Path(soundfont)
        packed = self._soundfont.suffix.lower() == ".sf3"
        self._largest_pool = LARGEST_POOL_PACKED if packed else LARGEST_POOL
        if not self._soundfont.is_file():
            raise EngineError(f"there is no SoundFont {soundfont}", remedy="Check the path")
        self._fluid = _fluidsynth()
        self._write = _float_writer(self._fluid)
        self._settings: dict[tuple[int, int], int] = {}
        self._holding: dict[tuple[int, int], list[_Synth]] = {}
        self._now = 0
        self._pool = [self._new_synth()]

    def play(self, events: Sequence[PlayedEvent], samples: int) -> Audio:
        """Audio `(2, samples)` of the next block; `events` in time order."""
        out = np.zeros((2, samples), np.float32)
        done = 0
        for time, message in events:
            self._render(out, done, time)
            done = time
            self._apply(message)
        self._render(out, done, samples)
        return out

    def close(self) -> None:
        """Free the synthesizers."""
        for synth in self._pool:
            synth.fluid.delete()
        self._pool = []

    def _render(self, out: Audio, begin: int, end: int) -> None:
        count = end - begin
        if count <= 0:
            return
        piece = np.zeros((2, count), np.float32)
        left, right = piece[0].ctypes.data, piece[1].ctypes.data
        for synth in self._pool:
            if synth.active:
                self._write(synth.fluid.synth, count, left, 0, 1, right, 0, 1)
                out[:, begin:end] += piece
                synth.active = synth.fluid.get_active_voice_count() > 0
                synth.stopped = self._now + count
        self._now += count

    def _apply(self, message: bytes) -> None:
        kind, channel, first, second = message[0] & 0xF0, message[0] & 0x0F, message[1], message[2]
        if kind == NOTE_ON and second > 0:
            synth = self._synth_for(self._now)
            synth.fluid.noteon(channel, first, second)
            synth.active = True
            self._holding.setdefault((channel, first), []).append(synth)
        elif kind in (NOTE_ON, NOTE_OFF):
            for synth in self._holding.pop((channel, first), []):
                synth.fluid.noteoff(channel, first)
        elif kind == CONTROL:
            self._settings[channel, first] = second
            for synth in self._pool:
                synth.fluid.cc(channel, first, second)

    def _synth_for(self, time: int) -> _Synth:
        """A synthesizer whose next piece begins at `time`, or soon after."""
        active = [synth for synth in self._pool if synth.active]
        for synth in active:
            if (time - synth.origin) % GRID == 0:
                return synth
        for synth in self._pool:
            if not synth.active:
                return self._put(synth, time)
        if len(self._pool) < self._largest_pool:
            self._pool.append(self._new_synth())
            return self._put(self._pool[-1], time)
        return min(active, key=lambda synth: (synth.origin - time) % GRID)

    def _put(self, synth: _Synth, time: int) -> _Synth:
        """Let an idle synthesizer's next piece begin at `time`: what is left of its last one is silence."""
        if left := (synth.origin - synth.stopped) % GRID:
            rest = np.zeros((2, left), np.float32)
            self._write(synth.fluid.synth, left, rest[0].ctypes.data, 0, 1, rest[1].ctypes.data, 0, 1)
        synth.origin = time
        return synth

    def _new_synth(self) -> _Synth:
        fluid = self._fluid.Synth(GAIN, float(self.rate), CHANNELS, **SETTINGS)
        with _quiet():
            loaded = fluid.sfload(str(self._soundfont))
        if loaded < 0 or any(
            fluid.program_select(channel, loaded, 0, self._program) != 0 for channel in range(CHANNELS)
        ):
            fluid.delete()
            raise self._refused(loaded)
        for (channel, number), value in self._settings.items():
            fluid.cc(channel, number, value)
        return _Synth(fluid, origin=self._now, stopped=self._now)

    def _refused(self, loaded: int) -> EngineError:
        if loaded < 0:
            return _no_soundfont(self._soundfont)
        return EngineError(
            f"{self._soundfont} has no program {self._program}", remedy="Choose another program, such as 0"
        )


@dataclass(slots=True)
class _Synth:
    """One FluidSynth: a piece of it began at sample `origin`, and it has rendered up to `stopped`."""

    fluid: Any
    origin: int
    stopped: int
    active: bool = False


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing written to standard error by C code: readers of broken files complain there."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a program without a console has no standard error to keep quiet
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _no_soundfont(path: Path) -> EngineError:
    return EngineError(f"{path} cannot be loaded as a SoundFont", remedy="Give a .sf2 or .sf3 file")


def _fluidsynth() -> ModuleType:
    try:
        with redirect_stdout(StringIO()):  # it may print where it found its library
            import fluidsynth
    except (ImportError, OSError) as error:
        raise EngineError(
            "SoundFont pianos need FluidSynth",
            why="its library was not found",
            remedy="Install libfluidsynth3 (Debian, Ubuntu: apt install libfluidsynth3; "
            "macOS: brew install fluid-synth; Windows: choco install fluidsynth)",
        ) from error
    silence = fluidsynth.cfunc(
        "fluid_set_log_function",
        ctypes.c_void_p,
        ("level", ctypes.c_int, 1),
        ("function", ctypes.c_void_p, 1),
        ("data", ctypes.c_void_p, 1),
    )
    for level in range(5):  # panic, error, warning, info, debug: failures are reported by return values
        silence(level, None, None)
    module: ModuleType = fluidsynth
    return module


def _float_writer(fluid: ModuleType) -> Any:
    """FluidSynth's float output; pyfluidsynth itself offers only 16 bits, which clip before the limiter."""
    plane = [("out", ctypes.c_void_p, 1), ("offset", ctypes.c_int, 1), ("step", ctypes.c_int, 1)]
    return fluid.cfunc(
        "fluid_synth_write_float",
        ctypes.c_int,
        ("synth", ctypes.c_void_p, 1),
        ("samples", ctypes.c_int, 1),
        *plane,
        *plane,
    )
