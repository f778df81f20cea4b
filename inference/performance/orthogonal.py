"""Orthogonal decoders: one network along time, one along the sub-tokens of a step (arXiv 2507.01582)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from inference.performance.attention import Cache, Layer, Sum, behind, slopes
from inference.performance.config import XmvaeConfig

Choose = Callable[[int, Tensor], Tensor]
"""Index of a sub-token and its logits (batch, size) to the tokens (batch,) that are taken."""


class Memory(NamedTuple):
    """What the temporal decoder has seen: a cache per layer."""

    layers: tuple[Cache, ...]


class OrthogonalDecoder(nn.Module):
    """Tells each step's sub-tokens from those of the steps before, and from a memory of the same length.

    Args:
        config: sizes.
        sizes: of the sub-tokens, in the order in which they are told.
        layers: along time.
        cross: whether every step looks at all steps of the memory, not only at its own.
    """

    def __init__(self, config: XmvaeConfig, sizes: tuple[int, ...], layers: int, cross: bool = False) -> None:
        super().__init__()
        width = config.width
        self.config, self.sizes = config, sizes
        self.words = Sum(sizes, width)
        self.first = nn.Parameter(torch.zeros(width))
        self.temporal = nn.ModuleList(
            Layer(width, config.heads, config.inner, config.dropout, cross) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        # One hidden vector is all that the sub-token decoder looks back to: its weight is always 1.
        self.look = nn.Linear(width, width) if config.word_decoder else None
        count = config.word_layers if config.word_decoder else 0
        self.places = nn.Parameter(torch.randn(len(sizes), width) * 0.02) if config.word_decoder else None
        self.across = nn.ModuleList(
            Layer(width, config.heads, config.inner, config.dropout) for _ in range(count)
        )
        self.last = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def forward(self, memory: Tensor, tokens: Tensor, known: Tensor | None = None) -> list[Tensor]:
        """Logits (batch, steps, size) for each sub-token, all steps at once.

        Args:
            memory: (batch, steps, width).
            tokens: (batch, steps, sub-tokens) what is to be told; step n sees those before n only.
            known: (batch, steps) which steps the later ones may see, default all.
        """
        hidden = self.hidden(memory, tokens, known)
        if self.look is None:
            return [head(self.last(hidden)) for head in self.heads]
        batch, steps, count = tokens.shape
        x = self._word_inputs(hidden, tokens).view(batch * steps, count, -1)
        bias = behind(self.config.heads, count, count).to(x.device)
        for layer in self.across:
            x = layer(x, bias)
        x = self.last(x).view(batch, steps, count, -1)
        return [head(x[:, :, index]) for index, head in enumerate(self.heads)]

    def hidden(self, memory: Tensor, tokens: Tensor, known: Tensor | None = None) -> Tensor:
        """(batch, steps, width) what the temporal decoder makes of each step."""
        said = self.words(tokens)
        if known is not None:
            said = torch.where(known[..., None], said, self.first)
        before = torch.cat([self.first.expand(len(said), 1, -1), said[:, :-1]], 1)
        x = memory + before
        bias = behind(self.config.heads, x.shape[1], self.config.steps).to(x.device)
        for layer in self.temporal:
            x = layer(x, bias, memory)
        return cast(Tensor, self.norm(x))

    def start(self, batch: int) -> Memory:
        """Nothing seen."""
        weight = self.heads[0].weight
        width = self.config.width // self.config.heads
        empty = cast(Tensor, weight).new_zeros(batch, self.config.heads, 0, width)
        return Memory(tuple(Cache(empty, empty) for _ in self.temporal))

    def step(
        self, memory: Tensor, before: Tensor | None, state: Memory, whole: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """The hidden vector (batch, width) of one further step.

        Args:
            memory: (batch, width) of this step.
            before: (batch, sub-tokens) of the step before; None at the first, or to hide it.
            state: of the steps before.
            whole: (batch, others, width) what all steps may look at, if they do.
        """
        said = self.first.expand(len(memory), -1) if before is None else self.words(before)
        x = (memory + said)[:, None]
        count = min(state.layers[0].keys.shape[2] + 1, self.config.steps) if state.layers else 1
        back = torch.arange(count - 1, -1, -1, device=x.device)
        bias = (-slopes(self.config.heads).to(x.device)[:, None] * back)[None, :, None]
        caches = []
        for layer, cache in zip(self.temporal, state.layers, strict=True):
            x, cache = cast(Layer, layer).step(x, cache, bias, self.config.steps, whole)
            caches.append(cache)
        return cast(Tensor, self.norm(x[:, 0])), Memory(tuple(caches))

    def tell(self, hidden: Tensor, choose: Choose) -> Tensor:
        """(batch, sub-tokens) of one step, chosen one after the other.

        Args:
            hidden: (batch, width) of the step.
            choose: takes each sub-token from its logits.
        """
        if self.look is None or self.places is None:
            x = self.last(hidden)
            return torch.stack([choose(i, head(x)) for i, head in enumerate(self.heads)], -1)
        seen, said = self.look(hidden), self.first.expand(len(hidden), -1)
        empty = self.start(len(hidden)).layers[:1] * len(self.across)
        caches, chosen = list(empty), []
        fall = slopes(self.config.heads).to(hidden.device)[:, None]
        for index, head in enumerate(self.heads):
            x = (seen + said + self.places[index])[:, None]
            back = torch.arange(index, -1, -1, device=x.device)
            bias = (-fall * back)[None, :, None]
            for place, layer in enumerate(self.across):
                x, caches[place] = cast(Layer, layer).step(x, caches[place], bias, len(self.sizes))
            token = choose(index, head(self.last(x[:, 0])))
            chosen.append(token)
            said = cast(nn.Embedding, self.words.tables[index])(token)
        return torch.stack(chosen, -1)

    def _word_inputs(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        assert self.look is not None and self.places is not None
        tables = list(self.words.tables)[:-1]
        said = [table(tokens[..., index]) for index, table in enumerate(tables)]
        said = [self.first.expand_as(hidden), *said]
        return self.look(hidden)[:, :, None] + torch.stack(said, 2) + self.places  # type: ignore[no-any-return]
