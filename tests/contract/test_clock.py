"""Exact time: no floats, no drift, halves upward, round trips."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.clock import PPQ, TempoMap, milliseconds, rescale, samples

rates = st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000])
positions = st.integers(-(10**12), 10**12)


@given(position=positions, low=rates, high=rates)
def test_upward_and_back_is_lossless(position, low, high):
    low, high = sorted((low, high))
    assert rescale(rescale(position, low, high), high, low) == position


@given(position=positions, from_rate=rates, to_rate=rates)
def test_rescale_is_the_nearest_sample(position, from_rate, to_rate):
    exact = Fraction(position * to_rate, from_rate)
    error = rescale(position, from_rate, to_rate) - exact
    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@given(one=positions, other=positions, from_rate=rates, to_rate=rates)
def test_rescale_keeps_order(one, other, from_rate, to_rate):
    one, other = sorted((one, other))
    assert rescale(one, from_rate, to_rate) <= rescale(other, from_rate, to_rate)


@given(position=positions, from_rate=rates, to_rate=rates)
def test_whole_seconds_fall_on_whole_seconds(position, from_rate, to_rate):
    shifted = rescale(position + 3_600 * from_rate, from_rate, to_rate)
    assert shifted == rescale(position, from_rate, to_rate) + 3_600 * to_rate


def test_halves_go_up():
    assert [rescale(n, 2, 1) for n in (-3, -2, -1, 0, 1, 2, 3)] == [-1, -1, 0, 0, 1, 1, 2]
    assert [samples(Fraction(n, 2), 1) for n in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


@given(count=positions, rate=rates)
def test_samples_undo_seconds(count, rate):
    assert samples(Fraction(count, rate), rate) == count


@given(count=st.integers(0, 2**32), rate=rates)
def test_samples_survive_float_seconds(count, rate):
    assert samples(count / rate, rate) == count


def test_milliseconds():
    assert milliseconds(480, 48_000) == 10.0


beats = st.fractions(min_value=0, max_value=10_000, max_denominator=960)
tempo_maps = st.builds(
    lambda first, rest: TempoMap([(0, first), *sorted(dict(rest).items())]),
    st.integers(10_000, 6_000_000),
    st.lists(
        st.tuples(
            st.fractions(min_value=Fraction(1, 960), max_value=5_000, max_denominator=960),
            st.integers(10_000, 6_000_000),
        ),
        max_size=12,
    ),
)


@given(tempo=tempo_maps, beat=beats)
def test_beats_to_seconds_and_back_is_exact(tempo, beat):
    assert tempo.beats(tempo.seconds(beat)) == beat


@given(tempo=tempo_maps, time=st.fractions(min_value=0, max_value=10_000, max_denominator=192_000))
def test_seconds_to_beats_and_back_is_exact(tempo, time):
    assert tempo.seconds(tempo.beats(time)) == time


@given(tempo=tempo_maps, tick=st.integers(0, 10**8), ppq=st.sampled_from([96, PPQ, 960]))
def test_ticks_round_trip(tempo, tick, ppq):
    assert tempo.tick(tempo.seconds(Fraction(tick, ppq)), ppq) == tick


@given(tempo=tempo_maps, one=beats, other=beats)
def test_time_rises_with_beats(tempo, one, other):
    if one != other:
        one, other = sorted((one, other))
        assert tempo.seconds(one) < tempo.seconds(other)


@given(tempo=tempo_maps, beat=beats)
def test_seconds_is_the_sum_over_the_pieces(tempo, beat):
    """Against a naive walk through the map."""
    total = Fraction(0)
    ends = [piece.beats for piece in tempo.pieces[1:]] + [None]
    for piece, end in zip(tempo.pieces, ends, strict=True):
        stop = beat if end is None else min(beat, end)
        if stop > piece.beats:
            total += (stop - piece.beats) * Fraction(piece.us_per_beat, 1_000_000)
    assert tempo.seconds(beat) == total


def test_a_known_map():
    tempo = TempoMap([(0, 500_000), (4, 1_000_000)])
    assert tempo.seconds(4) == 2 and tempo.seconds(6) == 4
    assert tempo.beats(3) == 5
    assert tempo.tick(3.0) == 5 * PPQ
    assert tempo.seconds(-2) == -1, "before the beginning the first tempo holds"


def test_default_is_120_bpm():
    assert TempoMap().seconds(2) == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ([], "beat 0"),
        ([(1, 500_000)], "beat 0"),
        ([(0, 0)], "positive"),
        ([(0, -5)], "positive"),
        ([(0, 500_000), (2, 400_000), (2, 300_000)], "does not come after"),
        ([(0, 500_000), (3, 400_000), (2, 300_000)], "does not come after"),
    ],
)
def test_senseless_maps_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TempoMap(changes)
