"""How hard keys were struck of late, and what that says of the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference.events import NoteOn

_KEPT = 0.99
"""What a frame of 20 ms leaves of a note's weight: two seconds."""


@dataclass(frozen=True)
class Recent:
    """Velocities of the notes before, each counted less the longer ago it began.

    `total` and `weight` are sums as of frame `index`.
    """

    index: int = 0
    total: float = 0.0
    weight: float = 0.0

    def after(self, notes: Sequence[NoteOn], index: int) -> Recent:
        """The same when `notes` were decided too, in frame `index`."""
        kept = _KEPT ** (index - self.index)
        total = self.total * kept + sum(note.velocity for note in notes)
        return Recent(index, total, self.weight * kept + len(notes))

    def judge(self, note: NoteOn, share: float) -> NoteOn:
        """A note that is counted already, louder by a `share` of the mean."""
        mean = self.total / max(self.weight, 1e-6)
        return replace(note, velocity=min(1.0, note.velocity + share * mean))
