"""A session keeps order, fills short gaps, breaks at long ones, and never forgets what sounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.presets import InstrumentPreset
from bridge.sidecar.jobs import Part, Result
from bridge.sidecar.session import Overrun, Session, Terms, divide
from bridge.wire import protocol as wire
from inference.events import Beat, Control, Controller, Events, Lane, LanePoint, NoteOff, NoteOn

RATE = 48_000
PLAYING = wire.Transport(playing=True)


class Recorder:
    """A stream that remembers what it heard; sample 0 of its audio is its origin."""

    def __init__(self, origin):
        self.origin, self.blocks, self.ended = origin, [], False

    @property
    def heard(self):
        return np.concatenate([np.zeros((1, 0), np.float32), *self.blocks], axis=1)[0]


class Bench:
    """A session and, instead of a worker, somebody who does its jobs at once."""

    def __init__(self, credit=8, monitor=True, **terms):
        self.streams = []
        hello = wire.Hello((1, 1), RATE, 1, 512, monitor=monitor)
        self.session = Session(1, hello, Terms(self.make, wire.Latency(), credit, **terms))
        self.seq = 0
        self.open = False

    def make(self, origin):
        self.streams.append(Recorder(origin))
        return self.streams[-1]

    def send(self, start, samples=512, transport=PLAYING, seq=None, value=1.0):
        """Send a block; carry its job out; return the events of the answer."""
        self.seq = self.seq + 1 if seq is None else seq
        audio = np.full((1, samples), value, np.float32)
        return self.do(self.session.hear(wire.Audio(self.seq, start, samples, transport), audio, 0))

    def flush(self, reason="stop"):
        self.seq += 1
        return self.do(self.session.flush(wire.Flush(self.seq, reason), 0))

    def do(self, job, *events):
        if job is None:
            return []
        return self.session.answer(self.result(job, *events))

    def result(self, job, *events, **numbers):
        parts = []
        if job.finish_at is not None:
            assert self.open, "nothing is finished that does not run"
            self.open, self.streams[-1].ended = False, True
            parts.append(Part(Events(0), job.finish_at))
        if job.begin_at is not None:
            assert not self.open, "nothing begins while something runs"
            self.open = True
            job.make_stream(job.begin_at)
        if job.audio is not None:
            assert self.open
            self.streams[-1].blocks.append(job.audio)
        parts += [Part(e) for e in events]
        return Result(1, job.seq, tuple(parts), **numbers)


def test_blocks_in_order_make_one_stream():
    bench = Bench()
    for index in range(4):
        (events,) = bench.send(1_000 + 512 * index)
        assert events.through_seq == index + 1
    (stream,) = bench.streams
    assert stream.origin == 1_000
    assert len(stream.heard) == 2_048


def test_a_short_gap_is_silence():
    bench = Bench()
    bench.send(0)
    bench.send(512 + 100)
    (stream,) = bench.streams
    assert len(stream.heard) == 1_124
    assert not stream.heard[512:612].any() and stream.heard[612:].all()
    assert bench.session.counts.filled == 100 and bench.session.counts.gaps == 0


@pytest.mark.parametrize(("gap", "streams"), [(RATE // 4, 1), (RATE // 4 + 1, 2), (2**50, 2)])
def test_a_gap_longer_than_a_quarter_second_begins_anew(gap, streams):
    bench = Bench()
    bench.send(0)
    bench.send(512 + gap)
    assert len(bench.streams) == streams
    assert bench.session.counts.gaps == streams - 1
    if streams == 2:
        assert bench.streams[0].ended and bench.streams[1].origin == 512 + gap
        assert len(bench.streams[1].heard) == 512


def test_duplicates_and_replays_are_heard_once():
    bench = Bench()
    bench.send(0)
    assert bench.send(0, seq=1) == [], "the same message again"
    (events,) = bench.send(0)
    assert events.through_seq == 2, "the same samples in a new message: acknowledged, not heard"
    bench.send(512)
    assert bench.send(0, seq=1) == [], "a replay"
    assert len(bench.streams[0].heard) == 1_024
    assert bench.session.counts.duplicates == 3


def test_of_an_overlapping_block_the_new_part_is_heard():
    bench = Bench()
    bench.send(0, value=1.0)
    bench.send(500, value=2.0)
    (stream,) = bench.streams
    assert len(stream.heard) == 1_012
    assert (stream.heard[:512] == 1).all() and (stream.heard[512:] == 2).all()


def test_a_stop_ends_the_stream_and_listening_goes_on():
    bench = Bench()
    bench.send(0)
    bench.send(512, transport=wire.Transport())
    assert [s.origin for s in bench.streams] == [0, 512] and bench.streams[0].ended
    bench.send(1_024, transport=wire.Transport())
    assert len(bench.streams) == 2


def test_without_monitor_only_a_playing_transport_is_heard():
    bench = Bench(monitor=False)
    (events,) = bench.send(0, transport=wire.Transport())
    assert events.through_seq == 1 and not bench.streams
    bench.send(512)
    bench.send(1_024, transport=wire.Transport())
    assert [len(s.heard) for s in bench.streams] == [512] and bench.streams[0].ended
    bench.send(1_536)
    assert [s.origin for s in bench.streams] == [512, 1_536]


@pytest.mark.parametrize(
    ("first", "second", "streams"),
    [
        ({"position": 9_000}, {"position": 9_512}, 1),
        ({"position": 9_000}, {"position": 9_512 + 900}, 1),
        ({"position": 9_000}, {"position": 0}, 2),
        ({"position": 9_000}, {"position": 90_000}, 2),
        ({"position": -512}, {"position": 0}, 1),
        ({"beats": 1.0, "tempo_bpm": 120.0}, {"beats": 1.0 + 512 / RATE * 2}, 1),
        ({"beats": 8.0, "tempo_bpm": 120.0}, {"beats": 4.0}, 2),
        ({"beats": 8.0}, {"beats": 4.0}, 1),
        ({}, {"position": 0}, 1),
    ],
)
def test_a_seek_or_loop_begins_anew(first, second, streams):
    bench = Bench()
    bench.send(0, transport=wire.Transport(True, **first))
    bench.send(512, transport=wire.Transport(True, **second))
    assert len(bench.streams) == streams


def test_a_position_that_goes_on_over_a_gap_is_no_seek():
    bench = Bench()
    bench.send(0, transport=wire.Transport(True, position=100))
    bench.send(5_512, transport=wire.Transport(True, position=5_612))
    assert len(bench.streams) == 1


def test_a_flush_ends_the_stream_at_its_end():
    bench = Bench()
    bench.send(0)
    (events,) = bench.flush()
    assert events.through_seq == 2 and events.final_until == 512
    bench.send(512)
    assert [s.origin for s in bench.streams] == [0, 512]


def test_credit_is_held_to():
    bench = Bench(credit=3)
    audio = np.zeros((1, 64), np.float32)
    jobs = [bench.session.hear(wire.Audio(n + 1, 64 * n, 64), audio, 0) for n in range(5)]
    assert [job is not None for job in jobs] == [True, True, True, False, False]
    assert bench.session.counts.dropped == 2 and bench.session.outstanding == 3
    flush = bench.session.flush(wire.Flush(6), 0)
    assert flush is not None, "a flush needs no credit"
    for job in jobs[:3]:
        bench.do(job)
    bench.do(flush)
    assert bench.session.outstanding == 0
    assert bench.session.hear(wire.Audio(7, 640, 64), audio, 0) is not None


def test_far_too_many_messages_end_the_session():
    bench = Bench(credit=1)
    audio = np.zeros((1, 64), np.float32)
    with pytest.raises(Overrun):
        for n in range(1_000):
            bench.session.hear(wire.Audio(n + 1, 64 * n, 64), audio, 0)
    with pytest.raises(Overrun):
        for n in range(1_000, 2_000):
            bench.session.flush(wire.Flush(n + 1), 0)


def strike(bench, *notes, start=0):
    bench.seq += 1
    audio = np.zeros((1, 512), np.float32)
    job = bench.session.hear(wire.Audio(bench.seq, start, 512, PLAYING), audio, 0)
    return bench.do(job, Events(start, tuple(notes)))


def test_a_stop_releases_notes_and_pedals():
    bench = Bench()
    audio = np.zeros((1, 512), np.float32)
    bench.seq = 1
    job = bench.session.hear(wire.Audio(1, 0, 512, PLAYING), audio, 0)
    bench.do(
        job, Events(9, (NoteOn(5, 60, 0.5, 0), NoteOn(6, 64, 0.5, 1)), (Control(7, Controller.SUSTAIN, 1.0),))
    )
    assert [on.pitch for on in bench.session.sounding] == [60, 64]
    (events,) = bench.send(512, transport=wire.Transport())
    assert [(n.pitch, n.time) for n in events.notes] == [(60, 512), (64, 512)]
    assert all(isinstance(n, wire.NoteOff) for n in events.notes)
    assert [(c.controller, c.value) for c in events.controls] == [(64, 0.0)]
    assert not bench.session.sounding
    assert bench.session.release().notes == ()


def test_a_retrigger_sends_the_note_off_first():
    bench = Bench()
    strike(bench, NoteOn(10, 60, 0.5, 0))
    (events,) = strike(bench, NoteOn(600, 60, 0.6, 1), NoteOff(700, 60, 0.5, 0), start=512)
    assert [(type(n).__name__, n.time, n.note) for n in events.notes] == [
        ("NoteOff", 600, 0),
        ("NoteOn", 600, 1),
    ]
    assert [on.note for on in bench.session.sounding] == [1]


def test_voices_of_a_new_stream_get_new_numbers():
    bench = Bench()
    strike(bench, NoteOn(10, 60, 0.5, 0), NoteOff(20, 60, 0.5, 0))
    bench.flush()
    (events,) = strike(bench, NoteOn(600, 60, 0.5, 0), start=512)
    assert events.notes[0].note == 1


def test_late_note_ons_are_dropped_only_if_the_preset_says_so():
    for drop, sent in ((True, 0), (False, 1)):
        bench = Bench(budget_us=1_000, drop_late=drop)
        bench.seq = 1
        job = bench.session.hear(wire.Audio(1, 0, 512), np.zeros((1, 512), np.float32), 0)
        late = bench.result(job, Events(0, (NoteOn(1, 60, 0.5, 0),)), queue_us=700, compute_us=400)
        (events,) = bench.session.answer(late)
        assert len(events.notes) == sent == len(bench.session.sounding)
        assert bench.session.counts.late == 1


def test_offline_is_never_late():
    bench = Bench(budget_us=1)
    bench.session.hello = wire.Hello((1, 1), RATE, 1, 512, offline=True)
    job = bench.session.hear(wire.Audio(1, 0, 512), np.zeros((1, 512), np.float32), 0)
    bench.session.answer(bench.result(job, queue_us=10**9, compute_us=10**9))
    assert bench.session.counts.late == 0


def test_a_late_note_off_is_never_dropped():
    bench = Bench(budget_us=1_000, drop_late=True)
    strike(bench, NoteOn(10, 60, 0.5, 0))
    job = bench.session.hear(wire.Audio(2, 512, 512, PLAYING), np.zeros((1, 512), np.float32), 0)
    (events,) = bench.session.answer(bench.result(job, Events(0, (NoteOff(20, 60, 0.5, 0),)), queue_us=10**6))
    assert len(events.notes) == 1 and not bench.session.sounding


def test_many_events_are_cut_into_messages_within_the_limits():
    notes = tuple(wire.NoteOn(n, 60, 0.5, n) for n in range(2 * wire.MAX_NOTES + 1))
    lanes = tuple(wire.LanePoint(n, "dynamics", 0.5) for n in range(wire.MAX_POINTS + 1))
    pieces = divide(wire.Events(9, 1_000, notes, (), lanes), acknowledged=4)
    assert [p.through_seq for p in pieces] == [4, 4, 9]
    assert [p.final_until for p in pieces] == [0, 0, 1_000]
    assert tuple(n for p in pieces for n in p.notes) == notes
    assert tuple(x for p in pieces for x in p.lanes) == lanes
    assert max(len(p.notes) for p in pieces) == wire.MAX_NOTES


class Ledger:
    """The plug-in's side of the books."""

    def __init__(self):
        self.sounding, self.pedals, self.through, self.final = {}, {}, 0, 0

    def take(self, messages):
        for message in messages:
            assert message.through_seq >= self.through, "acknowledgements never go back"
            self.through = message.through_seq
            assert message.final_until == 0 or message.final_until >= self.final
            self.final = max(self.final, message.final_until)
            for note in message.notes:
                if isinstance(note, wire.NoteOn):
                    assert note.note not in self.sounding, "a voice begins once"
                    pitches = {(n.pitch, n.channel) for n in self.sounding.values()}
                    assert (note.pitch, note.channel) not in pitches, "a pitch is released before it repeats"
                    self.sounding[note.note] = note
                else:
                    on = self.sounding.pop(note.note)  # KeyError: a note-off that nobody owes
                    assert note.time >= on.time and note.pitch == on.pitch
            for control in message.controls:
                self.pedals[control.controller, control.channel] = control.value


times = st.integers(-100, 3_000)
pitches = st.integers(58, 62)
numbers = st.integers(0, 9)
note_ons = st.builds(NoteOn, times, pitches, st.floats(0.01, 1.0), numbers, st.integers(0, 1))
note_offs = st.builds(NoteOff, times, pitches, st.floats(0, 1), numbers)
controls = st.builds(Control, times, st.sampled_from(Controller), st.sampled_from([0.0, 0.4, 1.0]))
points = st.builds(LanePoint, times, st.just(Lane.DYNAMICS), st.floats(0, 1))
heard_events = st.builds(
    Events,
    st.integers(0, 10_000),
    st.lists(note_ons | note_offs, max_size=6).map(tuple),
    st.lists(controls, max_size=3).map(tuple),
    st.lists(points, max_size=2).map(tuple),
)
transports = st.builds(
    wire.Transport,
    st.booleans(),
    position=st.none() | st.integers(-10_000, 100_000),
    beats=st.none() | st.floats(-10, 100),
    tempo_bpm=st.none() | st.just(120.0),
)
sizes = st.integers(1, 600)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("block"), st.integers(-2, 3), st.integers(-1_000, 20_000), sizes, transports),
        st.tuples(st.just("next"), st.just(1), st.just(0), sizes, transports),
        st.tuples(st.just("flush"), st.integers(-1, 3)),
        st.tuples(st.just("answer"), heard_events, st.integers(0, 5_000)),
    ),
    max_size=40,
)


@given(steps, st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_happens_the_books_agree_and_in_the_end_nothing_sounds(sequence, monitor, drop):
    """Blocks dropped, repeated, reordered, delayed; stop, loop, seek; any notes at any time."""
    bench = Bench(credit=4, monitor=monitor, budget_us=2_500, drop_late=drop)
    session, ledger, queue = bench.session, Ledger(), []
    seq, expected = 0, 0

    def answer(events, delay=0):
        job = queue.pop(0)
        ledger.take(session.answer(bench.result(job, events, queue_us=delay)))

    bench.result = lenient(bench)
    for step in sequence:
        match step:
            case ("block" | "next", dseq, offset, samples, transport):
                seq = max(0, seq + dseq)
                start = max(0, expected + offset)
                expected = start + samples
                audio = np.zeros((1, samples), np.float32)
                job = session.hear(wire.Audio(seq, start, samples, transport), audio, 0)
                queue += [job] if job else []
            case ("flush", dseq):
                seq = max(0, seq + dseq)
                try:
                    job = session.flush(wire.Flush(seq), 0)
                except Overrun:
                    continue
                queue += [job] if job else []
            case ("answer", events, delay) if queue:
                answer(events, delay)
        assert {on.note for on in session.sounding} == set(ledger.sounding)
    while queue:
        answer(Events(0, (NoteOn(1, 60, 0.5, 99),)))
        assert {on.note for on in session.sounding} == set(ledger.sounding)
    job = session.flush(wire.Flush(seq + 10**6), 0)
    ledger.take(session.answer(bench.result(job)))
    assert not session.sounding and not ledger.sounding
    assert not any(ledger.pedals.values()), "every pedal is up"
    assert session.outstanding == 0


def lenient(bench):
    """Do a job whether or not something runs, as the worker does."""

    def result(job, *events, **numbers):
        parts = [] if job.finish_at is None else [Part(Events(0), job.finish_at)]
        return Result(1, job.seq, (*parts, *(Part(e) for e in events)), **numbers)

    return result


def test_beats_are_notes_too_where_the_instrument_wants_them():
    bench = Bench(voicing=InstrumentPreset(beat_notes=10))
    job = bench.session.hear(wire.Audio(1, 0, 512, PLAYING), np.zeros((1, 512), np.float32), 0)
    played = NoteOn(90, 60, 0.5, 7)
    (events,) = bench.do(job, Events(400, (played,), beats=(Beat(100, 0, 2, 1.0), Beat(300, 1, 2, 0.9))))
    assert [(type(n), n.time, n.pitch, n.channel) for n in events.notes] == [
        (wire.NoteOn, 90, 60, 0),
        (wire.NoteOn, 100, 76, 9),
        (wire.NoteOff, 300, 76, 9),
        (wire.NoteOn, 300, 77, 9),
    ]
    assert len(events.beats) == 2 and {on.pitch for on in bench.session.sounding} == {60, 77}
    assert len({n.note for n in events.notes if isinstance(n, wire.NoteOn)}) == 3
    bench.seq = 1
    (ended,) = bench.flush()
    assert sorted(n.pitch for n in ended.notes) == [60, 77] and bench.session.sounding == ()


def test_without_that_beats_are_beats_only():
    bench = Bench()
    job = bench.session.hear(wire.Audio(1, 0, 512, PLAYING), np.zeros((1, 512), np.float32), 0)
    (events,) = bench.do(job, Events(400, beats=(Beat(100, 0, 2, 1.0),)))
    assert events.notes == () and len(events.beats) == 1
