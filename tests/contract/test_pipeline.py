"""The pipeline: latency is what it says, times are exact, blocks do not matter, streams do not mix."""

import logging
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import pipeline
from inference.clock import rescale
from inference.events import Beat, Control, Controller, Events, Lane, LanePoint, NoteOff, NoteOn, merge
from inference.pipeline import Stream, advance, open_transcriber
from tests.fakes import ClickTranscriber, clicks

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000]


def listen(stream, audio, block):
    """All events of `audio` in blocks, and how many samples were pushed when each note came."""
    heard, when = [], {}
    for start in range(0, audio.shape[1], block):
        stream.push(audio[:, start : start + block])
        (events,) = advance([stream])
        pushed = min(start + block, audio.shape[1])
        when.update({(type(note), note.note): pushed for note in events.notes})
        heard.append(events)
    heard.append(stream.finish())
    return heard, when


def onsets(events):
    return [note.time for note in events.notes if isinstance(note, NoteOn)]


@settings(deadline=None, max_examples=60)
@given(
    rate=st.sampled_from(RATES),
    block=st.one_of(st.integers(64, 8_192), st.sampled_from([128, 441, 512])),
    hop=st.sampled_from([100, 160, 512]),
    latency=st.sampled_from([1, 320, 2_048]),
    chunk_ms=st.sampled_from([None, 10, 32, 100]),
    places=st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True),
    jitter=st.integers(0, 500),
    origin=st.sampled_from([0, 1_234_567]),
)
def test_events_come_at_their_time_and_within_the_latency(
    rate, block, hop, latency, chunk_ms, places, jitter, origin
):
    times = [rate // 50 + place * rate // 40 + jitter for place in sorted(places)]
    audio = clicks(times, times[-1] + rate // 2, rate)
    stream = Stream(
        ClickTranscriber(hop=hop, latency=latency, hold=160), rate, 1, chunk_ms=chunk_ms, origin=origin
    )
    heard, when = listen(stream, audio, block)
    found = merge(heard)
    near = rate / 16_000 / 2 + 1  # half a model sample, and the rounding of the host's
    assert len(onsets(found)) == len(times)
    for note, (time, heard_at) in enumerate(zip(times, onsets(found), strict=True)):
        assert abs(heard_at - origin - time) <= (0 if rate == 16_000 else near)
        # A block is only seen whole: the promise is about what was pushed.
        assert when[NoteOn, note] - block < time + stream.latency.total


@pytest.mark.parametrize("rate", RATES)
def test_latency_holds_sample_by_sample(rate):
    """The closed formula against the brute-force oracle: one sample at a time."""
    transcriber = ClickTranscriber(hop=160, latency=200)
    for time in (rate // 100, rate // 100 + 7, rate // 100 + rate // 177):
        stream = Stream(transcriber, rate, 1)
        total = stream.latency.total
        audio = clicks([time], time + total, rate, width_ms=0.5)
        came = None
        for pushed in range(1, audio.shape[1] + 1):
            stream.push(audio[:, pushed - 1 : pushed])
            if stream.pending and advance([stream])[0].notes:
                came = pushed
                break
        assert came is not None, "the event did not come within the promised latency"
        slack = stream.latency.chunk + 3 * rate // 16_000 + 3
        assert came >= time + total - slack, "the promise is needlessly long"


def test_latency_parts_are_host_samples():
    transcriber = ClickTranscriber(hop=512, latency=2_048)
    same = Stream(transcriber, 16_000, 1).latency
    assert (same.resampler, same.network, same.chunk) == (0, 2_048, 512)
    parts = Stream(transcriber, 48_000, 2, chunk_ms=64).latency
    assert (parts.network, parts.chunk) == (6_144, 3_072)
    assert 0 < parts.resampler < 0.005 * 48_000
    assert parts.total == parts.resampler + 6_144 + 3_072


@settings(deadline=None, max_examples=30)
@given(
    rate=st.sampled_from([16_000, 44_100, 48_000]),
    blocks=st.lists(st.integers(0, 4_000), min_size=1, max_size=30),
    seed=st.integers(0, 2**16),
)
def test_blocks_do_not_matter(rate, blocks, seed):
    length = sum(blocks)
    audio = np.random.default_rng(seed).standard_normal((2, length)).astype(np.float32)
    whole = Stream(ClickTranscriber(lanes=True, threshold=1.0), rate, 2)
    whole.push(audio)
    expected = whole.finish()
    stream = Stream(ClickTranscriber(lanes=True, threshold=1.0), rate, 2)
    heard, start = [], 0
    for block in blocks:
        stream.push(audio[:, start : start + block])
        heard.extend(advance([stream]))
        start += block
    heard.append(stream.finish())
    assert merge(heard) == expected
    assert expected.final_until == length


def test_final_until_never_falls_and_is_kept():
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((1, 48_000)).astype(np.float32)
    stream = Stream(ClickTranscriber(latency=500), 48_000, 1, origin=1_000)
    heard, _ = listen(stream, audio, 333)
    marks = [events.final_until for events in heard]
    assert marks[0] == 1_000 and marks == sorted(marks) and marks[-1] == 49_000
    for before, events in zip(marks, heard[1:], strict=False):
        assert all(note.time >= before for note in events.notes)


def test_a_stream_without_news_keeps_its_watermark():
    stream = Stream(ClickTranscriber(), 16_000, 1, origin=50)
    assert advance([stream])[0].final_until == 50
    stream.push(np.zeros((1, 1_600), np.float32))
    mark = advance([stream])[0].final_until
    assert mark == 50 + 1_600 - 320
    assert advance([stream]) == [Events(mark)]


def test_streams_of_one_transcriber_are_one_batch_and_do_not_mix():
    shared = ClickTranscriber()
    audios = [clicks([1_000 * (i + 1)], 9_000, 48_000, channels=i + 1) for i in range(4)]
    alone = []
    for audio in audios:
        stream = Stream(ClickTranscriber(), 48_000, len(audio))
        alone.append(merge(listen(stream, audio, 700)[0]))
    streams = [Stream(shared, 48_000, len(audio)) for audio in audios]
    heard = [[] for _ in streams]
    for start in range(0, 9_000, 700):
        for stream, audio in zip(streams, audios, strict=True):
            stream.push(audio[:, start : start + 700])
        for parts, events in zip(heard, advance(streams), strict=True):
            parts.append(events)
    assert {batch for batch, _ in shared.calls} == {4}
    for parts, stream, expected in zip(heard, streams, alone, strict=True):
        assert merge([*parts, stream.finish()]) == expected


def test_different_chunks_and_transcribers_are_stepped_apart():
    first, second = ClickTranscriber(), ClickTranscriber()
    streams = [
        Stream(first, 16_000, 1),
        Stream(first, 16_000, 1, chunk_ms=20),
        Stream(second, 16_000, 1),
        Stream(first, 16_000, 1),
    ]
    for stream in streams:
        stream.push(np.zeros((1, 320), np.float32))
    advance(streams)
    assert sorted(first.calls) == [(1, 320), (2, 160), (2, 160)]
    assert second.calls == [(1, 160), (1, 160)]


def test_a_stream_far_behind_delays_the_others_by_one_chunk():
    shared = ClickTranscriber(latency=1)
    behind, live = Stream(shared, 16_000, 1), Stream(shared, 16_000, 1)
    behind.push(np.zeros((1, 16_000), np.float32))
    live.push(clicks([50], 160))
    (_, events) = advance([behind, live], limit=1)
    assert onsets(events) == [50]
    assert shared.calls == [(2, 160)]
    assert behind.pending == 99 and live.pending == 0
    advance([behind, live])
    assert behind.pending == 0 and len(shared.calls) == 100


def test_pending_counts_whole_chunks():
    stream = Stream(ClickTranscriber(hop=160), 16_000, 1, chunk_ms=20)
    stream.push(np.zeros((1, 319), np.float32))
    assert stream.pending == 0
    stream.push(np.zeros((1, 0), np.float32))
    stream.push(np.zeros((1, 322), np.float32))
    assert stream.pending == 2


@pytest.mark.parametrize("chunk_ms, samples", [(None, 160), (1, 160), (10, 160), (14, 160), (32, 480)])
def test_chunk_is_a_multiple_of_the_hop(chunk_ms, samples):
    assert Stream(ClickTranscriber(hop=160), 44_100, 1, chunk_ms=chunk_ms).chunk == samples


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_finish_ends_what_sounds_within_the_stream(rate):
    length = rate // 10 + 13
    stream = Stream(ClickTranscriber(hold=100_000, latency=4_000), rate, 1, origin=77)
    stream.push(clicks([rate // 20], length, rate))
    stream.push(-clicks([rate // 40], length, rate))
    advance([stream])
    events = stream.finish()
    on, off = events.notes
    assert isinstance(on, NoteOn) and isinstance(off, NoteOff) and on.note == off.note
    assert off.time == 77 + 2 * length == events.final_until
    assert [control.value for control in events.controls][-1] == 0
    assert stream.pending == 0
    with pytest.raises(ValueError, match="over"):
        stream.finish()
    with pytest.raises(ValueError, match="over"):
        stream.push(np.zeros((1, 1), np.float32))


def test_what_a_system_hears_in_the_silence_after_the_end_is_left_out():
    class Imagines(ClickTranscriber):
        def finish(self, state):
            ons = [NoteOn(time, 60 + i, 0.5, 100 + i) for i, time in enumerate((1_599, 1_600, 5_000))]
            offs = [NoteOff(9_000, on.pitch, 0.5, on.note) for on in ons]
            pedal = [Control(1_700, Controller.SUSTAIN, value) for value in (1.0, 0.0)]
            lanes = [LanePoint(time, Lane.DYNAMICS, 0.5) for time in (1_500, 1_600)]
            return Events(9_000, (*ons, *offs), tuple(pedal), tuple(lanes), (Beat(1_600, 0, 4, 1.0),))

    stream = Stream(Imagines(), 48_000, 1, origin=10)
    stream.push(np.zeros((1, 4_800), np.float32))
    assert stream.finish() == Events(
        4_810,
        (NoteOn(4_807, 60, 0.5, 100), NoteOff(4_810, 60, 0.5, 100)),
        (Control(4_810, Controller.SUSTAIN, 0.0),),
        (LanePoint(4_510, Lane.DYNAMICS, 0.5),),
    )


def test_times_before_the_beginning_are_the_beginning():
    class Early(ClickTranscriber):
        def finish(self, state):
            return Events(-50, (NoteOn(-30, 60, 0.5, 0), NoteOff(20, 60, 0.5, 0)))

    stream = Stream(Early(), 16_000, 1, origin=10)
    stream.push(np.zeros((1, 160), np.float32))
    assert [note.time for note in stream.finish().notes] == [10, 30]


def test_finish_of_an_untouched_stream_is_empty():
    assert Stream(ClickTranscriber(), 44_100, 2, origin=5).finish() == Events(5)


def test_channels_are_mixed_to_their_mean():
    transcriber = ClickTranscriber()
    stream = Stream(transcriber, 16_000, 2)
    audio = np.concatenate([clicks([500], 2_000), clicks([900], 2_000, height=0.5)])
    stream.push(audio)
    ons = [note for note in stream.finish().notes if isinstance(note, NoteOn)]
    assert [(on.time, on.velocity) for on in ons] == [(500, 0.5), (900, 0.25)]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_is_no_sound_is_silence(poison, rate, caplog):
    clean = clicks([4_000, 8_000], 20_000, rate, channels=2)
    audio = clean.copy()
    audio[:, 100:160] = poison
    audio[1, 12_000] = poison
    streams = [Stream(ClickTranscriber(), rate, 2) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        for stream, samples in zip(streams, (clean, audio), strict=True):
            stream.push(samples[:, :10_000])
            stream.push(samples[:, 10_000:])
    assert streams[0].finish() == streams[1].finish()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "block",
    [np.zeros(10, np.float32), np.zeros((2, 10), np.float32), np.zeros((1, 10), np.int16)],
)
def test_blocks_that_do_not_fit_are_refused(block):
    stream = Stream(ClickTranscriber(), 16_000, 1)
    with pytest.raises(ValueError, match="give"):
        stream.push(block)


def test_other_floats_are_taken_as_float32():
    expected, stream = [Stream(ClickTranscriber(), 44_100, 1) for _ in range(2)]
    audio = clicks([9_000], 20_000, 44_100)
    expected.push(audio)
    wide = audio.astype(np.float64)
    wide[0, 100] = 1e300
    stream.push(wide)
    assert stream.finish() == expected.finish()


def test_a_pushed_block_may_be_overwritten_by_its_owner():
    audio, block = clicks([500], 1_600), np.empty((1, 100), np.float32)
    stream = Stream(ClickTranscriber(), 16_000, 1)
    for start in range(0, 1_600, 100):
        block[:] = audio[:, start : start + 100]
        stream.push(block)
    assert onsets(stream.finish()) == [500]


def test_senseless_streams_are_refused():
    for arguments in ({"rate": 0, "channels": 1}, {"rate": 16_000, "channels": 0}):
        with pytest.raises(ValueError, match="give"):
            Stream(ClickTranscriber(), **arguments)
    for chunk_ms in (0, -3, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="chunk"):
            Stream(ClickTranscriber(), 16_000, 1, chunk_ms=chunk_ms)


def test_a_failing_transcriber_leaves_the_streams_where_they_were():
    class Failing(ClickTranscriber):
        broken = True

        def step(self, audio, states):
            if self.broken:
                raise RuntimeError("out of memory")
            return super().step(audio, states)

    transcriber = Failing()
    stream = Stream(transcriber, 44_100, 1)
    audio = clicks([5_000], 20_000, 44_100)
    stream.push(audio)
    before = stream.pending
    with pytest.raises(RuntimeError, match="memory"):
        advance([stream])
    assert stream.pending == before
    transcriber.broken = False
    expected = Stream(ClickTranscriber(), 44_100, 1)
    expected.push(audio)
    assert stream.finish() == expected.finish()


def test_long_streams_do_not_drift():
    """An hour of host samples, looked at through the integers only."""
    for rate in RATES:
        for seconds in (3_600, 36_000):
            assert rescale(16_000 * seconds, 16_000, rate) == rate * seconds


@pytest.fixture
def room(monkeypatch):
    made = []

    def load(weights=None, *, pedal="extended", sensitivity=0.5):
        made.append((weights, pedal, sensitivity))
        return ClickTranscriber()

    module = types.ModuleType("a_room")
    module.load = load
    monkeypatch.setitem(sys.modules, "a_room", module)
    monkeypatch.setattr(pipeline, "SYSTEMS", {"piano": "a_room", "rhythm": "a_room"})
    monkeypatch.setattr(pipeline, "_opened", {})
    return made


def test_a_system_is_opened_once(room):
    first = open_transcriber("piano", sensitivity=0.7, pedal="raw")
    assert open_transcriber("piano", pedal="raw", sensitivity=0.7) is first
    assert open_transcriber("piano") is not first
    assert open_transcriber("rhythm") is not open_transcriber("piano")
    assert room == [(None, "raw", 0.7), (None, "extended", 0.5), (None, "extended", 0.5)]


def test_unknown_names_come_with_a_suggestion(room):
    with pytest.raises(ValueError, match="did you mean 'piano'"):
        open_transcriber("pianno")
    with pytest.raises(ValueError, match="there are: piano, rhythm"):
        open_transcriber("xyz")
    with pytest.raises(ValueError, match="did you mean 'sensitivity'"):
        open_transcriber("piano", sensitivty=1)
    assert room == []


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000, 192_000])
def test_due_is_the_sample_that_completes_the_next_chunk(rate):
    stream = Stream(ClickTranscriber(hop=320, latency=320), rate, 1, chunk_ms=40, origin=1_000)
    position, sizes = 1_000, np.random.default_rng(rate)
    for _ in range(50):
        missing = stream.due - position
        assert missing > 0
        stream.push(np.zeros((1, missing - 1), np.float32))
        assert stream.pending == 0, "a sample too few is a chunk too few"
        stream.push(np.zeros((1, more := int(sizes.integers(1, 4_000))), np.float32))
        position += missing - 1 + more
        assert stream.pending >= 1
        while stream.pending:
            advance([stream])
