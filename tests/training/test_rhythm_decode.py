"""From logits to beats: steady and free tempo, meters, pauses, hints, and nothing where nothing is."""

from dataclasses import replace

import numpy as np
import pytest

from inference.rhythm import hinted
from inference.rhythm.config import MTMS
from inference.rhythm.decode import DecodeSettings, decode, pick_peaks

FRONT_END = MTMS.front_end
RATE = FRONT_END.rate
SETTINGS = DecodeSettings()


def logits(times, downbeats, seconds, *, low=-4.0, high=3.0, seed=0):
    """What a good network would say of beats at `times`."""
    random = np.random.default_rng(seed)
    beat = random.normal(low, 0.5, int(seconds * 50))
    downbeat = random.normal(low, 0.5, len(beat))
    for index, time in enumerate(times):
        place = (time * RATE + FRONT_END.early) / FRONT_END.hop
        near = np.arange(len(beat)) - place
        shape = (high - low) * np.exp(-((near / 1.2) ** 2))
        beat += shape
        if index in downbeats:
            downbeat += shape
    return beat, downbeat


def heard(times, downbeats=(), seconds=None, settings=SETTINGS, **changes):
    seconds = seconds or float(max(times, default=0)) + 2
    return decode(*logits(times, set(downbeats), seconds, **changes), settings, FRONT_END)


def seconds_of(beats):
    return np.array([beat.time / RATE for beat in beats])


@pytest.mark.parametrize("bpm", [40, 60, 97, 120, 200, 238])
def test_clicks_are_found_to_the_hundredth(bpm):
    times = 0.5 + np.arange(40) * 60 / bpm
    beats = heard(times, range(0, 40, 4))
    assert len(beats) == 40
    assert np.abs(seconds_of(beats) - times).max() < 0.011
    assert all(0.5 < beat.confidence <= 1 for beat in beats)


@pytest.mark.parametrize("meter", [2, 3, 4])
@pytest.mark.parametrize("pick_up", [0, 1])
def test_bars_begin_at_downbeats(meter, pick_up):
    times = 0.5 + np.arange(48) * 0.5
    beats = heard(times, range(pick_up, 48, meter))
    assert {beat.of for beat in beats[pick_up:]} == {meter}
    assert [beat.position for beat in beats[pick_up:]] == [i % meter for i in range(48 - pick_up)]


def test_a_meter_that_changes_is_followed():
    times = 0.5 + np.arange(60) * 0.5
    down = [*range(0, 30, 3), *range(30, 60, 4)]
    found = [i for i, beat in enumerate(heard(times, down)) if beat.position == 0]
    assert found == down


def test_rubato_is_followed():
    random = np.random.default_rng(1)
    interval = 0.6 * np.exp(0.2 * np.sin(np.arange(80) / 5) + random.normal(0, 0.05, 80))
    times = 0.5 + np.cumsum(interval)
    beats = heard(times, range(0, 80, 3))
    assert len(beats) == 80 and np.abs(seconds_of(beats) - times).max() < 0.03


def test_a_beat_that_nobody_played_is_counted():
    times = 0.5 + np.arange(40) * 0.5
    played = np.delete(times, [13, 22])
    down = [i for i, time in enumerate(played) if round((time - 0.5) / 0.5) % 4 == 0]
    beats = heard(played, down)
    assert len(beats) == 40 and np.abs(seconds_of(beats) - times).max() < 0.05


def test_music_goes_on_after_a_pause_in_another_tempo():
    first, second = 0.5 + np.arange(20) * 0.5, 20 + np.arange(20) * 0.8
    times = np.concatenate([first, second])
    beats = heard(times, range(0, 40, 4))
    assert len(beats) == 40 and np.abs(seconds_of(beats) - times).max() < 0.011


@pytest.mark.parametrize("seconds", [0.01, 0.5, 20])
def test_nothing_is_counted_where_nothing_is(seconds):
    assert heard([], seconds=seconds) == ()
    assert decode(np.zeros(0), np.zeros(0), SETTINGS, FRONT_END) == ()


def test_a_few_clicks_are_no_music():
    assert heard([3.0, 3.5, 4.0], seconds=20) == ()


def test_doubtful_beats_are_left_out():
    times = 0.5 + np.arange(40) * 0.5
    assert heard(times, range(0, 40, 4), high=-1.0) == ()


def test_hints_are_kept_to():
    times = 0.5 + np.arange(64) * 0.4  # 150 bpm
    slow = heard(times, range(0, 64, 4), settings=hinted(SETTINGS, tempo=(60, 90)))
    assert np.diff(seconds_of(slow)) == pytest.approx(0.8, abs=0.05)
    three = heard(times, range(0, 64, 4), settings=hinted(SETTINGS, meters=(3,)))
    assert {beat.of for beat in three} == {3}


@pytest.mark.parametrize("wrong", [{"meters": ()}, {"meters": (0,)}, {"tempo": (90, 60)}, {"tempo": (5, 60)}])
def test_impossible_hints_are_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        hinted(SETTINGS, **wrong)


def test_times_rise_whatever_is_heard():
    random = np.random.default_rng(0)
    wild = replace(SETTINGS, certain=0.0, shortest=1, beat_bias=-2.0)
    for _ in range(3):
        beats = decode(random.normal(0, 4, 900), random.normal(0, 4, 900), wild, FRONT_END)
        assert len(beats) > 5 and (np.diff([beat.time for beat in beats]) > 0).all()


def test_peaks_are_the_largest_within_reach():
    values = np.full(60, -3.0)
    values[[10, 12, 30, 31, 50]] = [1, 2, 4, 4, -0.5]
    assert pick_peaks(values).tolist() in ([12, 30], [12, 31])
    assert pick_peaks(values, threshold=-1.0).tolist()[-1] == 50
    assert pick_peaks(np.zeros(0)).tolist() == []
