"""Transformer layers with linear distance biases, over all steps at once or one at a time from a cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

FAR = -1e9
"""Added to what must not be looked at; finite, though its weight comes out as exactly 0."""


class Cache(NamedTuple):
    """Keys and values of the steps so far, each (batch, heads, steps, width of a head)."""

    keys: Tensor
    values: Tensor


def slopes(heads: int) -> Tensor:
    """(heads,) how much each head's interest falls per step of distance (ALiBi, arXiv 2108.12409)."""
    return torch.exp2(-8 * torch.arange(1, heads + 1) / heads)


def around(heads: int, steps: int) -> Tensor:
    """(heads, steps, steps) biases that fall to both sides."""
    index = torch.arange(steps)
    return -slopes(heads)[:, None, None] * (index[:, None] - index).abs()


def behind(heads: int, steps: int, window: int) -> Tensor:
    """(heads, steps, steps) biases towards the step itself and the `window - 1` before it."""
    index = torch.arange(steps)
    back = index[:, None] - index
    bias = -slopes(heads)[:, None, None] * back
    return bias.masked_fill((back < 0) | (back >= window), FAR)


def together(beat: Tensor) -> Tensor:
    """(batch, 1, steps, steps) biases that confine each step to its own beat, from (batch, steps)."""
    return torch.where(beat[:, None, :, None] == beat[:, None, None, :], 0.0, FAR)


class Attention(nn.Module):
    """Multi-head attention with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(width, width)
        self.look = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor, bias: Tensor | None) -> Tensor:
        """What each step of x (batch, steps, width) gathers from `seen` (batch, others, width)."""
        keys, values = self._split(self.look(seen), 2)
        (query,) = self._split(self.ask(x), 1)
        return self._gather(query, keys, values, bias)

    def step(self, x: Tensor, cache: Cache, falls: Tensor, window: int) -> tuple[Tensor, Cache]:
        """One further step x (batch, 1, width), which the cache takes up.

        Args:
            x: of the step.
            cache: of those before.
            falls: (heads, 1, steps) biases of the last `steps` steps, at least as many as the window.
            window: how many steps are seen, the step itself counted.
        """
        keys, values = self._split(self.look(x), 2)
        (query,) = self._split(self.ask(x), 1)
        cache = Cache(
            torch.cat([cache.keys, keys], 2)[:, :, -window:],
            torch.cat([cache.values, values], 2)[:, :, -window:],
        )
        return self._gather(query, *cache, falls[..., -cache.keys.shape[2] :]), cache

    def _split(self, x: Tensor, parts: int) -> list[Tensor]:
        batch, steps, _ = x.shape
        return list(x.view(batch, steps, parts, self.heads, -1).permute(2, 0, 3, 1, 4))

    def _gather(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        found = functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention, a look at a memory if there is one, and a feed-forward part; each after a norm."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.cross = Attention(width, heads) if cross else None
        self.inner_norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, bias: Tensor | None, memory: Tensor | None = None, far: Tensor | None = None
    ) -> Tensor:
        """The steps x (batch, steps, width) after the layer; `far` are the biases of the memory."""
        y = self.norm(x)
        x = x + self.dropout(self.attention(y, y, bias))
        return self._rest(x, memory, far)

    def step(
        self,
        x: Tensor,
        cache: Cache,
        falls: Tensor,
        window: int,
        memory: Tensor | None = None,
        far: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """The same for one further step (batch, 1, width); see `Attention.step`."""
        found, cache = self.attention.step(self.norm(x), cache, falls, window)
        return self._rest(x + found, memory, far), cache

    def _rest(self, x: Tensor, memory: Tensor | None, far: Tensor | None) -> Tensor:
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory, far))
        return x + self.dropout(self.inner(self.inner_norm(x)))  # type: ignore[no-any-return]


class Sum(nn.Module):
    """Several sub-tokens as one vector: their embeddings summed, so that rare ones are not drowned."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, width) for size in sizes])
        for table in self.tables:
            nn.init.normal_(table.weight, std=1.0)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) of tokens (..., sub-tokens)."""
        found = [table(tokens[..., index]) for index, table in enumerate(self.tables)]
        whole: Tensor = torch.stack(found).sum(0) / len(found) ** 0.5
        return whole
