"""What a bounce writes of beats and dynamics, and the hints that it takes."""

import json
from itertools import pairwise

import mido
import numpy as np
import pytest

from bridge import cli
from bridge.errors import InputError
from bridge.midi import read_midi, write_midi
from bridge.studio.report import piano_roll
from bridge.studio.rhythm import beat_notes, markers, read_taps, spans, with_spans
from bridge.tempo import beats_as_dict
from inference.events import Beat, Lane, LanePoint, Note
from inference.rhythm.config import FrontEndConfig, Loudness
from inference.rhythm.dynamics import (
    CLASSES,
    DynamicsSettings,
    Heard,
    changes,
    class_of,
    decode_dynamics,
    level,
)
from inference.rhythm.hints import Hints
from inference.rhythm.swells import swells
from tests.product.test_rhythm import take  # noqa: F401

RATE = 44_100


def lane(*values):
    return [LanePoint(i * RATE, Lane.DYNAMICS, value) for i, value in enumerate(values)]


def test_markers_stand_where_the_class_changes():
    points = lane(0.05, 0.19, 0.21, 0.5, 0.55, 0.99, 1.0, 0.0)
    points.insert(2, LanePoint(1, Lane.TEMPO, 120.0))
    assert markers(points) == [
        (0, "pp"),
        (2 * RATE, "p"),
        (3 * RATE, "mf"),
        (5 * RATE, "ff"),
        (7 * RATE, "pp"),
    ]
    assert markers([]) == []


def test_gradual_changes_are_swells_and_sudden_ones_are_not():
    flat, up = [0.1] * 6, np.linspace(0.1, 0.9, 10).tolist()
    down = np.linspace(0.9, 0.5, 8).tolist()
    found = swells([*flat, *up, *[0.9] * 6, *down])
    assert [(s.name, s.first, s.last) for s in found] == [("crescendo", 6, 15), ("diminuendo", 22, 29)]
    assert swells([0.1] * 8 + [0.9] * 8) == [] and swells([0.3] * 20) == [] and swells([0.1, 0.9]) == []
    assert not swells([0.5 + 0.05 * (-1) ** i for i in range(40)])


def test_swells_have_a_marker_at_each_end():
    points = lane(*[0.1] * 4, *np.linspace(0.1, 0.9, 8), *[0.9] * 4)
    ((begin, end, name),) = spans(points)
    assert name == "crescendo" and 3 * RATE < begin < 6 * RATE < end <= 12 * RATE
    marks = with_spans(markers(points), spans(points))
    assert marks == sorted(marks, key=lambda mark: mark[0])
    assert (begin, "crescendo") in marks and (end, "end of crescendo") in marks and (0, "pp") in marks
    plain = beats_as_dict([], RATE, spans=spans(points))
    assert plain["swells"] == [{"begin": begin / RATE, "end": end / RATE, "marking": "crescendo"}]


@pytest.mark.parametrize(
    "value, expected", [(-1, 1), (0, 1), (0.2, 2), (0.59, 3), (0.6, 4), (0.8, 5), (1, 5), (9, 5)]
)
def test_fifths_are_classes(value, expected):
    assert class_of(value) is Loudness(expected)


def heard(classes, sure=0.8, change=None):
    logits = np.full((len(classes), CLASSES), np.log((1 - sure) / 4), np.float32)
    logits[np.arange(len(classes)), np.array(classes) - 1] = np.log(sure)
    return Heard(
        logits, np.zeros(len(classes), np.float32) if change is None else np.array(change, np.float32)
    )


def test_a_class_does_not_change_for_one_beat():
    once = [2] * 10 + [4] + [2] * 10
    assert set(decode_dynamics(heard(once), DynamicsSettings(4.0, 1.0))) == {2}
    long = [2] * 10 + [4] * 10
    found = decode_dynamics(heard(long), DynamicsSettings(4.0, 1.0))
    assert found.tolist() == long and changes(found).tolist() == [10]


def test_a_change_that_is_heard_costs_less():
    once = [2] * 10 + [4] + [2] * 10
    change = [0] * 10 + [6, 6] + [0] * 9
    assert decode_dynamics(heard(once, change=change), DynamicsSettings(4.0, 1.0)).tolist() == once


def test_the_lane_stays_within_the_fifth_of_its_class():
    classes = np.array([1, 2, 3, 4, 5, 3, 1])
    for sure in (0.3, 0.8, 0.99):
        values = level(heard([3] * 7, sure), classes)
        assert [class_of(float(value)) for value in values] == classes.tolist()


def beats(count=9, of=3, first=0):
    return [Beat(round((1 + i / 2) * RATE), (i + first) % of, of, 0.8) for i in range(count)]


def test_beats_are_notes_on_a_track_of_their_own(tmp_path):
    clicks = beat_notes(beats(), RATE, 10)
    assert [note.pitch for note in clicks[:4]] == [76, 77, 77, 76]
    assert all(b.onset >= a.offset for a, b in pairwise(clicks))
    path = tmp_path / "a.mid"
    write_midi(path, [Note(0, RATE, 60, 0.5)], rate=RATE, beats=clicks, markers=[(0, "pp"), (RATE, "f")])
    file = mido.MidiFile(path)
    names = [m.name for track in file.tracks for m in track if m.type == "track_name"]
    assert names == ["piano", "piano", "beats"]
    ons = [m for m in file.tracks[2] if m.type == "note_on"]
    assert {m.channel for m in ons} == {9} and len(ons) == 9
    assert [m.text for m in file.tracks[0] if m.type == "marker"] == ["pp", "f"]
    again = [n for n in read_midi(path, RATE).notes if n.channel == 9]
    assert max(abs(a.onset - b.onset) for a, b in zip(again, clicks, strict=True)) < RATE * 0.001


def test_no_beats_are_no_notes():
    assert beat_notes([], RATE, 10) == []


def test_a_picture_shows_bars_tempo_and_dynamics(tmp_path):
    notes = [Note(beat.time, beat.time + 20_000, 60 + i, 0.5) for i, beat in enumerate(beats(40))]
    points = [LanePoint(beat.time, Lane.DYNAMICS, i / 40) for i, beat in enumerate(beats(40))]
    plain = piano_roll(tmp_path / "a.png", notes, RATE).read_bytes()
    rich = piano_roll(tmp_path / "b.png", notes, RATE, beats=beats(40), lanes=points).read_bytes()
    assert rich[:4] == b"\x89PNG" and len(rich) > len(plain) * 1.05


CONFIG = FrontEndConfig()


def frame(second):
    return round((second * CONFIG.rate + CONFIG.early) / CONFIG.hop)


def test_taps_draw_the_beats_but_only_where_they_are():
    logits = np.zeros(1_000)
    led = Hints(taps=(2.0, 3.0, 4.0)).led(logits, CONFIG)
    assert all(led[frame(tap)] > 4 for tap in (2, 3, 4)) and led[frame(2.5)] < -3
    assert not led[: frame(1.4)].any() and not led[frame(4.6) :].any()
    assert (Hints(taps=(2.0,)).led(logits, CONFIG) == logits).all()


def test_the_first_downbeat_is_where_it_was_said():
    found = Hints(first_downbeat=2.1).began(np.zeros(8, np.float32), np.arange(8.0), 4)
    assert found.tolist() == [-50, -50, 50, 0, 0, 0, 0, 0]
    assert not Hints().began(np.zeros(8, np.float32), np.arange(8.0), 4).any()


@pytest.mark.parametrize(
    "wrong", [{"first_downbeat": -1.0}, {"taps": (2.0, 1.0)}, {"taps": (float("nan"), 1.0)}]
)
def test_hints_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        Hints(**wrong)


def test_taps_are_read(tmp_path):
    path = tmp_path / "taps.txt"
    path.write_text("# tapped\n1.5\n2.0, downbeat\n\n2.5 x\n")
    assert read_taps(path) == (1.5, 2.0, 2.5)
    for text in ("", "1.0", "2\n1", "one\ntwo"):
        path.write_text(text)
        with pytest.raises(InputError, match="taps"):
            read_taps(path)
    with pytest.raises(InputError, match="taps"):
        read_taps(tmp_path / "none.txt")


def test_bounce_passes_hints_on_and_writes_all(take, tmp_path, capsys):  # noqa: F811
    (tmp_path / "taps.txt").write_text("0.5\n1.0\n1.5\n")
    arguments = ["--tempo-map", "--beats", "--dynamics", "--beat-notes", "10", "--picture"]
    hints = ["--first-downbeat", "1.5", "--taps", "taps.txt"]
    assert cli.run(["bounce", "take.wav", "-o", "out", *arguments, *hints]) == 0, capsys.readouterr().err
    assert (take[0].first_downbeat, take[0].taps) == (1.5, (0.5, 1.0, 1.5))
    assert (tmp_path / "out" / "take.png").stat().st_size > 10_000
    file = mido.MidiFile("out/take.mid")
    assert len([m for m in file.tracks[2] if m.type == "note_on"]) == 19
    assert json.loads((tmp_path / "out" / "take.beats.json").read_text())["dynamics"] == []


@pytest.mark.parametrize("hint", [["--first-downbeat", "1"], ["--taps", "taps.txt"]])
def test_hints_alone_are_refused(take, hint, tmp_path, capsys):  # noqa: F811
    (tmp_path / "taps.txt").write_text("1\n2\n")
    assert cli.run(["bounce", "take.wav", *hint]) == 2
    assert "--tempo-map" in capsys.readouterr().err
