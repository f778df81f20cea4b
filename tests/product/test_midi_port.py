"""A live port sends what was heard and never leaves a note sounding."""

import sys

import pytest

from bridge.errors import OutputError
from bridge.midi_port import LivePort, open_port
from bridge.presets import InstrumentPreset
from inference.events import Control, Controller, Events, Lane, LanePoint, NoteOff, NoteOn


class Sink:
    def __init__(self):
        self.sent, self.closed = [], 0

    def send(self, message):
        self.sent.append(message)

    def close(self):
        self.closed += 1

    @property
    def plain(self):
        return [tuple(message.bytes()) for message in self.sent]


def held(sink):
    """Keys down after everything was sent."""
    down = set()
    for message in sink.sent:
        if message.type == "note_on":
            assert message.velocity > 0 and (message.channel, message.note) not in down
            down.add((message.channel, message.note))
        elif message.type == "note_off":
            down.discard((message.channel, message.note))
    return down


def test_events_become_messages_in_time_order():
    sink = Sink()
    with LivePort(sink, InstrumentPreset(channel=2, pedal="raw")) as port:
        port.send(
            Events(
                9,
                (NoteOn(5, 60, 1.0, 1), NoteOff(7, 60, 0.5, 1), NoteOn(7, 60, 0.5, 2)),
                (Control(6, Controller.SUSTAIN, 1.0),),
                (LanePoint(1, Lane.DYNAMICS, 1.0),),
            )
        )
        assert sink.plain == [
            (0xB1, 11, 127),
            (0x91, 60, 127),
            (0xB1, 64, 127),
            (0x81, 60, 64),
            (0x91, 60, 64),
        ]
        assert port.sounding == {(1, 60)}
    assert sink.plain[5:] == [(0x81, 60, 64), (0xB1, 64, 0), (0xB1, 123, 0)]
    assert sink.closed == 1 and not held(sink)


def test_a_restrike_sends_the_off_first_and_a_late_off_does_no_harm():
    sink = Sink()
    port = LivePort(sink)
    port.send(Events(0, (NoteOn(0, 60, 0.5, 1), NoteOn(5, 60, 0.5, 2), NoteOff(9, 60, 0.5, 1))))
    assert [m.type for m in sink.sent] == ["note_on", "note_off", "note_on"]
    assert port.sounding == {(0, 60)}


def test_keys_outside_the_range_are_not_sent_and_extended_notes_have_no_pedal():
    sink = Sink()
    port = LivePort(sink, InstrumentPreset(key_range=(60, 61)))
    pedal = Control(0, Controller.SUSTAIN, 1.0)
    port.send(Events(0, (NoteOn(0, 59, 0.5, 1), NoteOff(1, 59, 0.5, 1)), (pedal,)))
    assert sink.sent == []


def test_an_error_inside_still_releases_and_a_second_close_is_harmless():
    sink = Sink()
    with pytest.raises(ZeroDivisionError), LivePort(sink) as port:
        port.send(Events(0, (NoteOn(0, 60, 0.5, 1), NoteOn(0, 64, 0.5, 2, channel=9))))
        raise ZeroDivisionError
    port.close()
    assert not held(sink) and sink.closed == 1
    assert {m.channel for m in sink.sent if m.type == "control_change" and m.control == 123} == {0, 9}
    with pytest.raises(OutputError, match="closed"):
        port.send(Events(0, (NoteOn(0, 60, 0.5, 1),)))


def test_without_rtmidi_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    monkeypatch.delitem(sys.modules, "mido.backends.rtmidi", raising=False)
    with pytest.raises(OutputError, match="midi-port"):
        open_port("nobody")
