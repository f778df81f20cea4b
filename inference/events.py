"""What listening yields: notes, controls, lane points and beats, as immutable values.

Times are integer samples of one stream. A system reports them at its own rate; the pipeline
converts them to the host's rate once, at its exit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Controller(IntEnum):
    """MIDI controller numbers of the piano pedals."""

    SUSTAIN = 64
    SOSTENUTO = 66
    SOFT = 67


class Lane(StrEnum):
    """A named curve over time that a DAW can record as automation."""

    VELOCITY = "velocity"
    DYNAMICS = "dynamics"
    TEMPO = "tempo"


@dataclass(frozen=True, slots=True)
class NoteOn:
    """A key goes down.

    Args:
        time: onset in samples.
        pitch: MIDI pitch 0..127, 60 = C4.
        velocity: loudness in (0, 1].
        note: id of this voice, unique within the stream.
        channel: 0..15.
        confidence: probability that the note is real, 0..1.
    """

    time: int
    pitch: int
    velocity: float
    note: int
    channel: int = 0
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class NoteOff:
    """The voice `note` ends at `time` samples; `velocity` is the release velocity in [0, 1]."""

    time: int
    pitch: int
    velocity: float
    note: int
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Control:
    """A pedal moves to `value` in [0, 1]."""

    time: int
    controller: Controller
    value: float
    channel: int = 0


@dataclass(frozen=True, slots=True)
class LanePoint:
    """One point of a lane: `value` in [0, 1], or in bpm for `Lane.TEMPO`."""

    time: int
    lane: Lane
    value: float


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat: number `position` (0 is the downbeat) of a bar with `of` beats."""

    time: int
    position: int
    of: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Note:
    """A finished note, for files and scores. Times in samples, velocity in (0, 1]."""

    onset: int
    offset: int
    pitch: int
    velocity: float
    channel: int = 0
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Events:
    """What one step of listening found; nothing before `final_until` (samples) will change."""

    final_until: int
    notes: tuple[NoteOn | NoteOff, ...] = ()
    controls: tuple[Control, ...] = ()
    lanes: tuple[LanePoint, ...] = ()
    beats: tuple[Beat, ...] = ()


def merge(parts: Iterable[Events]) -> Events:
    """Concatenate events of consecutive steps of one stream, in the order given."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return Events(
        final_until=max((p.final_until for p in parts), default=0),
        notes=tuple(n for p in parts for n in p.notes),
        controls=tuple(c for p in parts for c in p.controls),
        lanes=tuple(x for p in parts for x in p.lanes),
        beats=tuple(b for p in parts for b in p.beats),
    )


class NoteCollector:
    """Pairs note-ons with their note-offs as they arrive; remembers only what sounds."""

    def __init__(self) -> None:
        self._sounding: dict[int, NoteOn] = {}

    @property
    def sounding(self) -> tuple[NoteOn, ...]:
        """Voices that have no note-off yet, in order of arrival."""
        return tuple(self._sounding.values())

    def add(self, events: Events) -> list[Note]:
        """Take the next events; return the notes that they finish."""
        finished = []
        for event in events.notes:
            if isinstance(event, NoteOn):
                self._sounding[event.note] = event
            elif (on := self._sounding.pop(event.note, None)) is not None:
                finished.append(_finish(on, event.time))
        return finished

    def close(self, time: int) -> list[Note]:
        """End every sounding voice at `time` samples."""
        notes = [_finish(on, time) for on in self._sounding.values()]
        self._sounding.clear()
        return notes


def _finish(on: NoteOn, time: int) -> Note:
    return Note(on.time, max(time, on.time + 1), on.pitch, on.velocity, on.channel, on.confidence)
