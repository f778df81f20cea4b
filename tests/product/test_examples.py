"""Every example runs as its own text says, and does what it claims."""

import os
import subprocess
import sys
from pathlib import Path

import mido
import pytest

from bridge.studio.demo import write_demo
from bridge.studio.render import render

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """The demo, as MIDI and as a recording."""
    folder = tmp_path_factory.mktemp("take")
    write_demo(folder / "take.mid")
    render(folder / "take.mid", folder / "take.wav", rate=16_000)
    return folder


@pytest.fixture
def run(tmp_path):
    def run(name, *arguments):
        folders = {f"DAWBRIDGE_{key}_DIR": str(tmp_path / key) for key in ("RUNTIME", "DATA", "LOG")}
        environment = os.environ | folders | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["DAWBRIDGE_PRESETS"] = str(tmp_path / "presets")
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def notes_of(path):
    return [m for m in mido.MidiFile(path) if m.type == "note_on" and m.velocity > 0]


def test_examples_are_short_and_all_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 4
    for script in SCRIPTS:
        assert len(script.read_text(encoding="utf-8").splitlines()) <= 40, script.name
        assert f'run("{script.name}"' in tested, f"{script.name} is not run"


def test_bounce_file(run, take, tmp_path):
    printed = run("bounce_file.py", take / "take.wav", tmp_path / "midi")
    found = notes_of(tmp_path / "midi" / "take.mid")
    assert f"done, {len(found)} notes" in printed and len(found) > 30
    assert (tmp_path / "midi" / "take.png").read_bytes().startswith(b"\x89PNG")


def test_live_client(run, take):
    assert run("live_client.py", take / "take.wav").count("pitch") > 30


def test_render_in_a_hall(run, take, tmp_path):
    run("render_in_a_hall.py", take / "take.mid", tmp_path / "hall.wav")
    assert (tmp_path / "hall.wav").stat().st_size > 1_000_000


def test_stream_by_hand(run):
    printed = run("stream_by_hand.py")
    assert "latency" in printed and "pitch 69" in printed


def test_perform_score(run, take, tmp_path):
    printed = run("perform_score.py", take / "take.mid", tmp_path / "played")
    assert all(name in printed for name in ("strict", "free", "legato")) and "LUFS" in printed
    want = sorted(note.note for note in notes_of(take / "take.mid"))
    for name in ("strict", "free", "legato"):
        assert sorted(note.note for note in notes_of(tmp_path / "played" / f"{name}.mid")) == want
    assert (tmp_path / "played" / "legato.wav").stat().st_size > 1_000_000


def test_own_preset(run, take, tmp_path):
    printed = run("own_preset.py", take / "take.wav", tmp_path / "midi")
    assert "channel 3" in printed
    found = notes_of(tmp_path / "midi" / "take.mid")
    assert found and {note.channel for note in found} == {2}
    assert all(20 <= note.velocity <= 100 for note in found)
