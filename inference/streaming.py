"""The streaming contract: state is an explicit value, and offline is streaming in one step.

A layer holds weights only. What it remembers between two steps is a value that the caller keeps:
a tensor whose first axis is the batch, or a (named) tuple of such values, nested as the modules
are nested. A state can therefore be copied, compared, saved, and batched with other streams'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    and the moment at which its events are final, not counting the wait for a hop to fill.
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
    first: Any = states[0]
    if isinstance(first, Tensor):
        return torch.cat(list(states))  # type: ignore[arg-type,return-value]
    joined = [stack([s[i] for s in states]) for i in range(len(first))]  # type: ignore[index]
    return _rebuild(first, joined)


def split(state: State, sizes: Sequence[int]) -> list[State]:
    """Cut a batched state into states of `sizes` rows each."""
    value: Any = state
    if isinstance(value, Tensor):
        return [part.clone() for part in torch.split(value, list(sizes))]  # type: ignore[misc]
    parts = [split(item, sizes) for item in value]
    return [_rebuild(value, [part[row] for part in parts]) for row in range(len(sizes))]


def _rebuild(like: Any, items: list[Any]) -> Any:
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)


@dataclass(frozen=True)
class StreamingReport:
    """Largest deviations that `verify_streaming` saw."""

    partition: float
    causality: float
    batching: float


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
    other; two streams stacked and split again equal the two alone.

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
    x = make_input(length, generator)
    axis = module.time_axis
    with torch.no_grad():
        whole = module(x)
        partition = 0.0
        sizes = [_random_sizes(length, largest or max(2, length // 3), generator) for _ in range(trials)]
        for cut in [[1] * length, *sizes]:
            partition = max(partition, _deviation(whole, run_in_steps(module, x, cut)))
        assert partition <= tolerance, f"steps differ from one step by {partition:.3g}"
        causality = _causality(module, x, make_input(length, generator), whole)
        assert causality <= tolerance, f"the future leaks into the past by {causality:.3g}"
        batching = _batching(module, x, whole, axis)
        assert batching <= tolerance, f"rows of a batch differ from single rows by {batching:.3g}"
    return StreamingReport(partition, causality, batching)


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


def _causality(module: Streaming[Any], x: Tensor, other: Tensor, whole: Tensor) -> float:
    # A second signal as the future, not NaN: a masked weight of 0 times NaN would be NaN too.
    axis = module.time_axis
    cut = 2 * x.shape[axis] // 3
    past = x.narrow(axis, 0, cut)
    mixed = torch.cat([past, other.narrow(axis, cut, x.shape[axis] - cut)], dim=axis)
    kept = module(past).shape[axis]
    return _deviation(whole.narrow(axis, 0, kept), module(mixed).narrow(axis, 0, kept))


def _batching(module: Streaming[Any], x: Tensor, whole: Tensor, axis: int) -> float:
    cut = x.shape[axis] // 2
    states, heads = [], []
    for row in range(len(x)):
        y, state = module.step(x[row : row + 1].narrow(axis, 0, cut), module.init_state(1))
        heads.append(y)
        states.append(state)
    tail, state = module.step(x.narrow(axis, cut, x.shape[axis] - cut), stack(states))
    assert len(split(state, [1] * len(x))) == len(x)
    return _deviation(whole, torch.cat([torch.cat(heads), tail], dim=axis))


def _deviation(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape, f"shapes differ: {tuple(a.shape)} and {tuple(b.shape)}"
    return float((a - b).abs().max()) if a.numel() else 0.0
