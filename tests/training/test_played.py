"""Performances played by a SoundFont are scored with their pedal and their key releases."""

import json
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest

from bridge import cli
from inference.training import lone
from inference.training.corpus import RATE, read_performance
from inference.training.played import _frame_f1, play

SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"


@pytest.fixture
def data(tmp_path):
    """One piece: chords every half second, half of them under the pedal."""
    folder = tmp_path / "data" / "asap" / "validation" / "Nobody" / "Chords"
    folder.mkdir(parents=True)
    file = mido.MidiFile(ticks_per_beat=500)  # 1 ms per tick at 120 bpm
    track = mido.MidiTrack()
    file.tracks.append(track)
    wait = 0
    for step in range(24):
        if step % 12 == 0:
            track.append(mido.Message("control_change", control=64, value=0 if step else 127, time=wait))
            wait = 0
        keys = (48 + step % 5, 60 + step % 7, 67 + step % 4)
        for kind, then in (("note_on", 200), ("note_off", 300)):
            for key in keys:
                track.append(mido.Message(kind, note=key, velocity=70 + step, time=wait))
                wait = 0
            wait = then
    file.save(folder / "Somebody01.mid")
    file.save(folder / "midi_score.mid")
    return tmp_path / "data"


def test_every_process_plays_the_same_samples(data):
    piece = data / "asap" / "validation" / "Nobody" / "Chords" / "Somebody01.mid"
    code = (
        "import hashlib, sys; from pathlib import Path; from inference.training.played import play;"
        "print(hashlib.sha256(play(Path(sys.argv[1]), Path(sys.argv[2]), 2.0).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(piece), str(SOUNDFONT)]
    first, again = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert len(first.stdout) > 60 and first.stdout == again.stdout


def test_performances_are_played_and_scored(data, capsys):
    arguments = [
        "evaluate",
        "piano",
        "--data",
        str(data),
        "--soundfont",
        str(SOUNDFONT),
        "--chunk-ms",
        "1000",
    ]
    assert cli.run([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "Nobody/Chords", "the score itself is no performance"
    assert row["onset"] > 0.8 and row["onset_velocity"] > 0.1
    assert 0 < row["pedal"] <= 1 and 0 < row["key_release"] <= 1
    assert cli.run([*arguments, "--robustness"]) == 2
    assert cli.run(["evaluate", "piano", "--data", str(data / "asap"), "--soundfont", str(SOUNDFONT)]) == 3


def test_notes_sound_when_they_are_played(data):
    path = next(data.rglob("Somebody01.mid"))
    audio = play(path, SOUNDFONT, 5.0)
    assert len(audio) == 5 * RATE
    onsets = np.unique(read_performance(path).notes.onset)
    for onset in onsets[onsets < 4.5]:
        before, after = (
            np.abs(audio[int(t * RATE) :][: RATE // 50]).max() for t in (onset - 0.02, onset + 0.01)
        )
        assert after > 1.5 * before, onset


def test_the_pedal_is_scored_by_the_time_it_is_down():
    truth = np.array([[1.0, 3.0]])
    assert _frame_f1(truth, truth, 10.0) == 1.0
    assert _frame_f1(truth, np.array([[2.0, 4.0]]), 10.0) == pytest.approx(0.5)
    assert _frame_f1(truth, np.zeros((0, 2)), 10.0) == 0.0
    assert _frame_f1(np.zeros((0, 2)), truth, 10.0) is None


def test_keys_are_struck_one_by_one(data, capsys, monkeypatch):
    order = lone._keys(np.random.default_rng(0))
    assert len(order) == 88 * len(lone.VELOCITIES) == len({tuple(row) for row in order[:, 2:]})
    few = order[np.isin(order[:, 2], (60, 64, 67))][:9]
    few[:, 1] += 0.5 + 1.3 * np.arange(9) - few[:, 0]
    few[:, 0] = 0.5 + 1.3 * np.arange(9)
    monkeypatch.setattr(lone, "_keys", lambda random: few)
    arguments = ["evaluate", "piano", "--data", str(data), "--lone", "--chunk-ms", "1000"]
    assert cli.run([*arguments, "--soundfont", str(SOUNDFONT), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["struck"] == 9 and row["found"] >= 7
    assert cli.run([*arguments, "--soundfont", str(SOUNDFONT)]) == 0
    assert f"| **all** | 9 | {row['found']} | {row['false']} |" in capsys.readouterr().out
    assert cli.run(arguments) == 2


def test_false_notes_are_counted_where_their_key_lies():
    struck = np.array([[0.5, 1, 30, 25], [1.8, 2, 70, 80], [3.1, 3.5, 100, 110]], float)
    told = np.array([[0.5, 1, 30, 40], [0.5, 1, 74, 20], [1.81, 2, 70, 70], [1.9, 2, 82, 9]], float)
    found = lone.judge(struck, told)
    assert (found.struck, found.found, found.false) == (3, 2, 2)
    assert found.by_register == ((1, 1, 1), (0, 0, 0), (1, 1, 1), (1, 0, 0))
    assert found.told[0] == 40 and found.told[2] == 70 and np.isnan(found.told[[1, 3][0]])
    nothing = lone.judge(struck, told[:0])
    assert (nothing.found, nothing.false) == (0, 0)
