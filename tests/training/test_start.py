"""A training begins from weights of another shape, and at first hears what they heard."""

from dataclasses import replace

import pytest
import torch

from inference.piano.config import LIGHT
from inference.piano.network import PianoNetwork
from inference.piano.start import FIRST_HARMONICS, begin_from

FIRST = replace(
    LIGHT, exchange=None, harmonic=replace(LIGHT.harmonic, harmonics=FIRST_HARMONICS, tables=False)
)
GROWN = replace(LIGHT, harmonic=replace(LIGHT.harmonic, harmonics=(-24, *FIRST_HARMONICS, 43), tables=True))


def network(config):
    torch.manual_seed(3)
    return PianoNetwork(config).eval()


@pytest.mark.parametrize("config", [FIRST, GROWN], ids=["same shape", "grown"])
def test_it_hears_the_same_at_first(config):
    trained, fresh = network(FIRST), PianoNetwork(config).eval()
    audio = torch.randn(1, 9_600) * 0.1
    with torch.no_grad():
        assert not torch.allclose(fresh(audio), trained(audio), atol=1e-3)
        begin_from(fresh, trained.state_dict())
        assert torch.allclose(fresh(audio), trained(audio), atol=1e-5)


def test_heads_of_further_delays_begin_as_the_main_one():
    trained = network(replace(FIRST, other_delays=()))
    fresh = PianoNetwork(FIRST).eval()
    begin_from(fresh, trained.state_dict())
    audio = torch.randn(1, 9_600) * 0.1
    with torch.no_grad():
        expected = trained(audio)
        for fresh.chosen, delay in enumerate(FIRST.delays):
            same = torch.allclose(fresh(audio), expected, atol=1e-5)
            assert same == (delay <= FIRST.delay), "those with hindsight have something to learn"


def test_what_is_new_can_learn():
    fresh = PianoNetwork(GROWN)
    begin_from(fresh, network(FIRST).state_dict())
    fresh(torch.randn(1, 6_400) * 0.1).square().sum().backward()
    head = fresh.note_acoustic.head
    assert head.gathered.weight.grad[:, : head.query.out_features].abs().sum() > 0
    assert head.film.scale.grad.abs().sum() > 0


def test_weights_of_something_else_are_refused():
    other = network(replace(FIRST, hidden=32))
    with pytest.raises(ValueError, match=r"have no .* of shape"):
        begin_from(PianoNetwork(GROWN), other.state_dict())
