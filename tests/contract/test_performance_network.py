"""The performance networks: sizes, what sees what, and one step at a time like all at once."""

from dataclasses import replace

import pytest
import torch

from inference.performance import words
from inference.performance.attention import FAR, Attention, behind, together
from inference.performance.config import CONFIGS, LIGHT, XMVAE
from inference.performance.encoder import MultiscaleEncoder
from inference.performance.network import Xmvae
from inference.performance.orthogonal import OrthogonalDecoder
from inference.performance.quantiser import GroupedQuantiser

SMALL = replace(LIGHT, width=32, heads=4, inner=48, steps=24, codes=16)
CROSS = replace(SMALL, cross_attention=True, word_layers=2)
FLAT = replace(SMALL, word_decoder=False)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def tokens(sizes, steps, seed=0, batch=2):
    random = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, size, (batch, steps), generator=random) for size in sizes], -1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def test_sizes_are_what_the_cards_say():
    light, published = Xmvae(LIGHT), Xmvae(XMVAE)
    assert count(light) == 2_917_357
    assert (count(light.pianist), count(light.composer), count(light.prior)) == LIGHT_COUNTS
    assert count(published) == 131_849_341
    assert (count(published.pianist), count(published.composer)) == PUBLISHED_COUNTS


LIGHT_COUNTS = (1_217_698, 1_020_491, 679_168)
PUBLISHED_COUNTS = (44_813_202, 57_349_355)


def test_a_layer_has_as_many_numbers_as_the_formula_says():
    width, inner = XMVAE.width, XMVAE.inner
    layer = Xmvae(XMVAE).pianist.style.layers[0]
    assert count(layer) == 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width


def test_every_ablation_can_be_built_and_differs():
    assert len({count(Xmvae(config)) for config in CONFIGS.values()}) == len(CONFIGS)


def test_beats_do_not_see_each_other():
    beat = torch.tensor([[0, 0, 0, 1, 1, 2]])
    bias = together(beat)
    attention = Attention(32, 4)
    x = torch.randn(1, 6, 32)
    query, keys = attention.ask(x).view(1, 6, 4, 8), attention.look(x).view(1, 6, 2, 4, 8)[:, :, 0]
    weights = (torch.einsum("bqhc,bkhc->bhqk", query, keys) / 8**0.5 + bias).softmax(-1)
    other = beat[:, :, None] != beat[:, None, :]
    assert (weights[:, :, other[0]] == 0).all() and (weights[:, :, ~other[0]] > 0).all()


def test_a_layer_within_beats_spreads_nothing():
    encoder = MultiscaleEncoder(SMALL, SMALL.score_sizes)
    beat = torch.tensor([[0, 0, 0, 1, 1, 2]])
    x, y = torch.randn(1, 6, 32), torch.randn(1, 6, 32)
    mixed = torch.where((beat == 1)[..., None], y, x)
    layer = encoder.layers[1]
    a, b = layer(x, together(beat)), layer(mixed, together(beat))
    assert torch.equal(a[:, [0, 1, 2, 5]], b[:, [0, 1, 2, 5]]) and not torch.equal(a[:, 3], b[:, 3])


def test_the_encoder_sees_across_beats_too():
    encoder = MultiscaleEncoder(SMALL, SMALL.score_sizes).eval()
    x = tokens(SMALL.score_sizes, 12, batch=1)
    other = x.clone()
    other[0, 11, 2] = (other[0, 11, 2] + 1) % 89
    beat = (torch.arange(12) // 3)[None]
    assert not torch.equal(encoder(x, beat)[0, 0], encoder(other, beat)[0, 0])


@pytest.mark.parametrize("config", [SMALL, CROSS, FLAT], ids=["light", "cross", "flat"])
def test_one_step_at_a_time_is_like_all_at_once(config):
    decoder = OrthogonalDecoder(config, (7, 5, 6, 4), 2, config.cross_attention).eval()
    steps = config.steps + 9  # longer than what a step looks back to
    said, memory = tokens(decoder.sizes, steps), torch.randn(2, steps, config.width)
    with torch.inference_mode():
        whole = decoder(memory, said)
        state, before = decoder.start(2), None
        for step in range(steps):
            hidden, state = decoder.step(
                memory[:, step], before, state, memory if config.cross_attention else None
            )
            told = []

            def choose(index, logits, step=step, told=told):
                told.append(logits)
                return said[:, step, index]

            before = decoder.tell(hidden, choose)
            assert torch.equal(before, said[:, step])
            for index, logits in enumerate(told):
                assert torch.allclose(logits, whole[index][:, step], atol=2e-5), (step, index)
    assert state.layers[0].keys.shape[2] == config.steps


@pytest.mark.parametrize("config", [SMALL, FLAT], ids=["light", "flat"])
def test_decoders_do_not_see_what_they_tell(config):
    decoder = OrthogonalDecoder(config, (7, 5, 6, 4), 2).eval()
    said, memory = tokens(decoder.sizes, 10), torch.randn(2, 10, config.width)
    other = said.clone()
    other[:, 6, 2] = (other[:, 6, 2] + 1) % 6
    a, b = decoder(memory, said), decoder(memory, other)
    assert all(torch.equal(x[:, :6], y[:, :6]) for x, y in zip(a, b, strict=True))
    assert all(torch.equal(a[index][:, 6], b[index][:, 6]) for index in (0, 1, 2))
    assert torch.equal(a[3][:, 6], b[3][:, 6]) == (config is FLAT)  # only sub-tokens after it see it
    assert not torch.equal(a[0][:, 7], b[0][:, 7])


def test_hidden_steps_are_not_seen():
    decoder = OrthogonalDecoder(SMALL, (7, 5, 6, 4), 2).eval()
    said, memory = tokens(decoder.sizes, 10), torch.randn(2, 10, SMALL.width)
    known = torch.zeros(2, 10, dtype=torch.bool)
    a = decoder.hidden(memory, said, known)
    assert torch.equal(a, decoder.hidden(memory, torch.zeros_like(said), known))
    assert not torch.equal(a, decoder.hidden(memory, said))


def test_far_is_as_good_as_never():
    assert torch.exp(torch.tensor(FAR)) == 0
    bias = behind(4, 6, 3)
    seen = bias[0] > FAR / 2
    assert seen.sum(1).tolist() == [1, 2, 3, 3, 3, 3]


def test_codes_bring_back_what_they_stand_for_and_pass_gradients():
    quantiser = GroupedQuantiser(2, 8, 3).eval()
    codes = torch.randint(0, 8, (2, 5, 2))
    x = quantiser.vectors(codes).clone().requires_grad_()
    found = quantiser(x)
    assert torch.equal(found.codes, codes) and found.commitment.item() < 1e-9
    found.vectors.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_books_learn_and_dead_codes_begin_anew():
    quantiser = GroupedQuantiser(1, 16, 2).train()
    centres = torch.tensor([[5.0, 5.0], [-5.0, 5.0], [5.0, -5.0], [-5.0, -5.0]])
    for _ in range(600):
        x = centres[torch.randint(0, 4, (4, 32))] + 0.01 * torch.randn(4, 32, 2)
        found = quantiser(x)
    assert found.commitment.item() < 1e-3
    assert found.perplexity.item() > 3.5


def test_the_published_pianist_sees_the_score_through_codes():
    config = replace(SMALL, through_codes=True, extras=False)
    network = Xmvae(config).eval()
    x, beat = tokens(config.score_sizes, 8), torch.zeros(2, 8, dtype=torch.long)
    extras = torch.zeros(2, 8, 7, dtype=torch.long)
    codes = network.composer.encode(x, beat, beat).codes
    assert torch.allclose(network.score_features(x, extras, beat), network.composer.memory(codes), atol=1e-5)


def test_marks_reach_the_light_pianist():
    network = Xmvae(SMALL).eval()
    x, beat = tokens(SMALL.score_sizes, 8), torch.zeros(2, 8, dtype=torch.long)
    extras = torch.zeros(2, 8, 7, dtype=torch.long)
    marked = extras.clone()
    marked[..., words.MARKS.start] = 6
    assert not torch.equal(network.score_features(x, extras, beat), network.score_features(x, marked, beat))
