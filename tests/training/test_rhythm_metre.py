"""Bars from the notes of beats: what is seen of each, that it streams, is learned, and is listened to."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.events import Beat, NoteOn
from inference.rhythm.bars import BarNetwork, regular
from inference.rhythm.config import FUSED
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.follower import Follower
from inference.rhythm.hints import Hints
from inference.rhythm.judge import EVIDENCE, ways
from inference.rhythm.listener import Frames, RhythmListener
from inference.rhythm.metre import (
    FEATURES,
    FEWEST,
    INPUTS,
    SLOTS,
    MetreNetwork,
    beat_features,
    hear_metre,
    seen_at,
)
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.noted import Noted
from inference.rhythm.pointer import PointerSettings
from inference.rhythm.refit_judge import Judged, solve
from inference.rhythm.struck import LIVE, StruckNetwork
from inference.rhythm.tempi import TEMPI
from inference.rhythm.train_metre import LOSSES, Counting, MetreRun, batches, excerpt, recounted, stumbled
from inference.streaming import verify_streaming
from inference.training.beats import BeatTable
from inference.training.notes import NoteTable

torch.set_num_threads(1)
RATE = 16_000


def network(seed=0):
    torch.manual_seed(seed)
    return MetreNetwork().eval()


def rows(meter=3, count=60, interval=0.5, first=0):
    """A bass on each downbeat, a chord on the other beats; onset, pitch, velocity."""
    found = []
    for index in range(count):
        down = (index - first) % meter == 0
        for pitch in (36,) if down else (60, 64):
            found.append((1 + index * interval, pitch, 0.7 if down else 0.4))
    return np.array(found)


def beats_of(count=60, interval=0.5):
    return 1 + interval * np.arange(count)


def columns(notes):
    return notes[:, 0], notes[:, 1].astype(np.int64), notes[:, 2].astype(np.float32)


def test_it_streams():
    verify_streaming(network(), lambda n, g: torch.randn(2, n, INPUTS, generator=g), 50, tolerance=1e-5)


def test_each_beat_has_its_notes():
    seen = beat_features(*columns(rows()), beats_of())
    assert seen.shape == (60, FEATURES) and np.isfinite(seen).all()
    assert seen_at(seen).shape == (60, INPUTS)
    bass = seen[:, 12 + 36 % 12]
    assert (bass[::3] > 0).all() and not bass[1::3].any() and not bass[2::3].any()
    assert not seen[:, 30:120].any(), "nothing is struck between the beats"


def test_tempo_changes_lengths_alone():
    slow = beat_features(*columns(rows(interval=0.8)), beats_of(interval=0.8))
    fast = beat_features(*columns(rows(interval=0.4)), beats_of(interval=0.4))
    np.testing.assert_allclose(slow[:, :-2], fast[:, :-2])
    np.testing.assert_allclose(slow[:, -2] - fast[:, -2], 1, atol=1e-5)


def test_a_note_belongs_to_the_nearest_part():
    beats = beats_of(4, 1.0)
    for time, part in ((1.95, 0), (2.1, 0), (2.2, 1), (2.5, 2), (2.8, 3)):
        seen = beat_features(np.array([time]), np.array([60]), np.array([0.5], np.float32), beats)
        assert np.flatnonzero(seen[1, :120])[0] // 30 == part, time


def test_what_comes_later_is_not_seen():
    notes, beats = rows(), beats_of()
    later = notes[notes[:, 0] > beats[30] + 0.1]
    plain = seen_at(beat_features(*columns(notes), beats))
    other = seen_at(beat_features(*columns(np.concatenate([notes, later + (0.0, 5, 0)])), beats))
    np.testing.assert_array_equal(plain[:31], other[:31])
    assert (plain[31:] != other[31:]).any()


def test_few_beats_say_nothing():
    assert not hear_metre(network(), beats_of(FEWEST - 1), rows()).any()
    assert hear_metre(network(), beats_of(), np.zeros((0, 3))).shape == (60,)


def piece(meter, interval, first):
    onset, pitch, velocity = columns(rows(meter, 90, interval, first))
    onset = onset.astype(np.float32)
    down = (np.arange(90) - first) % meter == 0
    notes = NoteTable(onset, onset + 0.2, onset + 0.2, pitch, velocity)
    return notes, BeatTable(beats_of(90, interval), down, np.zeros(90, np.int64))


def learned(task, folder):
    pieces = [piece(2 + i % 3, 0.4 + 0.03 * i, i % 2) for i in range(12)]
    settings = MetreRun(folder, folder, folder, task, batch=8, beats=48)
    stream, learner = batches(settings, [pieces]), network().train()
    optimiser = torch.optim.AdamW(learner.parameters(), 4e-3)
    for _ in range(80):
        loss = LOSSES[task](learner, next(stream))["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return learner.eval()


def test_bars_are_learned(tmp_path):
    found = hear_metre(learned("bars", tmp_path), beats_of(60, 0.55), rows(3, 60, 0.55, 1))
    down = (np.arange(60) - 1) % 3 == 0
    assert found[down][2:].min() > found[~down][4:].max()


def test_counting_is_learned(tmp_path):
    learner, times, notes = learned("counted", tmp_path), beats_of(60, 0.55), rows(3, 60, 0.55, 1)
    found = hear_metre(learner, times, notes).mean()
    counts = [np.interp(np.arange(59 * parts + 1) / parts, np.arange(60), times) for parts in (2, 3)]
    counts += [times[first::every] for every in (2, 3) for first in range(every)]
    assert found > max(hear_metre(learner, way, notes).mean() for way in counts) + 1


def test_excerpts_tell_what_is_known(tmp_path):
    settings = MetreRun(tmp_path, tmp_path, tmp_path, beats=40, miscounted=(0.5, 0.5))
    random = np.random.default_rng(0)
    notes, beats = piece(4, 0.5, 0)
    found = [excerpt((notes, beats), settings, random) for _ in range(60)]
    assert 15 < sum(one.counted for one in found if one is not None) < 45
    for one in found:
        assert one is None or one.features.shape == (len(one.downbeat), FEATURES)
        assert one is None or np.isnan(one.downbeat).all() or 0.05 < one.downbeat.mean() < 0.95
    unknown = BeatTable(beats.time, np.zeros(90, bool), beats.dynamics)
    assert np.isnan(excerpt((notes, unknown), settings, random).downbeat).all()


@pytest.mark.parametrize("every, times", [(1, 1), (1, 2), (2, 1), (3, 1), (1, 3), (3, 2), (2, 3)])
def test_other_countings_keep_their_downbeats(every, times):
    time, down = beats_of(24), np.arange(24) % 4 == 0
    for seed in range(6):
        other, told = recounted(time, down, Counting(every, times), np.random.default_rng(seed))
        assert set(np.round(other[told], 6)) <= set(time[down])
        assert len(other) == pytest.approx(24 * times / every, abs=times + 1)
        assert np.allclose(np.diff(other), 0.5 * every / times)


def test_beats_stumble_and_keep_their_downbeats():
    time, down = beats_of(128), np.arange(128) % 4 == 0
    lengths, shares = set(), []
    for seed in range(20):
        other, told = stumbled(time, down, np.random.default_rng(seed))
        assert (np.diff(other) > 0).all() and len(other) == len(told)
        assert set(np.round(other[told], 6)) <= set(time[down])
        lengths.add(len(other))
        shares.append(np.isin(time, np.round(other, 6)).mean())
    assert len(lengths) > 5 and 0.85 < np.mean(shares) < 0.99


def listener(bars=None, counted=None, **settings):
    metre = bars or Says0().eval(), counted or Says0().eval()
    made = RhythmListener(RhythmNetwork(FUSED), bars=BarNetwork(), metre=metre)
    made.settings = replace(made.settings, **settings)
    return made


def heard(meter, first):
    """A pulse in frames, and notes that say where bars begin."""
    frames, rate = 1_600, 50
    beat = np.full(frames, -4.0)
    notes = rows(meter, 60, 0.5, first)
    beat[np.rint(beats_of() * rate + 1.6).astype(int)] = 4.0
    struck = notes * (rate, 1, 1)
    noted = Noted(beat, np.full(frames, -9.0), np.zeros((frames, TEMPI), np.float32), struck)
    seen = np.zeros((frames, 150), np.float32)
    seen[np.rint(beats_of() * rate).astype(int)] = 1
    return Frames(seen, beat, np.full(frames, -9.0), np.zeros((frames, 6)), noted)


class Says0(MetreNetwork):
    """Knows nothing."""

    def step(self, x, state):
        return x[..., 0] * 0, state


class BassBegins(MetreNetwork):
    """A bar begins where only a bass is struck."""

    def step(self, x, state):
        return 8 * (x[..., FEATURES + 12 + 36 % 12] > 0).float() - 4, state


@pytest.mark.parametrize("meter, first", [(2, 1), (3, 0), (3, 2), (4, 3)])
def test_a_listener_takes_its_bars_from_the_notes(meter, first):
    ear = listener(BassBegins().eval(), noted_bars=1.0, noted_bars_bias=0.0)
    ear.bars = BarNetwork().eval()
    for parameter in ear.bars.parameters():
        parameter.data.zero_()
    found = tuple(Beat(round((time + 1.6 / 50) * ear.rate), 0, 1, 0.9) for time in beats_of())
    beats = ear._in_bars(found, ear._bar_logits(found, heard(meter, first)))
    assert [b.position for b in beats[meter:-1]] == [(i - first) % meter for i in range(meter, 59)]
    assert {b.of for b in beats[meter:-1]} == {meter}


@pytest.mark.parametrize("sizes", [(60,), (1, 3), (17,)])
def test_a_follower_asks_it_beat_by_beat(sizes):
    """Live, it sees what it would see of the whole, in whatever portions the notes come."""
    asked = []

    class Asked(MetreNetwork):
        def step(self, x, state):
            asked.append(x[0, 0].numpy().copy())
            return super().step(x, state)

    struck = StruckNetwork(replace(LIVE, channels=16, depth=4)).eval()
    for name, parameter in struck.named_parameters():  # a beat is where the bass or the chord is struck
        parameter.data.fill_(1.0 if name.endswith("norm.weight") else 0.0)
    struck.enter.weight.data[0, [36 - 21, 60 - 21]] = 1.0
    struck.leave.weight.data[0, 0], struck.leave.bias.data[0] = 2.0, -4.0
    follower = Follower(struck, PointerSettings(certain=0.0, bias=0.0), RATE, None, Asked().eval())
    notes = [NoteOn(round(t * RATE), int(p), v, i) for i, (t, p, v) in enumerate(rows(count=90))]
    state, told, at = follower.start(), [], 0
    for size in itertools.cycle(sizes):
        part, at = notes[at : at + size], at + size
        events, state = follower.step(state, part, notes[at].time if at < len(notes) else 60 * RATE)
        told += events.beats
        if at >= len(notes):
            break
    told += follower.finish(state).beats
    assert len(asked) > 20 and len(told) > 20
    assert all(0 <= beat.position < beat.of for beat in told)
    times = np.array([beat.time / RATE for beat in told])
    whole = seen_at(beat_features(*columns(rows(count=90)), times))
    found = [np.abs(whole - one).max(1).min() for one in asked[2:-2]]
    assert np.median(found) < 1e-4


class LikesLong(MetreNetwork):
    """Beats are meant to last more than 0.7 s."""

    def step(self, x, state):
        return 20 * (x[..., SLOTS * 30] - np.log2(0.7)), state


COUNTED, REGULAR = np.eye(EVIDENCE)[[0, 4]]


@pytest.mark.parametrize("taps, interval", [((), 1.0), ((2.0, 2.5, 3.0, 3.5), 0.5)])
def test_the_judge_chooses_how_beats_are_counted(taps, interval):
    """A beat is heard every half second; whether each counts, notes say, unless somebody tapped."""
    ear = listener(None, LikesLong().eval())
    assert np.median(np.diff([b.time for b in ear.beats(heard(4, 0))])) / ear.rate == pytest.approx(
        0.5, abs=0.03
    )
    ear.judge, ear.hints = COUNTED, Hints(None, taps)
    found = np.median(np.diff([beat.time for beat in ear.beats(heard(4, 0))])) / ear.rate
    assert found == pytest.approx(interval, abs=0.03)


def test_a_tempo_that_was_asked_for_is_kept():
    ear = listener(None, LikesLong().eval(), slowest_bpm=100.0)
    ear.judge = COUNTED
    found = np.median(np.diff([beat.time for beat in ear.beats(heard(4, 0))])) / ear.rate
    assert found == pytest.approx(0.5, abs=0.03)


def test_readings_differ_and_stay_within_what_is_allowed():
    settings = DecodeSettings(slowest_bpm=80.0, fastest_bpm=120.0)
    found = ways(settings)
    assert found[0] == settings and found[1].jump < settings.jump
    limits = [(way.slowest_bpm, way.fastest_bpm) for way in found[2:]]
    assert limits == [(80.0, 90.0), (100.0, 120.0)]


def test_a_judge_is_solved_that_prefers_what_scores():
    random, wanted = np.random.default_rng(3), np.zeros(EVIDENCE)
    wanted[[0, 4, 7]] = 1.0, 0.5, -0.5
    pieces = []
    for _ in range(80):
        told = random.normal(0, 1, (5, EVIDENCE)) + 10 * random.normal(0, 1, EVIDENCE)
        total = told @ wanted + random.normal(0, 5)
        pieces.append(Judged(told, np.stack([total, total], 1)))
    solved = solve(pieces)
    assert all((one.told @ solved).argmax() == one.scores[:, 0].argmax() for one in pieces[:20])
    assert solved / solved[0] == pytest.approx(wanted, abs=0.1)


class LikesEvery(MetreNetwork):
    """A bar begins with each `every`-th beat, if beats last half a second; of others nothing is known."""

    def __init__(self, every):
        super().__init__()
        self.every = every

    def step(self, x, state):
        begins = torch.arange(x.shape[1]) % self.every == 0
        sure = (x[..., SLOTS * 30].mean(1, keepdim=True) + 1).abs() < 0.2
        return torch.where(sure, torch.where(begins, 8.0, -8.0), torch.zeros(())), state


def test_beats_with_regular_bars_are_not_counted_otherwise():
    """Notes alone would count every second beat; that no bars are heard then speaks against it."""
    ear = listener(LikesEvery(3).eval(), LikesLong().eval())
    found = []
    for ear.judge in (COUNTED, COUNTED + 60 * REGULAR):
        found.append(np.median(np.diff([b.time for b in ear.beats(heard(4, 0))])) / ear.rate)
    assert found == pytest.approx([1.0, 0.5], abs=0.03)


def test_bars_are_regular_if_one_meter_explains_them():
    logits = np.where(np.arange(60) % 3 == 1, 3.0, -3.0).astype(np.float32)
    assert regular(logits, (2, 3, 4)) > 0.5 > 0.1 > regular(logits, (2, 4))
    assert abs(regular(np.zeros(60, np.float32), (2, 3, 4))) < 0.1
    assert np.isfinite(regular(logits[:1], (2, 3, 4)))
