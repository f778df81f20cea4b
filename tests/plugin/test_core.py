"""The core's own tests, with sanitizers; and the engine in a fake host against a real sidecar."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from bridge.midi import read_midi
from bridge.wire.client import Client, status
from bridge.wire.connection import read_connection
from bridge.wire.protocol import NoteOn
from tests.plugin import native


def run_units(program, **environment):
    environment = {
        **os.environ,
        "DAWBRIDGE_GOLDEN": str(native.ROOT / "tests/protocol/golden"),
        **environment,
    }
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("\n") > 15, "tests went missing"


def test_units_under_address_and_undefined_sanitizers():
    run_units(
        native.units("asan", ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    )


@pytest.mark.slow
def test_units_under_thread_sanitizer():
    run_units(native.units("tsan", ["-g", "-O1", "-fsanitize=thread"]), TSAN_OPTIONS="halt_on_error=1")


def expected(latency, seconds, **hello):
    """What the reference client hears, as the plug-in should play it."""
    with Client(48_000, 2, max_block=512, offline=True, **hello) as client:
        client.send(native.clicks(seconds))
        events = client.flush("end")
    notes = [note for message in events for note in message.notes if isinstance(note, NoteOn)]
    return [(note.time + latency, note.pitch) for note in notes]


def test_no_sidecar_means_no_wait_no_delay_and_audio_as_it_came():
    native.fake_host()  # not compiled on our time
    before = time.monotonic()
    played = native.play(seconds=60, realtime=0, block=0)
    assert time.monotonic() - before < 5
    assert not played.connected and played.latency == 0 and played.wrong == 0 and played.midi == []


def test_a_sidecar_that_is_there_is_waited_for_and_one_that_hangs_is_not():
    native.fake_host()
    with native.sidecar("tests.plugin.serving", "slow"):
        played = native.play(seconds=0.1, realtime=0, preset="balanced")  # which it has not loaded yet
    assert played.latency > 0, "it was there, and its terms were not waited for"
    with native.sidecar() as process:
        process.send_signal(signal.SIGSTOP)
        before = time.monotonic()
        played = native.play(seconds=0.1, realtime=0, activations=5)
        assert time.monotonic() - before < 1.5, "at most 0.3 s once, where nothing answers"
        process.send_signal(signal.SIGCONT)
    assert played.latency == 0 and played.wrong == 0


def test_notes_come_at_onset_plus_latency_to_the_sample_live_and_offline():
    with native.sidecar():
        live = native.play(seconds=3, block=256)
        offline = [
            native.play(seconds=6, block=block, realtime=0, offline=1, seed=block)
            for block in (0, 64, 512, 8192)
        ]
        assert live.connected and live.latency > 0 and live.wrong == 0 and live.dropped == 0
        truth = expected(live.latency, 6)
        if live.late == 0:  # a busy machine may be late, which is counted and not silent
            assert live.ons == [note for note in truth if note[0] < 3 * 48_000]
        for played in offline:
            shift = played.latency - live.latency
            within = [(at + shift, pitch) for at, pitch in truth if at + shift < 6 * 48_000]
            ons = [
                (at, pitch) for at, pitch in played.ons if at < 6 * 48_000
            ]  # the last block may reach beyond
            assert ons == within, "an offline render must give the notes of the client"
            assert played.late == 0 and played.dropped == 0 and played.wrong == 0


def test_audio_thread_neither_allocates_nor_locks_nor_calls_the_system():
    with native.sidecar():
        played = native.play(seconds=2, guard=1)  # exit code 97 or 99 if it does
    assert played.connected and played.ons


def test_the_guard_catches_what_it_is_for():
    done = subprocess.run(
        [native.fake_host(), "seconds=0.2", "guard=1", "sin=1"], capture_output=True, timeout=30
    )
    assert done.returncode == 99, "a system call went unnoticed"
    done = subprocess.run([native.fake_host(), "seconds=0.2", "sin=2"], capture_output=True, timeout=30)
    assert done.returncode == 97, "an allocation went unnoticed"


def test_loops_and_kills_leave_nothing_sounding():
    with native.sidecar() as first, understudy(subprocess.PIPE) as second:
        assert second.stdout.readline() == b"waiting\n"
        host = subprocess.Popen(
            [native.fake_host(), "seconds=8", "clicks=6000"], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.5)
        first.kill()
        first.wait()
        killed = time.monotonic()
        second.stdin.write(b"\n")
        second.stdin.flush()
        native.wait_for_sidecar(other_than=first.pid)
        back = time.monotonic() - killed
        played = native.Played(host.communicate(timeout=30)[0])
        second.kill()
    assert (
        played.left_sounding() <= {60} and played.sounding <= 1
    )  # the last one, as the host ends while playing
    ons = [at / 48_000 for at, _ in played.ons]
    silence = max((b - a, a) for a, b in itertools.pairwise(ons))
    assert silence[0] > 0.5, "the kill went unnoticed"
    assert silence[0] < back + 2.6 + 1, "the plug-in did not come back within two seconds of the sidecar"
    released = [at / 48_000 for at, status, *_ in played.midi if status == 0x80 and at / 48_000 > silence[1]]
    assert released[0] < silence[1] + 2.6, "notes hung after the kill"
    with native.sidecar():
        looped = native.play(seconds=2.4, loop=36_000, clicks=6000)
    panics = [at for at, status, number, _ in looped.midi if status == 0xB0 and number == 123]
    assert len(panics) >= 2 and looped.left_sounding() <= {60}
    assert all(at % 36_000 < 256 for at in panics), "the panic belongs to the block of the seam"


def test_many_activations_leak_nothing():
    with native.sidecar():
        few = native.play(seconds=0.5, realtime=0, activations=5)
        many = native.play(seconds=0.5, realtime=0, activations=60)
        deadline = time.monotonic() + 10
        while status().sessions and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not status().sessions, "a session was left behind"
    assert many.connected and many.memory_kib < few.memory_kib + 16_384


def test_instances_of_a_process_share_one_connection_and_all_are_heard():
    with native.sidecar():
        port = int(read_connection().endpoint.rpartition(":")[2])
        words = [native.fake_host(), "seconds=4", "instances=5", "clicks=6000"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as host:
            deadline = time.monotonic() + 20
            while len(sessions := status().sessions) < 5 or any(s.notes < 3 for s in sessions):
                assert time.monotonic() < deadline and host.poll() is None, sessions
                time.sleep(0.1)
            assert connections_to(port, host.pid) == 1
            played = native.Played(host.communicate(timeout=30)[0])
    assert played.wrong == 0 and len(played.ons) > 10


def test_a_sidecar_that_knows_no_bundles_gets_none():
    with native.sidecar("tests.plugin.serving", "plain"):
        played = native.play(seconds=5, realtime=0, offline=1)
    heard = [at for at in range(24_000, 5 * 48_000, 12_000) if at + played.latency < 5 * 48_000]
    assert [at - played.latency for at, _ in played.ons][: len(heard)] == heard


def connections_to(port: int, pid: int) -> int:
    """TCP connections of a process to a port of this machine."""
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[9] in sockets and int(row[2].split(":")[1], 16) == port for row in rows)


def test_a_project_keeps_its_preset_by_value_and_says_when_it_cannot(tmp_path, monkeypatch):
    monkeypatch.setenv("DAWBRIDGE_PRESETS", str(tmp_path))
    mine, kept = tmp_path / "latency" / "mine.toml", tmp_path / "kept"
    mine.parent.mkdir()
    mine.write_text("chunk_ms = 40\nbudget_ms = 33\n")
    quiet = {"seconds": 0.1, "realtime": 0, "preset": "mine"}
    with native.sidecar():
        before = native.play(**quiet)
        assert before.connected and before.resort == 0
    kept.write_text(before.contents)
    mine.unlink()
    broken = tmp_path / "broken"
    broken.write_text(before.contents.replace("chunk_ms", "chunks"))
    with native.sidecar():  # another machine, or the same one years later
        after = native.play(**quiet, contents=kept)
        assert after.resort == 0 and after.latency == before.latency and after.contents == before.contents
        assert native.play(seconds=0.1, realtime=0).latency != before.latency, "this shows nothing"
        nameless = native.play(**quiet)
        assert nameless.connected and nameless.resort == 2, "another preset is better than silence"
        assert nameless.contents == "", "what stood in must not be kept as if it had been asked for"
        assert native.play(**quiet, contents=broken).resort == 2
        assert native.play(**quiet | {"preset": "balanced"}, contents=broken).resort == 1


def test_a_piece_is_played_on_the_projects_beats_through_loops_and_chaos():
    file = native.ROOT / "tests" / "golden" / "prelude.mid"
    piece = read_midi(file, 960_000)
    beats = [float(piece.tempo.beats(Fraction(note.onset, 960_000))) for note in piece.notes]
    with native.sidecar("tests.plugin.serving", "play", file):
        for tempo, settings in ((120, {}), (75, {"block": 0}), (75, {"block": 100})):
            quiet = {"realtime": 0, "offline": 1, "seconds": 8, "tempo": tempo, **settings}
            played = native.play(**quiet)
            expected = [
                (b * 60 / tempo * 48_000, note.pitch) for b, note in zip(beats, piece.notes, strict=True)
            ]
            end = 8 * 48_000 - played.latency - 1
            due = sorted((round(at), pitch) for at, pitch in expected if at < end)
            found = sorted((at - played.latency, pitch) for at, pitch in played.ons)
            found = [each for each in found if each[0] < end]
            assert len(found) == len(due) > 12
            for (at, pitch), (then, wanted) in zip(found, due, strict=True):
                assert abs(at - then) <= 1 and pitch == wanted
            assert played.late == 0 and played.wrong == 0
        looped = native.play(seconds=3, loop=48_000, tempo=120)
        first_bar = [note for note, beat in zip(piece.notes, beats, strict=True) if beat < 2 - 0.01]
        assert len(looped.ons) >= len(first_bar) and len(looped.left_sounding()) <= len(first_bar)
        disturbed = native.play(seconds=6, chaos=25, seed=4)
        assert not disturbed.left_sounding() and disturbed.sounding == 0 and disturbed.actions > 20


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "rate", [44_100, 192_000, pytest.param(22_050, marks=slow), pytest.param(96_000, marks=slow)]
)
def test_any_rate_and_random_blocks_give_the_notes_of_the_client(rate):
    with native.sidecar():
        played = native.play(
            rate=rate, seconds=4, block=0, realtime=0, offline=1, clicks=rate // 4, seed=rate
        )
        with Client(rate, 2, max_block=512, offline=True) as client:
            client.send(native.clicks(4, rate, rate // 4))
            events = client.flush("end")
    notes = [note for message in events for note in message.notes if isinstance(note, NoteOn)]
    truth = [note.time + played.latency for note in notes if note.time + played.latency < 4 * rate]
    ons = [at for at, _ in played.ons if at < 4 * rate]  # the last block may reach beyond
    assert ons == truth and len(truth) > 3 and played.wrong == 0


def understudy(stdout=subprocess.DEVNULL):
    """A sidecar that waits to be asked."""
    words = [sys.executable, "-m", "tests.plugin.serving", "asked"]
    return subprocess.Popen(words, cwd=native.ROOT, stdin=subprocess.PIPE, stdout=stdout)


@pytest.mark.parametrize("actions", [20, pytest.param(1_000, marks=pytest.mark.slow)])
def test_kills_restarts_seeks_stops_and_activations_leave_no_stuck_note(actions, tmp_path):
    for attempt in range(4):  # on a busy machine plug-in and sidecar may hardly find each other
        played, killed = chaos(actions, random.Random(attempt), tmp_path / "played")
        print(f"{played.actions} actions, {killed} kills, {len(played.ons)} notes, {played.memory_kib} KiB")
        assert not played.left_sounding() and played.sounding == 0
        assert played.wrong == 0
        if played.ons and played.actions > actions / 2 and killed > 1:
            return
    raise AssertionError("too quiet to show anything")


def chaos(actions, chance, file):
    """What a host plays in which so much happens, while its sidecar is killed and replaced; and the kills.

    The last one is let live: a plug-in takes two seconds to miss its sidecar, and till then holds its notes.
    """
    every, killed = 60, 0
    seconds = actions * every * 512 / 48_000
    words = [native.fake_host(), "block=512", f"chaos={every}", "clicks=6000", f"seconds={seconds}"]
    with open(file, "w") as out:
        host = subprocess.Popen([*words, f"seed={chance.randrange(1_000)}"], stdout=out)
    sidecar, end = understudy(), time.monotonic() + seconds
    while host.poll() is None:
        sidecar.stdin.write(b"\n")
        sidecar.stdin.flush()
        if time.monotonic() > end - 7:
            host.wait()
            break
        following = understudy()
        try:
            host.wait(chance.uniform(0.5, 4))
        except subprocess.TimeoutExpired:
            killed += 1
        sidecar.kill()
        sidecar.communicate()
        sidecar = following
    sidecar.kill()
    sidecar.communicate()
    assert host.returncode == 0
    return native.Played(file.read_text()), killed
