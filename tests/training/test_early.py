"""What is told early is confirmed, or taken back; the last word is the main decoder's."""

import numpy as np
import pytest

from inference.events import NoteOff, NoteOn, merge
from inference.piano import load
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish
from inference.piano.early import EarlyDecoder, EarlyState

HOP, MAIN, EARLY = 320, 1_440, 480
DECODER = EarlyDecoder(DecodeSettings(HOP, MAIN), DecodeSettings(HOP, EARLY, onset=0.3), 16_000)
AHEAD = (MAIN - EARLY) // HOP
"""Frames by which the early head sees an onset sooner."""


def frame(onset=0.0, active=0.0, velocity=0.5):
    column = lambda value: np.array([0.0, value, 0.0], np.float32)  # noqa: E731
    return Frame(column(onset), column(active), column(velocity), column(0), column(active), 0.0)


def story(length, onsets, held=4, velocity=0.5):
    """Frames of one key that is struck at each of `onsets` and sounds for `held` frames."""
    sounding = {place + step for place in onsets for step in range(held)}
    return [frame(0.9 * (i in onsets), 0.9 * (i in sounding), velocity) for i in range(length)]


def run(main, early):
    """Events with the frame that brought them."""
    state, told = EarlyState.initial(3), []
    for index, (one, other) in enumerate(zip(main, early, strict=True)):
        events, state = DECODER.decode([one], [other], state)
        told += [(index, note) for note in events.notes]
    return told + [(len(main), note) for note in DECODER.finish(state).notes]


def test_a_confirmed_note_is_told_once_and_sooner():
    told = run(story(30, [12]), story(30, [12 - AHEAD], velocity=0.7))
    (when, on), (_, off) = told
    assert when == 12 - AHEAD + 1 and (on.time, on.velocity) == (
        (12 - AHEAD + 1) * HOP - EARLY,
        pytest.approx(0.7),
    )
    assert isinstance(off, NoteOff) and off.note == on.note and off.time == 17 * HOP - MAIN - 18


def test_a_note_that_the_main_head_does_not_find_is_taken_back():
    told = run(story(30, []), story(30, [9]))
    (_, on), (when, off) = told
    assert isinstance(on, NoteOn) and isinstance(off, NoteOff) and off.note == on.note
    assert 0 < off.time - on.time <= 0.1 * 16_000 and when < 20


def test_a_note_that_comes_late_to_the_main_head_only_is_told_then():
    told = run(story(30, [12]), story(30, []))
    assert [when for when, _ in told][:1] == [13]
    assert [type(note) for _, note in told] == [NoteOn, NoteOff]


def test_a_key_that_sounds_is_not_told_early():
    told = run(story(40, [12, 15], held=3), story(40, [9, 12], held=3))
    ons = [(when, note.note) for when, note in told if isinstance(note, NoteOn)]
    assert len(ons) == 2 and len({note for _, note in ons}) == 2
    sounding = set()
    for _, note in told:
        if isinstance(note, NoteOn):
            assert not sounding, "struck again without a note-off"
            sounding.add(note.note)
        else:
            sounding.remove(note.note)
    assert not sounding


def test_without_early_notes_the_main_decoders_are_unchanged():
    main = story(60, [5, 20, 23, 40], held=3)
    told = [note for _, note in run(main, story(60, []))]
    events, state = decode(main, DecodeState.initial(3), DECODER.main)
    expected = merge([events, finish(state, DECODER.main)]).notes
    assert [(type(n), n.time, n.pitch) for n in told] == [(type(n), n.time, n.pitch) for n in expected]


def test_what_cannot_be_early_is_refused():
    assert load(early_ms=40).tells_early and not load().tells_early
    with pytest.raises(ValueError, match="anyway"):
        load(early_ms=100)
    with pytest.raises(ValueError, match="at least"):
        load(early_ms=5)
