"""Beats as they are told live, to pulses that a machine can run on: MIDI clock with start and stop.

What is told of beats is late, lacks some, and is at times wrong; a machine wants 24 even pulses in
each of them, in time. So pulses run ahead along a straight line, and every beat that is told bends it:
as fast as the last beats were, and until the next one a little faster or slower, so that by then the
pulses are where the beats are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median

from inference.events import Beat

PER_BEAT = 24
"""Pulses, as MIDI has them."""
_STEADY = 4
"""Beats in a row that begin a count, and that end it if they lie elsewhere than the pulses say."""
_EVEN, _BETWEEN = 0.35, 0.35
"""How far intervals may be from their median to begin; how far a beat may be from the next whole one."""
_NEW = 0.5
"""Share of the newest beat in how long beats are thought to be."""
_BENT = 2.0
"""How much faster or slower than the music pulses may be to catch up with it."""
_PATIENCE = 4.0
"""Beats that may stay away before the count ends."""


class Kind(StrEnum):
    """What a pulse is: the next beat begins a bar and a count; a 24th of a beat; the count is over."""

    START = "start"
    CLOCK = "clock"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Pulse:
    """When it is due, in samples."""

    time: float
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Line:
    """Beats counted since the start along time: two straight pieces, which meet at `meet`."""

    time: float
    beats: float
    bent: float
    meet: float
    interval: float

    def at(self, time: float) -> float:
        """Beats counted at a time."""
        before = min(time, self.meet) - self.time
        return self.beats + before * self.bent + max(0.0, time - self.meet) / self.interval

    def when(self, beats: float) -> float:
        """Time at which so many are counted."""
        met = self.beats + (self.meet - self.time) * self.bent
        if beats <= met:
            return self.time + (beats - self.beats) / self.bent
        return self.meet + (beats - met) * self.interval


class Pulses:
    """Follows beats that are told; times are in samples of any rate, and never go back.

    A count starts where a bar does, after four even beats; pulses come before that, so that who follows
    knows the tempo. It stops when beats stay away, or lie between its own for long.
    """

    def __init__(self) -> None:
        self._even: list[Beat] = []
        self._line: _Line | None = None
        self._pulse = 0
        self._last = 0.0
        self._stray = 0
        self._counting = False

    @property
    def next(self) -> float | None:
        """When there is something to do; None: not before another beat is told."""
        line = self._line
        return None if line is None else min(line.when(self._pulse / PER_BEAT), self._end(line))

    def tell(self, beats: Iterable[Beat], now: float) -> list[Pulse]:
        """Take beats that are known from `now` on; what was due by then, and a stop if the count is over."""
        due = self.due(now)
        for beat in beats:
            if self._line is None:
                self._wait(beat, now)
            elif self._follow(self._line, beat, now):
                due += self.stop(now)
                self._wait(beat, now)
        return due

    def due(self, now: float) -> list[Pulse]:
        """Pulses until `now` that were not given yet, in order."""
        found: list[Pulse] = []
        if (line := self._line) is None:
            return found
        end = self._end(line)
        while (time := line.when(self._pulse / PER_BEAT)) <= now and time < end:
            if self._pulse == 0:
                self._counting = True
                found.append(Pulse(time, Kind.START))
            found.append(Pulse(time, Kind.CLOCK))
            self._pulse += 1
        return [*found, *self.stop(end)] if end <= now else found

    def stop(self, now: float) -> list[Pulse]:
        """End the count, if there is one."""
        stops = [Pulse(now, Kind.STOP)] if self._counting else []
        self._line, self._counting, self._stray = None, False, 0
        self._even = []
        return stops

    def _end(self, line: _Line) -> float:
        return self._last + _PATIENCE * line.interval

    def _wait(self, beat: Beat, now: float) -> None:
        """Begin once enough beats are even, at the first bar that is still to come."""
        self._even = [*self._even[1 - _STEADY :], beat]
        times = [beat.time for beat in self._even]
        lengths = [after - before for before, after in pairwise(times)]
        if len(times) < _STEADY:
            return
        usual = median(lengths)
        if usual <= 0 or max(abs(length / usual - 1) for length in lengths) > _EVEN:
            return
        until_bar = -beat.position % beat.of
        while beat.time + until_bar * usual < now:
            until_bar += beat.of
        self._line = _Line(beat.time, -until_bar, 1 / usual, beat.time, usual)
        self._pulse = math.ceil(self._line.at(now) * PER_BEAT)
        self._last = beat.time

    def _follow(self, line: _Line, beat: Beat, now: float) -> bool:
        """Bend the line to a beat; whether too many lay elsewhere."""
        counted = line.at(beat.time)
        whole = round(counted)
        if abs(whole - counted) > _BETWEEN:
            self._stray += 1
            return self._stray >= _STEADY
        passed = beat.time - self._last
        beats = max(1, round(passed / line.interval))
        interval = line.interval
        if abs(passed / beats / interval - 1) < _EVEN:
            interval += _NEW * (passed / beats - interval)
        self._last, self._stray = beat.time, 0
        self._line = _bent(now, line.at(now), whole + (now - beat.time) / interval, interval)
        return False


def _bent(now: float, counted: float, wanted: float, interval: float) -> _Line:
    """A line on from `counted` beats, to where one beat later the line through `wanted` is, if it can."""
    usual, within = 1 / interval, interval
    bent = usual + (wanted - counted) / within
    if not usual / _BENT <= bent <= usual * _BENT:
        bent = min(max(bent, usual / _BENT), usual * _BENT)
        within = (wanted - counted) / (bent - usual)
    return _Line(now, counted, bent, now + within, interval)
