"""The follower: exact streaming, beats ahead, recovery, and what it makes of bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.events import Lane, NoteOn
from inference.follow import FollowingTranscriber, open_follower
from inference.pipeline import Stream, advance
from inference.rhythm.counting import CountingNetwork, tempo_cues
from inference.rhythm.follower import Follower
from inference.rhythm.metre import MetreNetwork
from inference.rhythm.pointer import (
    PointerSettings,
    any_place,
    around,
    begin,
    grid,
    likely,
    move,
    next_place,
    place_of,
)
from inference.rhythm.struck import EXTRAS, KEYS, LIVE, STRUCK, WHOLE, QuickStep, StruckNetwork, struck_frames
from inference.rhythm.tempi import TEMPI, tempo_place
from inference.streaming import verify_streaming
from tests.fakes import ClickTranscriber, clicks

torch.set_num_threads(1)
RATE, FPS = 16_000, 50


def network(config=LIVE, **changes):
    torch.manual_seed(0)
    return StruckNetwork(replace(config, **changes)).eval()


@pytest.mark.parametrize("again", [(), (1, 4)])
def test_the_network_streams(again):
    small = network(depth=5, channels=16, again=again)
    verify_streaming(
        small, lambda length, g: torch.rand(2, length, KEYS + EXTRAS, generator=g), 200, tolerance=1e-4
    )


@pytest.mark.parametrize("again", [(), (1, 4)])
def test_the_quick_step_is_the_network(again):
    whole, quick = network(again=again), QuickStep(network(again=again))
    x = torch.rand(1, 400, KEYS + EXTRAS)
    with torch.no_grad():
        expected = whole(x)[0].numpy()
    state, found = quick.start(), []
    for size in (1, 1, 150, 48, 200):
        logits, state = quick.step(
            x[0, len(np.concatenate([*found, np.zeros((0, 2))])) :][:size].numpy(), state
        )
        found.append(logits)
    assert np.abs(np.concatenate(found) - expected).max() < 1e-4


@pytest.mark.parametrize("config", STRUCK.values(), ids=list(STRUCK))
def test_each_frame_gets_its_own_answer(config):
    x = torch.rand(2, 300, KEYS + EXTRAS)
    silent = x.clone()
    silent[0, 150:] = 0
    with torch.no_grad():
        heard, other = (network(config, depth=4, again=()).think(part) for part in (x, silent))
    for one, two in ((heard.beat, other.beat), (heard.downbeat, other.downbeat)):
        assert one.shape == (2, 300) and len(one[0].unique()) == 300
        assert torch.equal(one[1], two[1]) and torch.allclose(one[0, :100], two[0, :100], atol=1e-5)
        assert (one[0, 150:] - two[0, 150:]).abs().mean() > 0.05


def test_only_the_whole_one_hears_what_comes():
    x = torch.rand(1, 300, KEYS + EXTRAS)
    other = x.clone()
    other[:, 200:] = 0
    for config in (LIVE, WHOLE):
        with torch.no_grad():
            a, b = (network(config, depth=6, again=()).think(part).beat[:, :197] for part in (x, other))
        assert torch.allclose(a[:, :130], b[:, :130], atol=1e-5), "63 frames each way"
        assert torch.allclose(a, b, atol=1e-5) == config.causal


@pytest.mark.parametrize("again", [(), (1, 4)])
def test_an_answer_depends_on_no_more_than_its_reach(again):
    x = torch.rand(1, 301, KEYS + EXTRAS).double()
    whole = network(WHOLE, channels=16, depth=4, again=again).double()
    reach = whole.config.reach
    with torch.no_grad():
        expected = whole.think(x).beat[0, 150]
        for cut, same in ((reach, True), (reach - 1, False)):
            part = x.clone()
            part[:, : 150 - cut] = part[:, 151 + cut :] = 0
            found = whole.think(part).beat[0, 150]
            assert bool((found - expected).abs() < 1e-14) == same


def test_struck_keys_lie_in_their_frames():
    frame, pitch = np.array([0, 0, 3, 9, 4]), np.array([21, 60, 108, 60, 109])
    found = struck_frames(frame, pitch, np.full(5, 0.5, np.float32), 5)
    assert found.shape == (5, KEYS + EXTRAS)
    assert np.argwhere(found[:, :KEYS]).tolist() == [[0, 0], [0, 39], [3, 87]]
    assert found[0, KEYS:].tolist() == [1.0, 0.5, 1.0] and not found[4].any()


def pulse(times, seconds, height=4.0):
    """Logits `(frames, 2)` with a peak at each time."""
    logits = np.full((int(seconds * FPS), 2), -3.0)
    for index, time in enumerate(times):
        frame = round(time * FPS)
        if frame < len(logits):
            logits[frame, 0] = height
            logits[frame, 1] = height if index % 3 == 0 else -height
    return logits


def told(logits, settings):
    state, found = begin(settings, FPS), []
    for index, row in enumerate(logits):
        state, one = move(state, float(row[0]), logits[max(0, index - 129) : index + 1], settings, FPS)
        if one is not None and one.certain:
            found.append((index, one))
    return found


def in_bars(logits, found, settings):
    """`(position, of)` of each beat, by the logits where it was heard."""
    bar, places = any_place(settings), []
    for index, one in found:
        odds = float(around(logits[: index + 1], index - one.heard)[:, 1].max())
        bar = next_place(bar, odds, settings)
        places.append(place_of(bar if one.heard == one.frame else next_place(bar, None, settings), settings))
    return places


def hits(found, times, within=0.04):
    at = np.array([one.frame / FPS for _, one in found])
    return np.mean([np.abs(at - time).min() <= within for time in times]) if len(at) else 0.0


@pytest.mark.parametrize("bpm", [50, 80, 120, 160, 200])
@pytest.mark.parametrize("wait", [-4, 4])
def test_steady_beats_are_followed(bpm, wait):
    times = np.arange(0.4, 30, 60 / bpm)
    found = told(pulse(times, 30), PointerSettings(wait=wait))
    late = times[(times > 6) & (times < 29)]
    assert hits(found, late) > 0.95
    assert abs(len([1 for _, one in found if 6 < one.frame / FPS < 29]) - len(late)) <= 2
    delay = np.median([index - one.frame for index, one in found if one.frame > 6 * FPS])
    assert delay == pytest.approx(wait, abs=1)


def test_beats_are_told_before_they_sound():
    times = np.arange(0.4, 30, 0.6)
    found = told(pulse(times, 30), PointerSettings(wait=-6))
    ahead = [one.frame - index for index, one in found if one.frame > 5 * FPS]
    assert min(ahead) >= 4


def test_rubato_is_followed():
    random = np.random.default_rng(0)
    interval = 0.6 * np.exp(0.25 * np.sin(np.arange(80) / 6) + random.normal(0, 0.04, 80))
    times = 0.5 + np.cumsum(interval)
    found = told(pulse(times, times[-1] + 1), PointerSettings())
    assert hits(found, times[8:]) > 0.9


def test_it_recovers_from_another_tempo_and_a_pause():
    times = np.concatenate([np.arange(0.5, 15, 0.75), np.arange(18.1, 45, 0.42)])
    found = told(pulse(times, 45), PointerSettings())
    assert hits(found, times[(times > 24) & (times < 44)]) > 0.95


@pytest.mark.parametrize("wait", [4, -6])
def test_bars_are_counted(wait):
    """Also of beats that are told before they sound."""
    times, settings = np.arange(0.5, 40, 0.5), PointerSettings(wait=wait)
    logits = pulse(times, 40)
    found = told(logits, settings)
    late = [(one, *place) for (_, one), place in zip(found, in_bars(logits, found, settings), strict=True)]
    late = [row for row in late if row[0].frame > 12 * FPS]
    assert {of for _, _, of in late} == {3}
    truth = {round(time * FPS): index % 3 for index, time in enumerate(times)}
    right = [
        truth.get(one.frame + d) == position
        for one, position, _ in late
        for d in (-1, 0, 1)
        if one.frame + d in truth
    ]
    assert np.mean(right) > 0.95


def test_nothing_heard_tells_no_beats():
    assert not told(np.full((1_500, 2), -4.0), PointerSettings())


def test_the_states_of_the_pointer_are_probabilities():
    states = grid(PointerSettings(), FPS)
    assert states.start.sum() == pytest.approx(1) and np.allclose(states.change.sum(1), 1)
    assert len(states.start) == states.length[states.first].sum()
    state, _ = move(begin(PointerSettings(), FPS), 0.5, np.zeros((1, 2)), PointerSettings(), FPS)
    assert state.weight.sum() == pytest.approx(1)
    bar = next_place(any_place(PointerSettings()), 2.0, PointerSettings())
    assert bar.sum() == pytest.approx(1) and place_of(bar, PointerSettings())[0] == 0


def notes_by_chance(seconds=20, count=120, seed=0):
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, seconds * RATE, count))
    return [NoteOn(int(t), int(random.integers(30, 90)), 0.5, i) for i, t in enumerate(times)]


SPEAKING = PointerSettings(certain=0.0, bias=0.0)
"""A network by chance is sure of nothing; told all the same."""


def run(follower, notes, edges):
    """Steps that end at `edges`, each with the notes that became known in it."""
    state, events, before = follower.start(), [], 0
    for edge in edges:
        found, state = follower.step(state, [n for n in notes if before <= n.time < edge], edge)
        events.append(found)
        before = edge
    events.append(follower.finish(state))
    return [b for e in events for b in e.beats], [p for e in events for p in e.lanes]


@pytest.mark.parametrize("counts", [False, True])
def test_a_follower_tells_the_same_in_any_portions(counts):
    beside = (CountingNetwork(8, 2).eval(), MetreNetwork(16).eval()) if counts else ()
    follower = Follower(network(), SPEAKING, RATE, *beside)
    notes, end = notes_by_chance(), 20 * RATE
    whole = run(follower, notes, [end])
    for size in (320, 1_000, 7_777):
        beats, lanes = run(follower, notes, [*range(size, end, size), end])
        assert [b.time for b in beats] == [b.time for b in whole[0]] and len(beats) > 10
        assert [(p.time, p.lane) for p in lanes] == [(p.time, p.lane) for p in whole[1]]


@pytest.mark.parametrize("wait", [-8, 4])
def test_no_beat_is_told_later_than_promised(wait):
    follower = Follower(network(), replace(SPEAKING, wait=wait), RATE)
    notes, state, delays = notes_by_chance(), follower.start(), []
    for until in range(320, 20 * RATE, 320):
        events, state = follower.step(state, [n for n in notes if until - 320 <= n.time < until], until)
        delays += [until - beat.time for beat in events.beats]
    assert max(delays) <= follower.late + 320 and len(delays) > 10


def test_a_step_leaves_the_state_as_it_was():
    follower = Follower(network(), SPEAKING, RATE)
    notes = notes_by_chance(10)
    _, state = follower.step(follower.start(), [n for n in notes if n.time < 5 * RATE], 5 * RATE)
    rest = [n for n in notes if n.time >= 5 * RATE]
    once, twice = (follower.step(state, rest, 10 * RATE)[0] for _ in range(2))
    assert once == twice and once.lanes


def test_lanes_have_tempo_and_dynamics():
    follower = Follower(network(), SPEAKING, RATE)
    loud = [replace(note, velocity=0.2 if note.time < 10 * RATE else 0.9) for note in notes_by_chance()]
    _, lanes = run(follower, loud, [20 * RATE])
    tempo = [p.value for p in lanes if p.lane is Lane.TEMPO]
    assert tempo and min(tempo) > 20 and max(tempo) < 420
    dynamics = [(p.time, p.value) for p in lanes if p.lane is Lane.DYNAMICS]
    soft = [value for time, value in dynamics if 5 * RATE < time < 10 * RATE]
    strong = [value for time, value in dynamics if time > 12 * RATE]
    assert np.mean(strong) > np.mean(soft) + 0.2 and all(0 <= v <= 1 for _, v in dynamics)


def test_how_fast_notes_are_counted_decides_between_tempi():
    """Beats every 0.3 s could as well be every 0.6 s; who counts decides."""
    logits = np.full((40 * FPS, 2), -2.0)
    logits[:: round(0.3 * FPS)] = 1.0
    for bpm in (100, 200):
        costs = np.full(TEMPI, -3.0)
        costs[round(float(tempo_place(np.array([60 / bpm]))[0]))] = 0.0
        settings = PointerSettings(certain=0.0, counted=1.0)
        tempo, state, found = likely(costs, settings, FPS), begin(settings, FPS), []
        for index, row in enumerate(logits):
            recent = logits[max(0, index - 129) : index + 1]
            state, one = move(state, float(row[0]), recent, settings, FPS, tempo)
            found += [one.frame / FPS] if one is not None else []
        intervals = np.diff([time for time in found if time > 10])
        assert np.median(intervals) == pytest.approx(60 / bpm, rel=0.05)


def test_tempi_are_counted_from_the_notes_that_are_known():
    """What is asked is what `tempo_cues` finds in the notes so far, and its answer is taken."""
    asked = []

    class Asked(CountingNetwork):
        def forward(self, x):
            asked.append(x[0].numpy())
            return super().forward(x)

    follower = Follower(network(), SPEAKING, RATE, Asked().eval())
    notes, end = notes_by_chance(), 20 * RATE
    state = follower.start()
    _, state = follower.step(state, notes, end)
    assert len(asked) == 4 and state.likely is not None
    frames = np.array([(n.time + follower.hop // 2) // follower.hop for n in notes])
    known = frames < 800
    pitch, velocity = (np.array([getattr(n, name) for n in notes])[known] for name in ("pitch", "velocity"))
    order = np.lexsort((velocity, pitch, frames[known]))
    expected = tempo_cues(frames[known][order], pitch[order], velocity[order], 800)
    np.testing.assert_allclose(asked[-1], expected, atol=1e-5)


def test_silence_tells_nothing():
    follower = Follower(network(), PointerSettings(), RATE)
    beats, lanes = run(follower, [], [30 * RATE])
    assert not [p for p in lanes if p.lane is Lane.DYNAMICS]
    assert not beats or max(b.confidence for b in beats) < 1


def test_a_network_that_hears_the_future_cannot_follow():
    with pytest.raises(ValueError, match="future"):
        Follower(network(WHOLE), PointerSettings(), RATE)
    with pytest.raises(ValueError, match="multiple"):
        Follower(network(), PointerSettings(), 22_070)


@pytest.mark.parametrize("block", [311, 4_096])
def test_followed_notes_are_those_that_were_heard(block):
    """Through a stream, as a plug-in would: notes unchanged, beats beside them, nothing told too late."""
    heard = ClickTranscriber()
    follower = Follower(network(), SPEAKING, heard.rate)
    audio = clicks(range(8_000, 16_000 * 20, 8_000), 16_000 * 20, 16_000)
    found = []
    for transcriber in (heard, FollowingTranscriber(heard, follower)):
        stream, events = Stream(transcriber, 16_000, 1), []
        for start in range(0, audio.shape[-1], block):
            stream.push(audio.reshape(1, -1)[:, start : start + block])
            events += advance([stream]).copy()
        events.append(stream.finish())
        found.append(events)
    plain, both = ([n for e in events for n in e.notes] for events in found)
    assert plain == both and len(plain) > 60
    assert [b for e in found[1] for b in e.beats]


def test_beats_are_told_clearly_before_they_sound_or_after_never_in_between():
    waits = [open_follower(ClickTranscriber(), asked).settings.wait for asked in range(-300, 500, 10)]
    assert waits == sorted(waits) and waits[0] < -4 and waits[-1] > 4
    assert not {-3, -2, -1, 0} & set(waits) and {-4, 1} <= set(waits)
