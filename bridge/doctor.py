"""The doctor: one function per check; each says ok, warn or fail, and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from bridge.errors import BridgeError, SidecarMissing

Verdict = Literal["ok", "warn", "fail"]
PACKAGES = (
    "torch",
    "numpy",
    "pedalboard",
    "nnAudio",
    "mido",
    "pretty_midi",
    "pyzmq",
    "msgspec",
    "soxr",
    "safetensors",
    "onnxruntime",
    "pyfluidsynth",
)
FREE_MB = 500
ROUND_TRIP_MS = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return asdict(self)


def device() -> str:
    """Where tensors live, and on how many threads."""
    import torch

    threads = torch.get_num_threads()
    gpu = f"; {torch.cuda.get_device_name()} present: --device cuda" if torch.cuda.is_available() else ""
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}{gpu}"


def examine() -> Iterator[Finding]:
    """Every check in order; one that breaks is a failure of its own, not the doctor's."""
    for name, check in CHECKS.items():
        try:
            yield check(name)
        except BridgeError as error:
            yield Finding(
                name, "fail", " ".join(part for part in (error.what, error.why) if part), error.remedy
            )
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            yield Finding(name, "fail", found, "Reinstall dawbridge, or report this line")


def check_python(name: str) -> Finding:
    """Which Python; the networks need a 64-bit one."""
    found = f"{platform.python_version()} on {platform.platform()}"
    if sys.maxsize < 2**32:
        return Finding(name, "fail", f"{found}, 32-bit", "Install a 64-bit Python")
    return Finding(name, "ok", found)


def check_packages(name: str) -> Finding:
    """Every package is there and in the range that dawbridge asks for."""
    from importlib.util import find_spec

    missing, found = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if find_spec("fluidsynth") is not None:
        clash = {"fluidsynth", "FluidSynth"} & {d.metadata["Name"] for d in metadata.distributions()}
        if clash:
            return Finding(
                name,
                "fail",
                "the package 'fluidsynth' hides 'pyfluidsynth'",
                "Run: pip uninstall fluidsynth && pip install --force-reinstall pyfluidsynth",
            )
    if missing:
        return Finding(
            name, "fail", f"missing: {', '.join(missing)}", f"Run: pip install {' '.join(missing)}"
        )
    return Finding(name, "ok", ", ".join(found))


def check_device(name: str) -> Finding:
    """Torch works, and where."""
    import torch

    assert float((torch.ones(8) @ torch.ones(8)).item()) == 8.0
    return Finding(name, "ok", f"torch {torch.__version__}, {device()}")


def check_presets(name: str) -> Finding:
    """Every preset can be read, and the pianos that they name are there."""
    from bridge.presets import InstrumentPreset, listing, read

    files = listing()
    for file in files:
        layer = read(file)
        render = layer.render if isinstance(layer, InstrumentPreset) else None
        for piano in (render.plugin, render.soundfont) if render else ():
            if piano and piano != "built-in" and not Path(piano).exists():
                found = f"{file.path} names {piano}, which is not there"
                return Finding(name, "warn", found, "Install it, or correct the preset")
    own = sum(file.user for file in files)
    if not files:
        return Finding(name, "fail", "there are no presets", "Reinstall dawbridge")
    return Finding(name, "ok", f"{len(files) - own} shipped, {own} of your own")


def check_weights(name: str) -> Finding:
    """Weights are there and as shipped."""
    from inference import weights

    names = weights.names()
    if not names:
        return Finding(name, "fail", "there are no weights", "Reinstall dawbridge")
    for weight in names:
        weights.read(weight)
    return Finding(name, "ok", f"{', '.join(names)}: checksums match")


def check_speed(name: str) -> Finding:
    """A step of the live preset fits its time."""
    from bridge.bench import step_times
    from bridge.presets import load

    preset = load(["live"])
    times = step_times(preset.transcriber(), preset.latency.chunk_ms, seconds=3.0)
    found = f"a step of {times.chunk_ms:.0f} ms takes {times.p50_ms:.1f} ms (p99 {times.p99_ms:.1f} ms)"
    if times.p50_ms > times.chunk_ms:
        return Finding(name, "fail", found, "This machine is too slow for live; use dawbridge bounce")
    if times.p99_ms > times.chunk_ms:
        return Finding(name, "warn", found, "Close other programs, or take: --preset balanced")
    return Finding(name, "ok", found)


def check_curve(name: str) -> Finding:
    """ZeroMQ can encrypt."""
    import zmq

    found = f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}"
    if not zmq.has("curve"):
        return Finding(name, "fail", f"{found} without CURVE", "Run: pip install --force-reinstall pyzmq")
    return Finding(name, "ok", f"{found} with CURVE")


def check_keys(name: str) -> Finding:
    """Secret keys can be read by their owner alone."""
    from bridge.wire.security import keys_folder

    folder = keys_folder()
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    if not files:
        return Finding(name, "ok", "none yet; they are made by the first: dawbridge serve")
    if sys.platform != "win32":
        for file in files:
            if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
                return Finding(name, "fail", f"{file} can be read by others", f"Run: chmod 600 {file}")
    return Finding(name, "ok", f"{len(files)} in {folder}, private")


def check_sidecar(name: str) -> Finding:
    """Whether a sidecar runs, and answers."""
    from bridge.wire.client import status
    from bridge.wire.connection import connection_file, read_connection

    if not connection_file().exists():
        return Finding(name, "ok", "none runs; start one with: dawbridge serve")
    try:
        report = status(read_connection())
    except SidecarMissing as error:
        return Finding(name, "warn", " ".join((error.what, error.why)).strip(), error.remedy)
    return Finding(name, "ok", f"process {report.pid}, {len(report.sessions)} sessions")


def check_round_trip(name: str) -> Finding:
    """A block goes over the loopback and back in time."""
    from bridge.sidecar.bench import round_trip

    times = round_trip(200)
    found = f"p50 {times[0.5]:.2f} ms, p99 {times[0.99]:.2f} ms for 128 samples at 48 kHz"
    if times[0.5] > ROUND_TRIP_MS:
        return Finding(name, "warn", found, "Close other programs; the machine is busy")
    return Finding(name, "ok", found)


def check_piano(name: str) -> Finding:
    """The built-in piano sounds."""
    import numpy as np

    from bridge.studio.render import BUILT_IN, open_piano, render_preset

    piano = open_piano(render_preset(BUILT_IN), 44_100)
    try:
        sound = piano.play([(0, bytes([0x90, 60, 100]))], 22_050)
    finally:
        piano.close()
    if float(np.abs(sound).max()) < 1e-3:
        return Finding(name, "fail", "it is silent", "Reinstall pretty_midi and libfluidsynth3")
    return Finding(name, "ok", "it sounds")


def check_port(name: str) -> Finding:
    """Virtual MIDI ports can be made."""
    from importlib.util import find_spec

    if find_spec("rtmidi") is None:
        remedy = "For --midi-port: pip install 'dawbridge[midi-port]'"
        return Finding(name, "warn", "python-rtmidi is not installed", remedy)
    if sys.platform.startswith("linux") and not os.path.exists("/dev/snd/seq"):
        return Finding(name, "warn", "there is no ALSA sequencer", "For --midi-port: sudo modprobe snd-seq")
    return Finding(name, "ok", "available")


def check_plugin(name: str) -> Finding:
    """The plug-in for DAWs: built, or what building it would need."""
    from bridge.plugin.places import built
    from bridge.plugin.toolchain import needs

    there = built()
    if there:
        return Finding(name, "ok", "built: " + ", ".join(there))
    if sys.platform != "linux":
        return Finding(name, "ok", "not built; the build is for Linux so far")
    missing = [need for need in needs() if not need.found]
    if not missing:
        return Finding(name, "ok", "not built, all that the build needs is here: dawbridge plugin build")
    packages = " ".join(need.package for need in missing)
    found = "not built; the build would miss " + ", ".join(need.name for need in missing)
    return Finding(name, "warn", found, f"For the plug-in: sudo apt-get install {packages}")


def check_disk(name: str) -> Finding:
    """There is room to write."""
    from bridge.wire.folders import data_folder

    folder = data_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e6
    if free < FREE_MB:
        return Finding(name, "warn", f"{free:.0f} MB free at {folder}", "Free some space")
    return Finding(name, "ok", f"{free / 1000:.1f} GB free")


def timed(findings: Iterator[Finding]) -> Iterator[tuple[Finding, float]]:
    """Findings with the seconds that each took."""
    began = time.perf_counter()
    for finding in findings:
        yield finding, time.perf_counter() - began
        began = time.perf_counter()


CHECKS: dict[str, Callable[[str], Finding]] = {
    "python": check_python,
    "packages": check_packages,
    "device": check_device,
    "presets": check_presets,
    "weights": check_weights,
    "speed": check_speed,
    "curve": check_curve,
    "keys": check_keys,
    "sidecar": check_sidecar,
    "round trip": check_round_trip,
    "piano": check_piano,
    "MIDI port": check_port,
    "plug-in": check_plugin,
    "disk": check_disk,
}


def as_json(findings: list[tuple[Finding, float]]) -> dict[str, Any]:
    """Plain values, for bug reports."""
    return {
        "failed": sum(finding.verdict == "fail" for finding, _ in findings),
        "checks": [{**finding.as_dict(), "seconds": round(s, 3)} for finding, s in findings],
    }
