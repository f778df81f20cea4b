"""Click tracks, and what is no music: every beat where it is, and otherwise little or nothing, never wild."""

from time import process_time

import numpy as np
import pytest
import torch

from bridge.tempo import heard_grid
from inference.events import Note, NoteOn
from inference.follow import load as load_live
from inference.pipeline import Stream, advance
from inference.rhythm import load, load_follower

WITHIN_S = 0.02


@pytest.fixture(scope="module")
def listener():
    return load()


def tick(rate, kind):
    time = np.arange(int(0.05 * rate)) / rate
    if kind == "tick":
        return np.exp(-time / 0.004) * np.sin(2 * np.pi * 1_500 * time)
    return 0.4 * np.exp(-time / 0.02) * sum(np.sin(2 * np.pi * 440 * n * time) / n for n in range(1, 6))


def track(times, seconds, rate, kind="tick", strong=1):
    audio = np.zeros(int((seconds + 1) * rate), np.float32)
    sound = tick(rate, kind)
    for index, time in enumerate(times):
        at = round(time * rate)
        audio[at : at + len(sound)] += sound * (0.5 if index % strong else 0.25)
    return audio[: int(seconds * rate)]


def heard(listener, audio):
    """Beats, and their times in seconds."""
    beats = listener.beats(listener.hear(audio.astype(np.float32)))
    return beats, np.array([beat.time / listener.rate for beat in beats])


@pytest.mark.parametrize("kind", ["tick", "tone"])
@pytest.mark.parametrize("begin", [0.0, 0.5])
@pytest.mark.parametrize("bpm", [40, 60, 120, 200, 240, 270])
def test_every_click_is_a_beat_and_nothing_else_is(listener, bpm, begin, kind):
    times = np.arange(begin, 30, 60 / bpm)
    beats, found = heard(listener, track(times, 30, listener.rate, kind))
    assert len(found) == len(times)
    assert np.abs(found - times).max() < WITHIN_S
    assert np.mean([beat.confidence for beat in beats]) > 0.7


def test_another_tempo_in_the_middle(listener):
    times = np.concatenate([np.arange(0.5, 15, 0.5), np.arange(15, 30, 0.75)])
    _, found = heard(listener, track(times, 30, listener.rate))
    assert np.mean([np.abs(found - time).min() < WITHIN_S for time in times]) > 0.95
    assert len(found) <= len(times) + 2


def test_five_eight_is_counted_in_eighths(listener):
    times = np.arange(0.5, 40, 0.3)
    _, found = heard(listener, track(times, 40, listener.rate, strong=5))
    assert np.mean([np.abs(times - time).min() < WITHIN_S for time in found]) > 0.95
    told = load(meters=(5,))
    beats, _ = heard(told, track(times, 40, told.rate, strong=5))
    assert {beat.of for beat in beats} == {5}


def bursts(rate, seconds=60, seed=1):
    """Noise as long and as far apart as chance will have it, like words that nobody understands."""
    random, at = np.random.default_rng(seed), 0.3
    audio = np.zeros(int(seconds * rate))
    while at < seconds - 1:
        length = random.uniform(0.05, 0.4)
        first, size = int(at * rate), int(length * rate)
        audio[first : first + size] += random.normal(0, 0.2, size) * np.hanning(size) * random.uniform(0.3, 1)
        at += length + random.exponential(0.25)
    return audio


def noise(rate, seed=1):
    return np.random.default_rng(seed).normal(0, 0.1, 30 * rate)


def hum(rate):
    return 0.1 * np.sin(2 * np.pi * 50 * np.arange(30 * rate) / rate)


def half_a_second(rate):
    return track([0.1, 0.35], 0.5, rate, "tone")


def one_click(rate):
    return track([1.0], 4, rate)


@pytest.mark.parametrize("make", [noise, hum, half_a_second, one_click])
def test_no_beats_where_there_are_none(listener, make):
    assert heard(listener, make(listener.rate))[0] == ()


@pytest.mark.parametrize("seed", range(3))
def test_speech_like_bursts_have_no_sure_beats(listener, seed):
    beats, _ = heard(listener, bursts(listener.rate, seed=seed))
    assert not beats or np.mean([beat.confidence for beat in beats]) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_free_rhythm_makes_no_wild_tempo_map(listener, seed):
    times = np.cumsum(np.random.default_rng(seed).exponential(0.6, 60))
    beats, _ = heard(listener, track(times[times < 29], 30, listener.rate, "tone"))
    grid = heard_grid(beats, listener.rate)
    if grid is not None:
        tempi = [60e6 / piece.us_per_beat for piece in grid.tempo.pieces]
        assert min(tempi) > 14 and max(tempi) < 400


def struck(times):
    """Bass, chords and a moving upper voice, four to the bar."""
    notes = []
    for index, time in enumerate(times):
        bass = 36 + (index // 4 % 3) * 5
        pitches = (bass, 72 + index // 4 % 5) if index % 4 == 0 else (bass + 16, bass + 19, 67 + index % 4)
        notes += [NoteOn(round(time * 16_000), pitch, 0.6, 10 * index + n) for n, pitch in enumerate(pitches)]
    return notes


def followed(notes, seconds):
    follower = load_follower(16_000)
    state, beats = follower.start(), []
    for until in range(1_600, int(seconds * 16_000), 1_600):
        new = [note for note in notes if until - 1_600 <= note.time < until]
        events, state = follower.step(state, new, until)
        beats += events.beats
    return beats


@pytest.mark.parametrize("bpm", [60, 90, 120])
def test_live_steady_notes_are_followed(bpm):
    times = np.arange(0.5, 30, 60 / bpm)
    found = np.array([beat.time / 16_000 for beat in followed(struck(times), 30)])
    late = times[(times > 10) & (times < 28)]
    assert np.mean([np.abs(found - time).min() < WITHIN_S for time in late]) > 0.9


def test_live_silence_has_no_beats():
    assert followed([], 30) == []


@pytest.mark.parametrize("seconds", [0.001, 0.5, 3.0])
def test_live_short_streams_end_in_peace(seconds):
    stream = Stream(load_live(), 44_100, 2)
    stream.push(
        np.random.default_rng(0).normal(0, 0.1, (2, max(1, int(44_100 * seconds)))).astype(np.float32)
    )
    advance([stream])
    assert len(stream.finish().beats) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("noted", [False, True])
def test_an_hour_takes_less_than_a_minute_of_one_core(listener, noted):
    rate = listener.rate
    minute = track(np.arange(0.2, 59.8, 0.47), 60, rate, "tone") + noise(rate)[: rate * 30].repeat(2) * 0.01
    state, begin = listener.start(), process_time()
    for _ in range(60):
        whole = minute[: len(minute) // listener.hop * listener.hop].astype(np.float32)
        _, (state,) = listener.step(torch.from_numpy(whole)[None], [state])
    if noted:
        times = np.add.outer(60 * np.arange(60), np.arange(0.2, 59.8, 0.47)).ravel()
        notes = [
            Note(round(t * rate), round((t + 0.4) * rate), 48 + i % 24, 0.6) for i, t in enumerate(times)
        ]
        state = listener.told(state, notes)
    assert len(listener.finish(state).beats) > 3_600
    spent = process_time() - begin
    print(f"an hour{' with its notes' * noted}: {spent:.0f} s of one core")
    assert spent < 60
