"""Numbers that describe music, to hold what was generated against what people wrote and played."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from inference.performance import form
from inference.performance.score import TICKS, Performance, Score


@dataclass(frozen=True)
class Description:
    """Six numbers that the field uses (their definitions here are ours; lower or higher is no better).

    Args:
        upc: pitch classes used in a bar, the mean over bars.
        pr: semitones from the lowest to the highest note.
        aps: semitones from one note to the next, mean of absolute values.
        dstd: seconds by which durations spread (standard deviation).
        ioi: seconds from one onset to the next, mean.
        avi: steps of velocity from one note to the next, mean of absolute values.
    """

    upc: float
    pr: float
    aps: float
    dstd: float
    ioi: float
    avi: float


def describe(score: Score, played: Performance) -> Description:
    """The numbers of a performance of a score."""
    order = np.lexsort((score.pitch, played.onset))
    pitch, velocity = score.pitch[order].astype(np.float64), played.velocity[order]
    bar = np.searchsorted(score.bars, score.onset + 1e-3, "right")
    classes = [len(set((score.pitch[bar == index] % 12).tolist())) for index in np.unique(bar)]
    return Description(
        float(np.mean(classes)),
        float(np.ptp(score.pitch)),
        float(np.abs(np.diff(pitch)).mean()) if len(pitch) > 1 else 0.0,
        float(played.duration.std()),
        float(np.diff(played.onset[order]).mean()) if len(pitch) > 1 else 0.0,
        float(np.abs(np.diff(velocity)).mean()) if len(pitch) > 1 else 0.0,
    )


def mean(found: Iterable[Description]) -> Description:
    """Over pieces."""
    table = np.array([list(asdict(one).values()) for one in found])
    return Description(*(float(value) for value in table.mean(0)))


def table(rows: dict[str, Description]) -> str:
    """Descriptions as Markdown."""
    names = [field.name for field in fields(Description)]
    lines = [f"| music | {' | '.join(name.upper() for name in names)} |", "|" + "---|" * (len(names) + 1)]
    for name, row in rows.items():
        cells = " | ".join(f"{value:.3f}" for value in asdict(row).values())
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def excerpts(score: Score, played: Performance, bars: int) -> Iterable[tuple[Score, Performance]]:
    """Parts of `bars` bars, one after the other, what is shorter left out."""
    bar = np.searchsorted(score.bars, score.onset + 1e-3, "right") - 1
    for begin in range(0, len(score.bars) - bars + 1, bars):
        which = (bar >= begin) & (bar < begin + bars)
        if which.sum() > bars:
            part = replace(score.select(which), bars=score.bars[begin : begin + bars])
            yield part, played.select(which)


@dataclass(frozen=True)
class Returns:
    """How much comes back: shares of the bars, from the second on, within `form.FURTHEST` bars.

    Args:
        rhythm: that have notes at exactly the places of an earlier bar.
        notes: of whose notes most are those of an earlier bar.
    """

    rhythm: float
    notes: float


def returns(score: Score) -> Returns:
    """How much of a score comes back."""
    bars = form.bars_of(score)
    rhythm = notes = 0
    for index in range(1, len(bars)):
        earlier = bars[max(0, index - form.FURTHEST) : index]
        rhythm += any(form.is_in_rhythm(bars[index], one) for one in earlier)
        notes += any(form.is_again(bars[index], one) for one in earlier)
    count = max(1, len(bars) - 1)
    return Returns(rhythm / count, notes / count)


def mean_returns(found: Iterable[Returns]) -> Returns:
    """Over pieces."""
    rows = list(found)
    return Returns(float(np.mean([r.rhythm for r in rows])), float(np.mean([r.notes for r in rows])))


def melody(score: Score) -> list[int]:
    """Notes as numbers that stand for pitch and time since the note before, in ticks."""
    ticks = np.rint(np.diff(score.onset, prepend=score.onset[:1]) * TICKS).astype(np.int64)
    numbers: list[int] = (np.minimum(ticks, 999) * 128 + score.pitch).tolist()
    return numbers


def longest_shared(own: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> int:
    """Length of the longest run that occurs in one of `own` and in one of `others`."""

    def shares(length: int) -> bool:
        known = {hash(run) for one in others for run in _runs(one, length)}
        return any(hash(run) in known for one in own for run in _runs(one, length))

    low, high = 0, 1
    while shares(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if shares(middle) else (low, middle)
    return low


def _runs(numbers: Sequence[int], length: int) -> Iterable[tuple[int, ...]]:
    return (tuple(numbers[begin : begin + length]) for begin in range(len(numbers) - length + 1))
