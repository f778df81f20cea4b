"""Bars, beats, tempo and dynamics in a picture of the notes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from inference.events import Beat, Lane, LanePoint

BAR, BEAT, TEMPO, DYNAMICS = "#5b6472", "#c9ced6", "#1d4ed8", "#b45309"
NUMBERS = 60
"""Bar numbers that fit into a picture."""


def draw_rhythm(roll: Any, below: Any, beats: Sequence[Beat], lanes: Sequence[LanePoint], rate: int) -> None:
    """Bars and beats as lines through the notes, tempo and dynamics as curves in the axes below."""
    times = [beat.time / rate for beat in beats]
    bars = [time for time, beat in zip(times, beats, strict=True) if beat.position == 0]
    low, high = roll.get_ylim()
    inner = [time for time, beat in zip(times, beats, strict=True) if beat.position]
    roll.vlines(inner, low, high, colors=BEAT, lw=0.6, zorder=1)
    roll.vlines(bars, low, high, colors=BAR, lw=0.9, zorder=1)
    every = len(bars) // NUMBERS + 1
    for number, time in list(enumerate(bars, 1))[::every]:
        roll.text(time, high, f" {number}", color=BAR, fontsize=7, va="top", clip_on=True)
    tempi = [60 / (b - a) for a, b in pairwise(times)]
    below.step([*times[:-1], times[-1]], [*tempi, tempi[-1]], where="post", color=TEMPO, lw=1.1)
    below.set_ylabel("bpm", color=TEMPO)
    below.set_ylim(0, 1.15 * max(tempi))
    points = [(point.time / rate, point.value) for point in lanes if point.lane is Lane.DYNAMICS]
    if points:
        curve = below.twinx()
        curve.plot(*zip(*points, strict=True), color=DYNAMICS, lw=1.1, drawstyle="steps-post")
        curve.set_ylim(0, 1)
        curve.set_yticks([0.1, 0.3, 0.5, 0.7, 0.9], ["pp", "p", "mf", "f", "ff"], color=DYNAMICS)
        curve.tick_params(length=0)
        for side in ("top", "left", "right"):
            curve.spines[side].set_visible(False)
