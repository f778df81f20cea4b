"""The `Transcriber` contract, kept by every system: watermark, latency, states, batches, endings."""

import gc

import numpy as np
import pytest
import torch

from inference.events import Controller, NoteCollector, NoteOff, NoteOn, merge
from inference.piano.transcriber import PianoTranscriber, decode_settings
from inference.pipeline import Stream, advance
from tests.contract.networks import SMALL, restless
from tests.fakes import ClickTranscriber

torch.set_num_threads(1)

HOPS = 120


def piano(raw):
    """Random weights, in double precision so that rounding decides nothing; not too sure of itself."""
    network = restless(SMALL["light"], scale=8.0).double()
    return PianoTranscriber(network, decode_settings(network, raw=raw, onset=0.3, offset=0.3))


def eager():
    """The same, with a second head that speaks first."""
    network = restless(SMALL["light"], scale=8.0).double()
    network.sooner = network.config.delays.index(1_120)
    early = decode_settings(network, network.sooner, onset=0.3, offset=0.3)
    return PianoTranscriber(network, decode_settings(network, onset=0.3, offset=0.3), early)


SYSTEMS = {
    "click": lambda: ClickTranscriber(hop=80, latency=333, hold=900),
    "piano": lambda: piano(raw=False),
    "piano raw": lambda: piano(raw=True),
    "piano eager": eager,
}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request):
    return SYSTEMS[request.param]()


def audio(system, seed=0, hops=HOPS):
    generator = torch.Generator().manual_seed(seed)
    swell = torch.sin(torch.arange(hops * system.hop) / (3.7 * system.hop)).square()
    return torch.randn(1, hops * system.hop, generator=generator) * 0.3 * swell


def run(system, x, sizes):
    state, heard, events = system.start(), 0, []
    for piece in torch.split(x, [size * system.hop for size in sizes], dim=1):
        (found,), (state,) = system.step(piece, [state])
        heard += piece.shape[1]
        events.append((heard, found))
    return events, system.finish(state)


def assert_same(one, other):
    """Equal events, up to the last bits that depend on the shape of a batch."""
    assert one.final_until == other.final_until and len(one.notes) == len(other.notes)
    order = lambda note: (note.note, isinstance(note, NoteOff))  # noqa: E731
    for a, b in zip(sorted(one.notes, key=order), sorted(other.notes, key=order), strict=True):
        assert (type(a), a.note, a.pitch) == (type(b), b.note, b.pitch)
        assert abs(a.time - b.time) <= 1 and a.velocity == pytest.approx(b.velocity, abs=1e-4)
    assert one.controls == other.controls


def test_the_test_hears_enough(system):
    events, end = run(system, audio(system), [1] * HOPS)
    notes = merge([found for _, found in events] + [end]).notes
    assert sum(isinstance(note, NoteOn) for note in notes) > 20


def test_watermark_rises_and_is_within_the_latency(system):
    events, end = run(system, audio(system), [1] * HOPS)
    before = 0
    for heard, found in events:
        assert before <= found.final_until and heard - system.latency <= found.final_until <= heard
        times = [event.time for event in (*found.notes, *found.controls)]
        assert all(before <= time for time in times), (before, found)
        before = found.final_until
    assert all(event.time >= before for event in (*end.notes, *end.controls))


def test_notes_are_in_order_and_pair_up(system):
    events, end = run(system, audio(system), [1] * HOPS)
    everything = merge([found for _, found in events] + [end])
    times = [note.time for note in everything.notes]
    assert times == sorted(times) or getattr(system, "tells_early", False)
    for pitch in range(128):
        times = [note.time for note in everything.notes if note.pitch == pitch]
        assert times == sorted(times)
    ids = [note.note for note in everything.notes if isinstance(note, NoteOn)]
    assert len(set(ids)) == len(ids)
    sounding = {}
    for note in everything.notes:
        if isinstance(note, NoteOn):
            assert note.pitch not in sounding.values(), "a key is struck again only after its note-off"
            assert 0 < note.velocity <= 1 and 0 <= note.confidence <= 1 and 0 <= note.pitch < 128
            sounding[note.note] = note.pitch
        else:
            assert sounding.pop(note.note) == note.pitch
    assert not sounding
    for controller in Controller:
        moves = [control.value for control in everything.controls if control.controller is controller]
        assert not moves or moves[-1] == 0


def test_a_state_is_a_value(system):
    x = audio(system)
    half = HOPS // 2 * system.hop
    _, (state,) = system.step(x[:, :half], [system.start()])
    once = system.step(x[:, half:], [state])
    again = system.step(x[:, half:], [state])
    assert once[0] == again[0]
    assert system.finish(once[1][0]) == system.finish(again[1][0]) == system.finish(once[1][0])


def test_portions_do_not_matter(system):
    x = audio(system)
    rng = np.random.default_rng(0)
    whole, whole_end = run(system, x, [HOPS])
    expected = merge([whole[0][1], whole_end])
    sizes = []
    while (left := HOPS - sum(sizes)) > 0:
        sizes.append(min(left, int(rng.integers(1, 30))))
    for cut in ([1] * HOPS, sizes):
        events, end = run(system, x, cut)
        assert_same(merge([found for _, found in events] + [end]), expected)


def test_streams_of_a_batch_do_not_mix(system):
    signals = [audio(system, seed) for seed in range(3)]
    alone = []
    for x in signals:
        events, end = run(system, x, [30] * (HOPS // 30))
        alone.append(merge([found for _, found in events] + [end]))
    # The second joins when the others are already under way, the third leaves early.
    states = [system.start() for _ in signals]
    found = [[] for _ in signals]
    places = [0, 0, 0]
    for rows in ([0, 2], [0, 1, 2], [2, 1, 0], [1, 2, 0], [1]):
        batch = torch.cat([signals[row][:, places[row] : places[row] + 30 * system.hop] for row in rows])
        events, after = system.step(batch, [states[row] for row in rows])
        for row, part, state in zip(rows, events, after, strict=True):
            found[row].append(part)
            states[row] = state
            places[row] += 30 * system.hop
    for row in range(3):
        assert places[row] == HOPS * system.hop
        assert_same(merge([*found[row], system.finish(states[row])]), alone[row])


def test_an_empty_stream_ends_empty(system):
    events = Stream(system, 48_000, 1, origin=9).finish()
    assert events.final_until == 9 and not events.notes and not events.lanes
    assert all(control.value == 0 for control in events.controls)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_through_the_pipeline_blocks_do_not_matter(system, rate):
    rng = np.random.default_rng(1)
    sound = (rng.standard_normal((2, rate // 3)) * 0.3).astype(np.float32)
    results = []
    for block in (rate, 64, 777):
        stream = Stream(system, rate, 2, origin=500)
        parts = []
        for start in range(0, sound.shape[1], block):
            stream.push(sound[:, start : start + block])
            parts.extend(advance([stream]))
        parts.append(stream.finish())
        marks = [part.final_until for part in parts]
        assert marks == sorted(marks) and marks[-1] == 500 + sound.shape[1]
        results.append(merge(parts))
    assert results[0].notes and results[0] == results[1] == results[2]
    collector = NoteCollector()
    notes = collector.add(results[0])
    assert collector.sounding == ()
    assert all(500 <= note.onset < note.offset <= 500 + sound.shape[1] + 1 for note in notes)


@pytest.mark.parametrize("hops", [1, 25], ids=["recorded", "long"])
def test_a_step_leaves_no_garbage_that_would_wait_for_its_collection(system, hops):
    # Cycles would keep tensors alive for minutes: memory would grow with the length of a recording.
    heard, state = audio(system, hops=hops), system.start()
    with torch.inference_mode():
        _, (state,) = system.step(heard, [state])
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                _, (state,) = system.step(heard, [state])
            assert gc.collect() == 0
        finally:
            gc.enable()
