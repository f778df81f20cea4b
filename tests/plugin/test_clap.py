"""The CLAP in a small host of our own: life cycle, state, render mode, audio, MIDI to the sample."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bridge.plugin import toolchain
from bridge.wire.client import Client
from tests.plugin import native


def program(name: str) -> Path:
    headers = toolchain.DPF / "distrho" / "src"
    if not headers.is_dir():
        pytest.skip("the CLAP headers are not installed here; install dpf-source")
    source = native.SOURCES / "tests" / f"{name}.cpp"
    return native.compiled(name, [source], ["-O1", f"-isystem{headers}"], zeromq=False, libraries=["-ldl"])


def host(seconds: float, block: int, offline: bool) -> native.Played:
    command = [program("clap_host"), native.built("clap"), str(seconds), str(block), str(int(offline))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return native.Played(done.stdout)


def test_what_validators_ask_without_a_sidecar():
    check([program("clap_checks"), native.built("clap")])


def test_what_validators_ask_with_a_sidecar():
    with native.sidecar():
        check([program("clap_checks"), native.built("clap")])


def check(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.count("\n") >= 10, "checks went missing"


def test_audio_passes_without_a_sidecar_and_the_library_can_be_unloaded():
    played = host(10, 64, offline=True)
    assert played.latency == 0 and played.wrong == 0 and played.midi == []


def test_notes_come_at_onset_plus_latency_to_the_sample():
    with native.sidecar():
        with Client(48_000, 2, max_block=256) as client:
            promised = client.wait_ready().latency.total
        offline = host(5, 256, offline=True)
        live = host(3, 256, offline=False)
    for played in (offline, live):
        assert played.latency == promised and played.wrong == 0
    every = [at for at in range(24_000, 5 * 48_000, 12_000) if at + promised < 5 * 48_000]
    assert [at - promised for at, _ in offline.ons][: len(every)] == every
    # A busy machine may be late with a note, or begin to listen after the first ones; never early.
    heard = [at - promised for at, _ in live.ons]
    due = [max(at for at in [0, *every] if at <= onset) for onset in heard]
    assert len(set(due)) == len(due) and 0 not in due
    assert sum(onset == at for onset, at in zip(heard, due, strict=True)) > len(every) / 4
