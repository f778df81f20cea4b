"""The streaming contract: state is an explicit value, and offline is streaming in one step.

A layer holds weights only. What it remembers between two steps is a value that the caller keeps:
a tensor whose first axis is the batch, or a (named) tuple of such values, nested as the modules
are nested. A state can therefore be copied, compared, saved, and batched with other streams'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from inference.events import Events

State = TypeVar("State")


class Streaming(nn.Module, Generic[State]):
    """A causal module over axis `time_axis` that can be run in steps of any length.

    `latency` is how many output positions the output lags behind the input it describes, counted
    at the module's output rate; it composes by addition through a chain of equal rate.
    """

    time_axis: int = 1
    latency: int = 0

    def init_state(self, batch: int) -> State:
        """State before the first sample, for `batch` independent rows."""
        raise NotImplementedError(f"{type(self).__name__}.init_state")

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Consume the next piece of input; return what it completes and the new state."""
        raise NotImplementedError(f"{type(self).__name__}.step")

    def forward(self, x: Tensor) -> Tensor:
        """Whole input at once: one step from the initial state."""
        return self.step(x, self.init_state(len(x)))[0]


class Transcriber(Protocol[State]):
    """A system that hears: mono audio at `rate` in, events at `rate` out.

    Audio comes in multiples of `hop` samples. `latency` is the number of samples between a sound
    and the moment at which its events are final, not counting the wait for a hop to fill: the step
    with which more than `t + latency` samples were heard has returned the events of time `t`. No step
    keeps gradients.
    """

    rate: int
    hop: int
    latency: int

    def start(self) -> State:
        """State of a stream that has heard nothing."""
        ...

    def step(self, audio: Tensor, states: Sequence[State]) -> tuple[list[Events], list[State]]:
        """Advance several streams at once: audio `(batch, samples)`, one state per row."""
        ...

    def finish(self, state: State) -> Events:
        """End of the stream: what is still undecided, and note-offs for everything that sounds."""
        ...


def stack(states: Sequence[State]) -> State:
    """Join the states of several streams along the batch axis; the inverse of `split`."""
    joined: State = _stack(list(states))
    return joined


def split(state: State, sizes: Sequence[int]) -> list[State]:
    """Cut a batched state into states of `sizes` rows each: views, as states are never changed in place."""
    parts: list[State] = _split(state, list(sizes))
    return parts


def leaves(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for item in state for leaf in leaves(item)]


def with_leaves(like: State, tensors: Sequence[Tensor]) -> State:
    """A state built as `like` is, out of the tensors that `leaves` gives."""
    filled: State = _fill(like, iter(tensors))
    return filled


def _fill(like: Any, rest: Iterator[Tensor]) -> Any:
    # No closure: one that calls itself is a cycle, which would keep its tensors until it is collected.
    return next(rest) if isinstance(like, Tensor) else _rebuild(like, [_fill(item, rest) for item in like])


def _stack(states: list[Any]) -> Any:
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(states)
    return _rebuild(first, [_stack(list(items)) for items in zip(*states, strict=True)])


def _split(state: Any, sizes: list[int]) -> list[Any]:
    if isinstance(state, Tensor):
        return list(torch.split(state, sizes))
    parts = [_split(item, sizes) for item in state]
    return [_rebuild(state, [part[row] for part in parts]) for row in range(len(sizes))]


def _rebuild(like: Any, items: list[Any]) -> Any:
    if not isinstance(like, tuple):
        raise TypeError(f"a state is made of tensors and (named) tuples, not of {type(like).__name__}")
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)


@dataclass(frozen=True)
class StreamingReport:
    """Largest deviations that `verify_streaming` saw."""

    partition: float
    causality: float
    batching: float
    replay: float


def verify_streaming(
    module: Streaming[Any],
    make_input: Callable[[int, torch.Generator], Tensor],
    length: int,
    *,
    seed: int = 0,
    trials: int = 4,
    largest: int | None = None,
    tolerance: float = 1e-5,
) -> StreamingReport:
    """Prove that `module` streams: raise `AssertionError` if any promise is broken.

    Checked: any partition into steps equals one step (a partition of single positions among
    them); a different future does not change the past; rows of a batch do not influence each
    other; two streams stacked and split again equal the two alone; a step leaves the input and
    the state it was given as they were, so that it can be taken again from there.

    Args:
        module: the module, in evaluation mode.
        make_input: `(length, generator) -> (2, ...)` random input of `length` along the time axis.
        length: positions to test; take more than the module's context.
        seed: seed of inputs and partitions.
        trials: random partitions to try.
        largest: longest piece of a random partition; default a third of `length`.
        tolerance: largest absolute deviation allowed.
    """
    assert not module.training, "verify_streaming wants a module in evaluation mode"
    generator = torch.Generator().manual_seed(seed)
    x, other = make_input(length, generator), make_input(length, generator)
    assert len(x) == 2 and x.shape[module.time_axis] == length, "make_input gives two rows of `length`"
    cuts = [_random_sizes(length, largest or max(2, length // 3), generator) for _ in range(trials)]
    with torch.no_grad():
        whole = module(x.clone())
        assert whole.numel(), "nothing comes out: take a greater length"
        steps = [_deviation(whole, run_in_steps(module, x, cut)) for cut in [[1] * length, *cuts]]
        return StreamingReport(
            partition=_within(tolerance, "steps differ from one step", steps),
            causality=_within(tolerance, "the future leaks into the past", _causality(module, x, other)),
            batching=_within(
                tolerance, "rows of a batch differ from single rows", _batching(module, x, whole)
            ),
            replay=_within(tolerance, "a step changes what it was given", _replay(module, x)),
        )


def _within(tolerance: float, broken: str, deviations: Sequence[float]) -> float:
    for deviation in deviations:  # one by one: the maximum would lose a NaN
        assert deviation <= tolerance, f"{broken} by {deviation:.3g}"
    return max(deviations)


def run_in_steps(module: Streaming[Any], x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Feed `x` in pieces of `sizes` positions and join the outputs."""
    state = module.init_state(len(x))
    outputs = []
    for piece in torch.split(x, list(sizes), dim=module.time_axis):
        y, state = module.step(piece, state)
        outputs.append(y)
    return torch.cat(outputs, dim=module.time_axis)


def _random_sizes(length: int, largest: int, generator: torch.Generator) -> list[int]:
    sizes: list[int] = []
    while (left := length - sum(sizes)) > 0:
        sizes.append(min(left, int(torch.randint(1, largest + 1, (), generator=generator))))
    return sizes


def _causality(module: Streaming[Any], x: Tensor, other: Tensor) -> list[float]:
    # A second signal as the future, not NaN: a masked weight of 0 times NaN would be NaN too.
    axis = module.time_axis
    cut = 2 * x.shape[axis] // 3
    past = x.narrow(axis, 0, cut)
    mixed = torch.cat([past, other.narrow(axis, cut, x.shape[axis] - cut)], dim=axis)
    alone = module(past)
    return [_deviation(alone, module(y).narrow(axis, 0, alone.shape[axis])) for y in (x, mixed)]


def _batching(module: Streaming[Any], x: Tensor, whole: Tensor) -> list[float]:
    """A third with rows alone, a third with rows stacked, a third with rows split again."""
    axis, third = module.time_axis, x.shape[module.time_axis] // 3
    first, second, last = torch.split(x, [third, third, x.shape[axis] - 2 * third], dim=axis)
    rows = [module.step(row, module.init_state(1)) for row in torch.split(first, 1)]
    middle, state = module.step(second, stack([state for _, state in rows]))
    ends = [
        module.step(row, alone)[0]
        for row, alone in zip(torch.split(last, 1), split(state, [1, 1]), strict=True)
    ]
    joined = torch.cat([torch.cat([y for y, _ in rows]), middle, torch.cat(ends)], dim=axis)
    return [_deviation(whole, joined)]


def _replay(module: Streaming[Any], x: Tensor) -> list[float]:
    axis = module.time_axis
    head, tail = torch.split(x, [x.shape[axis] // 2, x.shape[axis] - x.shape[axis] // 2], dim=axis)
    _, state = module.step(head.clone(), module.init_state(len(x)))
    given = tail.clone()
    once, twice = module.step(given, state)[0].clone(), module.step(tail, state)[0]
    return [_deviation(once, twice), _deviation(given, tail)]


def _deviation(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape, f"shapes differ: {tuple(a.shape)} and {tuple(b.shape)}"
    return float((a - b).abs().max()) if a.numel() else 0.0
