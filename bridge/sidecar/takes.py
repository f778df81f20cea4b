"""Takes: what was heard in one pass of a host's transport, as a MIDI file on the project's grid."""

from __future__ import annotations

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, count, pairwise
from math import floor
from pathlib import Path
from typing import TypeVar

from bridge.midi import write_midi
from bridge.presets import InstrumentPreset
from bridge.wire import protocol as wire
from inference.clock import TempoMap
from inference.events import Control, Events, LanePoint, Note, NoteCollector

log = logging.getLogger(__name__)

PPQ = 960
"""Ticks per quarter: finer than in other files, since the tempo is the host's."""
STEADY_BEATS = 1e-3
"""Positions that agree this well with the tempo before need no tempo of their own."""
SHORTEST_BEATS = 0.25
"""A gliding tempo is written this often."""
_UNSAFE = re.compile(r"[^\w .()-]")


@dataclass(frozen=True, slots=True)
class Anchor:
    """At stream time `time` the song is at `beats` quarters and goes on at `tempo_bpm`."""

    time: int
    beats: float
    tempo_bpm: float


@dataclass(frozen=True, slots=True)
class Take:
    """What was heard between two breaks of a stream; all times are stream time, in samples at `rate`."""

    rate: int
    begin: int
    began_s: float
    """Seconds since 1970."""
    notes: tuple[Note, ...]
    controls: tuple[Control, ...]
    lanes: tuple[LanePoint, ...]
    anchors: tuple[Anchor, ...] = ()
    meter: tuple[int, int] | None = None

    def tempo(self) -> tuple[TempoMap, int]:
        """The host's tempo, and the time of `begin` in samples since its first bar.

        Bar 1 of the project is the beginning of the file; a take that begins before it, in a count-in,
        has as many whole bars in front. Where the host tells no tempo the take begins at once, at 120.
        """
        if not self.anchors:
            return TempoMap(), 0
        first = self.anchors[0]
        bar = 4.0 if self.meter is None else 4 * self.meter[0] / self.meter[1]
        origin = min(0, floor(first.beats / bar)) * bar
        places = [(Fraction(round((a.beats - origin) * PPQ), PPQ), a.time) for a in self.anchors]
        changes: dict[Fraction | int, int] = {
            place: round(1e6 * (end - time) / self.rate / (then - place))
            for (place, time), (then, end) in pairwise(places)
        }
        changes[places[-1][0]] = round(60e6 / self.anchors[-1].tempo_bpm)
        tempo = TempoMap([(0, changes.pop(places[0][0])), *sorted(changes.items())])
        return tempo, round(float(tempo.seconds(places[0][0])) * self.rate)

    def write(self, path: Path, instrument: InstrumentPreset, name: str) -> None:
        """Write the take as a standard MIDI file; see `tempo` for where it begins."""
        tempo, begin = self.tempo()
        by = begin - (self.anchors[0].time if self.anchors else self.begin)
        # A file's meters have powers of two below.
        meters = [(0, *self.meter)] if self.meter and self.meter[1].bit_count() == 1 else []
        write_midi(
            path,
            [replace(n, onset=n.onset + by, offset=n.offset + by) for n in self.notes],
            [_moved(control, by) for control in self.controls],
            self.rate,
            lanes=[_moved(point, by) for point in self.lanes],
            instrument=instrument,
            tempo=tempo,
            meters=meters,
            name=name,
            ppq=PPQ,
        )


Timed = TypeVar("Timed", Control, LanePoint)


def _moved(event: Timed, by: int) -> Timed:
    return replace(event, time=event.time + by)


class Pass:
    """A take while it is made.

    Args:
        rate: samples per second.
        begin: stream time of its first sample.
    """

    def __init__(self, rate: int, begin: int) -> None:
        self._rate, self._begin, self._began_s = rate, begin, time.time()
        self._anchors: list[Anchor] = []
        self._meter: tuple[int, int] | None = None
        self._collector = NoteCollector()
        self._notes: list[Note] = []
        self._controls: list[Control] = []
        self._lanes: list[LanePoint] = []

    def place(self, start: int, transport: wire.Transport) -> None:
        """Where the song was when the block at `start` began."""
        if transport.beats is None or transport.tempo_bpm is None:
            return
        if self._meter is None:
            self._meter = transport.meter
        here = Anchor(start, transport.beats, transport.tempo_bpm)
        if not self._anchors:
            self._anchors.append(here)
            return
        last = self._anchors[-1]
        foreseen = last.beats + (start - last.time) / self._rate * last.tempo_bpm / 60
        steady = here.tempo_bpm == last.tempo_bpm and abs(here.beats - foreseen) < STEADY_BEATS
        if not steady and here.beats >= last.beats + SHORTEST_BEATS:
            self._anchors.append(here)

    def add(self, events: Events) -> None:
        """Take what was heard next."""
        self._notes += self._collector.add(events)
        self._controls += events.controls
        self._lanes += events.lanes

    def close(self, time: int) -> Take | None:
        """The finished take; None if no note was heard. What still sounds ends at `time`."""
        self._notes += self._collector.close(time)
        if not self._notes:
            return None
        return Take(
            self._rate,
            self._begin,
            self._began_s,
            tuple(self._notes),
            tuple(self._controls),
            tuple(self._lanes),
            tuple(self._anchors),
            self._meter,
        )


class Shelf:
    """Writes takes into a folder, beside everything else; `close` waits for the last of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, "dawbridge-takes")

    def keep(self, take: Take, instrument: InstrumentPreset, track: str) -> None:
        """Write a take under a name of its own; a failure is logged, and the session goes on."""
        self._writer.submit(self._write, take, instrument, track)

    def close(self) -> None:
        """Until everything is written."""
        self._writer.shutdown()

    def _write(self, take: Take, instrument: InstrumentPreset, track: str) -> None:
        path = self._free(time.strftime("%Y-%m-%d %H-%M-%S", time.localtime(take.began_s)), track)
        try:
            take.write(path, instrument, track)
        except Exception as error:  # nobody waits for this thread: what goes wrong must be said here
            log.error("a take of %d notes is lost: %s", len(take.notes), error)
        else:
            log.info("a take of %d notes: %s", len(take.notes), path)

    def _free(self, when: str, track: str) -> Path:
        stem = f"{when} {_UNSAFE.sub('_', track)[:80]}".strip(" .")
        numbered = (f"{stem} {number}" for number in count(2))
        names = (self._folder / f"{name}.mid" for name in chain([stem], numbered))
        return next(path for path in names if not path.exists())
