"""A take is what was heard between start and stop, and lies on the project's grid, whatever the tempo did."""

from __future__ import annotations

import logging
import time

import mido
import numpy as np
import pytest

from bridge.presets import InstrumentPreset
from bridge.sidecar.takes import PPQ, Pass
from bridge.wire import protocol as wire
from bridge.wire.client import Client
from inference.events import Control, Controller, Events, Lane, LanePoint, NoteOff, NoteOn
from tests.fakes import ClickTranscriber, clicks

RATE = 48_000
BLOCK = 512


def take_of(beats_at, tempo_at, seconds, onsets, meter=(4, 4), begin=100_000):
    """A take of notes of a tenth of a second at `onsets` seconds, in a host whose song is at `beats_at`."""
    made = Pass(RATE, begin)
    for start in range(0, round(seconds * RATE), BLOCK):
        now = start / RATE
        place = wire.Transport(playing=True, tempo_bpm=tempo_at(now), beats=beats_at(now), meter=meter)
        made.place(begin + start, place)
    for number, onset in enumerate(onsets):
        at = begin + round(onset * RATE)
        made.add(Events(at, (NoteOn(at, 60, 0.5, number),)))
        made.add(Events(at, (NoteOff(at + RATE // 10, 60, 0.5, number),)))
    return made.close(begin + round(seconds * RATE))


def read(path):
    """Beats of the note-ons, seconds of the same, and the meta messages, of a file."""
    file = mido.MidiFile(path)
    assert file.ticks_per_beat == PPQ
    beats, tick = [], 0
    for message in mido.merge_tracks(file.tracks):
        tick += message.time
        if message.type == "note_on":
            beats.append(tick / PPQ)
    seconds, now = [], 0.0
    for message in file:
        now += message.time
        if message.type == "note_on":
            seconds.append(now)
    return beats, seconds, [m for track in file.tracks for m in track if m.is_meta]


def test_notes_lie_on_the_beats_of_the_host(tmp_path):
    onsets = [0.0, 0.6, 1.2, 1.5]  # at 100 bpm a beat is 0.6 s
    take = take_of(lambda t: 8 + t / 0.6, lambda t: 100.0, 2, onsets, meter=(3, 4))
    take.write(tmp_path / "take.mid", InstrumentPreset(), "piano")
    beats, seconds, meta = read(tmp_path / "take.mid")
    assert beats == pytest.approx([8, 9, 10, 10.5], abs=0.6 / PPQ)
    assert np.diff(seconds) == pytest.approx(np.diff(onsets), abs=1e-3)
    assert [m.tempo for m in meta if m.type == "set_tempo"] == [600_000]
    (meter,) = [m for m in meta if m.type == "time_signature"]
    assert (meter.numerator, meter.denominator) == (3, 4)


def test_a_gliding_tempo_is_followed(tmp_path):
    beats_at = lambda t: 100 / 60 * t + 0.5 * (40 / 60) / 8 * t**2  # noqa: E731, 100 to 140 bpm in 8 s
    onsets = np.arange(0, 8, 0.37)
    take = take_of(beats_at, lambda t: 100 + 5 * t, 8, onsets)
    take.write(tmp_path / "take.mid", InstrumentPreset(), "piano")
    beats, seconds, _ = read(tmp_path / "take.mid")
    assert beats == pytest.approx([beats_at(t) for t in onsets], abs=0.005)
    assert np.subtract(seconds, seconds[0]) == pytest.approx(onsets, abs=1e-3)


def test_a_count_in_goes_before_the_first_bar_in_whole_bars(tmp_path):
    take = take_of(lambda t: -2 + 2 * t, lambda t: 120.0, 3, [0.5, 2.0], meter=(6, 8))
    take.write(tmp_path / "take.mid", InstrumentPreset(), "piano")
    assert read(tmp_path / "take.mid")[0] == pytest.approx([2.0, 5.0])  # a bar of three quarters in front


def test_without_a_tempo_a_take_begins_at_once(tmp_path):
    made = Pass(RATE, 7_000)
    made.place(7_000, wire.Transport(playing=True))
    made.add(Events(0, (NoteOn(7_000 + RATE, 60, 1.0, 0),), (Control(7_000, Controller.SUSTAIN, 1.0),)))
    take = made.close(7_000 + 2 * RATE)  # the note still sounds: it ends here
    take.write(tmp_path / "take.mid", InstrumentPreset(pedal="raw"), "piano")
    _, seconds, _ = read(tmp_path / "take.mid")
    assert seconds == pytest.approx([1.0], abs=1e-3)
    assert mido.MidiFile(tmp_path / "take.mid").length == pytest.approx(2.0, abs=1e-3)


def test_lanes_become_controllers_and_an_empty_take_is_none(tmp_path):
    assert Pass(RATE, 0).close(9) is None
    made = Pass(RATE, 0)
    lanes = (LanePoint(0, Lane.DYNAMICS, 0.5),)
    made.add(Events(0, (NoteOn(0, 60, 1.0, 0), NoteOff(99, 60, 0.5, 0)), lanes=lanes))
    made.close(99).write(tmp_path / "take.mid", InstrumentPreset(lanes={"dynamics": 11}), "piano")
    changes = [m for m in mido.MidiFile(tmp_path / "take.mid") if m.type == "control_change"]
    assert [(m.control, m.value) for m in changes] == [(11, 64)]


def heard(times, seconds):
    return clicks([round(time * RATE) for time in times], round(seconds * RATE), RATE)


def files(folder):
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


def eventually(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def play(client, audio, beats):
    """Play `audio` from `beats` on at 120 bpm; then the transport stops."""
    for start in range(0, audio.shape[1], BLOCK):
        place = wire.Transport(playing=True, tempo_bpm=120.0, beats=beats + 2 * start / RATE)
        client.send(audio[:, start : start + BLOCK], place)
        client.receive()
    client.send(np.zeros((1, BLOCK), np.float32), wire.Transport())
    client.receive(0.2)


def test_each_pass_of_the_transport_becomes_a_file(serve, tmp_path):
    folder = tmp_path / "takes"
    audio = heard([0.25, 0.75], 1.5)
    sidecar = serve(takes=folder)
    with Client(RATE, 1, track="Grand: left/right", connection=sidecar.connection) as client:
        play(client, audio, beats=4)
        eventually(lambda: len(files(folder)) == 1)
        play(client, audio, beats=16)
        eventually(lambda: len(files(folder)) == 2)
        play(client, audio * 0, beats=32)
    first, second = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)  # none for silence
    assert "Grand_ left_right" in first.name and "Grand_ left_right" in second.name
    assert read(first)[0] == pytest.approx([4.5, 5.5], abs=0.01)
    assert read(second)[0] == pytest.approx([16.5, 17.5], abs=0.01)


def test_a_client_that_vanishes_in_mid_note_leaves_its_take(serve, tmp_path):
    hears = ClickTranscriber(hold=10**9)
    sidecar = serve(takes=tmp_path / "takes", heartbeat_ms=100, make_transcriber=lambda preset: hears)
    with Client(RATE, 1, connection=sidecar.connection) as client:
        audio = heard([0.25, 0.5], 1.0)
        for start in range(0, audio.shape[1], BLOCK):
            client.send(audio[:, start : start + BLOCK], wire.Transport(playing=True))
        eventually(lambda: any(n for e in client.receive(0.1) for n in e.notes))
    eventually(lambda: len(files(tmp_path / "takes")) == 1)
    (take,) = (tmp_path / "takes").iterdir()
    notes = [message.type for message in mido.MidiFile(take) if not message.is_meta]
    assert read(take)[1][0] == pytest.approx(0.25, abs=0.001)
    assert notes.count("note_on") == notes.count("note_off") > 0


def test_a_folder_that_cannot_be_written_costs_the_take_only(serve, tmp_path, caplog):
    (tmp_path / "takes").write_text("in the way")
    sidecar = serve(takes=tmp_path / "takes")
    with Client(RATE, 1, connection=sidecar.connection) as client, caplog.at_level(logging.ERROR):
        play(client, heard([0.25], 1.0), beats=0)
        eventually(lambda: "is lost" in caplog.text)
        play(client, heard([0.25], 1.0), beats=0)
    assert (tmp_path / "takes").read_text() == "in the way"
