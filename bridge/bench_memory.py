"""How much memory a bounce takes, short and long: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bridge.bench import Measure
from bridge.errors import EngineError

RATE = 16_000


def memory_measures(minutes: int) -> list[Measure]:
    """Peak memory of bouncing a minute of the demo, and `minutes` of it; nothing where none can be told."""
    if not hasattr(os, "wait4"):
        return []
    with TemporaryDirectory(prefix="dawbridge-") as name:
        audio = Path(name) / "long.wav"
        peaks = [_peak_mb(_repeat_demo(audio, length)) for length in (1, minutes)]
    return [
        Measure("memory of a bounce, 1 min", peaks[0], "MB"),
        Measure(f"memory of a bounce, {minutes} min", peaks[1], "MB", 1.1 * peaks[0]),
    ]


def _repeat_demo(path: Path, minutes: int) -> Path:
    """The demo at 16 kHz again and again, until `minutes` are full."""
    from pedalboard.io import AudioFile

    from bridge.studio.demo import write_demo
    from bridge.studio.render import render

    midi, once = path.with_name("demo.mid"), path.with_name("demo.wav")
    write_demo(midi)
    render(midi, once)
    with AudioFile(str(once)).resampled_to(RATE) as file:
        audio = file.read(file.frames).mean(0, keepdims=True)
    with AudioFile(str(path), "w", RATE, 1) as out:
        for begin in range(0, minutes * 60 * RATE, audio.shape[1]):
            out.write(audio[:, : minutes * 60 * RATE - begin])
    return path


_WATCH = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""
"""A process counts the memory of the one that it was forked from as its own, so that must be a small one."""


def _peak_mb(audio: Path) -> float:
    bounce = [sys.executable, "-m", "bridge.cli", "bounce", str(audio), "-o", str(audio.parent), "--json"]
    done = subprocess.run([sys.executable, "-S", "-c", _WATCH, *bounce], capture_output=True, text=True)
    if done.returncode:
        raise EngineError("the demo could not be bounced", remedy="Run: dawbridge doctor")
    return int(done.stdout) / (1024 if sys.platform != "darwin" else 1024**2)
