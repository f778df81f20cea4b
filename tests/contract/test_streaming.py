"""`verify_streaming` itself: it accepts what streams, and catches every way of not streaming."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from inference.streaming import Streaming, run_in_steps, split, stack, verify_streaming


def noise(length, generator):
    return torch.randn(2, length, generator=generator)


class RunningSum(Streaming[torch.Tensor]):
    """An honest module: the leaky sum of everything so far."""

    def init_state(self, batch):
        return torch.zeros(batch, 1)

    def step(self, x, state):
        outputs = []
        for column in x.split(1, dim=1):
            state = 0.9 * state + column
            outputs.append(state)
        return torch.cat(outputs, 1), state


class LeaksFuture(RunningSum):
    """Sees one sample ahead where it can."""

    def step(self, x, state):
        y, state = super().step(x, state)
        return y + torch.cat([x[:, 1:], x[:, -1:]], 1), state


class SubtractsMean(RunningSum):
    """Normalises by what happens to be in the step."""

    def step(self, x, state):
        return super().step(x - x.mean(1, keepdim=True), state)


class Forgets(RunningSum):
    def step(self, x, state):
        return super().step(x, torch.zeros_like(state))[0], state


class ForgetsLongAgo(Streaming[torch.Tensor]):
    """Carries one sample too few of the three that it adds."""

    def init_state(self, batch):
        return torch.zeros(batch, 2)

    def step(self, x, state):
        joined = torch.cat([torch.zeros(len(x), 1), state, x], 1)
        length = x.shape[1]
        y = joined[:, :length] + joined[:, 1 : length + 1] + joined[:, 3:]
        return y, joined[:, -2:]


class SharesRows(RunningSum):
    """One state for all rows, in every single sample: only other rows can show it."""

    def step(self, x, state):
        outputs = []
        for column in x.split(1, dim=1):
            state = (0.9 * state + column).mean(0, keepdim=True).expand(len(x), 1)
            outputs.append(state)
        return torch.cat(outputs, 1), state


class RowsTouch(RunningSum):
    """No state is shared, but the output of a row depends on the batch."""

    def step(self, x, state):
        y, state = super().step(x, state)
        return y - y.mean(0, keepdim=True), state


class HidesState(RunningSum):
    """Keeps its memory in itself; `init_state` clears it, so one stream alone looks right."""

    def init_state(self, batch):
        self.hidden = torch.zeros(batch, 1)
        return torch.zeros(batch, 1)

    def step(self, x, state):
        y, self.hidden = super().step(x, self.hidden)
        return y, state


class ChangesItsState(RunningSum):
    """Writes into the state it was given."""

    def step(self, x, state):
        y, after = super().step(x, state)
        state.copy_(after)
        return y, state


class ChangesItsInput(RunningSum):
    def step(self, x, state):
        y, state = super().step(x, state)
        x.mul_(1.0).add_(1e-3)
        return y, state


class BreaksInSteps(RunningSum):
    """Gives NaN, which no maximum may hide."""

    def step(self, x, state):
        y, state = super().step(x, state)
        return (y * float("nan") if x.shape[1] == 1 else y), state


class DropsOutput(RunningSum):
    def step(self, x, state):
        y, state = super().step(x, state)
        return y[:, : max(1, x.shape[1] - 1)], state


class Decimates(Streaming[torch.Tensor]):
    """Honest, with fewer outputs than inputs: the sum of every four samples."""

    def init_state(self, batch):
        return torch.zeros(batch, 0)

    def step(self, x, state):
        joined = torch.cat([state, x], 1)
        whole = joined.shape[1] // 4 * 4
        return joined[:, :whole].reshape(len(x), -1, 4).sum(2), joined[:, whole:]


@pytest.mark.parametrize("make", [RunningSum, Decimates])
def test_what_streams_is_accepted(make):
    report = verify_streaming(make().eval(), noise, 61)
    assert max(report.partition, report.causality, report.batching, report.replay) < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        LeaksFuture,
        SubtractsMean,
        Forgets,
        ForgetsLongAgo,
        SharesRows,
        RowsTouch,
        HidesState,
        ChangesItsState,
        ChangesItsInput,
        BreaksInSteps,
        DropsOutput,
    ],
)
def test_what_does_not_stream_is_caught(make):
    with pytest.raises((AssertionError, RuntimeError)):
        verify_streaming(make().eval(), noise, 61)


@pytest.mark.parametrize(
    "make, message",
    [
        (LeaksFuture, "steps differ"),
        (Forgets, "steps differ"),
        (BreaksInSteps, "by nan"),
        (SharesRows, "rows of a batch"),
        (ChangesItsState, "changes what it was given"),
        (DropsOutput, "shapes differ"),
    ],
)
def test_the_message_says_what_is_wrong(make, message):
    with pytest.raises(AssertionError, match=message):
        verify_streaming(make().eval(), noise, 61)


def test_a_leak_that_steps_cannot_show_is_caught():
    """Its steps of one position and its whole agree with themselves only by way of `forward`."""

    class TwoFaces(RunningSum):
        def forward(self, x):
            return x.flip(1).cumsum(1).flip(1)

        def step(self, x, state):
            joined = torch.cat([state, x], 1)
            return joined.flip(1).cumsum(1).flip(1)[:, -x.shape[1] :], joined

        def init_state(self, batch):
            return torch.zeros(batch, 0)

    with pytest.raises(AssertionError):
        verify_streaming(TwoFaces().eval(), noise, 20)


def test_training_mode_and_too_little_input_are_refused():
    with pytest.raises(AssertionError, match="evaluation"):
        verify_streaming(RunningSum().train(), noise, 20)
    with pytest.raises(AssertionError, match="greater length"):
        verify_streaming(Decimates().eval(), noise, 3)


def test_a_module_without_the_two_methods_says_so():
    class Bare(Streaming[torch.Tensor]):
        pass

    with pytest.raises(NotImplementedError, match=r"Bare\.init_state"):
        Bare()(torch.zeros(1, 3))
    with pytest.raises(NotImplementedError, match=r"Bare\.step"):
        Bare().step(torch.zeros(1, 3), torch.zeros(1))
    assert isinstance(Bare(), nn.Module)


class Inner(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor


class Outer(NamedTuple):
    inner: Inner
    many: tuple[torch.Tensor, ...]
    nothing: tuple[()] = ()


def outer(rows):
    return Outer(Inner(torch.rand(rows, 2), torch.rand(rows, 3, 4)), (torch.rand(rows, 1),) * 2)


def leaves(state):
    return [state] if isinstance(state, torch.Tensor) else [leaf for item in state for leaf in leaves(item)]


def test_split_undoes_stack_whatever_the_nesting():
    states = [outer(rows) for rows in (1, 3, 2)]
    joined = stack(states)
    assert type(joined) is Outer and type(joined.inner) is Inner and joined.nothing == ()
    assert all(len(leaf) == 6 for leaf in leaves(joined))
    parts = split(joined, [1, 3, 2])
    for state, part in zip(states, parts, strict=True):
        assert type(part) is Outer
        assert all(torch.equal(a, b) for a, b in zip(leaves(state), leaves(part), strict=True))


def test_a_state_of_anything_else_is_refused():
    with pytest.raises(TypeError, match="tensors and"):
        stack([[torch.zeros(1)], [torch.zeros(1)]])


def test_run_in_steps_joins_the_pieces():
    x = torch.rand(2, 10)
    assert torch.allclose(run_in_steps(RunningSum(), x, [1, 4, 5]), RunningSum()(x))
