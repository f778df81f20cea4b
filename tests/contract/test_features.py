"""Front ends: they stream, sample by sample too, and equal nnAudio's."""

import numpy as np
import pytest
import torch

from inference.features import LogFrequencyConfig, LogFrequencySpectrogram, MelConfig, MelSpectrogram
from inference.streaming import verify_streaming

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
