"""The VST3 in pedalboard: bit-exact audio, many instances, state, no sidecar, a sidecar that dies."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pedalboard
import pytest

from bridge.plugin import build, places
from bridge.wire.client import status
from tests.plugin import native

RATE = 48_000


def load():
    return pedalboard.load_plugin(str(native.built("vst3")))


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, int(seconds * RATE))).astype(np.float32)


def test_it_loads_at_once_and_passes_audio_bit_exact_without_a_sidecar():
    native.built("vst3")
    begun = time.monotonic()
    plugin = load()
    first_s = time.monotonic() - begun
    more, times = [], []
    for _ in range(4):
        begun = time.monotonic()
        more.append(load())
        times.append(time.monotonic() - begun)
    # Several times what is promised, and the quickest of them: busy machines.
    assert first_s < 3 and min(times) < 0.3, (first_s, times)
    audio = noise(3)
    for buffer in (1, 64, 100, 256, 512, 8192):
        seconds = 0.2 if buffer == 1 else 3
        piece = audio[:, : int(seconds * RATE)]
        assert np.array_equal(plugin.process(piece, RATE, buffer_size=buffer), piece), buffer
    for seed, one in enumerate(more):
        piece = noise(1, seed)
        assert np.array_equal(one.process(piece, RATE), piece)


def test_audio_is_bit_exact_and_aligned_with_a_sidecar():
    with native.sidecar():
        plugin = load()
        for buffer in (64, 256, 512, 8192):
            audio = noise(2, buffer)
            out = plugin.process(audio, RATE, buffer_size=buffer)
            assert np.array_equal(out, audio), f"the host takes the reported latency away ({buffer})"
        report = status()
        assert report.refused == 0


def test_state_survives_a_round_trip():
    plugin, other = load(), load()
    plugin.alignment = "immediate"
    plugin.latency_preset = "balanced"
    plugin.process(noise(0.1), RATE)  # this host hands parameters over with the audio
    assert plugin.raw_state != other.raw_state, "two instances have two identities"
    other.raw_state = plugin.raw_state
    assert str(other.alignment) == "immediate" and str(other.latency_preset) == "balanced"
    assert other.raw_state == plugin.raw_state


RENDER = """
import sys, time, numpy as np, pedalboard
plugin = pedalboard.load_plugin(sys.argv[1])
audio = np.random.default_rng(0).standard_normal((2, 48_000 * 120)).astype(np.float32)
print("begun", flush=True)
begun = time.monotonic()
out = plugin.process(audio, 48_000, buffer_size=256)
print(np.array_equal(out, audio), time.monotonic() - begun, flush=True)
"""


@pytest.mark.slow
def test_a_sidecar_killed_in_mid_render_neither_hangs_nor_harms_the_audio():
    with native.sidecar() as process:
        render = subprocess.Popen(
            [sys.executable, "-c", RENDER, native.built("vst3")], stdout=subprocess.PIPE, text=True
        )
        assert render.stdout.readline().strip() == "begun"
        time.sleep(1.0)
        assert render.poll() is None
        process.kill()
        same, seconds = render.communicate(timeout=60)[0].split()
    assert same == "True" and float(seconds) < 30


@pytest.mark.parametrize("name", places.FORMATS)
def test_the_bundles_need_only_the_c_library_and_show_only_their_factory(name):
    native.built(name)
    library = places.binary(name)
    allowed = ("libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "ld-linux")
    assert all(needed.startswith(allowed) for needed in build.needed_libraries(library))
    text = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    shown = {line.split()[-1] for line in text.splitlines()}
    factory = {"vst3": {"GetPluginFactory", "ModuleEntry", "ModuleExit"}, "clap": {"clap_entry"}}
    assert shown == factory.get(name, {"lv2_descriptor", "lv2_generate_ttl"})


def test_install_puts_bundles_where_it_is_told_and_again_over_the_old(tmp_path):
    native.built("lv2")
    for _ in range(2):
        (target,) = places.install(["lv2"], tmp_path / "home")
        assert target == tmp_path / "home" / ".lv2" / "dawbridge.lv2"
        assert (target / "manifest.ttl").exists() and not list(target.parent.glob("*.part"))
    words = (tmp_path / "data" / places.COMMAND).read_text().split("\n")
    assert words[0].endswith(("dawbridge", "python", "python3", "python3.11"))
