"""Heads: what the light network decides about each key, some time after a sound."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.piano.config import PITCHES, NoteState, Output
from inference.streaming import Streaming


class DecisionHead(Streaming[Tensor]):
    """Hidden values `(batch, frames, 88, hidden)` to `(batch, frames, 88, outputs)`.

    A head that decides earlier than the main one, or with it, reads the newest hidden values. One
    that decides `hindsight` frames later also sees those of the moment at which the main one
    decided, and of half-way: the sequence net need not remember for it.

    Args:
        hidden: width of the hidden values.
        outputs: state logits, velocity, shift, key, and at last pedal.
        hindsight: frames by which it decides after the main head.
    """

    time_axis = 1

    def __init__(self, hidden: int, outputs: int, hindsight: int) -> None:
        super().__init__()
        self.hidden, self.hindsight = hidden, hindsight
        self.looks = sorted({hindsight, hindsight // 2, 0})
        self.mix: nn.Module = nn.Identity()
        width = hidden
        if hindsight:
            width = 48
            self.mix = nn.Sequential(nn.Linear(hidden * len(self.looks), width), nn.ReLU())
        self.keys = nn.Linear(width, outputs - 1)
        self.pedal = nn.Sequential(nn.Linear(2 * hidden, 24), nn.ReLU(), nn.Linear(24, 1))
        begin_at_priors(self.keys)
        # Not trained, but measured at the end: see `Touch`.
        self.register_buffer("touch", torch.zeros(2))
        self.touch: Tensor
        self.register_buffer("velocity", torch.eye(outputs)[Output.VELOCITY], persistent=False)
        self.velocity: Tensor

    def init_state(self, batch: int) -> Tensor:
        return self.keys.weight.new_zeros(batch, self.hindsight, PITCHES, self.hidden)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.shape[1]
        joined = torch.cat([state, x], 1) if self.hindsight else x
        left = joined.narrow(1, frames, self.hindsight)
        return self._told(self._view(joined, frames), together(x)), left

    def whole(self, hidden: Tensor, pooled: Tensor) -> Tensor:
        """Outputs for a whole `(batch, frames, 88, hidden)` and what is `together` in it, for training."""
        return self._told(self.view(hidden), pooled)

    def touched(self, output: Tensor, level: Tensor) -> Tensor:
        """Its output with velocities by how loud it is, `(batch, frames, 2)` of `Touch`."""
        unusual = torch.linalg.vecdot(level, self.touch).view(*level.shape[:2], 1, 1)
        return torch.addcmul(output, unusual, self.velocity)

    def view(self, hidden: Tensor) -> Tensor:
        """What the last layer reads keys from, of a whole `(batch, frames, 88, hidden)`."""
        return self._view(torch.cat([self.init_state(len(hidden)), hidden], 1), hidden.shape[1])

    def _told(self, seen: Tensor, pooled: Tensor) -> Tensor:
        pedal = self.pedal(pooled).unsqueeze(2).expand(-1, -1, PITCHES, -1)
        return torch.cat([self.keys(seen), pedal], -1)

    def _view(self, joined: Tensor, frames: int) -> Tensor:
        if not self.hindsight:
            return joined
        if torch.is_grad_enabled() and self.hindsight % 2 == 0:
            return self._mixed(joined)
        seen = [joined[:, self.hindsight - back :][:, :frames] for back in self.looks]
        mixed: Tensor = self.mix(torch.cat(seen, -1))
        return mixed

    def _mixed(self, joined: Tensor) -> Tensor:
        """The same as one convolution with gaps between its three frames: slices have slow gradients."""
        linear = self.mix.get_submodule("0")
        assert isinstance(linear, nn.Linear)
        weight = linear.weight.view(len(linear.weight), len(self.looks), -1).flip(1).transpose(1, 2)
        x = joined.permute(0, 3, 1, 2)
        y = F.conv2d(x, weight.unsqueeze(-1), linear.bias, dilation=(self.hindsight // 2, 1))
        return F.relu(y).permute(0, 2, 3, 1)


def together(hidden: Tensor) -> Tensor:
    """What all keys do, `(batch, frames, 2 * hidden)`: it tells of the pedal."""
    return torch.cat([hidden.mean(2), hidden.amax(2)], -1)


def decided(
    hidden: Tensor, level: Tensor, state: Tensor, head: DecisionHead, sooner: DecisionHead | None
) -> tuple[Tensor, Tensor]:
    """Outputs of a head for frames as loud as `level` tells, then those of one that decides sooner."""
    output, state = head.step(hidden, state)
    output = head.touched(output, level)
    if sooner is not None:  # one without hindsight, which reads no state
        early, _ = sooner.step(hidden, state)
        output = torch.cat([output, sooner.touched(early, level)], -1)
    return output, state


def begin_at_priors(layer: nn.Linear) -> None:
    """Let state logits start from how often each state occurs, so that training need not find that."""
    states = len(NoteState)
    with torch.no_grad():
        layer.weight[:states] *= 0.3
        layer.bias[:states] = torch.tensor([0.96, 0.0019, 0.0018, 0.036, 0.0003]).log()
