"""What the plug-in costs and how soon it speaks, measured in the host without a screen."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bridge.bench import Measure
from bridge.bench_sidecar import private_environment, sidecar_process
from bridge.errors import EngineError
from bridge.plugin import places, programs
from bridge.plugin.metronome import KEYS, LOWEST

BLOCK, RATE = 256, 48_000
SELDOM, OFTEN = 10, 2
"""Steps of the metronome from note to note, where notes are counted in and where they are measured."""
INSTANCES = (1, 8, 32)
TAIL_S = 4.0
"""Silence after an offline render, longer than the latency of the preset offline."""
LOAD = """
import sys, time, pedalboard
for _ in range(6):
    begun = time.perf_counter()
    globals().setdefault("kept", []).append(pedalboard.load_plugin(sys.argv[1]))
    print(time.perf_counter() - begun)
"""


def run(seconds: float, progress: Callable[[str], None] = lambda name: None) -> list[Measure]:
    """Measure everything, one thing after another, at 48 kHz in blocks of 256.

    Args:
        seconds: of each measurement in real time.
        progress: called with the name of what comes next.
    """
    programs.fake_host()  # compiled before anything is measured
    measures: list[Measure] = []
    with TemporaryDirectory(prefix="dawbridge-") as name:
        folder = Path(name)
        progress("the audio thread and the I/O")
        with metronome(folder, SELDOM) as (environment, _):
            for count in INSTANCES:
                measures += cost(environment, count, seconds)
        progress("from decision to MIDI")
        with metronome(folder, OFTEN) as (environment, decisions):
            measures += delays(environment, decisions, seconds)
        progress("loading")
        measures += load_times()
        progress("offline")
        measures += offline_speed(folder)
    return measures


@contextmanager
def metronome(folder: Path, every: int) -> Iterator[tuple[dict[str, str], Path]]:
    """A sidecar that strikes notes; the environment in which hosts find it, and its decisions."""
    decisions = folder / f"decisions-{every}"
    environment = private_environment(folder)
    words = [sys.executable, "-m", "bridge.plugin.metronome", str(every), str(decisions)]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise EngineError("the metronome does not start", remedy="Run: dawbridge doctor")
        yield environment, decisions
    finally:
        process.terminate()
        process.communicate()


def cost(environment: dict[str, str], instances: int, seconds: float) -> list[Measure]:
    """Time on the audio thread, for one instance, and of the threads beside it, for all."""
    lines = host(environment, instances=instances, seconds=seconds, block=BLOCK)
    spent = sum(float(words[1]) for words in lines if words[0] == "thread")
    share = Measure(
        f"I/O of {instances} instances" if instances > 1 else "I/O of one instance",
        100 * spent / _figure(lines, "cost_us", "seconds"),
        "% of a core",
        10.0 if instances == max(INSTANCES) else None,
    )
    if instances > 1:
        return [share]
    return [
        Measure("audio thread, woken for each block: p50", _figure(lines, "cost_us", "p50"), "us", 2.0),
        Measure("audio thread, woken for each block: p99.9", _figure(lines, "cost_us", "p99.9"), "us", 50.0),
        *_awake(environment, seconds),
        share,
    ]


def _awake(environment: dict[str, str], seconds: float) -> list[Measure]:
    lines = host(environment, seconds=seconds, block=BLOCK, awake=1)
    return [
        Measure(f"audio thread, awake all the time: {name}", _figure(lines, "cost_us", name), "us")
        for name in ("p50", "p99.9")
    ]


def delays(environment: dict[str, str], decisions: Path, seconds: float) -> list[Measure]:
    """How long after the sidecar's decision a note comes out, where nothing is delayed on purpose."""
    lines = host(environment, seconds=seconds, block=BLOCK, mode=2, moments=1)
    decided = np.fromfile(decisions, "<i8")
    played = [(int(words[1]), int(words[2])) for words in lines if words[0] == "moment"]
    if len(played) < KEYS // 4:
        raise EngineError("the host played hardly a note", remedy="Run it again on a quieter machine")
    number, waits = played[0][1] - LOWEST, []
    for moment, pitch in played:
        number += (pitch - LOWEST - number) % KEYS  # a note may be missing, such as one before a panic
        waits.append((moment - int(decided[number])) / 1e6)
    return [
        Measure("decision to MIDI out p50", float(np.quantile(waits, 0.5)), "ms"),
        Measure("decision to MIDI out p99", float(np.quantile(waits, 0.99)), "ms", 10.0),
        Measure("decision to MIDI out max", max(waits), "ms"),
    ]


def load_times() -> list[Measure]:
    """Time to load the VST3 in pedalboard without a sidecar; nothing where either is missing."""
    if "vst3" not in places.built() or importlib.util.find_spec("pedalboard") is None:
        return []
    with TemporaryDirectory(prefix="dawbridge-") as name:
        words = [sys.executable, "-c", LOAD, str(places.bundle("vst3"))]
        done = subprocess.run(
            words, env=private_environment(Path(name)), capture_output=True, text=True, check=True
        )
    first, *more = map(float, done.stdout.split())
    return [
        Measure("load in pedalboard, the first", first, "s", 0.5),
        Measure("load in pedalboard, each more", float(np.median(more)), "s", 0.05),
    ]


def offline_speed(folder: Path) -> list[Measure]:
    """The demo, rendered, through the plug-in with the preset offline, beside bounce."""
    from bridge.presets import load
    from bridge.studio.audio import open_audio
    from bridge.studio.bounce import hear
    from bridge.studio.demo import write_demo
    from bridge.studio.render import render

    midi, wav, raw = folder / "demo.mid", folder / "demo.wav", folder / "demo.raw"
    write_demo(midi)
    render(midi, wav)
    source = open_audio(wav)
    audio = np.concatenate(list(source.blocks()), axis=1)
    np.broadcast_to(audio, (2, audio.shape[1])).astype("<f4").tofile(raw)
    seconds = audio.shape[1] / source.rate
    preset = load(["offline"])
    transcriber, took, notes = preset.transcriber(), [], 0
    for _ in range(3):  # the first one warms up
        begun = time.perf_counter()
        notes = len(hear(open_audio(wav), transcriber, preset.latency.chunk_ms).notes)
        took.append(time.perf_counter() - begun)
    bounced = seconds / min(took)
    with sidecar_process("--preset", "offline") as sidecar:
        environment = os.environ | {"DAWBRIDGE_RUNTIME_DIR": str(sidecar.runtime_folder)}
        words = {"rate": source.rate, "block": 512, "preset": "offline", "offline": 1, "realtime": 0}
        runs = [host(environment, raw=raw, seconds=seconds + TAIL_S, **words) for _ in range(3)]
        through = (seconds + TAIL_S) / min(_figure(lines, "cost_us", "seconds") for lines in runs)
    ons = sum(words[0].isdigit() and int(words[1]) & 0xF0 == 0x90 for words in runs[0])
    if ons != notes:
        raise EngineError(f"{ons} notes came through the plug-in", why=f"bounce hears {notes}")
    return [
        Measure("bounce", bounced, "x real time"),
        Measure("offline through the plug-in", through, "x real time", 0.8 * bounced, lower=False),
    ]


def host(environment: dict[str, str], **settings: object) -> list[list[str]]:
    """Run the host to its end; the words of each line that it printed."""
    command = [str(programs.fake_host()), *(f"{key}={value}" for key, value in settings.items())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineError("the host without a screen failed", why=done.stderr[-500:] or done.stdout[-500:])
    lines = [line.split() for line in done.stdout.splitlines()]
    if not int(_figure(lines, "latency", "connected")):
        raise EngineError("the plug-in found no sidecar", remedy="Run: dawbridge doctor")
    return lines


def _figure(lines: list[list[str]], line: str, name: str) -> float:
    words = next(words for words in lines if words[0] == line)
    return float(words[words.index(name) + 1])
