"""Trains the network that tells how fast music is counted, on parts of performances with known beats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray

from inference.rhythm.counting import FRAMES_PER_SECOND, CountingNetwork, tempo_cues
from inference.rhythm.tempi import TEMPI, tempo_place
from inference.rhythm.train_struck import Piece, SpoilConfig, spoilt
from inference.training.beats import BeatTable
from inference.training.notes import NoteTable

SPOIL = SpoilConfig()
"""In quite another tempo, music would be counted in another way."""
_LENGTHS_S = (60.0, 110.0, 240.0)
_FEWEST_BEATS, _FEWEST_NOTES = 16, 20

Example = tuple[NDArray[np.float32], float]
"""Cues `(CUES,)` of a part, and the place of its tempo."""


def collect(pieces: Sequence[Piece], per_piece: int = 4, seed: int = 0) -> list[Example]:
    """Parts of all pieces, spoilt as a transcription is."""
    random = np.random.default_rng(seed)
    found = [_part(*piece, random) for piece in pieces for _ in range(per_piece)]
    return [example for example in found if example is not None]


def fit(examples: Sequence[Example], steps: int = 1_200, batch: int = 128, seed: int = 0) -> CountingNetwork:
    """A network trained on all examples; its members differ in where they begin and what they drop."""
    torch.manual_seed(seed)
    network = CountingNetwork().train()
    cues = torch.from_numpy(np.stack([cues for cues, _ in examples]))
    places = torch.tensor([place for _, place in examples]).clamp(0, TEMPI - 1)
    near = torch.softmax(-0.5 * (torch.arange(TEMPI) - places[:, None]).square(), -1)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(cues), (batch,))
        x = network.norm(cues[rows])
        loss = torch.stack([F.cross_entropy(member(x), near[rows]) for member in network.members]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def _part(notes: NoteTable, beats: BeatTable, random: Generator) -> Example | None:
    """A part in a slightly different tempo and key; None if it has too little in it."""
    stretch = float(np.exp(random.uniform(np.log(SPOIL.slowest), np.log(SPOIL.fastest))))
    length = float(random.choice(_LENGTHS_S))
    start = random.uniform(0, max(float(beats.time[-1]) - length, 0.1))
    end = min(length, (float(beats.time[-1]) - start) * stretch)
    times = beats.moved(-start, stretch).time
    times = times[(times > 0) & (times < end)]
    moved = notes.moved(-start, stretch, int(random.integers(-3, 4)))
    moved = moved.select((moved.onset > 0) & (moved.onset < end))
    if len(times) < _FEWEST_BEATS or len(moved) < _FEWEST_NOTES:
        return None
    onset, pitch, velocity = spoilt(moved, SPOIL, random)
    count, order = int(end * FRAMES_PER_SECOND) + 1, np.argsort(onset)
    frame = np.clip(np.rint(onset[order] * FRAMES_PER_SECOND), 0, count - 1).astype(np.int64)
    place = tempo_place(np.array([np.median(np.diff(times))]))
    return tempo_cues(frame, pitch[order], velocity[order].astype(np.float64), count), float(place[0])
