"""Follows beats as they come: where in the beat, and how fast, as probabilities moved on frame by frame.

All tempi and all places within the beat are weighed at once (a hidden Markov model, forward only), so
a tracker that was wrong recovers as soon as what it hears says so. The next beat is known before it
sounds; how long a beat is waited for decides how sure it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.rhythm.tempi import interval_shares

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PointerSettings:
    """What the pointer may do, and when it speaks.

    Args:
        slowest_bpm: and `fastest_bpm`: the range of tempi.
        usual_bpm: the likeliest tempo at first, and `spread` how many octaves away others are.
        stiff: how unlikely it is that a beat is longer or shorter than the one before: larger for
            dance music, smaller for rubato.
        bias: logit that a frame must exceed to speak for a beat.
        sharp: of the logits; below 1 they are believed less.
        limit: largest absolute value of what one frame says.
        restless: probability per beat of any other tempo and place: how soon it recovers.
        wait: frames after a beat until it is told; negative: before it.
        late: frames more that it may take; what is understood later is not told.
        counted: how much counts what is known of the tempo besides.
        certain: mean odds at the last beats below which none is told.
        meters: beats per bar that may occur.
        meter_change: cost of another meter from one bar to the next.
        downbeat_bias: logit above which a beat rather begins a bar.
        downbeat_weight: of the logits that tell where bars begin.
        noted_bars: of what the network over beats says of bars beside them, if there is one.
    """

    slowest_bpm: float = 35.0
    fastest_bpm: float = 240.0
    usual_bpm: float = 110.0
    spread: float = 0.6
    stiff: float = 12.0
    bias: float = -1.5
    sharp: float = 1.3
    limit: float = 5.0
    restless: float = 0.01
    wait: int = 4
    late: int = 10
    counted: float = 0.5
    certain: float = 0.15
    meters: tuple[int, ...] = (2, 3, 4)
    meter_change: float = 2.5
    downbeat_bias: float = 0.0
    downbeat_weight: float = 1.0
    noted_bars: float = 0.75


class Grid(NamedTuple):
    """All states `(tempo, place)` end to end: length of the beat and frames since it began, per state."""

    length: NDArray[np.int64]
    since: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    change: Floats
    start: Floats


class PointerState(NamedTuple):
    """Probability of each state, frames so far, the last beat told, and how sure beats were."""

    weight: Floats
    frame: int
    told: int
    sure: float


class Told(NamedTuple):
    """A beat at `frame`, the frames it lasts, and how sure it is; not `certain` enough to be told aloud.

    `heard` is the frame of the last beat whose notes are known: the same one, unless beats are told
    before they sound.
    """

    frame: int
    heard: int
    length: float
    confidence: float
    certain: bool


@lru_cache
def grid(settings: PointerSettings, rate: float) -> Grid:
    """The states of settings at `rate` frames per second."""
    longest, shortest = 60 * rate / settings.slowest_bpm, 60 * rate / settings.fastest_bpm
    lengths = np.arange(round(shortest), round(longest) + 1)
    length = np.repeat(lengths, lengths)
    last = np.cumsum(lengths) - 1
    first = last - lengths + 1
    since = np.arange(len(length)) - np.repeat(first, lengths)
    ratio = lengths[None] / lengths[:, None]
    change = np.exp(-settings.stiff * np.abs(np.log(ratio)))
    away = np.log2(60 * rate / lengths / settings.usual_bpm) / settings.spread
    usual = np.exp(-0.5 * away**2)
    change = change * usual[None] ** 0.05
    change /= change.sum(1, keepdims=True)
    start = np.repeat(usual / lengths, lengths)
    return Grid(length, since, first, last, change, start / start.sum())


def begin(settings: PointerSettings, rate: float) -> PointerState:
    """State before the first frame."""
    return PointerState(grid(settings, rate).start, 0, -(10**9), 0.0)


def likely(tempo: Floats, settings: PointerSettings, rate: float) -> Floats:
    """How likely each length of a beat is, `(lengths,)`, if tempi cost so much: `counting.tempo_costs`."""
    states = grid(settings, rate)
    lengths = states.length[states.first]
    found: Floats = np.exp(settings.counted * (tempo @ interval_shares(int(lengths[-1]) + 1, rate))[lengths])
    return found


def move(
    state: PointerState,
    beat: float,
    recent: Floats,
    settings: PointerSettings,
    rate: float,
    likely: Floats | None = None,
) -> tuple[PointerState, Told | None]:
    """One frame on.

    Args:
        state: before the frame.
        beat: logit of a beat in this frame.
        recent: logits of beats of the last frames, `(frames, ...)` and the beat's first, this one last.
        settings: see `PointerSettings`.
        rate: frames per second.
        likely: see `likely`; None: nothing is known of the tempo besides.

    Returns:
        The state after it, and the beat that can be told now, if any.
    """
    states = grid(settings, rate)
    weight = np.empty_like(state.weight)
    weight[1:] = state.weight[:-1]
    begun = state.weight[states.last] @ states.change
    weight[states.first] = begun if likely is None else begun * likely
    weight += settings.restless / 40 * states.start
    said = settings.sharp * (beat - settings.bias)
    weight[states.first] *= np.exp(min(max(said, -settings.limit), settings.limit))
    weight /= weight.sum()
    state = state._replace(weight=weight, frame=state.frame + 1)
    return _tell(state, states, recent, settings)


def _tell(
    state: PointerState, states: Grid, recent: Floats, settings: PointerSettings
) -> tuple[PointerState, Told | None]:
    best = int(state.weight.argmax())
    since, length = int(states.since[best]), int(states.length[best])
    now = state.frame - 1
    ahead = settings.wait < 0
    due = length + settings.wait if ahead else settings.wait
    if not due <= since <= due + settings.late:
        return state, None
    frame = now - since + (length if ahead else 0)
    if frame - state.told < 0.6 * length:
        return state, None
    near = around(recent, since)
    heard = float(1 / (1 + np.exp(-near[:, 0].max()))) if len(near) else 0.0
    sure = state.sure + (heard - state.sure) / 6
    mass = state.weight[np.abs(states.since - since) <= 2].sum()
    state = state._replace(told=frame, sure=sure)
    confidence = float(min(1.0, mass) * sure)
    return state, Told(frame, now - since, float(length), confidence, sure >= settings.certain)


def around(recent: Floats, since: int) -> Floats:
    """The rows within two frames of the one that many frames before the last."""
    back = len(recent) - 1 - since
    return recent[max(back - 2, 0) : back + 3] if back >= 0 else recent[:0]


def any_place(settings: PointerSettings) -> Floats:
    """Probabilities of the places in the bars of all meters, one after the other, where nothing is known."""
    return np.full(sum(settings.meters), 1 / sum(settings.meters))


def place_of(bar: Floats, settings: PointerSettings) -> tuple[int, int]:
    """The likeliest place, and of how many beats its bar is."""
    place, edges = int(bar.argmax()), np.cumsum(settings.meters)
    meter = int(np.searchsorted(edges, place, "right"))
    return place - int(edges[meter] - settings.meters[meter]), settings.meters[meter]


def next_place(bar: Floats, odds: float | None, settings: PointerSettings) -> Floats:
    """Probabilities of the places one beat on, which rather begins a bar if `odds` (a logit) are positive."""
    edges = np.cumsum(settings.meters)
    first, last = edges - np.array(settings.meters), edges - 1
    after = np.empty_like(bar)
    after[1:] = bar[:-1]
    change = np.exp(-settings.meter_change * (1 - np.eye(len(first))))
    after[first] = bar[last] @ (change / change.sum(1, keepdims=True))
    if odds is not None:
        down = np.zeros(len(bar), bool)
        down[first] = True
        after = after * np.where(down, 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(odds)))
    after = after + 1e-4 / len(after)
    found: Floats = after / after.sum()
    return found
