"""The performance weights that are shipped: fast, finite, better than rules where it was measured."""

import hashlib

import numpy as np
import pytest
import torch

from inference import weights
from inference.performance import DEFAULT_WEIGHTS, load, load_writer
from inference.performance.config import CONFIGS
from inference.performance.export import STYLES
from inference.performance.network import Xmvae
from inference.performance.perform import Choices
from inference.performance.wishes import Wishes
from tests.contract.scores import a_performance, a_score


@pytest.fixture(scope="module")
def performer():
    torch.set_num_threads(1)
    return load()


def test_they_are_the_ones_whose_sum_is_written_down():
    path = weights.FOLDER / f"{DEFAULT_WEIGHTS}.safetensors"
    assert weights.checksums()[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_size < 7_000_000
    assert all(torch.isfinite(value).all() for value in weights.read(DEFAULT_WEIGHTS).tensors.values())


def test_the_card_tells_where_they_come_from():
    card = (weights.FOLDER / f"{DEFAULT_WEIGHTS}.md").read_text(encoding="utf-8")
    network = Xmvae(CONFIGS[weights.read(DEFAULT_WEIGHTS).metadata["config"]])
    size = f"{sum(parameter.numel() for parameter in network.parameters()):,}"
    for word in (size, "asap/train", "non-commercial", "dawbridge evaluate performance", "2507.01582"):
        assert word in card, word


def test_it_plays_with_expression(performer):
    score = a_score(bars=24).unmarked()
    played = performer.perform(score)
    assert 3 < played.velocity.std() < 25
    gaps = np.diff(np.unique(played.onset.round(4)))
    assert (gaps >= 0).all() and played.onset[-1] > 5
    assert np.log2(np.diff(played.onset[np.flatnonzero(np.diff(score.group, prepend=-1))])).std() > 0.05
    assert (played.duration >= 0.0149).all()


def test_high_notes_and_loud_marks_are_louder(performer):
    score = a_score(bars=24)
    played = performer.perform(score)
    loud, soft = (played.velocity[score.level == level].mean() for level in (6, 3))
    assert loud > soft + 8
    assert np.corrcoef(score.pitch, played.velocity)[0, 1] > 0.1


def test_styles_are_what_they_are_called(performer):
    assert set(performer.styles) == set(STYLES)
    score = a_score(bars=24).unmarked()
    own = {name: performer.perform(score, Choices(style=performer.styles[name])) for name in STYLES}
    assert own["loud"].velocity.mean() > own["soft"].velocity.mean() + 5
    assert np.log2(own["legato"].duration / own["detached"].duration).mean() > 0.2
    assert own["contrasting"].velocity.std() > own["even"].velocity.std()


def test_the_style_of_a_loud_example_is_loud(performer):
    score = a_score(bars=24).unmarked()
    played = a_performance(score)
    means = []
    for level in (40.0, 100.0):
        played.velocity[:] = level + np.random.default_rng(1).normal(0, 5, len(score))
        style = performer.style_of(score, played)
        means.append(performer.perform(score, Choices(style=style)).velocity.mean())
    assert means[1] > means[0] + 8


def test_a_score_of_three_minutes_takes_seconds(performer):
    import time

    score = a_score(bars=90)
    begin = time.process_time()
    performer.perform(score)
    assert len(score) > 1_000 and time.process_time() - begin < 5


def test_writing_repeats_with_its_seed():
    writer = load_writer()
    a, b, c = (writer.write(Wishes(bars=4, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(a.onset, b.onset) and np.array_equal(a.pitch, b.pitch)
    assert len(a) != len(c) or not np.array_equal(a.pitch, c.pitch)
    assert len(a) > 4
