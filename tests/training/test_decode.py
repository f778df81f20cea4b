"""The note state machine: what becomes a note, when it ends, and what never happens."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.events import Controller, NoteOff, NoteOn, merge
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish

SETTINGS = DecodeSettings(hop=320, delay=1440)
PITCHES = 3


def frames(onset, active, key=None, pedal=None, shift=0.0):
    """One pitch's story; the two others stay silent."""
    count = len(onset)
    key, pedal = key or active, pedal or [0.0] * count

    def column(value):
        return np.array([0.0, value, 0.0], np.float32)

    return [
        Frame(column(onset[i]), column(active[i]), column(0.5), column(shift), column(key[i]), pedal[i])
        for i in range(count)
    ]


def run(story, settings=SETTINGS):
    events, state = decode(story, DecodeState.initial(PITCHES), settings)
    return merge([events, finish(state, settings)])


def kinds(events):
    return [type(event) for event in events.notes]


QUIET = [0.0] * 8


def test_a_note_begins_at_its_onset_and_ends_with_its_sound():
    events = run(frames(QUIET + [0.9, 0.1, 0, 0, 0, 0], QUIET + [0.9, 0.9, 0.9, 0.1, 0, 0]))
    on, off = events.notes
    assert (on.time, on.pitch) == (9 * 320 - 1440, 22) and abs(on.velocity - 0.5) < 1e-6
    assert (off.time, off.note) == (12 * 320 - 1440, on.note)
    assert 0.9 <= on.confidence <= 1


@given(st.floats(0.5, 1), st.floats(0.5, 1), st.floats(0, 0.49))
def test_an_end_lies_where_the_sound_crosses_one_half(less, more, after):
    def end(before, settings):
        story = frames(QUIET + [0.95, 0, 0], QUIET + [before, after, 0], QUIET + [1.0, 1.0, 1.0])
        return run(story, settings).notes[1].time - (10 * 320 - 1440)

    less, more = sorted((less, more))
    for settings in (replace(SETTINGS, held=0.5), replace(SETTINGS, held=0.5, raw=True)):
        assert -160 < end(less, settings) <= end(more, settings) < 160
    exact = ((more - 0.5) / max(more - after, 1e-6) - 0.5) * 320
    assert abs(end(more, replace(SETTINGS, held=0.5)) - np.clip(exact, -159, 159)) < 0.6


def test_a_high_threshold_tells_an_end_sooner_and_puts_it_at_the_same_time():
    story = frames(QUIET + [0.95, 0, 0, 0], QUIET + [1.0, 1.0, 0.52, 0.3])
    low, high = (run(story, replace(SETTINGS, offset=x, held=x)).notes[1].time for x in (0.5, 0.65))
    assert 0 < low - high < 40 and low == 12 * 320 - 1440 + round((0.02 / 0.22 - 0.5) * 320)


def test_a_key_that_is_struck_again_at_once_ended_before():
    """The latest end and the earliest onset in the frame after it."""
    story = frames(QUIET + [0.95, 0, 0.95, 0, 0], QUIET + [1.0, 0.49, 1.0, 1.0, 0], shift=-0.5)
    events = run(story, replace(SETTINGS, held=0.5))
    assert kinds(events) == [NoteOn, NoteOff, NoteOn, NoteOff]
    assert events.notes[1].time < events.notes[2].time
    assert [event.note for event in events.notes] == [0, 0, 1, 1]


def test_the_shift_moves_the_onset_within_its_frame():
    story = frames(QUIET + [0.9, 0, 0, 0], QUIET + [0.9, 0.9, 0, 0], shift=0.25)
    assert run(story).notes[0].time == 9 * 320 - 1440 + 80


def test_a_restrike_ends_the_old_note_first_at_the_same_time():
    events = run(frames(QUIET + [0.9, 0, 0, 0.8, 0, 0], QUIET + [0.9] * 4 + [0.9, 0.0]))
    assert kinds(events) == [NoteOn, NoteOff, NoteOn, NoteOff]
    first, off, second, _ = events.notes
    assert off.time == second.time and off.note == first.note != second.note


def test_an_onset_spread_over_two_frames_is_one_note():
    events = run(frames(QUIET + [0.3, 0.35, 0, 0], QUIET + [0.9, 0.9, 0.9, 0]))
    assert kinds(events) == [NoteOn, NoteOff]


def test_an_onset_with_two_peaks_sooner_than_a_key_can_repeat_is_one_note():
    events = run(frames(QUIET + [0.9, 0, 0.8, 0, 0, 0], QUIET + [0.9] * 5 + [0.0]))
    assert kinds(events) == [NoteOn, NoteOff]


LATE = replace(SETTINGS, late=0.8, faint=0.1)


def test_a_key_that_surely_sounds_is_a_note_though_its_onset_was_faint():
    story = frames(QUIET + [0.1, 0.06, 0, 0, 0], QUIET + [0.1, 0.3, 0.9, 0.9, 0])
    story[8].velocity[1] = 0.9
    assert not run(story).notes
    on, off = run(story, LATE).notes
    assert abs(on.velocity - (0.1 * 0.9 + 0.06 * 0.5) / 0.16) < 1e-6
    assert on.time == 11 * 320 - 1440 - 160, "as early as what was promised to be final allows"
    assert off.time == 13 * 320 - 1440 - 18 and 0.1 < on.confidence < 0.2


def test_a_faint_onset_in_the_frame_itself_keeps_its_time():
    story = frames(QUIET + [0.12, 0, 0], QUIET + [0.9, 0.9, 0], shift=-0.25)
    assert run(story, LATE).notes[0].time == 9 * 320 - 1440 - 80


def test_without_any_sign_of_an_onset_there_is_no_note():
    active = QUIET + [0.9] * 4 + [0.0]
    assert not run(frames(QUIET + [0.05] + [0.0] * 4, active), LATE).notes
    long_ago = [0.15] + [0.0] * 12
    assert not run(frames(long_ago, active), LATE).notes


def test_a_sound_that_comes_back_is_no_note():
    """What belonged to a note before its end is no sign of another one."""
    onset = QUIET + [0.9, 0.1, 0, 0, 0, 0]
    active = QUIET + [0.9, 0.9, 0.1, 0.9, 0.9, 0.0]
    assert kinds(run(frames(onset, active), LATE)) == [NoteOn, NoteOff]


def test_a_doubtful_onset_without_a_sound_after_it_is_no_note():
    ghost = frames(QUIET + [0.4, 0.02, 0, 0], QUIET + [0.6, 0.3, 0, 0])
    assert not run(ghost).notes
    heard = frames(QUIET + [0.4, 0.02, 0, 0], QUIET + [0.6, 0.6, 0, 0])
    assert kinds(run(heard)) == [NoteOn, NoteOff]
    short = frames(QUIET + [0.95, 0.0, 0, 0], QUIET + [0.95, 0.1, 0, 0])
    assert kinds(run(short)) == [NoteOn, NoteOff], "a sure one is, however short"


def test_velocity_is_a_mean_over_the_frames_in_which_the_note_may_have_begun():
    story = frames(QUIET + [0.2, 0.6, 0.2, 0], QUIET + [0.9, 0.9, 0.9, 0])
    for frame, velocity in zip(story[8:], (0.2, 0.4, 0.8), strict=False):
        frame.velocity[1] = velocity
    (on, _) = run(story).notes
    assert abs(on.velocity - (0.2 * 0.2 + 0.6 * 0.4 + 0.2 * 0.8)) < 1e-6


def test_a_note_in_a_loud_passage_is_louder_than_the_same_after_a_rest():
    def last(rest):
        story = frames(
            QUIET + [0.9, 0, 0, 0] * 8 + [0] * rest + [0.9, 0, 0],
            QUIET + [0.9, 0.9, 0.9, 0] * 8 + [0] * rest + [0.9] * 3,
        )
        for frame in story[:-3]:
            frame.velocity[1] = 0.8
        return [
            event.velocity
            for event in run(story, replace(SETTINGS, passage=0.15)).notes
            if isinstance(event, NoteOn)
        ][-1]

    assert last(1) > last(100) > last(2_000)
    assert abs(last(2_000) - 0.5 * 1.15) < 1e-6


def test_sensitivity_moves_the_threshold():
    story = frames(QUIET + [0.3, 0, 0, 0], QUIET + [0.9, 0.9, 0, 0])
    assert not run(story).notes
    assert run(story, SETTINGS.with_sensitivity(0.9)).notes
    assert SETTINGS.with_sensitivity(0.5) == SETTINGS


def test_one_frame_alone_does_not_move_the_pedal():
    pedal = [0.0] * 9 + [0.9] + [0.0] * 6 + [0.9] * 6 + [0.0] + [0.9] * 4
    story = frames([0.0] * len(pedal), [0.0] * len(pedal), pedal=pedal)
    moves = run(story, replace(SETTINGS, raw=True)).controls
    assert [move.value for move in moves] == [1.0, 0.0], "down once, and up at the end"
    assert moves[0].time == 17 * 320 - 1440


def test_raw_notes_end_with_the_key_and_the_pedal_is_an_event():
    raw = replace(SETTINGS, raw=True)
    active = QUIET + [0.9] * 8 + [0.0]
    key = QUIET + [0.9, 0.9, 0.9] + [0.1] * 6
    pedal = [0.0] * 9 + [0.9] * 6 + [0.5, 0.1]
    story = frames(QUIET + [0.9] + [0.0] * 8, active, key, pedal)
    events = run(story, raw)
    assert events.notes[1].time == 12 * 320 - 1440
    assert [(c.controller, c.value) for c in events.controls] == [
        (Controller.SUSTAIN, 1.0),
        (Controller.SUSTAIN, 0.0),
    ]
    assert events.controls[1].time == 17 * 320 - 1440, "a doubtful pedal stays where it is"
    assert not run(story).controls


def test_the_end_releases_everything():
    story = frames(QUIET + [0.9, 0.0], QUIET + [0.9, 0.9], pedal=[0.9] * 10)
    events = run(story, replace(SETTINGS, raw=True))
    assert kinds(events) == [NoteOn, NoteOff]
    assert events.controls[-1].value == 0


unit = st.floats(0, 1, width=32)
columns = st.lists(st.tuples(unit, unit, unit, unit, unit), min_size=1, max_size=40)


@given(columns, st.booleans(), st.floats(0, 1), st.integers(1, 7))
def test_whatever_the_network_says_notes_pair_up_in_order(story, raw, late, piece):
    settings = replace(SETTINGS, raw=raw, late=late, faint=late / 2)
    wild = [
        Frame(*(np.full(PITCHES, v, np.float32) for v in (a, b, c, d - 0.5, e)), pedal=a)
        for a, b, c, d, e in story
    ]
    state, parts, until = DecodeState.initial(PITCHES), [], 0
    for start in range(0, len(wild), piece):
        events, state = decode(wild[start : start + piece], state, settings)
        assert all(event.time >= until for event in events.notes), "nothing before final_until changes"
        until = events.final_until
        parts.append(events)
    whole = merge([*parts, finish(state, settings)])
    sounding = {}
    for event in whole.notes:
        if isinstance(event, NoteOn):
            assert event.pitch not in sounding
            sounding[event.pitch] = event
        else:
            assert sounding.pop(event.pitch).time <= event.time
    assert not sounding
    assert [e.time for e in whole.notes] == sorted(e.time for e in whole.notes)
    assert whole == merge([run(wild, settings)])
