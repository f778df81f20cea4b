"""Performances played by a SoundFont are scored with their pedal and their key releases."""

import json
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest

from bridge import cli
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
