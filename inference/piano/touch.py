"""How hard keys are struck, told from how loud it is: what the followed level hides from the network.

The front end brings a stream to one level by the loudest it has heard, so a crescendo makes all that
follows look softer. And a network that is trained on seconds cannot know how loud those are among
minutes. Two numbers mend that, and are added to the velocities of a frame: how far the loudness of the
last second, and the gain, are from what they usually were in this stream. How much of each,
`inference.piano.refit` measures after the training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.streaming import Streaming

LOUD_S, USUAL_S = 1.0, 300.0
"""Over how long a time loudness is averaged, and what is usual; exponentially."""
_DB = 10 / math.log(10)
_SILENCE = 1e-14
"""Square of the power that counts as silence, -70 dB."""


class Touch(Streaming[Tensor]):
    """Power and gain of frames `(batch, frames, 2)` to unusual loudness and gain in dB, the same shape.

    Power is that at the followed level; gain is the natural logarithm of what brings a frame there.
    Loudness is a mean of squares of the power, so that a rest does not make the note after it soft.
    What is usual in a stream says how it was recorded, not how it is played. All averages are true
    means at first: nothing is known before the first frame.

    State: sums and their weights, `(batch, 3, 2)`.
    """

    time_axis = 1

    def __init__(self, frames_per_second: float) -> None:
        super().__init__()
        keep = [math.exp(-1 / (seconds * frames_per_second)) for seconds in (LOUD_S, USUAL_S, USUAL_S)]
        self.register_buffer("keep", torch.tensor(keep)[:, None], persistent=False)
        self.keep: Tensor

    def init_state(self, batch: int) -> Tensor:
        return self.keep.new_zeros(batch, 3, 2)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        now, usual, state = self.compare(x, state)
        return now - usual, state

    def compare(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loudness and gain in dB, what they usually are, both `(batch, frames, 2)`, and the new state."""
        power, gain = x.unbind(-1)
        square = power.square()
        values = torch.stack([square, square, gain], -1)
        news = torch.stack([values, torch.ones_like(values)], -1)  # (batch, frames, 3, sums and weights)
        if x.shape[1] == 1:
            sums = torch.addcmul(news, self.keep, state[:, None])
        else:
            age = torch.arange(x.shape[1], dtype=x.dtype)
            # Frame n has what came at j, n - j frames ago; what was there before is n + 1 frames old.
            past = (self.keep[:, None] ** (age[:, None] - age).clamp(min=0)).tril()
            before = self.keep.t() ** (age[:, None] + 1)
            sums = torch.einsum("knj,bjks->bnks", past, news) + before[..., None] * state[:, None]
        mean = sums[..., 0] / sums[..., 1]
        loud = (mean[..., :2] + _SILENCE).log() * (_DB / 2)
        gains = torch.stack([gain, mean[..., 2]], -1) * (2 * _DB)
        now, usual = torch.stack([loud, gains], -1).unbind(-2)
        return now, usual, sums[:, -1]
