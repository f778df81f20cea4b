"""A decoder's single steps without Python in between: recorded once, replayed for any batch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from inference.performance.attention import Cache
from inference.performance.orthogonal import Choose, Memory, OrthogonalDecoder
from inference.recording import Recording, record

Layers = tuple[Cache, ...]


class RecordedDecoder:
    """`step` and `tell` of a decoder in evaluation mode whose weights no longer change.

    Args:
        decoder: one that looks at no whole memory.
    """

    def __init__(self, decoder: OrthogonalDecoder) -> None:
        self.decoder = decoder
        self._along = _record(_Along(decoder), decoder, len(decoder.temporal), 5)
        count = len(decoder.sizes) if decoder.look is not None else 0
        self._places = [
            _record(_Place(decoder, index), decoder, len(decoder.across), index) for index in range(count)
        ]

    def start(self, batch: int) -> Memory:
        """Nothing seen."""
        return self.decoder.start(batch)

    def step(self, memory: Tensor, before: Tensor | None, state: Memory) -> tuple[Tensor, Memory]:
        """See `OrthogonalDecoder.step`."""
        own = self.decoder
        said = own.first.expand(len(memory), -1) if before is None else own.words(before)
        hidden, layers = _call(self._along, (memory + said)[:, None], state.layers)
        return hidden, Memory(layers)

    def tell(self, hidden: Tensor, choose: Choose) -> Tensor:
        """See `OrthogonalDecoder.tell`."""
        own = self.decoder
        if own.look is None:
            return own.tell(hidden, choose)
        seen, said = own.look(hidden), own.first.expand(len(hidden), -1)
        layers, chosen = own.start(len(hidden)).layers[:1] * len(own.across), []
        for index, recording in enumerate(self._places):
            logits, layers = _call(recording, (seen + said)[:, None], layers)
            token = choose(index, logits)
            chosen.append(token)
            said = cast(nn.Embedding, own.words.tables[index])(token)
        return torch.stack(chosen, -1)


class _Along(nn.Module):
    """The layers along time between flat lists of tensors, as recording wants it."""

    def __init__(self, decoder: OrthogonalDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, x: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        hidden, layers = self.decoder.along(x, _layers(flat))
        return (hidden, *_flat(layers))


class _Place(nn.Module):
    """The same of one sub-token."""

    def __init__(self, decoder: OrthogonalDecoder, index: int) -> None:
        super().__init__()
        self.decoder, self.index = decoder, index

    def forward(self, x: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
        logits, layers = self.decoder.at_place(self.index, x, _layers(flat))
        return (logits, *_flat(layers))


def _flat(layers: Layers) -> tuple[Tensor, ...]:
    return tuple(tensor for cache in layers for tensor in cache)


def _layers(flat: tuple[Tensor, ...]) -> Layers:
    return tuple(Cache(*flat[place : place + 2]) for place in range(0, len(flat), 2))


def _call(recording: Recording, x: Tensor, layers: Layers) -> tuple[Tensor, Layers]:
    first, *flat = recording(x, *_flat(layers))
    return first, _layers(tuple(flat))


def _record(module: nn.Module, decoder: OrthogonalDecoder, layers: int, seen: int) -> Recording:
    """A recording, made with as many steps `seen` as there may always be, or for any number of them."""
    like = decoder.start(2).layers[0].keys
    caches = [like.new_zeros(2, like.shape[1], seen, like.shape[3]) for _ in range(2 * layers)]
    return record(module, torch.zeros(2, 1, decoder.config.width), *caches)
