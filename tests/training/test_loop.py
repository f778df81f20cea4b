"""Training learns, resumes where it stopped, and keeps its curve."""

import csv
import itertools
import time
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

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


def test_a_budget_may_be_of_steps(tmp_path):
    settings = LoopConfig(minutes=0, steps=30, learning_rate=0.05, ranks=1, log_steps=10, warm_up_steps=1)
    assert train(network(), batches(), loss, replace(settings, steps=10), tmp_path, 1.0).steps == 10
    assert train(network(), batches(), loss, settings, tmp_path, 1.0).steps == 30


def test_weights_of_the_end_are_averages(tmp_path):
    net = network()
    stream = itertools.islice(batches(), 400)
    with pytest.raises(StopIteration):
        train(net, stream, loss, config(5), tmp_path, 1.0)
    assert not (tmp_path / "checkpoint.pt.part").exists()


def rank(number, folder, meeting):
    """One of two ranks; the second is slower, and its clock begins later."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=2)
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def stream():
        for count, batch in enumerate(batches()):
            time.sleep(0.004 * number if count % 2 else 0.002)
            yield batch

    settings = LoopConfig(minutes=2 / 60, ranks=2, log_steps=20, checkpoint_minutes=0.1 / 60)
    time.sleep(0.05 * number)
    progress = train(net, stream(), loss, settings, folder, 1.0, number)
    torch.save((net.state_dict(), progress.steps), folder / f"{number}.pt")
    dist.destroy_process_group()


def test_two_ranks_with_clocks_of_their_own_agree(tmp_path):
    """Averaging and saving are steps that all ranks take together, or none ends."""
    context = spawn(rank, (tmp_path, (tmp_path / "ranks").as_uri()), nprocs=2, join=False)
    deadline = time.monotonic() + 60
    while not context.join(timeout=1):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail("the ranks wait for each other")
    (first, steps), (second, others) = (torch.load(tmp_path / f"{n}.pt") for n in (0, 1))
    assert steps == others > 20
    learned = [name for name in first if "running" not in name]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    assert (tmp_path / "checkpoint.pt").is_file()
