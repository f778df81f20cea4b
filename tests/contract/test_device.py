"""Nothing of a network stays behind on the processor, where another device would not find it."""

from dataclasses import replace

import pytest
import torch

from inference import weights
from inference.device import open_device
from inference.piano import load
from inference.piano.acoustic import fold_norms
from inference.piano.config import LIGHT, PAR_COMPACT
from inference.piano.losses import LossConfig, joint_loss, recursive_loss
from inference.piano.mix import Batch
from inference.piano.network import PianoNetwork
from inference.piano.seen import seen
from inference.streaming import leaves
from tests.contract.networks import SMALL

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


@GPU
def test_a_gpu_hears_what_the_processor_hears():
    here, there = load(), load(device="cuda")
    audio = torch.randn(2, 60 * here.hop, generator=torch.Generator().manual_seed(1)) * 0.1
    for step in (1, 3, 60):
        heard = []
        for transcriber in (here, there):
            states, found = [transcriber.start() for _ in audio], []
            for begin in range(0, audio.shape[1], step * here.hop):
                events, states = transcriber.step(audio[:, begin : begin + step * here.hop], states)
                found.append(events)
            heard.append(found)
        assert [[e.final_until for e in row] for row in heard[0]] == [
            [e.final_until for e in row] for row in heard[1]
        ]
    stored = weights.read("piano-light").tensors
    there.network.cpu()
    assert set(stored) <= set(there.network.state_dict())


@GPU
def test_outputs_on_a_gpu_differ_by_rounding():
    network = PianoNetwork(LIGHT).eval()
    audio = torch.randn(1, 50 * LIGHT.hop, generator=torch.Generator().manual_seed(2)) * 0.1
    with torch.inference_mode():
        expected, _ = network.step(audio, network.init_state(1))
        network.to(open_device("cuda"))
        found, _ = network.step(audio.cuda(), network.init_state(1))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
