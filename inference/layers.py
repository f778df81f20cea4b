"""Causal layers with an explicit state. Convolutions run on `(batch, channels, frames, bins)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.streaming import Streaming


class CausalConv2d(Streaming[Tensor]):
    """2-D convolution, "same" over bins and causal over frames.

    Equals a centred convolution that is late by `latency` frames. State: the last
    `time_width - 1` input frames, `(batch, time_width - 1, bins, in_channels)`: with the channels
    last, as convolutions like them, so that joining old and new frames is the only copy.
    """

    time_axis = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_width: int,
        bin_width: int,
        bins: int,
        *,
        bin_stride: int = 1,
        bin_padding: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        padding = bin_width // 2 if bin_padding is None else bin_padding
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            (time_width, bin_width),
            stride=(1, bin_stride),
            padding=(0, padding),
            bias=bias,
        )
        self.bins = bins
        self.latency = (time_width - 1) // 2

    def init_state(self, batch: int) -> Tensor:
        weight = self.conv.weight
        return weight.new_zeros(batch, self.conv.kernel_size[0] - 1, self.bins, self.conv.in_channels)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.conv.kernel_size[0] == 1:
            return self.conv(x), state
        joined = torch.cat([state.to(x.dtype), x.permute(0, 2, 3, 1)], 1)
        left = joined.narrow(1, x.shape[2], self.conv.kernel_size[0] - 1)
        return self.conv(joined.permute(0, 3, 1, 2)), left.detach()


class Delay(Streaming[Tensor]):
    """Delays `(batch, channels, frames, bins)` by `frames` frames, to meet a later branch."""

    time_axis = 2

    def __init__(self, frames: int, channels: int, bins: int) -> None:
        super().__init__()
        self.latency = frames
        self.shape = (channels, frames, bins)

    def init_state(self, batch: int) -> Tensor:
        # As convolutions lay their outputs: a sum of two layouts takes many times as long.
        return torch.zeros(batch, *self.shape).to(memory_format=torch.channels_last)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.latency == 0:
            return x, state
        joined = torch.cat([state.to(x), x], 2)
        return joined[:, :, : x.shape[2]], joined[:, :, x.shape[2] :]


class Folding(nn.Module):
    """Base of layers that prepare something from their weights once, when these no longer change."""

    def __init__(self) -> None:
        super().__init__()
        self._folded: tuple[Tensor, ...] | None = None

    def fold(self) -> tuple[Tensor, ...]:
        """What is prepared."""
        raise NotImplementedError(f"{type(self).__name__}.fold")

    def folded(self) -> tuple[Tensor, ...]:
        """What was prepared; anew while weights may change."""
        if self.training or torch.is_grad_enabled():
            self._folded = None
            return self.fold()
        if self._folded is None:
            self._folded = self.fold()
        return self._folded

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._folded = None
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._folded = None  # moved or converted
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class FrequencyFilm(Folding):
    """Frequency-conditioned FiLM: each bin scales and shifts the channels in its own way.

    Two small perceptrons map the bin's position k / bins to a scale and a shift per channel
    (arXiv 2404.06818). The tables depend on the weights only, so they are folded in evaluation.
    """

    def __init__(self, channels: int, bins: int, hidden: int = 16) -> None:
        super().__init__()
        self.register_buffer("position", torch.arange(bins)[:, None] / bins, persistent=False)
        self.position: Tensor
        self.scale = _perceptron(channels, hidden)
        self.shift = _perceptron(channels, hidden)

    def tables(self) -> tuple[Tensor, ...]:
        """Scale and shift, each `(bins, channels)`."""
        return self.folded()

    def fold(self) -> tuple[Tensor, ...]:
        return self.scale(self.position), self.shift(self.position)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.tables()
        return torch.addcmul(shift, x.permute(0, 2, 3, 1), scale).permute(0, 3, 1, 2)


class FrequencyTable(nn.Module):
    """FiLM without perceptrons: each bin learns its own scale and shift of the channels.

    Perceptrons of one coordinate stay nearly constant along it; keys an octave apart differ more.
    """

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(bins, channels))
        self.shift = nn.Parameter(torch.zeros(bins, channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x.permute(0, 2, 3, 1), self.scale).permute(0, 3, 1, 2)


def _perceptron(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(1, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, channels, bias=False),
    )


class LstmState(NamedTuple):
    """Hidden and cell values, each `(batch, rows, layers * hidden)`."""

    hidden: Tensor
    cell: Tensor


class PitchwiseLstm(Streaming[LstmState], Folding):
    """One LSTM shared by all pitches: `(batch, frames, pitches, inputs)` to `(..., hidden)`.

    Pitches lie on the LSTM's batch axis, so that they share weights but not states. With `marks`,
    each pitch has that many inputs of its own, which are learned and always the same.
    """

    time_axis = 1

    def __init__(self, inputs: int, hidden: int, layers: int, pitches: int, marks: int = 0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs + marks, hidden, layers)
        self.marks = nn.Parameter(torch.randn(pitches, marks) * 0.1) if marks else None
        self.pitches = pitches

    def init_state(self, batch: int) -> LstmState:
        weight = next(self.lstm.parameters())
        shape = (batch, self.pitches, self.lstm.num_layers * self.lstm.hidden_size)
        return LstmState(weight.new_zeros(shape), weight.new_zeros(shape))

    def step(self, x: Tensor, state: LstmState) -> tuple[Tensor, LstmState]:
        batch, frames, pitches, _ = x.shape
        if frames == 1 and self.lstm.num_layers == 1 and not torch.is_grad_enabled():
            return lstm_frame(x, state, *self.folded())
        if self.marks is not None:
            x = torch.cat([x, self.marks.expand(batch, frames, -1, -1)], -1)
        rows = x.permute(1, 0, 2, 3).flatten(1, 2)
        y, (hidden, cell) = self.lstm(rows, (self._unpack(state.hidden), self._unpack(state.cell)))
        y = y.view(frames, batch, pitches, -1).permute(1, 0, 2, 3)
        return y, LstmState(self._pack(hidden, batch), self._pack(cell, batch))

    def fold(self) -> tuple[Tensor, ...]:
        """Weights of input and hidden, `(inputs + hidden, 4 * hidden)`, and what each pitch adds.

        Those of the cell's new value are doubled.
        """
        size = self.lstm.hidden_size
        from_input, from_hidden, bias_input, bias_hidden = self.lstm.parameters()
        factor = torch.ones(4 * size).to(from_input)
        factor[2 * size : 3 * size] = 2
        own, inputs = bias_input + bias_hidden, from_input.shape[1]
        if self.marks is not None:
            inputs -= self.marks.shape[1]
            own = own + self.marks @ from_input[:, inputs:].t()
        weight = torch.cat([from_input[:, :inputs], from_hidden], 1).t() * factor
        return weight.contiguous(), own * factor

    def _unpack(self, value: Tensor) -> Tensor:
        rows = value.reshape(-1, self.lstm.num_layers, self.lstm.hidden_size)
        return rows.transpose(0, 1).contiguous()

    def _pack(self, value: Tensor, batch: int) -> Tensor:
        return value.transpose(0, 1).reshape(batch, self.pitches, -1)


def lstm_frame(x: Tensor, state: LstmState, weight: Tensor, own: Tensor) -> tuple[Tensor, LstmState]:
    """A single frame of a pitchwise LSTM of one layer, from what it folds its weights to.

    One sigmoid serves all gates: tanh(x) = 2 sigmoid(2 x) - 1, and is slow.
    """
    seen = torch.cat([x.squeeze(1), state.hidden], -1)
    gates = torch.mm(seen.flatten(0, 1), weight).view(*seen.shape[:2], -1).add_(own).sigmoid_()
    enter, keep, new, leave = gates.view(*state.cell.shape[:2], 4, -1).unbind(2)
    cell = torch.addcmul(torch.addcmul(-enter, enter, new, value=2), keep, state.cell)
    hidden = torch.addcmul(-leave, leave, torch.sigmoid(2 * cell), value=2)
    return hidden.unsqueeze(1), LstmState(hidden, cell)


class GlobalLstm(Streaming[LstmState]):
    """One LSTM that hears all pitches at once, what the pitchwise one is measured against.

    `(batch, frames, pitches, inputs)` to `(..., hidden)`; its state has one row.
    """

    time_axis = 1

    def __init__(self, inputs: int, hidden: int, pitches: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(pitches * inputs, units, batch_first=True)
        self.spread = nn.Linear(units, pitches * hidden)
        self.pitches = pitches

    def init_state(self, batch: int) -> LstmState:
        zeros = self.spread.weight.new_zeros(batch, 1, self.lstm.hidden_size)
        return LstmState(zeros, zeros)

    def step(self, x: Tensor, state: LstmState) -> tuple[Tensor, LstmState]:
        before = [value.transpose(0, 1).contiguous() for value in state]
        y, after = self.lstm(x.flatten(2), (before[0], before[1]))
        return self.spread(y).unflatten(-1, (self.pitches, -1)), LstmState(
            *[v.transpose(0, 1) for v in after]
        )


class HarmonicGather(nn.Module):
    """For each pitch, the channels of its harmonics: `(..., bins, c)` to `(..., pitches, n * c)`.

    Harmonic `o` of pitch p is bin `first + p + o`; beyond the bins there is nothing.
    """

    def __init__(self, offsets: Sequence[int], first: int, pitches: int, bins: int) -> None:
        super().__init__()
        self.plan = tuple(offsets), first, pitches
        self.margins = max(0, -(first + min(offsets))), max(0, first + pitches + max(offsets) - bins)
        places = self.margins[0] + first + torch.arange(pitches)[:, None] + torch.tensor(self.plan[0])
        self.register_buffer("places", places.flatten(), persistent=False)
        self.places: Tensor

    def forward(self, x: Tensor) -> Tensor:
        gathered: Tensor
        if torch.is_grad_enabled():
            gathered = _HarmonicGather.apply(x, *self.plan, self.margins)  # type: ignore[no-untyped-call]
            return gathered
        padded = F.pad(x, (0, 0, *self.margins)).flatten(0, -3)
        gathered = padded.index_select(1, self.places).view(*x.shape[:-2], self.plan[2], -1)
        return gathered


class _HarmonicGather(torch.autograd.Function):
    """Its gradient written out: that of n slices costs n full-size additions, this adds in place."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, offsets: Sequence[int], first: int, pitches: int, margins: tuple[int, int]
    ) -> Tensor:
        ctx.plan = (offsets, first, pitches, margins, x.shape)
        padded = F.pad(x, (0, 0, *margins))
        return torch.cat([padded.narrow(-2, margins[0] + first + o, pitches) for o in offsets], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        # Sums in half precision would be less exact, and slower than turning it into single.
        grad, kind = grads[0].float(), grads[0].dtype
        offsets, first, pitches, (below, above), shape = ctx.plan
        channels = shape[-1]
        full = grad.new_zeros(*shape[:-2], below + shape[-2] + above, channels)
        for index, offset in enumerate(offsets):
            part = grad.narrow(-1, index * channels, channels)
            full.narrow(-2, below + first + offset, pitches).add_(part)
        return full.narrow(-2, below, shape[-2]).to(kind), None, None, None, None
