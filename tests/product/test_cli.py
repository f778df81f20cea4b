"""The command line: results to stdout, talk to stderr, errors that say what to do, and exit codes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import mido
import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge import cli
from bridge.presets import Preset
from tests.fakes import ClickTranscriber, clicks

ROOT = Path(__file__).parents[2]
RATE = 44_100
TIMES = [4_410, 22_050, 40_000, 60_000]


@pytest.fixture
def hears_clicks(monkeypatch):
    """Every preset opens a transcriber that hears clicks."""
    opened = []

    def transcriber(preset):
        opened.append(preset)
        return ClickTranscriber()

    monkeypatch.setattr(Preset, "transcriber", transcriber)
    return opened


@pytest.fixture
def take(tmp_path):
    path = tmp_path / "take.wav"
    with AudioFile(str(path), "w", RATE, 2) as file:
        file.write(clicks(TIMES, 88_200, RATE, 2, height=0.9))
    return path


def onsets_of(path):
    """Seconds of the note-ons of a MIDI file."""
    now, found = 0.0, []
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append(now)
    return found


def close_to_clicks(seconds):
    return np.allclose(seconds, [time / RATE for time in TIMES], atol=0.002)


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_an_example(name, call):
    code, out, _ = call(name, "--help")
    assert code == 0
    assert "Example: " in out and f"dawbridge {'listen' if name == 'listen' else name}" in out
    if "--" in out.replace("--help", ""):
        assert "Options:" in out


@pytest.mark.parametrize(
    "path",
    [("presets", "list"), ("presets", "show"), ("presets", "path"), ("train", "piano"), ("train", "export")],
)
def test_commands_within_groups_have_help_with_an_example(path, call):
    code, out, _ = call(*path, "--help")
    assert code == 0 and f"Example: dawbridge {path[0]} {path[1]}" in " ".join(out.split())


def test_help_comes_at_once():
    """Counted in processor time, which other programs on the machine do not lengthen much."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with start("--help") as process:
            out, _ = process.communicate(timeout=20)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert process.returncode == 0
        assert all(name in out for name in cli.COMMANDS)
    assert 0 < min(times) < 0.3


def test_misspelt_command_is_guessed(call):
    code, out, err = call("bounc")
    assert code == 2 and out == "" and "Did you mean 'bounce'?" in err


def test_misspelt_option_is_guessed(call):
    code, _, err = call("bounce", "x.wav", "--pictur")
    assert code == 2 and "--picture" in err


def test_bounce_writes_midi_and_says_where(call, take, hears_clicks, tmp_path):
    code, out, err = call("bounce", take, "-o", tmp_path / "midi")
    assert code == 0
    assert out.split() == [str(tmp_path / "midi" / "take.mid")]
    assert "4 notes" in err
    assert close_to_clicks(onsets_of(tmp_path / "midi" / "take.mid"))
    assert hears_clicks[0].latency.budget_ms is None, "the offline preset hears"


def test_bounce_goes_on_after_a_bad_file(call, take, hears_clicks, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF not audio")
    code, out, err = call("bounce", tmp_path / "bad.wav", take, tmp_path / "none.wav", "-o", "midi")
    assert code == 1
    assert out.split() == ["midi/take.mid"]
    assert "bad.wav" in err and "none.wav" in err and "3 files: 1 done, 2 failed" in err
    assert sorted(path.name for path in (tmp_path / "midi").iterdir()) == ["take.mid"]


def test_bounce_json_is_only_json(call, take, hears_clicks):
    code, out, _ = call("bounce", take, "--json", "--dry-run")
    assert code == 0 and json.loads(out)["files"][0]["status"] == "planned"
    assert hears_clicks == [], "a dry run hears nothing"
    code, out, _ = call("bounce", take, "--json")
    assert code == 0 and json.loads(out)["files"][0]["notes"] == 4
    code, out, _ = call("bounce", take, "--json", "--skip-existing")
    assert json.loads(out)["files"][0]["status"] == "skipped"


def test_demo_renders_hears_and_compares(call, tmp_path):
    code, out, err = call("demo", "-o", "out", "--json")
    done = json.loads(out)
    assert code == 0, err
    assert done["files"] == ["out/prelude.wav", "out/prelude.mid", "out/prelude.png"]
    assert done["hits"] + done["misses"] == done["played"] == len(onsets_of(tmp_path / "out" / "played.mid"))
    assert done["hits"] + done["extras"] == done["bounce"]["notes"] == len(onsets_of("out/prelude.mid"))
    assert done["hits"] > 0.8 * done["played"], "even weak weights hear a clean performance"


def test_demo_with_a_file_bounces_it(call, take, hears_clicks):
    code, out, _ = call("demo", take, "-o", "out")
    assert code == 0 and out.split() == ["out/take.mid", "out/take.png"]


def test_demo_without_matplotlib_leaves_the_picture_out(call, take, hears_clicks, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = call("demo", take, "-o", "out")
    assert code == 0 and out.split() == ["out/take.mid"] and "dawbridge[plot]" in err


def test_completion_knows_the_commands():
    environment = os.environ | {
        "_DAWBRIDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": "dawbridge bo",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'dawbridge'; from bridge.cli import main; main()"],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "bounce" in done.stdout and "render" not in done.stdout


def test_flag_wins_over_environment_over_preset(call, take, hears_clicks, monkeypatch):
    call("bounce", take)
    monkeypatch.setenv("DAWBRIDGE_BOUNCE_SENSITIVITY", "0.25")
    monkeypatch.setenv("DAWBRIDGE_BOUNCE_PRESET", "balanced electric-piano")
    call("bounce", take)
    call("bounce", take, "--sensitivity", 0.75, "--preset", "live", "--pedal", "extended")
    assert [preset.system.sensitivity for preset in hears_clicks] == [0.5, 0.25, 0.75]
    assert [preset.name for preset in hears_clicks] == ["offline", "balanced+electric-piano", "live"]
    assert [preset.instrument.pedal for preset in hears_clicks] == ["extended", "raw", "extended"]


def test_an_instrument_alone_leaves_the_latency_offline(call, take, hears_clicks):
    call("bounce", take, "--preset", "upright-piano")
    assert hears_clicks[0].latency.chunk_ms == 2_000
    assert hears_clicks[0].instrument.key_range == (21, 105)


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("bounce", "take.wav", "--preset", "lve"), 2, "Did you mean live"),
        (("bounce", "take.wav", "--weights", "piano-ligth"), 6, "piano-light"),
        (("bounce", "take.wav", "--channels", "0"), 2, "1,2"),
        (("bounce", "empty"), 2, "nothing to bounce"),
        (("bounce", "take.wav", "--sensitivity", "2"), 2, "sensitivity"),
        (("render", "none.mid", "-o", "x.wav"), 3, "none.mid"),
        (("render", "take.wav", "-o", "x.wav"), 3, "take.wav"),
        (("render", "take.wav", "-o", "x.mp4"), 3, "take.wav"),
        (("presets", "show", "livee"), 2, "Did you mean live"),
        (("status",), 5, "dawbridge serve"),
        (("listen", "none.wav"), 3, "none.wav"),
        (("evaluate", "piano", "--data", "none"), 3, "--data"),
        (("evaluate", "piano", "--data", "none", "--plot"), 2, "--out"),
        (("train", "piano", "--data", "none", "--work", "w"), 3, "none"),
        (("train", "export", "none", "--data", "d", "-o", "x.safetensors"), 3, "no checkpoint"),
        (("train", "piano", "--data", "x", "--work", "w", "--soundfont", "none.sf2"), 2, "none.sf2"),
        (("bench", "--baseline", "none.json"), 3, "bench --save"),
        (("serve", "--listen", "tcp://0.0.0.0:5555"), 2, "allow"),
    ],
)
def test_errors_have_a_remedy_and_their_exit_code(arguments, code, words, call, take, tmp_path):
    (tmp_path / "empty").mkdir()
    found, out, err = call(*arguments)
    assert (found, out) == (code, ""), err
    assert words in err and "Traceback" not in err
    assert not (tmp_path / "w").exists() and not list(tmp_path.glob("*.part"))


def test_an_unexpected_error_goes_to_the_log(call, take, monkeypatch, tmp_path):
    def broken(preset):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Preset, "transcriber", broken)
    code, out, err = call("bounce", take)
    assert code == cli.UNEXPECTED and out == "" and "Traceback" not in err
    (log,) = (tmp_path / "log").glob("*bounce*.log")
    assert str(log) in err and "ZeroDivisionError: a bug" in log.read_text()


def test_an_unwritable_log_folder_stops_nothing(call, take, hears_clicks, monkeypatch):
    monkeypatch.setenv("DAWBRIDGE_LOG_DIR", str(take / "log"))
    assert call("bounce", take)[0] == 0


def test_old_logs_go(call, tmp_path):
    for _ in range(3):
        call("presets", "path")
    assert len(list((tmp_path / "log").glob("*presets*.log"))) >= 1
    for number in range(40):
        (tmp_path / "log" / f"2001-{number}.log").touch()
    call("presets", "path")
    assert len(list((tmp_path / "log").glob("*.log"))) <= 20


def test_quiet_leaves_results_only(call, take, hears_clicks):
    code, out, err = call("-q", "bounce", take)
    assert code == 0 and out.strip().endswith("take.mid") and err == ""


def test_presets(call, tmp_path):
    _, out, _ = call("presets", "list", "--json")
    assert {"layer", "name", "path", "user"} == set(json.loads(out)[0])
    assert call("presets")[1] == call("presets", "list")[1]
    assert "chunk_ms" in call("presets", "show", "live")[1]
    assert Path(call("presets", "path", "live")[1].strip()).is_file()
    assert call("presets", "path")[1].strip() == str(tmp_path / "presets")


def test_systems(call):
    _, out, _ = call("systems", "--json")
    found = json.loads(out)
    assert found["systems"][0]["name"] == "piano" and 0 < found["systems"][0]["latency_ms"] <= 130
    assert all(len(item["sha256"]) == 64 and item["parameters"] > 0 for item in found["weights"])
    assert "piano" in call("systems")[1]


def test_ctrl_c_leaves_nothing_behind(take, tmp_path):
    """A long bounce is interrupted while it hears: no MIDI file, no part of one."""
    long = tmp_path / "long.wav"
    with AudioFile(str(long), "w", 16_000, 1) as file:
        for _ in range(60):
            file.write(np.random.default_rng(0).normal(0, 0.1, (1, 16_000 * 30)).astype(np.float32))
    with start("-v", "bounce", long) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == cli.INTERRUPTED and out == "" and "Traceback" not in err
    assert not list(tmp_path.glob("*.mid*"))


def test_a_reader_that_leaves_is_no_error(tmp_path):
    with start("presets", "show", "live") as process:
        process.stdout.close()  # as `| head -0` would
        err = process.stderr.read()
        process.wait(20)
    assert process.returncode in (0, cli.BROKEN_PIPE) and err == ""
