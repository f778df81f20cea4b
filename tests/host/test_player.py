"""A piece is played along a host's transport: its beats on the project's, nothing twice, nothing stuck."""

from __future__ import annotations

import mido
import numpy as np
import pytest

from bridge.errors import MidiError, Refused
from bridge.sidecar.player import Piece, Player
from bridge.sidecar.server import Server
from bridge.sidecar.settings import ServeSettings
from bridge.wire import protocol as wire
from bridge.wire.client import Client, status
from inference.events import Control, NoteOff, NoteOn

RATE, BLOCK, PPQ = 48_000, 512, 480
QUARTERS = [0, 1, 1.5, 2, 4, 4.25, 7]


@pytest.fixture
def file(tmp_path):
    """A note on each of `QUARTERS`, half a quarter long; a pedal from 1 to 3; a tempo of 100."""
    path, events = tmp_path / "piece.mid", []
    for pitch, quarter in enumerate(QUARTERS, 60):
        events.append((round(quarter * PPQ), mido.Message("note_on", note=pitch, velocity=pitch)))
        events.append((round((quarter + 0.5) * PPQ), mido.Message("note_off", note=pitch)))
    for quarter, value in ((1, 127), (3, 0)):
        events.append((quarter * PPQ, mido.Message("control_change", control=64, value=value)))
    events.sort(key=lambda each: each[0])
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=600_000)])
    now = 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    mido.MidiFile(ticks_per_beat=PPQ, tracks=[track]).save(path)
    return path


class Song:
    """A host's transport, block after block, and what the player does with it."""

    def __init__(self, file, origin=10_000):
        self.player = Player(Piece.read(file), RATE, origin)
        self.time, self.events = origin, []

    def play(self, beats, blocks, tempo=120.0, untold=False, **told):
        """Some blocks from a position on; the position after them."""
        for _ in range(blocks):
            transport = {} if untold else {"tempo_bpm": tempo, "beats": beats}
            transport |= {"playing": True} | told
            self.player.place(self.time, wire.Transport(**transport))
            self.player.push(np.zeros((1, BLOCK), np.float32))
            found = self.player.step()
            self.events += [*found.notes, *found.controls]
            self.time += BLOCK
            assert found.final_until == self.time
            beats += BLOCK / RATE * tempo / 60
        return beats

    @property
    def onsets(self):
        return {event.pitch: event.time for event in self.events if isinstance(event, NoteOn)}


def test_notes_lie_on_the_beats_of_the_project_whatever_the_files_tempo(file):
    song = Song(file)
    song.play(0.0, 480, tempo=90.0)
    expected = {60 + i: 10_000 + round(q * 60 / 90 * RATE) for i, q in enumerate(QUARTERS)}
    assert {p: t for p, t in expected.items() if t < song.time} == song.onsets and len(song.onsets) == 7
    offs = [event for event in song.events if isinstance(event, NoteOff)]
    assert len(offs) == len(QUARTERS), "each note ends once"
    pedals = [(c.time, c.value) for c in song.events if isinstance(c, Control)]
    assert pedals == [(10_000 + RATE * 60 // 90, 1.0), (10_000 + 3 * RATE * 60 // 90, 0.0)]


def test_a_change_of_tempo_loses_and_repeats_nothing(file):
    song = Song(file)
    beats = song.play(0.0, 100, tempo=60.0)
    before = song.time
    song.play(beats, 300, tempo=150.0)
    assert sorted(song.onsets) == list(range(60, 67))
    assert sum(isinstance(event, NoteOn) for event in song.events) == 7
    late = 60 + QUARTERS.index(4)
    assert song.onsets[late] == pytest.approx(before + (4 - beats) * 60 / 150 * RATE, abs=1)


def test_a_pass_that_begins_in_the_middle_finds_the_pedal_down(file):
    song = Song(file)
    song.play(2.0, 20)
    assert song.onsets == {63: 10_000}
    (down,) = [event for event in song.events if isinstance(event, Control)]
    assert (down.time, down.value) == (10_000, 1.0)


def test_a_host_that_rounds_its_position_up_still_gets_the_note_on_the_beat(file):
    song = Song(file)
    song.play(4.0 + 1e-6, 10)
    assert song.onsets == {64: 10_000}


def test_nothing_is_played_while_the_transport_stands_or_is_unknown(file):
    song = Song(file)
    song.play(0.0, 50, playing=False)
    song.play(0.0, 50, untold=True)
    assert song.events == []
    song.play(0.0, 1)
    assert song.onsets == {60: song.time - BLOCK}


def test_where_only_samples_are_told_the_file_keeps_its_tempo(file):
    song = Song(file)
    for block in range(150):
        song.play(0.0, 1, untold=True, position=block * BLOCK)
    assert song.onsets[61] == 10_000 + round(0.6 * RATE)


def test_a_file_that_is_none_is_refused_before_anybody_is_served(tmp_path):
    with pytest.raises(MidiError, match="no MIDI file"):
        Server(ServeSettings(play=tmp_path / "nothing.mid"))


def test_through_the_sidecar_stops_and_seeks_leave_nothing_sounding(serve, file):
    sidecar = serve(play=file)
    with Client(RATE, 1, max_block=BLOCK, connection=sidecar.connection, offline=True) as client:
        welcome = client.wait_ready()
        assert welcome.systems == ("player",) and welcome.latency.network == 0
        sounding, onsets = {}, []

        def go(beats, blocks, playing=True):
            for _ in range(blocks):
                transport = wire.Transport(playing=playing, tempo_bpm=120.0, beats=beats)
                client.send(np.zeros((1, BLOCK), np.float32), transport)
                beats += playing * BLOCK / RATE * 2
            for message in client.flush("seek"):
                for note in message.notes:
                    if isinstance(note, wire.NoteOn):
                        assert note.pitch not in sounding
                        sounding[note.pitch] = note.note
                        onsets.append((note.time, note.pitch))
                    else:
                        assert sounding.pop(note.pitch) == note.note
            assert not sounding, "a break releases everything"

        go(0.9, 10)  # ends within the note on 1
        go(0.0, 10)
        go(0.0, 5, playing=False)
        assert [pitch for _, pitch in onsets] == [61, 60]
        assert onsets[0][0] == pytest.approx(0.1 * RATE / 2, abs=1)
        assert onsets[1][0] == 10 * BLOCK
        (session,) = status(sidecar.connection).sessions
        assert session.notes == 2


def test_who_names_a_system_is_heard_and_who_asks_for_a_missing_piece_is_told(serve, file, tmp_path):
    with Client(RATE, 1, presets=["piano"], connection=serve(play=file).connection) as client:
        assert client.wait_ready().systems == ("piano",)
    without = serve(runtime_folder=tmp_path / "other")
    client = Client(RATE, 1, presets=["player"], connection=without.connection)
    try:
        with pytest.raises(Refused, match="nothing to play") as refusal:
            client.wait_ready()
        assert "--play" in refusal.value.remedy
    finally:
        client.close()
