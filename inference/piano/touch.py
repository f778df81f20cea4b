"""How hard keys are struck, told from how loud it is: what the followed level hides from the network.

The front end brings a stream to one level by the loudest it has heard, so a crescendo makes all that
follows look softer. And a network that is trained on seconds cannot know how loud those are among
minutes. Two numbers mend that, and are added to the velocities of a frame: how far the loudness of the
last second, and the gain, are from what they usually were in this stream. How much of each,
`inference.piano.refit_touch` measures after the training.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.streaming import Streaming

LOUD_S, USUAL_S = 1.0, 300.0
"""Over how long a time loudness is averaged, and what is usual; exponentially."""
DB = 10 / math.log(10)
"""Decibels of a natural logarithm of power."""
SILENCE = 1e-14
"""Square of the power that counts as silence, -70 dB."""


class TouchState(NamedTuple):
    """Three means and how many frames they count for, each `(batch, 1, 3)`."""

    mean: Tensor
    weight: Tensor


class Touch(Streaming[TouchState]):
    """Power and gain of frames `(batch, frames, 2)` to unusual loudness and gain in dB, the same shape.

    Power is that at the followed level; gain is the natural logarithm of what brings a frame there.
    Loudness is a mean of squares of the power, so that a rest does not make the note after it soft.
    What is usual in a stream says how it was recorded, not how it is played. All averages are true
    means at first: nothing is known before the first frame.
    """

    time_axis = 1

    def __init__(self, frames_per_second: float) -> None:
        super().__init__()
        keep = [math.exp(-1 / (seconds * frames_per_second)) for seconds in (LOUD_S, USUAL_S, USUAL_S)]
        # Of power and gain, what each mean is of: squares of power, twice, and the gain itself.
        for name, values in (("keep", keep), ("source", [0, 0, 1]), ("exponent", [2.0, 2.0, 1.0])):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.keep: Tensor
        self.source: Tensor
        self.exponent: Tensor

    def init_state(self, batch: int) -> TouchState:
        zeros = self.keep.new_zeros(batch, 1, 3)
        return TouchState(zeros, zeros)

    def step(self, x: Tensor, state: TouchState) -> tuple[Tensor, TouchState]:
        now, usual, state = self.compare(x, state)
        return now - usual, state

    def compare(self, x: Tensor, state: TouchState) -> tuple[Tensor, Tensor, TouchState]:
        """Loudness and gain in dB, what they usually are, both `(batch, frames, 2)`, and the new state."""
        values = x.index_select(2, self.source).pow(self.exponent)
        mean, weight = self._means(values, state)
        loud = (mean.narrow(2, 0, 2) + SILENCE).log() * (DB / 2)
        gain, usual_gain = values.narrow(2, 2, 1) * (2 * DB), mean.narrow(2, 2, 1) * (2 * DB)
        now = torch.cat([loud.narrow(2, 0, 1), gain], 2)
        usual = torch.cat([loud.narrow(2, 1, 1), usual_gain], 2)
        if x.shape[1] != 1:
            mean, weight = mean[:, -1:], weight[:, -1:]
        return now, usual, TouchState(mean, weight)

    def _means(self, values: Tensor, state: TouchState) -> TouchState:
        """Means after each frame of values `(batch, frames, 3)`."""
        frames = values.shape[1]
        if frames == 1:  # a live step, in as few operations as possible
            weight = torch.addcmul(torch.ones_like(self.keep), self.keep, state.weight)
            return TouchState(torch.lerp(state.mean, values, weight.reciprocal()), weight)
        age = torch.arange(frames, dtype=values.dtype, device=values.device)
        # Frame n has what came at j, n - j frames ago; what was there before is n + 1 frames old.
        past = (self.keep[:, None, None] ** (age[:, None] - age).clamp(min=0)).tril()
        before = self.keep ** (age[:, None] + 1) * state.weight
        weight = past.sum(2).t() + before
        return TouchState((torch.einsum("knj,bjk->bnk", past, values) + before * state.mean) / weight, weight)
