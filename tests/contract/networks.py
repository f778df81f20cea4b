"""Piano networks small enough to test thoroughly, with decisions that change all the time."""

from dataclasses import replace

import torch

from inference.features import LogFrequencyConfig, MelConfig
from inference.piano.config import LIGHT, PAR, PAR_COMPACT, BlockConfig, HarmonicConfig, NoteState
from inference.piano.network import PianoNetwork

SMALL = {
    "par": replace(
        PAR,
        front_end=MelConfig(window=256, hop=64, bins=24, lowest_hz=100.0),
        blocks=(BlockConfig(4, (3, 3), 2), BlockConfig(4, (3, 1), 2), BlockConfig(4, (1, 3), 1)),
        features=4,
        hidden=6,
    ),
    "par-compact": replace(
        PAR_COMPACT,
        front_end=MelConfig(window=256, hop=64, bins=24, lowest_hz=100.0),
        blocks=(BlockConfig(4, (3, 3), 2), BlockConfig(4, (3, 3), 2)),
        features=4,
        hidden=6,
    ),
    "light": replace(
        LIGHT,
        front_end=LogFrequencyConfig(hop=80, windows=(512, 256, 128)),
        harmonic=HarmonicConfig(6, 8, 2, 4, 4),
        features=6,
        hidden=8,
    ),
}


SMALL |= {
    "light-context": replace(SMALL["light"], context=True, other_delays=()),
    "light-global-lstm": replace(SMALL["light"], global_units=48, exchange=None),
}


def restless(config, seed=0, scale=40.0):
    """A network with random weights whose decisions change all the time, in evaluation mode."""
    torch.manual_seed(seed)
    network = PianoNetwork(config).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        if config.exchange is not None:
            network.exchange.revise.weight.normal_(0, 0.3)
        for chosen in range(len(config.delays)) if config.joint else [0]:
            network.chosen = chosen
            layer = network.head.keys if config.joint else network.note_head
            layer.weight[: len(NoteState)].mul_(scale)
            if config.joint:
                network.head.touch.normal_()
            for _ in range(3):  # no state may be the favourite
                heard = network(noise(40 * config.hop, torch.Generator().manual_seed(9)))
                usual = heard[..., : len(NoteState)].flatten(0, 2).median(0).values
                layer.bias[: len(NoteState)] -= usual
        network.chosen = 0
    return network


def noise(length, generator):
    return torch.randn(2, length, generator=generator) * 0.2
