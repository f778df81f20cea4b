"""A training begins from weights of a smaller network, and at first hears what it heard."""

from dataclasses import replace

import pytest
import torch

from inference.piano import start
from inference.piano.config import LIGHT, ExchangeConfig, HarmonicConfig
from inference.piano.network import PianoNetwork
from inference.piano.start import begin_from

SMALLER = replace(
    LIGHT,
    harmonic=replace(LIGHT.harmonic, channels=48, residual_blocks=2),
    features=48,
    exchange=ExchangeConfig(),
)
GROWN = {
    "same shape": SMALLER,
    "wider trunk": replace(SMALLER, harmonic=replace(SMALLER.harmonic, channels=56, first_channels=28)),
    "wider keys": replace(SMALLER, features=64),
    "more said": replace(SMALLER, exchange=ExchangeConfig(said=16, width=64)),
    "all": LIGHT,
}


def network(config, seed=3):
    torch.manual_seed(seed)
    made = PianoNetwork(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # nothing as it began
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def grown(config, trained, seed=8):
    torch.manual_seed(seed)
    fresh = PianoNetwork(config)
    begin_from(fresh, trained.state_dict())
    return fresh.eval()


@pytest.mark.parametrize("config", GROWN.values(), ids=GROWN)
def test_it_hears_the_same_at_first(config, monkeypatch):
    monkeypatch.setattr(start, "QUIET", 0.0)  # else a new block is heard a little
    trained = network(SMALLER)
    audio = torch.randn(1, 9_600) * 0.1
    with torch.no_grad():
        assert not torch.allclose(PianoNetwork(config).eval()(audio), trained(audio), atol=1e-3)
        assert torch.allclose(grown(config, trained)(audio), trained(audio), atol=1e-4)


def test_a_new_block_begins_quietly():
    trained = network(SMALLER)
    deeper = grown(replace(SMALLER, harmonic=replace(SMALLER.harmonic, residual_blocks=3)), trained)
    norm = deeper.note_acoustic.blocks[-1].norm
    assert torch.equal(norm.weight, torch.full_like(norm.weight, start.QUIET))
    assert not deeper.note_acoustic.blocks[-2].norm.weight.eq(start.QUIET).any()


def test_keys_that_told_each_other_nothing_begin_to():
    alone = network(replace(SMALLER, exchange=None))
    audio = torch.randn(1, 6_400) * 0.1
    with torch.no_grad():
        assert torch.allclose(grown(SMALLER, alone)(audio), alone(audio), atol=1e-5)


def test_heads_of_further_delays_begin_as_the_main_one():
    trained = network(replace(SMALLER, other_delays=()))
    fresh = grown(SMALLER, trained)
    audio = torch.randn(1, 9_600) * 0.1
    with torch.no_grad():
        expected = trained(audio)
        for fresh.chosen, delay in enumerate(SMALLER.delays):
            same = torch.allclose(fresh(audio), expected, atol=1e-5)
            assert same == (delay <= SMALLER.delay), "those with hindsight have something to learn"


def test_what_is_new_can_learn():
    fresh = grown(LIGHT, network(SMALLER)).train()
    fresh(torch.randn(1, 6_400) * 0.1).square().sum().backward()
    acoustic = fresh.note_acoustic
    old, wide = SMALLER.harmonic.channels, LIGHT.harmonic.channels
    assert acoustic.head.query.weight.grad[:, old:wide].abs().sum() > 0
    assert acoustic.blocks[-1].conv.conv.weight.grad.abs().sum() > 0
    assert fresh.notes.lstm.weight_ih_l0.grad[:, SMALLER.features : LIGHT.features].abs().sum() > 0
    assert fresh.exchange.revise.weight.grad[:, 48:].abs().sum() > 0


@pytest.mark.parametrize(
    "other",
    [
        replace(SMALLER, hidden=32),
        replace(SMALLER, harmonic=HarmonicConfig(channels=80)),
        replace(SMALLER, harmonic=replace(SMALLER.harmonic, harmonics=(0, 12))),
        replace(SMALLER, harmonic=replace(SMALLER.harmonic, tables=False)),
    ],
    ids=["another sequence net", "a larger one", "other harmonics", "other tables"],
)
def test_weights_of_something_else_are_refused(other):
    with pytest.raises(ValueError, match=r"have no .* of shape"):
        begin_from(PianoNetwork(LIGHT), network(other).state_dict())
