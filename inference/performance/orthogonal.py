"""Orthogonal decoders: one network along time, one along the sub-tokens of a step (arXiv 2507.01582)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from inference.performance.attention import Cache, Layer, Sum, behind
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

    falls: Tensor

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
        self.after_family = nn.Linear(2 * width, width) if config.family_first else None
        self.register_buffer(
            "falls", behind(config.heads, config.steps, config.steps)[:, -1:], persistent=False
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
            x = self._given(hidden, tokens[..., 0])
            return [self.heads[0](self.last(hidden)), *(head(x) for head in list(self.heads)[1:])]
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
        hidden, layers = self.along((memory + said)[:, None], state.layers, whole)
        return hidden, Memory(layers)

    def along(
        self, x: Tensor, layers: tuple[Cache, ...], whole: Tensor | None = None
    ) -> tuple[Tensor, tuple[Cache, ...]]:
        """The layers along time on one more step (batch, 1, width): the hidden vector, and what is kept."""
        caches = []
        for layer, cache in zip(self.temporal, layers, strict=True):
            x, cache = cast(Layer, layer).step(x, cache, self.falls, self.config.steps, whole)
            caches.append(cache)
        return cast(Tensor, self.norm(x[:, 0])), tuple(caches)

    def tell(self, hidden: Tensor, choose: Choose) -> Tensor:
        """(batch, sub-tokens) of one step, chosen one after the other.

        Args:
            hidden: (batch, width) of the step.
            choose: takes each sub-token from its logits.
        """
        if self.look is None or self.places is None:
            family = choose(0, self.heads[0](self.last(hidden)))
            x = self._given(hidden, family)
            rest = [choose(i, head(x)) for i, head in enumerate(self.heads) if i]
            return torch.stack([family, *rest], -1)
        seen, said = self.look(hidden), self.first.expand(len(hidden), -1)
        caches, chosen = self.start(len(hidden)).layers[:1] * len(self.across), []
        for index in range(len(self.heads)):
            logits, caches = self.at_place(index, (seen + said)[:, None], caches)
            token = choose(index, logits)
            chosen.append(token)
            said = cast(nn.Embedding, self.words.tables[index])(token)
        return torch.stack(chosen, -1)

    def at_place(self, index: int, x: Tensor, layers: tuple[Cache, ...]) -> tuple[Tensor, tuple[Cache, ...]]:
        """Logits of a sub-token from what is known of it (batch, 1, width), and what is kept for the next."""
        assert self.places is not None
        x, caches = x + self.places[index], []
        for layer, cache in zip(self.across, layers, strict=True):
            x, cache = cast(Layer, layer).step(x, cache, self.falls, len(self.sizes))
            caches.append(cache)
        return self.heads[index](self.last(x[:, 0])), tuple(caches)

    def _given(self, hidden: Tensor, family: Tensor) -> Tensor:
        """What all sub-tokens but the first are told from at once, where none follows from another."""
        x = self.last(hidden)
        if self.after_family is not None:
            x = self.after_family(torch.cat([x, self.words.tables[0](family)], -1))
        return cast(Tensor, x)

    def _word_inputs(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        assert self.look is not None and self.places is not None
        tables = list(self.words.tables)[:-1]
        said = [table(tokens[..., index]) for index, table in enumerate(tables)]
        said = [self.first.expand_as(hidden), *said]
        return self.look(hidden)[:, :, None] + torch.stack(said, 2) + self.places  # type: ignore[no-any-return]
