"""Trains the network that tells first beats of bars, on the diet of the rhythm network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inference.rhythm.bars import BarNetwork, accents
from inference.rhythm.loudness import features, levelled
from inference.rhythm.mix import Mix

_FEWEST = 16
_MISPLACED = 0.7
"""Frames (standard deviation) by which a beat is taken to be off, as it will be when it is heard."""

Example = tuple[Tensor, Tensor]
"""Accents `(beats, ACCENTS)` and downbeats `(beats,)` of an excerpt."""


def collect(
    mix: Mix, count: int, seed: int, progress: Callable[[str], None] = lambda line: None
) -> list[Example]:
    """Beats of `count` excerpts that have bars."""
    random = np.random.default_rng(seed)
    found: list[Example] = []
    while len(found) < count:
        heard = mix.excerpt(random)
        frames = np.flatnonzero(heard.targets.beat)
        down = heard.targets.downbeat[frames]
        if len(frames) < _FEWEST or not 0.1 < down.mean() < 0.7:
            continue
        seen = features(levelled(10 ** heard.powers.float()[None]), mix.front_end)[0].numpy()
        frames = np.sort(frames + np.rint(random.normal(0, _MISPLACED, len(frames))).astype(np.int64))
        found.append((torch.from_numpy(accents(seen, frames)), torch.from_numpy(down)))
        if len(found) % 20 == 0:
            progress(f"{len(found)} excerpts")
    return found


def fit(examples: Sequence[Example], steps: int = 1_500, batch: int = 16, seed: int = 0) -> BarNetwork:
    """A network trained on all examples."""
    torch.manual_seed(seed)
    network = BarNetwork().train()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(examples), (batch,))
        losses = []
        for row in rows.tolist():
            x, y = examples[row]
            losses.append(F.binary_cross_entropy_with_logits(network(x[None])[0], y))
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def separation(network: BarNetwork, examples: Sequence[Example]) -> float:
    """Chance that a downbeat's logit is above another beat's of the same excerpt, 0.5 if it knows nothing."""
    shares = []
    for x, y in examples:
        with torch.no_grad():
            logits = network(x[None])[0]
        above = (logits[y > 0][:, None] - logits[y == 0][None]).sign()
        shares.append(float(above.mean() + 1) / 2)
    return float(np.mean(shares))
