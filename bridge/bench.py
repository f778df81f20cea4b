"""Benchmarks: what this machine does with each system, and how it compares with an earlier run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bridge.errors import InputError
from bridge.files import replacing

WORSE = 0.2
"""A measure this much worse than its baseline is pointed out."""
LATENCY_PRESETS = ("live", "balanced", "offline")


@dataclass(frozen=True, slots=True)
class Measure:
    """One number: `target` is what it should reach, if anything was promised; `lower` is better or not."""

    name: str
    value: float
    unit: str
    target: float | None = None
    lower: bool = True

    @property
    def reached(self) -> bool:
        """Whether the target is reached; a measure without one always is."""
        if self.target is None:
            return True
        return self.value <= self.target if self.lower else self.value >= self.target

    @property
    def row(self) -> list[str]:
        """Name, value and target, to be printed."""
        target = ""
        if self.target is not None:
            target = f"{'<=' if self.lower else '>='} {self.target:.3g}{'' if self.reached else ', missed'}"
        return [self.name, f"{self.value:.3g} {self.unit}".rstrip(), target]

    def worse_than(self, baseline: float) -> bool:
        """Whether it is clearly worse than an earlier value."""
        if self.lower:
            return self.value > baseline * (1 + WORSE)
        return self.value < baseline * (1 - WORSE)


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How long steps of `chunk_ms` took, in milliseconds, in order."""

    chunk_ms: float
    times_ms: tuple[float, ...]

    def quantile(self, q: float) -> float:
        """Smallest time that a share `q` of the steps does not exceed."""
        ordered = sorted(self.times_ms)
        return ordered[min(len(ordered) - 1, max(0, -int(-q * len(ordered) // 1) - 1))]

    @property
    def p50_ms(self) -> float:
        """Median."""
        return self.quantile(0.5)

    @property
    def p99_ms(self) -> float:
        """99th percentile."""
        return self.quantile(0.99)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of audio."""
        return sum(self.times_ms) / len(self.times_ms) / self.chunk_ms

    @property
    def quietest(self) -> StepTimes:
        """The fifth of the time in which least came between: other work on the machine only adds."""
        size = max(1, len(self.times_ms) // 5)
        parts = [self.times_ms[i : i + size] for i in range(0, len(self.times_ms) - size + 1, size)]
        return StepTimes(self.chunk_ms, min(parts, key=sum))


@dataclass(slots=True)
class Bench:
    """Everything that was measured; `steps` holds the step times of each system and chunk."""

    machine: dict[str, Any]
    measures: list[Measure] = field(default_factory=list)
    steps: dict[str, StepTimes] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what `read_baseline` reads."""
        return {
            "machine": self.machine,
            "measures": {m.name: {**asdict(m), "reached": m.reached} for m in self.measures},
        }


def run(quick: bool = False, progress: Callable[[str], None] = lambda name: None) -> Bench:
    """Measure everything, one thing after another, with one thread of torch.

    Args:
        quick: shorter, for a first look.
        progress: called with the name of what comes next.
    """
    from bridge.bench_memory import memory_measures
    from bridge.bench_sidecar import sidecar_measures

    result = Bench(machine())
    with one_thread():
        progress("steps of the systems")
        for name, times in systems(3.0 if quick else 20.0):
            result.steps[name] = times
            result.measures += step_measures(name, times)
        progress("the published networks")
        result.measures += published_measures(2.0 if quick else 10.0)
        progress("bounce and render")
        result.measures += studio_measures(1 if quick else 3)
    progress("memory of a bounce")
    result.measures += memory_measures(5 if quick else 120)
    progress("round trip")
    result.measures += wire_measures(300 if quick else 2_000)
    progress("help")
    result.measures.append(help_measure(3 if quick else 7))
    progress("16 live streams")
    result.measures += sidecar_measures(16, 4.0 if quick else 20.0)
    return result


def machine() -> dict[str, Any]:
    """What the numbers belong to."""
    import torch

    from bridge.sidecar.server import software

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "software": software(),
        "date": time.strftime("%Y-%m-%d"),
    }


def step_times(transcriber: Any, chunk_ms: float, seconds: float, rate: int = 48_000) -> StepTimes:
    """Time every step of one stereo stream that hears noise bursts, after a few to warm up.

    Args:
        transcriber: the system.
        chunk_ms: audio per step; rounded to the system's hop.
        seconds: of audio.
        rate: of the host, Hz.
    """
    import numpy as np

    from inference.pipeline import Stream, advance

    stream = Stream(transcriber, rate, 2, chunk_ms=chunk_ms)
    exact_ms = 1000 * stream.chunk / transcriber.rate
    size = max(1, round(exact_ms * rate / 1000))
    noise = np.random.default_rng(0).normal(0, 0.1, (2, size)).astype(np.float32)
    warm_up, times = 5, list[float]()
    while len(times) < max(10, round(1000 * seconds / exact_ms)):
        stream.push(noise * np.float32(len(times) % 7 / 7))
        if not stream.pending:
            continue
        began = time.perf_counter()
        advance([stream])
        spent = 1000 * (time.perf_counter() - began)
        if warm_up:
            warm_up -= 1
        else:
            times.append(spent)
    return StepTimes(exact_ms, tuple(times))


def systems(seconds: float) -> Iterator[tuple[str, StepTimes]]:
    """Step times of each system with the chunk of each latency preset."""
    from bridge.presets import listing, load

    for system in [file.name for file in listing() if file.layer == "system"]:
        for latency in LATENCY_PRESETS:
            preset = load([f"system/{system}", f"latency/{latency}"])
            yield f"{system}, {latency}", step_times(preset.transcriber(), preset.latency.chunk_ms, seconds)


def published_measures(seconds: float) -> list[Measure]:
    """Size and cost of the networks of arXiv 2404.06818 as published, stepped hop by hop, untrained."""
    import torch

    from inference.piano.config import PAR, PAR_COMPACT
    from inference.piano.network import PianoNetwork
    from inference.piano.transcriber import PianoTranscriber, decode_settings

    measures = []
    for config in (PAR, PAR_COMPACT):
        torch.manual_seed(0)
        network = PianoNetwork(config).eval()
        parameters = sum(p.numel() for p in network.parameters())
        transcriber = PianoTranscriber(network, decode_settings(network))
        times = step_times(transcriber, 1000 * transcriber.hop / transcriber.rate, seconds)
        measures += [
            Measure(f"{config.name}, as published: parameters", parameters, ""),
            Measure(
                f"{config.name}, as published: latency", 1000 * transcriber.latency / transcriber.rate, "ms"
            ),
            Measure(f"{config.name}, as published: real-time factor", times.quietest.real_time_factor, ""),
        ]
    return measures


def step_measures(name: str, times: StepTimes) -> list[Measure]:
    """Real-time factor and quantiles of one system with one chunk."""
    live = name == "piano, live"
    return [
        Measure(f"{name}: real-time factor", times.quietest.real_time_factor, "", 0.08 if live else None),
        Measure(f"{name}: real-time factor, all five fifths", times.real_time_factor, ""),
        Measure(f"{name}: step p50", times.p50_ms, "ms"),
        Measure(f"{name}: step p99", times.p99_ms, "ms", times.chunk_ms if live else None),
        Measure(f"{name}: step max", max(times.times_ms), "ms"),
    ]


def studio_measures(repeats: int) -> list[Measure]:
    """Speed of rendering and of bouncing the demo, the best of a few."""
    from bridge.presets import load
    from bridge.studio.bounce import BounceOptions, bounce
    from bridge.studio.demo import write_demo
    from bridge.studio.render import render

    with TemporaryDirectory(prefix="dawbridge-") as name:
        folder = Path(name)
        midi, audio = folder / "demo.mid", folder / "demo.wav"
        write_demo(midi)
        renders = [render(midi, audio).real_time_factor for _ in range(repeats)]
        options = BounceOptions(load(["offline"]))
        reports = [bounce([audio], folder, options).results[0] for _ in range(repeats)]
    for report in reports:
        if report.status != "done":
            raise InputError("the demo could not be bounced", why=report.error)
    bounces = max(report.real_time_factor for report in reports)
    return [
        Measure("bounce", bounces, "x real time", 15, lower=False),
        Measure("render", max(renders), "x real time", 20, lower=False),
    ]


def wire_measures(count: int) -> list[Measure]:
    """Client, server, client, without a model: 128 samples at 48 kHz."""
    from bridge.sidecar.bench import round_trip

    times = round_trip(count)
    return [
        Measure("round trip p50", times[0.5], "ms", 1.0),
        Measure("round trip p99", times[0.99], "ms"),
        Measure("round trip max", times[1.0], "ms"),
    ]


def help_measure(repeats: int) -> Measure:
    """Time of `dawbridge --help`, the best of a few."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bridge.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return Measure("help", min(times), "s", 0.3)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save(bench: Bench, path: Path) -> None:
    """Write a bench as JSON, to compare with later."""
    with replacing(path) as part:
        part.write_text(json.dumps(bench.as_dict(), indent=2) + "\n", encoding="utf-8")


def read_baseline(path: Path) -> dict[str, float]:
    """Measures of an earlier run by name."""
    try:
        measures = json.loads(path.read_text(encoding="utf-8"))["measures"]
        return {name: float(measure["value"]) for name, measure in measures.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no stored bench", why=str(error), remedy="Make one with: dawbridge bench --save FILE"
        ) from error


def plot(bench: Bench, path: Path) -> None:
    """Draw the step times of every system and chunk as histograms, beside the time they have."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.2 * len(bench.steps)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(bench.steps), 1, squeeze=False)[:, 0]
    for axes, (name, times) in zip(rows, bench.steps.items(), strict=True):
        axes.hist(times.times_ms, bins=60, color="#2f7d5b")
        axes.axvline(times.p99_ms, color="#c2410c", lw=1.2, label=f"p99 {times.p99_ms:.1f} ms")
        axes.set_title(
            f"{name}: {len(times.times_ms)} steps of {times.chunk_ms:.0f} ms", loc="left", fontsize=10
        )
        axes.set_xlabel("ms per step")
        axes.legend(frameon=False)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=130)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
