"""Vector quantisation with several code books, learned by moving averages (arXiv 1711.00937)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

DECAY = 0.99
COMMITMENT = 0.25
RARE = 0.1
"""A code that is used less than this share of the mean begins anew, at a vector of the batch."""


class Quantised(NamedTuple):
    """Codes and what they stand for.

    `vectors` (batch, steps, groups x width) pass gradients straight through, `codes` (batch, steps,
    groups), `commitment` is what the vectors are off, `perplexity` how many codes of a book are in use.
    """

    vectors: Tensor
    codes: Tensor
    commitment: Tensor
    perplexity: Tensor


class GroupedQuantiser(nn.Module):
    """Each group of channels has a book of its own.

    Args:
        groups: of channels.
        codes: in each book.
        width: channels of a group.
    """

    books: Tensor
    usage: Tensor
    sums: Tensor

    def __init__(self, groups: int, codes: int, width: int) -> None:
        super().__init__()
        self.groups, self.codes, self.width = groups, codes, width
        books = torch.randn(groups, codes, width)
        self.register_buffer("books", books)
        # Never used: each code begins at a vector of the first batch.
        self.register_buffer("usage", torch.zeros(groups, codes))
        self.register_buffer("sums", torch.zeros(groups, codes, width))

    def forward(self, x: Tensor) -> Quantised:
        """The nearest codes of x (batch, steps, groups x width); in training the books move."""
        parts = x.view(*x.shape[:2], self.groups, self.width)
        flat = parts.flatten(0, 1).transpose(0, 1)
        nearest = torch.cdist(flat.detach().float(), self.books).argmin(-1)
        if self.training:
            self._learn(flat.detach().float(), nearest)
        codes = nearest.T.view(*x.shape[:2], self.groups)
        found = self.vectors(codes)
        commitment = COMMITMENT * functional.mse_loss(x, found)
        share = functional.one_hot(nearest, self.codes).float().mean(1)
        entropy = -(share * (share + 1e-9).log()).sum(-1)
        return Quantised(x + (found - x).detach(), codes, commitment, entropy.exp().mean())

    def vectors(self, codes: Tensor) -> Tensor:
        """(batch, steps, groups x width) of codes (batch, steps, groups)."""
        group = torch.arange(self.groups, device=codes.device)
        return self.books[group, codes].flatten(-2)

    @torch.no_grad()
    def _learn(self, flat: Tensor, nearest: Tensor) -> None:
        chosen = functional.one_hot(nearest, self.codes).to(flat.dtype)
        self.usage.lerp_(chosen.sum(1), 1 - DECAY)
        self.sums.lerp_(chosen.transpose(1, 2) @ flat, 1 - DECAY)
        mean = self.usage.mean(1, keepdim=True)
        rare = self.usage < RARE * mean
        picks = torch.randint(flat.shape[1], (self.groups, self.codes), device=flat.device)
        fresh = flat.gather(1, picks[..., None].expand(-1, -1, self.width))
        self.usage.copy_(torch.where(rare, mean.expand_as(self.usage), self.usage))
        self.sums.copy_(torch.where(rare[..., None], fresh * self.usage[..., None], self.sums))
        self.books.copy_(self.sums / self.usage[..., None])
