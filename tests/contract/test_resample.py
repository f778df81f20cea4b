"""The resampler: any partition gives the same bits, no delay, little hold-back, clean spectrum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.resample import Resampler, resample

RATES = [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


def sine(hz: float, rate: int, length: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(length) / rate + 0.3)


def decibels(amplitude: float) -> float:
    return float(20 * np.log10(amplitude + 1e-30))


@settings(deadline=None, max_examples=40)
@given(
    rate=st.sampled_from([*RATES, 16_000, 44_056]),
    cuts=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 3_000)), min_size=1, max_size=20),
    pulls=st.integers(1, 700),
    group=st.sampled_from([1, 4, 16]),
)
def test_any_partition_gives_the_same_bits(rate, cuts, pulls, group):
    audio = noise(sum(cuts))
    whole = Resampler(rate, 16_000, group=group)
    whole.push(audio)
    whole.finish()
    expected = whole.pull()

    pieces = Resampler(rate, 16_000, group=group)
    got, start = [], 0
    for cut in cuts:
        pieces.push(audio[start : start + cut])
        start += cut
        while pieces.ready >= pulls:
            got.append(pieces.pull(pulls))
    pieces.finish()
    got.append(pieces.pull())
    assert np.array_equal(np.concatenate(got), expected)
    assert len(expected) == -(-len(audio) * 16_000 // rate)


@pytest.mark.parametrize("rate", RATES)
def test_output_is_the_signal_at_the_exact_place(rate):
    length = rate // 4
    for hz in (50.0, 440.0, 0.19 * min(rate, 16_000), 0.43 * min(rate, 16_000)):
        heard = resample(sine(hz, rate, length).astype(np.float32), rate, 16_000)
        expected = sine(hz, 16_000, len(heard))
        assert decibels(np.abs(heard - expected)[200:-200].max()) < -70


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_what_the_model_rate_cannot_hold_is_silenced(rate):
    for hz in np.linspace(8_000, 0.499 * rate, 40):
        heard = resample(sine(hz, rate, rate // 4).astype(np.float32), rate, 16_000)[200:-200]
        assert decibels(np.sqrt(2) * heard.std()) < -80, f"{hz:.0f} Hz aliases"


def test_upsampling_leaves_no_images():
    heard = resample(sine(3_000, 8_000, 8_000).astype(np.float32), 8_000, 16_000)
    spectrum = np.abs(np.fft.rfft(heard[1_000:15_000] * np.kaiser(14_000, 14)))
    image = spectrum[round(4_500 / 16_000 * 14_000) : round(5_500 / 16_000 * 14_000)].max()
    assert decibels(image / spectrum.max()) < -80


@pytest.mark.parametrize("rate", RATES)
def test_constant_keeps_its_value(rate):
    heard = resample(np.ones(rate // 4, np.float32), rate, 16_000)
    assert np.abs(heard[200:-200] - 1).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000, 192_000, 16_000])
@pytest.mark.parametrize("group", [1, 16])
def test_latency_is_kept(rate, group):
    """When the first `n` outputs are ready, at most `latency` inputs beyond the last were pushed."""
    resampler = Resampler(rate, 16_000, group=group)
    ready = 0
    for pushed in range(1, rate // 10):
        resampler.push(np.zeros(1, np.float32))
        if resampler.ready > ready:
            ready = resampler.ready
            place = (ready - 1) * rate / 16_000
            assert place < pushed <= place + resampler.latency + 1
    assert ready > 0


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_hold_back_of_a_hop_is_below_four_milliseconds(rate):
    assert 0 < 1_000 * Resampler(rate, 16_000).latency / rate < 4


def test_what_is_ready_does_not_depend_on_the_future():
    for rate in (11_025, 44_100, 48_000):
        audio, other = noise(5_000), noise(5_000, seed=1)
        other[:3_000] = audio[:3_000]
        heard = []
        for signal in (audio, other):
            resampler = Resampler(rate, 16_000)
            resampler.push(signal[:3_000])
            ready = resampler.ready
            resampler.push(signal[3_000:])
            heard.append(resampler.pull(ready))
        assert np.array_equal(*heard)


def test_equal_rates_pass_through():
    audio = noise(1_000)
    resampler = Resampler(16_000, 16_000)
    assert resampler.latency == 0
    resampler.push(audio[:300])
    assert resampler.ready == 300
    resampler.push(audio[300:])
    assert np.array_equal(resampler.pull(), audio)


def test_pushed_audio_may_be_overwritten_by_its_owner():
    audio = noise(1_000)
    expected = resample(audio, 48_000, 16_000)
    resampler = Resampler(48_000, 16_000)
    block = np.empty(100, np.float32)
    for start in range(0, 1_000, 100):
        block[:] = audio[start : start + 100]
        resampler.push(block)
    resampler.finish()
    assert np.array_equal(resampler.pull(), expected)


def test_nothing_pushed_gives_nothing():
    resampler = Resampler(44_100, 16_000)
    assert resampler.ready == 0
    resampler.finish()
    assert len(resampler.pull()) == 0


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="positive"):
        Resampler(0, 16_000)
    resampler = Resampler(44_100, 16_000)
    with pytest.raises(ValueError, match="0 are ready"):
        resampler.pull(1)
    resampler.finish()
    with pytest.raises(ValueError, match="finished"):
        resampler.push(np.zeros(1, np.float32))


def test_memory_stays_bounded_over_a_long_stream():
    resampler = Resampler(44_100, 16_000)
    for _ in range(2_000):
        resampler.push(np.zeros(441, np.float32))
        resampler.pull(resampler.ready // 160 * 160)
    held = len(resampler._buffer) + sum(map(len, resampler._blocks)) + len(resampler._rest)
    assert held < 3_000
