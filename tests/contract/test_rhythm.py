"""The rhythm networks and their front end: reference loudness, published sizes, exact streaming."""

import math
from dataclasses import replace

import pytest
import torch

from inference.rhythm.config import (
    CONFIGS,
    FUSED,
    LOG_MEL,
    MTMS,
    MTMS_AS_RELEASED,
    NO_MIXTURE,
    TASKS,
    FrontEndConfig,
    Input,
    Task,
    single_task,
)
from inference.rhythm.loudness import BandPowers, features, levelled, sones, total_loudness
from inference.rhythm.network import RhythmNetwork
from inference.streaming import verify_streaming

torch.set_num_threads(1)
FRONT_END = FrontEndConfig()


def tone(hertz, amplitude, samples=1_024, rate=22_050):
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(samples, dtype=torch.float64) / rate)


# Bands 1, 4, 9, 13, 17, 22 in sones, then the total, of one frame: computed independently of this code.
REFERENCE = [
    (tone(1_000, 1), 9, (0.000, 0.000, 28.581, 3.366, 0.129, 0.000), 38.786),
    (tone(1_000, 0.1), 9, (0.000, 0.000, 7.145, 0.844, 0.000, 0.000), 9.640),
    (tone(100, 0.1), 2, (1.333, 0.759, 0.000, 0.000, 0.000, 0.000), 2.398),
    (
        sum(tone(440 * h, 0.05 / h) for h in range(1, 9)),
        5,
        (0.000, 2.121, 2.233, 2.610, 2.715, 0.047),
        9.192,
    ),
]


@pytest.mark.parametrize("sound, loudest, bands, total", REFERENCE, ids=["loud", "soft", "low", "rich"])
def test_loudness_is_that_of_the_reference(sound, loudest, bands, total):
    found = sones(BandPowers(FRONT_END).transform(sound.float()[None, None]))[0, 0]
    assert int(found.argmax()) + 1 == loudest
    assert [float(found[band - 1]) for band in (1, 4, 9, 13, 17, 22)] == pytest.approx(bands, abs=6e-4)
    assert float(total_loudness(found)) == pytest.approx(total, abs=1e-3)


def test_twenty_decibels_less_are_a_quarter_of_the_loudness():
    hear = BandPowers(FRONT_END)
    loud, soft = (sones(hear.transform(tone(1_000, a).float()[None, None])) for a in (1, 0.1))
    above = soft >= 1  # from 40 dB on
    assert above.sum() > 3
    assert torch.allclose(loud[above] / soft[above], torch.tensor(4.0), rtol=1e-4)


def noise(samples, generator):
    return torch.randn(2, samples, generator=generator) * 0.1


@pytest.mark.parametrize("config", [FRONT_END, LOG_MEL.front_end, FUSED.front_end], ids=str)
def test_the_front_end_streams(config):
    # Powers reach 1e8; what the network sees of them is what must agree.
    hear = BandPowers(config).eval()
    plain = hear.transform
    hear.transform = lambda frames: features(plain(frames), config)
    verify_streaming(hear, noise, 5 * config.window + 77, tolerance=1e-4)


def test_a_click_is_loudest_in_the_frame_that_is_centred_on_it():
    audio = torch.zeros(1, 40 * FRONT_END.hop)
    for frame in (11, 20, 33):
        click = audio.clone()
        click[0, frame * FRONT_END.hop - FRONT_END.early] = 1
        assert int(BandPowers(FRONT_END)(click).sum(-1).argmax()) == frame


def test_nothing_is_heard_above_the_highest_frequency():
    hear = BandPowers(FUSED.front_end)
    above, below = (hear.transform(tone(hertz, 1).float()[None, None]).max() for hertz in (8_500, 7_000))
    assert above < 1e-4 * below


def test_level_does_not_matter_once_levelled():
    powers = BandPowers(FUSED.front_end)(noise(22_050, torch.Generator().manual_seed(0)))
    seen = features(levelled(powers), FUSED.front_end)
    softer = features(levelled(powers / 100), FUSED.front_end)
    assert torch.allclose(seen, softer, atol=1e-3)
    assert not torch.allclose(
        features(powers, FUSED.front_end), features(powers / 100, FUSED.front_end), atol=1
    )


def test_silence_stays_silent_however_it_is_levelled():
    assert not features(levelled(BandPowers(FRONT_END)(torch.zeros(1, 22_050))), FRONT_END).any()


def size(config):
    return sum(p.numel() for p in RhythmNetwork(config).parameters())


def test_networks_have_the_published_sizes():
    assert size(MTMS_AS_RELEASED) == 445_053
    assert size(MTMS) == 444_765
    assert size(LOG_MEL) == 14_714_137
    assert size(single_task(Task.BEAT)) == 398_685
    assert size(FUSED) < 1_000_000


@pytest.mark.parametrize(
    "config, parts",
    [
        (
            MTMS_AS_RELEASED,
            {
                "norm": 44,
                "mixture": 3_200 + 288,
                "projections": 288,
                "heads": 54 + 3 * 9,
                "encoder": 445_053 - 44 - 3_488 - 288 - 81,
            },
        ),
        (NO_MIXTURE, {"mixture": 0, "projections": 288, "heads": 81}),
    ],
    ids=["mtms", "no-mixture"],
)
def test_parts_have_the_published_sizes(config, parts):
    network = RhythmNetwork(config)
    for name, expected in parts.items():
        part = getattr(network, name)
        assert (sum(p.numel() for p in part.parameters()) if part else 0) == expected, name


def test_stages_of_the_encoder_have_the_published_sizes():
    encoder = RhythmNetwork(MTMS).encoder
    expected = {
        "first": 20_064,
        "up_first": 9_724,
        "merge_second": 9_812,
        "second": 75_702,
        "up_second": 43_692,
        "merge_third": 30_690,
        "third": 93_654,
        "attention": 2 * 17_820,
        "up_third": 43_692,
        "merge_fourth": 21_912,
        "fourth": 35_728,
        "up_fourth": 9_724,
        "merge_fifth": 3_916,
        "fifth": 5_610,
        "leave": 536,
    }
    for name, count in expected.items():
        assert sum(p.numel() for p in getattr(encoder, name).parameters()) == count, name


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != LOG_MEL.name])
def test_every_configuration_answers_each_frame(name):
    config = CONFIGS[name]
    network = RhythmNetwork(config).eval()
    width = {Input.BARK: 22, Input.MEL: 128, Input.FUSED: 150}[config.front_end.input]
    with torch.no_grad():
        found = network(torch.rand(2, 133, width) * 8)
    assert tuple(found) == config.tasks
    for task, logits in found.items():
        assert logits.shape == ((2, 133, 6) if task is Task.DYNAMICS else (2, 133))
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("scale", [1, 3, 5, 7, 10])
def test_each_scale_sees_as_far_as_it_should(scale):
    """A change at one place is heard most there, and by attention a little everywhere."""
    torch.manual_seed(0)
    network = RhythmNetwork(replace(MTMS, scale=scale)).eval()
    long = max(scale * scale, 8)
    x = torch.rand(1, 40 * long, 22) * 8
    changed = x.clone()
    changed[0, :long] += 5
    with torch.no_grad():
        difference = (network(x)[Task.BEAT] - network(changed)[Task.BEAT]).abs()[0]
    assert difference[:long].max() > 3 * difference[-long:].max() > 0


def test_every_weight_learns():
    torch.manual_seed(0)
    network = RhythmNetwork(FUSED).train()
    found = network(torch.rand(2, 150, 150) * 8)
    sum(logits.square().sum() for logits in found.values()).backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


def test_tasks_listen_to_experts_in_their_own_way():
    torch.manual_seed(0)
    network = RhythmNetwork(MTMS).eval()
    weights = network.mixture.weights(torch.randn(2, 8, 30))
    assert weights.shape == (2, len(TASKS), 8, 30)
    assert torch.allclose(weights.sum(2), torch.ones(2, len(TASKS), 30), atol=1e-5)
    assert not torch.allclose(weights[:, 0], weights[:, 1])
