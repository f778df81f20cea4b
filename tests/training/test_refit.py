"""Velocity read anew is read from what the heads see, and nearer to the truth."""

import torch

from inference.piano.config import NoteState, Output
from inference.piano.mix import Batch
from inference.piano.refit import RefitConfig, refit_velocity
from tests.contract.networks import SMALL, noise, restless


def batch(network):
    """Noise, with onsets here and there whose velocity follows what the main head could know."""
    random = torch.Generator().manual_seed(1)
    features = network.front_end(noise(120 * network.config.hop, random))
    with torch.no_grad():
        seen = network.hidden(features)
    shape = seen.shape[:3]
    state = torch.full(shape, float(NoteState.OFF))
    state[torch.rand(shape, generator=random) < 0.02] = NoteState.ONSET
    direction = torch.randn(seen.shape[-1], generator=random)
    velocity = 0.5 + 0.1 * seen @ direction
    nothing = torch.zeros(shape)
    return Batch(features, state, velocity, nothing, nothing, nothing[..., 0])


def error(network, data):
    with torch.no_grad():
        told = network.from_features(data.features)[..., 0, Output.VELOCITY]
    return (told - data.velocity)[data.state == NoteState.ONSET].square().mean()


def test_what_can_be_read_is_read():
    network = restless(SMALL["light"])
    data = batch(network)
    before = error(network, data)
    keys = network.heads[0].keys
    others = keys.weight.detach().clone()
    refit_velocity(network, [data], RefitConfig(ridge=1e-9))
    assert error(network, data) < 1e-4 < before / 100
    rest = [channel for channel in range(len(others)) if channel != Output.VELOCITY]
    assert torch.equal(keys.weight[rest], others[rest]), "only velocity is read anew"
