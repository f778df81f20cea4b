"""What keys tell each other once each has listened for itself."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from inference.layers import HarmonicGather
from inference.piano.config import PITCHES, ExchangeConfig


class Exchange(nn.Module):
    """Hidden values `(batch, frames, 88, hidden)`, plus what those of related keys mean for each.

    The sequence net hears every key alone. Whether a key was struck, or only resounds, is easier to
    tell knowing that the one an octave below was struck just now. Adds nothing until it is trained.
    """

    def __init__(self, hidden: int, config: ExchangeConfig) -> None:
        super().__init__()
        self.say = nn.Linear(hidden, config.said)
        self.gather = HarmonicGather(config.keys, 0, PITCHES, PITCHES)
        self.own = nn.Linear(hidden, config.width)
        self.listen = nn.Linear(config.said * len(config.keys), config.width, bias=False)
        self.revise = nn.Linear(config.width, hidden)
        nn.init.zeros_(self.revise.weight)
        nn.init.zeros_(self.revise.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        heard = self.gather(F.relu(self.say(hidden)))
        revised: Tensor = hidden + self.revise(F.relu(self.own(hidden) + self.listen(heard)))
        return revised
