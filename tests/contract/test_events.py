"""Events as values, and notes from note-ons and note-offs."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.events import (
    Control,
    Controller,
    Events,
    Lane,
    LanePoint,
    Note,
    NoteCollector,
    NoteOff,
    NoteOn,
    merge,
)


def on(time, pitch, note):
    return NoteOn(time, pitch, 0.5, note)


def off(time, pitch, note):
    return NoteOff(time, pitch, 0.3, note)


def test_events_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        on(1, 60, 0).time = 2
    with pytest.raises(FrozenInstanceError):
        Events(0).final_until = 1


def test_controllers_are_midi_numbers_and_lanes_are_names():
    assert (Controller.SUSTAIN, Controller.SOSTENUTO, Controller.SOFT) == (64, 66, 67)
    assert Lane("dynamics") is Lane.DYNAMICS and f"{Lane.TEMPO}" == "tempo"


def test_merge_keeps_order_and_the_latest_watermark():
    first = Events(10, (on(1, 60, 0),), (Control(2, Controller.SUSTAIN, 1.0),))
    second = Events(20, (off(12, 60, 0),), lanes=(LanePoint(15, Lane.DYNAMICS, 0.5),))
    both = merge(iter([first, second]))
    assert both == Events(20, first.notes + second.notes, first.controls, second.lanes)
    assert merge([]) == Events(0)
    assert merge([Events(-5)]).final_until == -5


@given(
    st.lists(
        st.tuples(st.integers(0, 1_000), st.integers(1, 500), st.integers(21, 24), st.booleans()), max_size=30
    ),
    st.integers(1, 7),
)
def test_every_note_is_found_once_however_it_is_delivered(played, portion):
    voices = [(start, start + length, pitch, ends) for start, length, pitch, ends in played]
    stream = [(start, 1, on(start, pitch, note)) for note, (start, _, pitch, _) in enumerate(voices)]
    stream += [(end, 0, off(end, pitch, note)) for note, (_, end, pitch, ends) in enumerate(voices) if ends]
    events = [event for *_, event in sorted(stream, key=lambda item: item[:2])]
    collector, found = NoteCollector(), []
    for start in range(0, len(events), portion):
        found += collector.add(Events(0, tuple(events[start : start + portion])))
    assert len(collector.sounding) == sum(not ends for *_, ends in voices)
    found += collector.close(2_000)
    expected = [Note(start, end if ends else 2_000, pitch, 0.5) for start, end, pitch, ends in voices]
    key = lambda note: (note.onset, note.offset, note.pitch)  # noqa: E731
    assert sorted(found, key=key) == sorted(expected, key=key)
    assert collector.sounding == () and collector.close(3_000) == []


def test_overlapping_voices_of_one_pitch_are_told_apart_by_their_id():
    collector = NoteCollector()
    events = Events(0, (on(0, 60, 7), on(50, 60, 8), off(80, 60, 7), off(100, 60, 8)))
    assert [(note.onset, note.offset) for note in collector.add(events)] == [(0, 80), (50, 100)]


def test_a_note_has_a_length_and_strange_offs_are_ignored():
    collector = NoteCollector()
    assert collector.add(Events(0, (off(5, 60, 99),))) == []
    (note,) = collector.add(Events(0, (on(10, 60, 0), off(10, 60, 0))))
    assert (note.onset, note.offset) == (10, 11)
    collector.add(Events(0, (on(20, 61, 1),)))
    assert collector.close(15)[0].offset == 21
