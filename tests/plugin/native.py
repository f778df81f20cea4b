"""Compiles the native tests, once for each state of the sources; and what several tests need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import EngineError
from bridge.plugin import places, programs
from bridge.wire.connection import connection_file

ROOT = Path(__file__).parents[2]
SOURCES = programs.SOURCES
PURE = ("codec", "connection", "schedule", "score")
"""Parts of the core that need no ZeroMQ."""
UNITS = ("test_rings", "test_codec", "test_schedule")


def compiled(
    name: str, sources: list[Path], flags: list[str], *, zeromq: bool, libraries: Sequence[str] = ()
) -> Path:
    """The program made of `sources`, or skip where it cannot be made."""
    with or_skip():
        return programs.compiled(name, sources, flags, zeromq=zeromq, libraries=libraries)


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip where something is missing; that a program does not compile is a failure."""
    try:
        yield
    except EngineError as error:
        if error.remedy.startswith(("Install", "Run: dawbridge plugin build", "Run: sudo apt-get install")):
            pytest.skip(str(error))
        raise


def units(kind: str, flags: list[str]) -> Path:
    """The unit tests of the core."""
    sources = [SOURCES / "core" / f"{part}.cpp" for part in PURE] + [
        SOURCES / "tests" / f"{u}.cpp" for u in UNITS
    ]
    return compiled(f"units-{kind}", sources, flags, zeromq=False)


def fake_host() -> Path:
    """The host without a screen, or skip."""
    with or_skip():
        return programs.fake_host()


def built(name: str) -> Path:
    """The built bundle of a format, or skip."""
    if name not in places.built():
        pytest.skip(f"the {name} plug-in is not built here; run: dawbridge plugin build")
    return places.built()[name]


class Played:
    """What a host printed: MIDI, and the facts that it measured. Asking for others is an error."""

    latency: int
    wrong: int
    connected: int
    late: int
    dropped: int
    sounding: int
    resort: int
    contents = ""
    actions: int

    def __init__(self, text: str) -> None:
        lines = [line.split() for line in text.splitlines()]
        self.midi = [tuple(int(word) for word in line) for line in lines if line[0].isdigit()]
        self.cost: dict[str, float] = {}
        for line in lines:
            if line[0] == "cost_us":
                self.cost = {name: float(value) for name, value in by_turns(line[1:])}
            elif line[0] == "memory":
                self.memory_kib = int(line[1])
            elif line[0] == "contents":
                self.contents = " ".join(line[1:])
            elif line[0] in ("latency", "late", "wrong", "actions"):
                vars(self).update({name: int(value) for name, value in by_turns(line)})

    @property
    def ons(self) -> list[tuple[int, int]]:
        return [(time, pitch) for time, status, pitch, _ in self.midi if status & 0xF0 == 0x90]

    def left_sounding(self) -> set[int]:
        keys: set[int] = set()
        for _, status, pitch, _ in self.midi:
            if status & 0xF0 == 0x90:
                assert pitch not in keys, "a sounding key was struck again"
                keys.add(pitch)
            elif status & 0xF0 == 0x80:
                keys.remove(pitch)
        return keys


def by_turns(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values that stand by turns."""
    return zip(words[::2], words[1::2], strict=True)


def play(**settings: object) -> Played:
    """Run the fake host to its end."""
    words = [f"{key}={value}" for key, value in settings.items()]
    done = subprocess.run([fake_host(), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr)
    return Played(done.stdout)


@contextmanager
def sidecar(module: str = "tests.plugin.serving", *words: object):
    """A sidecar process that hears clicks."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def clicks(seconds: float, rate: int = 48_000, every: int = 12_000) -> np.ndarray:
    """The audio that the fake host plays, `(2, samples)`."""
    time = np.arange(int(seconds * rate))
    phase = np.remainder(time + every / 2, every) - every / 2
    width = 0.00025 * rate
    audio = np.where(np.abs(phase) > 6 * width, 0.0, np.exp(-0.5 * (phase / width) ** 2))
    audio[: rate // 2] = 0
    return np.tile(audio.astype(np.float32), (2, 1))


def wait_for_sidecar(timeout_s: float = 20, other_than: int = 0) -> None:
    """Until the connection file of a sidecar is there, of another process than `other_than`."""
    deadline = time.monotonic() + timeout_s
    while not connection_file().exists() or f'"pid": {other_than},' in connection_file().read_text():
        assert time.monotonic() < deadline, "no sidecar came"
        time.sleep(0.02)
