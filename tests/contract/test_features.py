"""Front ends: they stream, sample by sample too, and equal nnAudio's."""

import numpy as np
import pytest
import torch

from inference.features import (
    LevelConfig,
    LogFrequencyConfig,
    LogFrequencySpectrogram,
    MelConfig,
    MelSpectrogram,
)
from inference.streaming import verify_streaming
from inference.tuning import FollowConfig, bins_off

torch.set_num_threads(1)

SMALL_MEL = MelConfig(window=256, hop=64, bins=20, lowest_hz=100.0)
SMALL_LOG = LogFrequencyConfig(hop=80, windows=(512, 256, 128), lowest=60, highest=90)


def noise(length, generator):
    return torch.randn(2, length, generator=generator) * 0.1


@pytest.mark.parametrize(
    "make",
    [lambda: MelSpectrogram(SMALL_MEL), lambda: LogFrequencySpectrogram(SMALL_LOG)],
    ids=["mel", "log"],
)
def test_front_ends_stream(make):
    # FFTs of one and of many frames round differently; the logarithm magnifies it where little sounds.
    verify_streaming(make().eval(), noise, 3 * 512 + 17, tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda: MelSpectrogram(MelConfig()), lambda: LogFrequencySpectrogram(LogFrequencyConfig())]
)
def test_front_ends_stream_at_full_size(make):
    verify_streaming(make().eval(), noise, 3 * 4_096 + 17, tolerance=1e-4)


@pytest.mark.parametrize(
    "make, hop", [(lambda: MelSpectrogram(SMALL_MEL), 64), (lambda: LogFrequencySpectrogram(SMALL_LOG), 80)]
)
def test_a_frame_comes_with_the_last_sample_of_its_hop(make, hop):
    front = make().eval()
    state = front.init_state(1)
    y, state = front.step(torch.zeros(1, hop - 1), state)
    assert y.shape[:2] == (1, 0)
    y, state = front.step(torch.zeros(1, 1), state)
    assert y.shape[:2] == (1, 1)
    y, state = front.step(torch.zeros(1, 5 * hop), state)
    assert y.shape[:2] == (1, 5)
    assert y.shape[2:] == front(torch.zeros(1, 10 * hop)).shape[2:]


def test_a_frame_hears_nothing_after_its_end():
    for front, hop in ((MelSpectrogram(SMALL_MEL), 64), (LogFrequencySpectrogram(SMALL_LOG), 80)):
        x = torch.zeros(1, 20 * hop)
        x[0, 10 * hop] = 1.0
        difference = (front(x) - front(torch.zeros_like(x))).abs().flatten(2).amax(2)[0]
        heard = torch.nonzero(difference > 1e-3)[:, 0]
        assert 10 <= int(heard[0]) <= 11, "the first sample of frame 10 is under the window's very edge"


@pytest.mark.parametrize("config", [SMALL_MEL, MelConfig()])
def test_mel_equals_nnaudio(config):
    from nnAudio.features import MelSpectrogram as Reference

    with np.errstate(divide="ignore", invalid="ignore"):
        reference = Reference(
            sr=config.rate,
            n_fft=config.window,
            hop_length=config.hop,
            n_mels=config.bins,
            fmin=config.lowest_hz,
            fmax=config.highest_hz,
            htk=True,
            norm=None,
            center=False,
            verbose=False,
        )
    x = noise(4 * config.window, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (config.window - config.hop, 0))
    expected = (reference(padded).clamp(min=config.floor).log() + 7) / 7
    ours = MelSpectrogram(config)(x)
    assert ours.shape == (2, 4 * config.window // config.hop, config.bins)
    # nnAudio sums a long cosine in float32: where nearly nothing sounds, its rounding shows.
    loud = expected > -0.5
    assert loud.float().mean() > 0.9
    assert (ours.transpose(1, 2) - expected).abs()[loud].max() < 2e-3


def test_log_frequency_hears_a_sine_in_the_middle_bin_of_its_pitch():
    config = LogFrequencyConfig()
    front = LogFrequencySpectrogram(config)
    for pitch in (60, 69, 93, 105):
        hz = 440 * 2 ** ((pitch - 69) / 12)
        x = 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(16_000) / 16_000)[None]
        features = front(x)[0, -1]  # (windows, bins)
        assert features.shape == (3, front.bins)
        assert int(features[0].argmax()) == (pitch - config.lowest) * 3 + 1


def test_features_of_silence_and_of_full_scale_are_of_one_size():
    generator = torch.Generator().manual_seed(0)
    for front in (MelSpectrogram(MelConfig()), LogFrequencySpectrogram(LogFrequencyConfig())):
        for x in (torch.zeros(1, 8_192), torch.rand(1, 8_192, generator=generator) * 2 - 1):
            features = front(x)
            assert torch.isfinite(features).all() and features.abs().max() < 4


def test_a_quiet_recording_looks_like_a_loud_one_and_its_soft_passages_stay_soft():
    front = LogFrequencySpectrogram(SMALL_LOG)
    loud = noise(32_000, torch.Generator().manual_seed(0)).clamp(-0.3, 0.3)
    soft = 0.1 * noise(16_000, torch.Generator().manual_seed(1))
    _, known = front.step(loud, front.init_state(2))
    _, quieter = front.step(0.25 * loud, front.init_state(2)._replace(peak=known.peak - 9))
    features = front.step(loud, known)[0]
    assert torch.allclose(features[:, 10:], front.step(0.25 * loud, quieter)[0][:, 10:], atol=0.01)
    after = front.step(soft, known)[0][:, 10:].mean()
    assert after < features[:, 10:].mean() - 0.3


def test_what_is_known_of_the_level_survives_silence():
    front = LogFrequencySpectrogram(LogFrequencyConfig())
    waiting = front.step(torch.zeros(1, 16_000 * 30), front.init_state(1))[1]
    assert waiting.peak.exp().item() == pytest.approx(front.config.level.assumed)


def test_a_crescendo_from_the_first_note_on_is_one():
    front = LogFrequencySpectrogram(LogFrequencyConfig())
    swell = torch.cat([a * torch.sin(torch.arange(16_000) / 7.0) for a in (0.04, 0.08, 0.16, 0.3)])[None]
    loudness = front(swell)[0].amax((1, 2)).view(4, 50)[:, 30:].mean(1)
    assert (loudness.diff() > 0.03).all() and loudness[-1] - loudness[0] > 0.4, loudness


def test_near_silence_is_not_amplified_without_end():
    config = SMALL_LOG.level
    front = LogFrequencySpectrogram(SMALL_LOG)
    hiss = 0.01 * config.quietest * noise(8_000, torch.Generator().manual_seed(0))
    lowest = front.init_state(2)._replace(peak=torch.full((2,), -20.0))
    expected = front.at_its_level(hiss * config.target / config.quietest)
    assert torch.allclose(front.step(hiss, lowest)[0], expected, atol=1e-4)


def test_a_peak_fades_from_memory():
    level = LevelConfig(fading_db_per_minute=600)
    front = LogFrequencySpectrogram(LogFrequencyConfig(hop=80, windows=(512, 256, 128), level=level))
    bang, rest = torch.full((1, 80), 0.9), torch.full((1, 16_000), 0.1)
    _, state = front.step(torch.cat([bang, rest], 1), front.init_state(1))
    assert state.peak.exp().item() == pytest.approx(0.9 * 10 ** (-10 / 20), rel=0.01), "10 dB in a second"
    _, state = front.step(rest, state)
    assert state.peak.exp().item() == pytest.approx(0.1, rel=0.01), "never below what sounds"


def chords(cents: float, seconds: int = 8) -> torch.Tensor:
    """Two streams of chords that change each second, so many cents sharp."""
    time = torch.arange(16_000) / 16_000
    keys = [[(60, 64, 67), (65, 69, 72), (62, 67, 71), (60, 64, 72)][n % 4] for n in range(seconds)]
    hz = [[440 * 2 ** ((key - 69) / 12 + cents / 1200) for key in chord] for chord in keys]
    second = [sum(torch.sin(2 * torch.pi * f * time) for f in chord) * torch.exp(-2 * time) for chord in hz]
    return 0.2 * torch.cat(second)[None].expand(2, -1)


@pytest.mark.parametrize("cents", (-40, -30, 30, 40))
def test_an_instrument_out_of_tune_soon_looks_like_one_in_tune(cents):
    front, x = LogFrequencySpectrogram(LogFrequencyConfig()), chords(cents)
    thirds = [features[:, 100:, 0].argmax(-1) % 3 for features in (front(x), front.at_its_level(x))]
    assert (thirds[0] == 1).float().mean() > 0.95, "the middle ones, after two seconds"
    assert (thirds[1] == (0 if cents < 0 else 2)).float().mean() > 0.95


@pytest.mark.parametrize("cents", (-12, 0, 12))
def test_one_that_is_nearly_in_tune_is_seen_as_it_is(cents):
    deaf = LogFrequencySpectrogram(LogFrequencyConfig(tuning=FollowConfig(prior_s=1e9)))
    x = chords(cents)
    assert torch.equal(LogFrequencySpectrogram(LogFrequencyConfig())(x), deaf(x))


def test_noise_has_no_tuning():
    front = LogFrequencySpectrogram(LogFrequencyConfig())
    hiss = 0.3 * noise(16_000 * 30, torch.Generator().manual_seed(0))
    state = front.init_state(2)
    for second in hiss.split(16_000, 1):
        _, state = front.step(second, state)
        assert not bins_off(state.tuning, front.config.tuning, front.frame_s).any()


def test_the_tuning_is_remembered_through_silence_and_followed_to_another():
    front = LogFrequencySpectrogram(LogFrequencyConfig())
    config = front.config.tuning

    def off(audio, state):
        state = front.step(audio, state)[1]
        return bins_off(state.tuning, config, front.frame_s).tolist(), state

    flat, state = off(chords(-40), front.init_state(2))
    quiet, state = off(torch.zeros(2, 16_000 * 60), state)
    back, _ = off(chords(0, 60), state)
    assert flat == quiet == [-1, -1] and back == [0, 0]


def test_the_tuning_does_not_depend_on_how_the_audio_is_cut():
    front, x = LogFrequencySpectrogram(LogFrequencyConfig()), chords(-40)
    random, at, state, parts = np.random.default_rng(0), 0, front.init_state(2), []
    while at < x.shape[1]:
        size = int(random.integers(1, 60)) * front.hop
        features, state = front.step(x[:, at : at + size], state)
        parts.append(features)
        at += size
    assert torch.allclose(torch.cat(parts, 1), front(x), atol=1e-4)
