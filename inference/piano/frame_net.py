"""The light network's arithmetic for one frame, as a graph of few operations.

A frame is so short that each operation costs about as much as what it computes: what network and
decoder do in many steps is done here in fewer, in another order, so that results differ by rounding.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.layers import FrequencyTable, HarmonicGather, PitchwiseLstm
from inference.piano.acoustic import FirstBlock, HarmonicHead, ResidualBlock
from inference.piano.config import PITCHES, STATE_WEIGHTS, NoteState, Output
from inference.piano.exchange import Exchange
from inference.piano.heads import DecisionHead
from inference.piano.network import PianoNetwork

STATES = len(NoteState)


class FrameNet(nn.Module):
    """Features of one frame and what is carried, to what the decoder sees and what is carried on.

    Features are `(batch, 1, bins, windows)`. Carried are the frames of each convolution, hidden and
    cell values of the sequence net, and what the head remembers, as in `NetworkState`; but what comes
    back of each convolution is one frame more, the oldest first, which is cheaper to leave out
    outside. So is the touch: velocities are without it. What the decoder sees is `(batch, 6, 88)`.
    """

    def __init__(self, network: PianoNetwork) -> None:
        super().__init__()
        acoustic, exchange = network.note_acoustic, network.exchange
        assert isinstance(acoustic.head, HarmonicHead) and isinstance(exchange, Exchange)
        assert isinstance(network.notes, PitchwiseLstm)
        self.convolutions = nn.ModuleList(_Convolution(block) for block in acoustic.blocks)
        self.pitches = _Pitches(acoustic.head)
        self.notes = _Sequence(network.notes)
        self.exchange = _Exchange(exchange)
        self.head = _Head(network.head)
        self.sooner = None if network.earlier is None else _Head(network.earlier)

    def forward(self, features: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        x, frames = features, []
        for convolution, before in zip(self.convolutions, carried, strict=False):
            joined = torch.cat([before, x], 1)
            frames.append(joined)
            x = convolution(joined, x)
        hidden, cell, remembered = carried[len(frames) :]
        hidden, cell = self.notes(self.pitches(x), hidden, cell)
        heard = self.exchange(hidden)
        pooled = torch.cat([heard.mean(1), heard.amax(1)], -1)  # as `together`
        seen, remembered = self.head(heard, pooled, remembered)
        if self.sooner is not None:  # one without hindsight, which remembers nothing
            seen = torch.cat([seen, self.sooner(heard, pooled, remembered)[0]], -1)
        return seen.transpose(1, 2), *frames, hidden, cell, remembered


def _across(*layers: nn.Linear) -> nn.Parameter:
    """Weights of layers that see the same, side by side, as a product wants them."""
    return _kept(torch.cat([layer.weight for layer in layers]).t())


def _kept(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format))


def _parted(value: Tensor, *sizes: int) -> list[Tensor]:
    # Slices, since a split becomes a sequence in the graph, which is slow to take apart.
    return [value[..., begin:end] for begin, end in pairwise(accumulate(sizes, initial=0))]


class _Convolution(nn.Module):
    """A block of the trunk: `(batch, frames, bins, channels)` and its newest frame to the next one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, FirstBlock | ResidualBlock) and isinstance(block.norm, nn.Identity)
        self.conv = block.conv.conv
        self.residual = isinstance(block, ResidualBlock) and block.residual
        self.scale = self.shift = None
        if isinstance(block, FirstBlock):
            assert isinstance(block.film, FrequencyTable)
            self.scale, self.shift = _kept(block.film.scale), _kept(block.film.shift)

    def forward(self, joined: Tensor, newest: Tensor) -> Tensor:
        y = self.conv(joined.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.scale is not None and self.shift is not None:
            y = y * self.scale + self.shift
        return newest + F.relu(y) if self.residual else F.relu(y)


class _Gather(nn.Module):
    """`HarmonicGather` of `(batch, bins, c)`: a row of zeros stands for all that lies beyond the bins."""

    def __init__(self, gather: HarmonicGather, bins: int) -> None:
        super().__init__()
        places = gather.places - gather.margins[0]
        beyond = (places < 0) | (places >= bins)
        self.register_buffer("places", torch.where(beyond, bins, places))
        self.places: Tensor

    def forward(self, x: Tensor) -> Tensor:
        width = len(self.places) // PITCHES * x.shape[-1]
        return F.pad(x, (0, 0, 0, 1)).index_select(1, self.places).reshape(-1, PITCHES, width)


class _Pitches(nn.Module):
    """`HarmonicHead`: `(batch, 1, bins, channels)` to `(batch, 88, features)`."""

    def __init__(self, head: HarmonicHead) -> None:
        super().__init__()
        assert isinstance(head.norm, nn.Identity) and isinstance(head.film, FrequencyTable)
        self.gather, self.spread = _Gather(head.gather, head.spread.shape[1]), head.spread
        self.parts = head.query.out_features, head.overview.out_features
        self.look = _across(head.query, head.overview)
        self.tell = _kept(torch.cat([head.gathered.weight, head.heard.weight], 1).t())
        self.bias = _kept(head.overview.bias)
        self.scale = _kept(head.film.scale)
        self.shift = _kept(head.film.shift + head.heard.bias * head.film.scale)

    def forward(self, x: Tensor) -> Tensor:
        near, far = _parted(x.squeeze(1) @ self.look, *self.parts)
        far = F.relu(far + self.bias).transpose(1, 2).unsqueeze(2) @ self.spread
        both = torch.cat([self.gather(near), far.squeeze(2).transpose(1, 2)], -1)
        return F.relu(both @ self.tell * self.scale + self.shift)


class _Sequence(nn.Module):
    """`PitchwiseLstm` of one layer, the gates that are sigmoids side by side."""

    def __init__(self, lstm: PitchwiseLstm) -> None:
        super().__init__()
        weight, own = lstm.folded()
        size = lstm.lstm.hidden_size
        enter, keep, new, leave = torch.split(torch.arange(4 * size), size)
        order, halved = torch.cat([enter, keep, leave, new]), torch.ones(4 * size)
        halved[3 * size :] = 0.5  # which `fold` doubles
        self.size = size
        self.weight, self.own = _kept(weight[:, order] * halved), _kept(own[:, order] * halved)

    def forward(self, heard: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([heard, hidden], -1) @ self.weight + self.own
        gates, new = _parted(seen, 3 * self.size, self.size)
        enter, keep, leave = _parted(torch.sigmoid(gates), *[self.size] * 3)
        cell = keep * cell + enter * torch.tanh(new)
        return leave * torch.tanh(cell), cell


class _Exchange(nn.Module):
    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self.gather = _Gather(exchange.gather, PITCHES)
        self.parts = exchange.say.out_features, exchange.own.out_features
        self.both, self.listen = _across(exchange.say, exchange.own), _across(exchange.listen)
        self.bias = _kept(torch.cat([exchange.say.bias, exchange.own.bias]))
        self.revise, self.end = _across(exchange.revise), _kept(exchange.revise.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        said, own = _parted(hidden @ self.both + self.bias, *self.parts)
        heard = self.gather(F.relu(said)) @ self.listen
        return hidden + F.relu(own + heard) @ self.revise + self.end


class _Head(nn.Module):
    """`DecisionHead` without its touch, then `seen`: `(batch, 88, hidden)` to `(batch, 88, 6)`."""

    def __init__(self, head: DecisionHead) -> None:
        super().__init__()
        self.hindsight, self.looks, self.mix, self.pedal = head.hindsight, head.looks, head.mix, head.pedal
        self.keys, bias = _across(head.keys), head.keys.bias.detach().clone()
        bias[:STATES] -= torch.tensor(STATE_WEIGHTS).log()
        self.bias = _kept(bias)
        told = torch.zeros(STATES, 2)  # onset, active
        told[[NoteState.ONSET, NoteState.REONSET], 0] = 1
        told[[NoteState.ONSET, NoteState.REONSET, NoteState.SUSTAIN], 1] = 1
        self.told = _kept(told)

    def forward(self, heard: Tensor, pooled: Tensor, remembered: Tensor) -> tuple[Tensor, Tensor]:
        view = heard
        if self.hindsight:
            joined = torch.cat([remembered, heard[:, None]], 1)
            remembered = joined[:, 1:]
            view = self.mix(torch.cat([joined[:, self.hindsight - back] for back in self.looks], -1))
        told = view @ self.keys + self.bias
        states, loud, key = _parted(told, STATES, Output.KEY - STATES, 1)
        pedal = self.pedal(pooled).unsqueeze(1).expand(-1, PITCHES, -1)
        down = torch.sigmoid(torch.cat([key, pedal], -1))
        return torch.cat([torch.softmax(states, -1) @ self.told, loud, down], -1), remembered
