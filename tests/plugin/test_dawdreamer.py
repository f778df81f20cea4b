"""The VST3 in DawDreamer, a host with a transport: what the sidecar is told, and what it receives."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from tests.plugin import native

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dawdreamer") is None,
    reason="dawdreamer is not installed here; run: pip install dawdreamer==0.9.0",
)
RENDER = """
import sys, numpy as np, dawdreamer
engine = dawdreamer.RenderEngine(48_000, 512)
audio = np.load(sys.argv[2])
source = engine.make_playback_processor("source", audio)
bridge = engine.make_plugin_processor("bridge", sys.argv[1])
ppqn = 960
tempo = np.concatenate([np.full(8 * ppqn, 100.0), np.full(40 * ppqn, 140.0)])
engine.set_bpm(tempo.astype(np.float32), ppqn=ppqn)
engine.load_graph([(source, []), (bridge, ["source"])])
engine.render(6.0)
np.save(sys.argv[3], engine.get_audio())
"""


def test_transport_tempo_map_and_every_sample_reach_the_sidecar(tmp_path):
    bundle = native.built("vst3")
    audio = np.random.default_rng(0).standard_normal((2, 7 * 48_000)).astype(np.float32) / 10
    np.save(tmp_path / "in.npy", audio)
    with native.sidecar("tests.plugin.witness", tmp_path / "seen"):
        files = [tmp_path / "in.npy", tmp_path / "out.npy"]
        subprocess.run([sys.executable, "-c", RENDER, bundle, *files], check=True, timeout=120)
    blocks = [json.loads(line) for line in (tmp_path / "seen" / "blocks.jsonl").read_text().splitlines()]
    last = max(block["session"] for block in blocks)
    blocks = [block for block in blocks if block["session"] == last]
    playing = [block for block in blocks if block["playing"]]
    assert all(block["offline"] and block["recording"] and block["meter"] == [4, 4] for block in playing)
    for block in playing:
        assert block["tempo_bpm"] == (100.0 if block["beats"] < 7.999 else 140.0)
    steps = [(a["tempo_bpm"], b["beats"] - a["beats"]) for a, b in pairwise(playing)]
    lengths = [block["samples"] for block in playing[:100]]
    for (bpm, beats), samples in zip(steps, lengths, strict=False):
        assert abs(beats - samples / 48_000 * bpm / 60) < 1e-6
    received = np.fromfile(tmp_path / "seen" / f"{last}.f32", "<f4")
    first = playing[0]["start"] - blocks[0]["start"]
    heard, mean = received[first:], (audio[0] + audio[1]) / np.float32(2)
    assert len(heard) > 5 * 48_000 and np.array_equal(heard, mean[: len(heard)])
    out = np.load(tmp_path / "out.npy")
    delays = [lag for lag in range(20_000) if np.array_equal(out[:, lag : lag + 5000], audio[:, :5000])]
    assert len(delays) == 1, "sound comes out as it went in, later by the latency"
    assert np.array_equal(out[:, delays[0] :], audio[:, : out.shape[1] - delays[0]])


READ = """
import sys, json, numpy as np, dawdreamer
engine = dawdreamer.RenderEngine(48_000, 512)
bridge = engine.make_plugin_processor("bridge", sys.argv[1])
for level in map(float, sys.argv[2:]):
    noise = level * np.random.default_rng(0).choice([-1, 1], (1, 3 * 48_000)).repeat(2, 0)
    source = engine.make_playback_processor("source", noise.astype(np.float32))
    engine.load_graph([(source, []), (bridge, ["source"])])
    engine.render(2.0)
    print(json.dumps({p["name"]: p["text"] for p in bridge.get_parameters_description()}))
"""


def test_output_parameters_follow_what_is_heard():
    """By their texts; as numbers DawDreamer gives what it automates itself."""
    with native.sidecar("tests.plugin.serving"):
        words = [sys.executable, "-c", READ, native.built("vst3"), "0.25", "0.5"]
        done = subprocess.run(words, check=True, timeout=120, capture_output=True, text=True)
    soft, loud = map(json.loads, done.stdout.splitlines())
    assert soft["Connected"] == loud["Connected"] == "on" and soft["Preset status"] == "as asked"
    assert (soft["Dynamics"], loud["Dynamics"]) == ("0.25", "0.50")
    assert float(soft["Velocity"]) > 0 and int(loud["Sounding"]) in (0, 1)
