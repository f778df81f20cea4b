"""What a writer of bars knows: the same all at once and step by step, and nothing of what is to come."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.performance import words
from inference.performance.config import CONFIGS
from inference.performance.context import LEFT, Trail, bar_of, bars_left, left_class, surroundings
from inference.performance.corpus import Sheet
from inference.performance.losses import LOSSES, LossConfig
from inference.performance.network import Xmvae
from inference.performance.pages import PageWindows, page, to_common_key, transposed
from inference.performance.recorded import RecordedDecoder
from tests.contract.scores import a_score

LAGS = (1, 2, 4)
BARS = replace(
    CONFIGS["bars"],
    name="small-bars",
    composing=replace(CONFIGS["bars"].composing, width=32, inner=48, steps=96, codes=8, lags=LAGS),
)


def tokens(seed=0, bars=14, meter=3):
    return words.spell(a_score(bars=bars, seed=seed, meter=meter)).tokens


@pytest.mark.parametrize("meter", [2, 4])
def test_a_trail_knows_what_a_window_knows(meter):
    said = tokens(3, meter=meter)
    whole, trail = surroundings(said, 14, LAGS), Trail(14, LAGS)
    for step, token in enumerate(said.tolist()):
        echoes, place, left, classes = trail.next()
        assert whole.echoes[step].tolist() == echoes
        assert (int(whole.place[step]), int(whole.left[step])) == (place, left)
        assert whole.classes[step].bool().tolist() == classes
        trail.add(token)
    assert whole.echoes.any() and whole.classes.any()


def test_nothing_is_known_of_what_is_to_come():
    said = tokens(4)
    a = surroundings(said, 14, LAGS)
    half = len(said) // 2
    other = said.copy()
    other[half:] = said[: len(said) - half]
    b = surroundings(other, 14, LAGS)
    assert all(torch.equal(x[: half + 1], y[: half + 1]) for x, y in zip(a, b, strict=True))


def test_a_bar_again_is_heard_beforehand():
    once = tokens(5, bars=1)
    said = np.concatenate([once] * 3)
    echoes = surroundings(said, 3, (1,)).echoes.numpy()
    second = bar_of(said) == 1
    second[np.flatnonzero(second)[0]] = False  # a bar's first step is told by the last word before it
    assert np.array_equal(echoes[second], said[second])


def test_bars_that_are_left_are_counted_by_powers_of_two():
    backwards = [1, 2] + [3] * 2 + [4] * 4 + [5] * 8 + [6] * 16 + [7] * 32 + [8] * 6
    assert bars_left(70, np.arange(70)).tolist() == backwards[::-1]
    assert bars_left(70, np.array([0, 69, 71])).tolist() == [8, 1, 1], "what comes later is the last"
    assert left_class(10_000) == LEFT - 1


@pytest.mark.parametrize("shift", [-3, 1, 6])
def test_every_key_becomes_the_same(shift):
    said = tokens(6)
    home, mode = to_common_key(said)
    away, again = to_common_key(transposed(said, shift))
    assert (home - away - shift) % 12 == 0 and mode == again


def test_short_pieces_are_filled_up_and_do_not_count():
    said = tokens(7, bars=2)
    one = page(said, len(said) + 20, 2, 1, True, LAGS)
    assert (one.tokens[len(said) :, 0] == words.END).all() and len(one.bars) == 2
    assert torch.isfinite(surroundings(one.tokens.numpy(), 2, LAGS).classes).all()


@pytest.mark.parametrize("name", ["bars", "compound-word"])
def test_writers_of_bars_learn(name):
    torch.manual_seed(1)
    small = {"width": 32, "inner": 48, "steps": 96, "codes": 8, "temporal_layers": 2}
    network = Xmvae(replace(BARS, composing=replace(CONFIGS[name].composing, **small)))
    own = network.writing
    windows = PageWindows([Sheet(str(s), 1, tokens(s)) for s in range(4)], 4, 96, own.lags, 5)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    found = []
    for _ in range(25):
        losses = LOSSES["composer"](network, windows.draw(), LossConfig())
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        found.append(losses["words"].item())
    assert found[-1] < 0.75 * found[0]
    assert ("perplexity" in losses) == (name == "bars")
    if name == "bars":
        assert losses["perplexity"].item() > 1.1


def test_recorded_steps_are_like_those_of_the_decoder():
    torch.manual_seed(2)
    decoder = Xmvae(BARS).composer.decoder.eval()
    recorded = RecordedDecoder(decoder)
    with torch.inference_mode():
        for batch in (1, 3):
            a, b, before = decoder.start(batch), recorded.start(batch), None
            for _ in range(110):  # longer than what a step looks back to
                memory, told = torch.randn(batch, 32), ([], [])
                x, a = decoder.step(memory, before, a)
                y, b = recorded.step(memory, before, b)
                assert torch.allclose(x, y, atol=1e-5)
                for own, hidden, out in ((decoder, x, told[0]), (recorded, y, told[1])):

                    def choose(_, logits, out=out):
                        out.append(logits)
                        return logits.argmax(-1)

                    before = own.tell(hidden, choose)
                assert all(torch.allclose(p, q, atol=1e-4) for p, q in zip(*told, strict=True))
