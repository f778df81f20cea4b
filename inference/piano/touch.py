"""How hard keys are struck, told from how loud it is: what the followed level hides from the network.

The front end brings a stream to one level by the loudest it has heard, so a crescendo makes all that
follows look softer. And a network that is trained on seconds cannot know how loud those are among
minutes. Two numbers mend that, and are added to the velocities of a frame: how loud the last second was,
and how far the gain is from what it usually was in this stream. How much of each,
`inference.piano.refit` measures after the training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.streaming import Streaming

LOUD_S, USUAL_S = 1.0, 300.0
"""Over how long a time loudness and the usual gain are averaged, exponentially."""
_DB = 10 / math.log(10)
_SILENCE = 1e-14
"""Square of the power that counts as silence, -70 dB."""


class Touch(Streaming[Tensor]):
    """Power and gain of frames `(batch, frames, 2)` to loudness and unusual gain in dB, the same shape.

    Power is that at the followed level; gain is the natural logarithm of what brings a frame there.
    Loudness is a mean of squares of the power, so that a rest does not make the note after it soft.
    Both averages are true means at first: nothing is known before the first frame.

    State: sums and their weights, `(batch, 2, 2)`.
    """

    time_axis = 1

    def __init__(self, frames_per_second: float) -> None:
        super().__init__()
        keep = [math.exp(-1 / (seconds * frames_per_second)) for seconds in (LOUD_S, USUAL_S)]
        self.register_buffer("keep", torch.tensor(keep)[:, None], persistent=False)
        self.keep: Tensor

    def init_state(self, batch: int) -> Tensor:
        return self.keep.new_zeros(batch, 2, 2)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        power, gain = x.unbind(-1)
        values = torch.stack([power.square(), gain], -1)
        news = torch.stack([values, torch.ones_like(x)], -1)  # (batch, frames, 2, sums and weights)
        if x.shape[1] == 1:
            sums = torch.addcmul(news, self.keep, state[:, None])
        else:
            age = torch.arange(x.shape[1], dtype=x.dtype)
            # Frame n has what came at j, n - j frames ago; what was there before is n + 1 frames old.
            past = (self.keep[:, None] ** (age[:, None] - age).clamp(min=0)).tril()
            before = self.keep.t() ** (age[:, None] + 1)
            sums = torch.einsum("knj,bjks->bnks", past, news) + before[..., None] * state[:, None]
        mean = sums[..., 0] / sums[..., 1]
        loud = (mean[..., 0] + _SILENCE).log() * (_DB / 2)
        return torch.stack([loud, (gain - mean[..., 1]) * (2 * _DB)], -1), sums[:, -1]
