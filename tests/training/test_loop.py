"""Training learns, resumes where it stopped, and keeps its curve."""

import csv
import itertools
import time

import pytest
import torch
from torch import nn

from inference.training.loop import LoopConfig, train


def batches():
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(32, 4, generator=generator)
        yield x, x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])


def loss(network, batch):
    x, y = batch
    return {"total": (network(x) - y).square().mean()}


def config(minutes):
    return LoopConfig(minutes=minutes, learning_rate=0.05, ranks=1, log_steps=20, warm_up_steps=1)


def network():
    torch.manual_seed(1)
    return nn.Linear(4, 1)


@pytest.fixture
def slowly():
    """Batches that take a moment, so that a budget of seconds means few steps."""

    def stream():
        for batch in batches():
            time.sleep(0.002)
            yield batch

    return stream()


def test_training_learns_and_keeps_its_curve(tmp_path, slowly):
    net = network()
    before = loss(net, next(batches()))["total"].item()
    progress = train(net, slowly, loss, config(1 / 60), tmp_path, 2.0)
    assert loss(net, next(batches()))["total"].item() < before / 100
    assert 1 <= progress.used_s < 3 and progress.seen_s == 2 * progress.steps
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == progress.steps // 20
    assert float(rows[-1]["total"]) < float(rows[0]["total"])


def test_training_goes_on_where_it_stopped(tmp_path, slowly):
    first = train(network(), slowly, loss, config(0.5 / 60), tmp_path, 1.0)
    net = network()
    second = train(net, slowly, loss, config(1 / 60), tmp_path, 1.0)
    assert second.steps > first.steps and second.used_s >= 1
    third = train(network(), iter([]), loss, config(1 / 60), tmp_path, 1.0)
    assert third == second, "a run whose budget is used ends at once"


def test_weights_of_the_end_are_averages(tmp_path):
    net = network()
    stream = itertools.islice(batches(), 400)
    with pytest.raises(StopIteration):
        train(net, stream, loss, config(5), tmp_path, 1.0)
    assert not (tmp_path / "checkpoint.pt.part").exists()
