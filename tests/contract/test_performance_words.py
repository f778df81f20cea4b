"""What becomes words comes back: scores, performances, pedals."""

from dataclasses import replace

import numpy as np
import pytest

from inference.performance import grids, parameters, playing, words
from inference.performance.score import TICKS, Performance, make_score
from tests.contract.scores import a_performance, a_score


@pytest.fixture(params=[0, 1, 2])
def pair(request):
    score = a_score(seed=request.param, meter=(4, 3, 6)[request.param])
    return score, a_performance(score, request.param)


def places_of(spelled, tokens):
    """What a decoder would hand over: places on the grids instead of sub-tokens."""
    places = np.zeros(tokens.shape)
    notes = spelled.note >= 0
    places[notes] = tokens[notes] - 1
    places[~notes, 0] = tokens[~notes, 0] - 1 - playing.FIELDS[0]
    places[~notes, 1] = tokens[~notes, 1] - 1 - playing.FIELDS[1]
    return places


def test_parameters_give_the_performance_back(pair):
    score, played = pair
    back = parameters.realise(score, parameters.measure(score, played))
    assert np.abs(back.onset - played.onset).max() < 1e-3
    assert np.abs(back.duration - played.duration).max() < 1e-3
    assert np.array_equal(back.velocity, played.velocity)


def test_rounded_onsets_do_not_drift(pair):
    score, played = pair
    spelled = words.spell(score)
    told, numbers = playing.spell(spelled, score, played)
    exact = parameters.realise(score, numbers)
    assert np.abs(exact.onset - played.onset).max() < 1e-6  # with residuals
    back = playing.unspell(spelled, score, places_of(spelled, told.tokens), numbers.start)
    error = np.abs(back.onset - played.onset)
    assert np.median(error) < 0.004 and error.max() < 0.0051
    assert np.abs(back.velocity - played.velocity).max() <= 2
    assert np.median(np.abs(np.log2(back.duration / played.duration))) < 1 / 32
    late = error[len(error) // 2 :].mean() / error[: len(error) // 2].mean()
    assert late < 1.3


def test_notes_struck_together_share_their_beat_period(pair):
    score, played = pair
    told, _ = playing.spell(words.spell(score), score, played)
    notes = told.tokens[words.spell(score).note >= 0]
    for group in range(score.group[-1] + 1):
        assert len(set(notes[score.group == group, 0])) == 1


def test_the_last_beat_period_is_that_before_it():
    score, _ = make_score(np.arange(4.0), np.ones(4), np.full(4, 60), np.zeros(1))
    onset = np.array([0, 0.5, 1.0, 1.8])
    played = Performance(onset, np.full(4, 0.4), np.full(4, 64.0), np.zeros((0, 2)))
    assert parameters.measure(score, played).beat_period == pytest.approx([0.5, 0.5, 0.8, 0.8])


def test_a_broken_chord_does_not_bend_the_tempo():
    score, _ = make_score(
        np.array([0, 1, 1, 1, 1, 1, 2.0]), np.ones(7), np.array([60, 50, 55, 60, 64, 67, 60]), np.zeros(1)
    )
    onset = np.array([0, 0.48, 0.49, 0.5, 0.5, 1.0, 1.0])
    numbers = parameters.measure(score, Performance(onset, np.ones(7), np.ones(7), np.zeros((0, 2))))
    assert numbers.beat_period[:3] == pytest.approx([0.5, 0.5, 0.5])
    assert numbers.timing[5] == pytest.approx(0.5)


def test_the_pedal_comes_back(pair):
    score, played = pair
    spelled = words.spell(score)
    told, numbers = playing.spell(spelled, score, played)
    back = playing.unspell(spelled, score, places_of(spelled, told.tokens), numbers.start).pedal
    inside = played.pedal[played.pedal[:, 1] < numbers.start + (played.onset.max() - numbers.start) * 0.98]
    assert len(inside) > 5 and len(back) >= len(inside)
    times = parameters.clock(score, numbers.beat_period, numbers.start)
    off = parameters.beat_of(back[: len(inside)].ravel(), score, times) - parameters.beat_of(
        inside.ravel(), score, times
    )
    assert np.abs(off).max() <= 0.5 / TICKS + 1e-6
    assert (np.diff(back.ravel()) > 0).all()


def test_scores_come_back_bars_too():
    score = a_score(meter=3)
    ticks = np.round(score.onset * TICKS) / TICKS
    lengths = grids.DURATIONS[grids.duration_bin(score.duration)] / TICKS
    score, _ = make_score(ticks, lengths, score.pitch, score.bars)
    onset, duration, pitch, bars = words.unspell(words.spell(score).tokens)
    assert onset == pytest.approx(score.onset) and np.array_equal(pitch, score.pitch)
    assert duration == pytest.approx(score.duration) and bars == pytest.approx(score.bars)


def test_a_bar_of_three_eighths_has_a_short_second_beat():
    onset = np.array([0, 0.5, 1.0, 1.5, 2.5, 3.0])
    score, _ = make_score(onset, np.full(6, 0.5), np.full(6, 60), np.array([0, 1.5, 3.0]))
    spelled = words.spell(score)
    assert spelled.grid == pytest.approx([0, 1, 1.5, 2.5, 3.0])
    families = spelled.tokens[spelled.note < 0, 0]
    assert families.tolist() == [words.BAR, words.BEAT, words.BAR, words.BEAT, words.BAR]


def test_steps_say_where_in_the_bar_and_chord_they_are():
    score, _ = make_score(
        np.array([0, 0, 0, 1.5]), np.array([1, 1, 1, 0.0]), np.array([48, 60, 64, 67]), np.zeros(1)
    )
    spelled = words.spell(score)
    assert spelled.tokens[:, 0].tolist() == [words.BAR, 0, 0, 0, words.BEAT, 0]
    assert spelled.extras[[1, 2, 3, 5], 0].tolist() == [
        words.BOTTOM,
        words.INNER,
        words.TOP,
        words.GRACED,
    ]
    assert spelled.extras[:, 1].tolist() == [0, 0, 0, 0, 1, 1]
    assert spelled.tokens[5, 1] == 1 + 12 and (np.diff(spelled.beat) >= 0).all()


def test_grids_have_the_published_sizes_and_invert():
    assert (len(grids.DURATIONS), grids.BEAT_PERIODS, grids.TIMINGS) == (51, 161, 41)
    assert (grids.VELOCITIES, grids.ARTICULATIONS) == (32, 81)
    assert (np.diff(grids.DURATIONS) > 0).all()
    for name, size in (("beat_period", 161), ("timing", 41), ("velocity", 32), ("articulation", 81)):
        bins = np.arange(size)
        assert np.array_equal(getattr(grids, f"{name}_bin")(getattr(grids, name)(bins)), bins), name
    assert grids.beat_period(np.array([0, 160])) == pytest.approx([0.1875, 3.0])


def test_what_lies_outside_the_grids_is_bent_inside(pair):
    score, played = pair
    slow = replace(played, onset=played.onset * 40)
    told, _ = playing.spell(words.spell(score), score, slow)
    assert (told.tokens.max(0) < playing.PLAYED_SIZES).all() and (told.tokens >= 0).all()
