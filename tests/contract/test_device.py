"""Nothing of a network stays behind on the processor, where another device would not find it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.device import open_device
from inference.events import NoteOn
from inference.piano import load
from inference.piano.acoustic import fold_norms
from inference.piano.config import LIGHT, PAR_COMPACT
from inference.piano.losses import LossConfig, joint_loss, recursive_loss
from inference.piano.mix import Batch
from inference.piano.network import PianoNetwork
from inference.piano.seen import seen
from inference.pipeline import Stream
from inference.streaming import leaves
from tests.contract.networks import SMALL, restless

# Tensors of the device `meta` have no values, but do not mix with those of others: as a GPU's do not.
ELSEWHERE = torch.device("meta")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def elsewhere(config):
    return PianoNetwork(config).to(ELSEWHERE)


def test_tensors_of_different_devices_do_not_mix():
    with pytest.raises(RuntimeError):
        torch.ones(2) + torch.ones(2, device=ELSEWHERE)


@pytest.mark.parametrize("frames", [1, 3, 40])
@pytest.mark.parametrize("config", [LIGHT, *SMALL.values()], ids=lambda config: config.name)
def test_a_network_steps_on_one_device_alone(config, frames):
    network = elsewhere(config).eval()
    fold_norms(network)
    with torch.inference_mode():
        state = network.init_state(2)
        assert {leaf.device for leaf in leaves(state)} == {ELSEWHERE}
        audio = torch.zeros(2, frames * config.hop, device=ELSEWHERE)
        for _ in range(2):
            output, state = network.step(audio, state)
        assert seen(output, config).device == ELSEWHERE
        assert {leaf.device for leaf in leaves(state)} == {ELSEWHERE}


def batch_of(network, device):
    config, frames = network.config, 20
    features = torch.zeros(2, frames, network.front_end.channels, network.front_end.bins, device=device)
    if config.head != LIGHT.head:
        features = features[:, :, 0]
    column = torch.zeros(2, frames, 88, device=device)
    return Batch(features, column, column, column, column, column[:, :, 0])


@pytest.mark.parametrize("config", [LIGHT, replace(LIGHT, context=True, other_delays=())])
def test_the_joint_loss_is_of_one_device(config):
    network = elsewhere(config).train()
    losses = joint_loss(network, batch_of(network, ELSEWHERE), LossConfig(), torch.Generator())
    losses["total"].backward()
    assert {value.device for value in losses.values()} == {ELSEWHERE}


def test_the_published_loss_is_of_one_device():
    network = elsewhere(PAR_COMPACT).train()
    losses = recursive_loss(network, batch_of(network, ELSEWHERE), torch.Generator())
    losses["total"].backward()
    assert losses["total"].device == ELSEWHERE


@pytest.mark.parametrize("name", ["meta", "gpu", "cuda:999"])
def test_a_device_that_is_not_there_says_what_to_choose(name):
    with pytest.raises(ValueError, match=f"device is '{name}'.*'cpu'"):
        load(device=name)


KEYS = 48, 55, 60, 64, 67, 72


def strokes(rate):
    """One key after another, every 0.3 s: 12 partials each, that die away."""
    time = np.arange(rate) / rate
    audio = np.zeros(3 * rate)
    for place, key in enumerate(KEYS):
        partials = 440 * 2 ** ((key - 69) / 12) * np.arange(1, 13)
        waves = np.sin(2 * np.pi * partials[:, None] * time) / np.arange(1, 13)[:, None]
        tone = waves.sum(0) * np.exp(-4 * time)
        begin = round((0.3 + 0.3 * place) * rate)
        audio[begin : begin + rate] += 0.1 * tone
    return audio[None].astype(np.float32)


def told(transcriber, chunk_ms):
    """Pitch, onset in milliseconds and velocity of what a transcriber tells of `strokes`."""
    stream = Stream(transcriber, transcriber.rate, 1, chunk_ms=chunk_ms)
    stream.push(strokes(transcriber.rate))
    events = stream.finish().notes
    return [(e.pitch, 1000 * e.time / transcriber.rate, e.velocity) for e in events if isinstance(e, NoteOn)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("chunk_ms", [20, 60, 1_000])
def test_what_is_heard_does_not_depend_on_the_device(device, chunk_ms):
    expected, found = told(load(), 20), told(load(device=device), chunk_ms)
    assert {pitch for pitch, *_ in expected} >= set(KEYS)
    assert [pitch for pitch, *_ in found] == [pitch for pitch, *_ in expected]
    _, onset, velocity = np.transpose(found)
    _, expected_onset, expected_velocity = np.transpose(expected)
    np.testing.assert_allclose(onset, expected_onset, atol=1)
    np.testing.assert_allclose(velocity, expected_velocity, atol=0.01)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_outputs_differ_by_rounding(device):
    here, there = restless(LIGHT, seed=3), restless(LIGHT, seed=3).to(open_device(device))
    audio = torch.randn(1, 50 * LIGHT.hop, generator=torch.Generator().manual_seed(2)) * 0.1
    with torch.inference_mode():
        expected, _ = here.step(audio, here.init_state(1))
        found, _ = there.step(audio.to(device), there.init_state(1))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
