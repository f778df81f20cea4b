"""MTMS: three branches of different pace and a mixture of experts (arXiv 2510.18190).

Layout is `(batch, channels, frames)` throughout. The network sees the whole input at once; what may
be cut where is up to whoever feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.rhythm.config import Input, Loudness, RhythmConfig, Task
from inference.rhythm.loudness import BANDS

Logits = dict[Task, Tensor]
"""Per task: `(batch, frames)`, for dynamics `(batch, frames, classes)`."""


class Block(nn.Module):
    """Two 3-tap convolutions between batch norms, and a 1-tap one around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before = nn.BatchNorm1d(inputs)
        self.first = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.between = nn.BatchNorm1d(outputs)
        self.second = nn.Conv1d(outputs, outputs, 3, padding=1)
        self.after = nn.BatchNorm1d(outputs)
        self.around = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.between(self.first(self.before(x))))
        combined: Tensor = self.after(self.second(y)) + self.around(x)
        return combined


class Merge(nn.Module):
    """Maps of equal shape to one: a 1-tap convolution over all their channels."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(maps * channels, channels, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        merged: Tensor = self.conv(torch.cat(maps, 1))
        return merged


class Up(nn.ConvTranspose1d):
    """A slower map at the pace of a faster one: each step becomes `scale` frames that do not overlap."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__(channels, channels, scale, stride=scale)

    def forward(self, x: Tensor, frames: int) -> Tensor:  # type: ignore[override]
        """The map `x` as `frames` frames; what the last whole step does not cover is zero."""
        y = super().forward(x)
        return F.pad(y, (0, frames - y.shape[-1]))


class Attention(nn.Module):
    """Every step looks at every other; added to the input, then normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 1, batch_first=True)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(1, 2)
        seen, _ = self.attention(steps, steps, steps, need_weights=False)
        y: Tensor = self.norm(x + seen.transpose(1, 2))
        return y


class Finish(nn.Sequential):
    """A block, then batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Block(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())


class Encoder(nn.Module):
    """`(batch, F, frames)` to `(batch, latent, frames)`: T, T / s and T / s^2 exchange what they see."""

    def __init__(self, config: RhythmConfig) -> None:
        super().__init__()
        f, s = config.bands, config.scale
        self.scale = s
        self.norm = nn.BatchNorm1d(f)
        self.enter = nn.ModuleList(nn.Conv1d(f, f, 1) for _ in range(2))
        self.first = nn.ModuleList(Block(f, 2 * f) for _ in range(2))
        self.up_first = Up(2 * f, s)
        self.merge_second = nn.ModuleList([Merge(2 * f, 2), Merge(2 * f, 2), Merge(2 * f, 1)])
        self.second = nn.ModuleList(Block(2 * f, 3 * f) for _ in range(3))
        self.up_second = nn.ModuleList(Up(3 * f, s) for _ in range(2))
        self.merge_third = nn.ModuleList([Merge(3 * f, 2), Merge(3 * f, 3), Merge(3 * f, 2)])
        self.third = nn.ModuleList(Finish(3 * f, 3 * f) for _ in range(3))
        self.attention = nn.ModuleList(Attention(3 * f) for _ in range(2))
        self.up_third = nn.ModuleList(Up(3 * f, s) for _ in range(2))
        self.merge_fourth = nn.ModuleList([Merge(3 * f, 2), Merge(3 * f, 3)])
        self.fourth = nn.ModuleList(Block(3 * f, 2 * f) for _ in range(2))
        self.up_fourth = Up(2 * f, s)
        self.merge_fifth = Merge(2 * f, 2)
        self.fifth = Finish(2 * f, f)
        self.leave = nn.Conv1d(f, config.latent, 3, padding=1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        frames, steps = x.shape[-1], x.shape[-1] // self.scale
        a, b = self.first[0](self.enter[0](x)), self.first[1](self.enter[1](self._pool(x)))
        a, b, c = (
            self.second[0](self.merge_second[0](a, self.up_first(b, frames))),
            self.second[1](self.merge_second[1](b, self._drop(a))),
            self.second[2](self.merge_second[2](self._drop(b))),
        )
        a, b, c = (
            self.third[0](self.merge_third[0](a, self.up_second[0](b, frames))),
            self.third[1](self.merge_third[1](b, self._drop(a), self.up_second[1](c, steps))),
            self.third[2](self.merge_third[2](self.attention[0](c), self._drop(b))),
        )
        c = self.attention[1](c)
        a, b = (
            self.fourth[0](self.merge_fourth[0](a, self.up_third[0](b, frames))),
            self.fourth[1](self.merge_fourth[1](b, self.up_third[1](c, steps), self._drop(a))),
        )
        a = self.fifth(self.merge_fifth(a, self.up_fourth(b, frames)))
        latent: Tensor = self.dropout(self.leave(a))
        return latent

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool1d(x, self.scale)

    def _drop(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.dropout(self._pool(x))
        return pooled


class Mixture(nn.Module):
    """Experts that all tasks share, weighed by each task frame by frame.

    The experts are the groups of one convolution; `(batch, latent, frames)` to one map per task.
    """

    def __init__(self, latent: int, experts: int, tasks: int) -> None:
        super().__init__()
        self.experts, self.tasks = experts, tasks
        self.first = nn.Conv1d(latent, experts * latent, 3, padding=1)
        self.second = nn.Conv1d(experts * latent, experts * latent, 3, padding=1, groups=experts)
        self.gates = nn.Conv1d(latent, tasks * experts, 1)

    def weights(self, z: Tensor) -> Tensor:
        """How much each task listens to each expert, `(batch, tasks, experts, frames)`."""
        scores: Tensor = self.gates(z)
        return scores.view(len(z), self.tasks, self.experts, -1).softmax(2)

    def forward(self, z: Tensor) -> list[Tensor]:
        heard = self.second(F.relu(self.first(z))).view(len(z), self.experts, -1, z.shape[-1])
        mixed = torch.einsum("bteu,belu->btlu", self.weights(z), heard)
        return list(mixed.unbind(1))


class RhythmNetwork(nn.Module):
    """Features `(batch, frames, bands)` to logits per task, see `Logits`.

    At least scale^2 frames; a pooled step sees whole groups only, so up to scale^2 - 1 frames at the
    end are judged without their slow surroundings.
    """

    def __init__(self, config: RhythmConfig) -> None:
        super().__init__()
        self.config = config
        latent, count = config.latent, len(config.tasks)
        self.mels = None
        if config.front_end.input is Input.FUSED:
            self.mels = nn.Conv1d(config.front_end.mels, config.mel_channels, 1)
        self.norm = nn.BatchNorm1d(config.bands)
        self.encoder = Encoder(config)
        self.mixture = Mixture(latent, config.experts, count) if config.experts else None
        self.projections = nn.ModuleList(
            nn.Conv1d(latent, latent, 1)
            for _ in range(count if config.idle_projections or not config.experts else 0)
        )
        self.heads = nn.ModuleList(nn.Conv1d(latent, _classes(task), 1) for task in config.tasks)

    def forward(self, x: Tensor) -> Logits:
        x = x.transpose(1, 2)
        if self.mels is not None:
            x = torch.cat([x[:, :BANDS], self.mels(x[:, BANDS:])], 1)
        seen = self._per_task(self.encoder(self.norm(x)))
        found = {}
        for task, head, own in zip(self.config.tasks, self.heads, seen, strict=True):
            logits = head(own).transpose(1, 2)
            found[task] = logits if task is Task.DYNAMICS else logits[..., 0]
        return found

    def _per_task(self, z: Tensor) -> Sequence[Tensor]:
        if self.mixture is not None:
            mixed: list[Tensor] = self.mixture(z)
            return mixed
        return [F.gelu(projection(z)) for projection in self.projections]


def _classes(task: Task) -> int:
    return len(Loudness) if task is Task.DYNAMICS else 1
