"""A piece instead of an ear: a MIDI file is played along the transport of a host, whatever is heard."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from bridge.midi import read_midi
from bridge.sidecar.jobs import Samples
from bridge.wire import protocol as wire
from inference.events import Control, Events, NoteOff, NoteOn

NAME = "player"
"""What a plug-in asks for, among its presets, to have the piece played."""
FINE = 960_000
"""Times of the file in parts of a second this fine: no tick of a usual file is lost."""
SLACK = 2
"""Samples before its start from which a pass of the transport plays: hosts round where they begin."""

Event = NoteOn | NoteOff | Control


@dataclass(frozen=True, slots=True)
class Piece:
    """The events of a file in order, with the place of each in quarters and in seconds; their times are 0."""

    events: tuple[Event, ...]
    quarters: tuple[float, ...]
    seconds: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Piece:
        """Read a standard MIDI file: its notes and pedals."""
        content = read_midi(path, FINE)
        timed: list[tuple[int, int, Event]] = [
            (c.time, 1, Control(0, c.controller, c.value, c.channel)) for c in content.controls
        ]
        for number, note in enumerate(content.notes):
            on = NoteOn(0, note.pitch, note.velocity, number, note.channel)
            timed.append((note.onset, 2, on))
            timed.append((note.offset, 0, NoteOff(0, note.pitch, 0.5, number, note.channel)))
        timed.sort(key=lambda each: each[:2])
        seconds = [Fraction(time, FINE) for time, _, _ in timed]
        return cls(
            tuple(event for _, _, event in timed),
            tuple(float(content.tempo.beats(time)) for time in seconds),
            tuple(float(time) for time in seconds),
        )


@dataclass
class Player:
    """One pass after another of a host's transport; a stream as the worker sees it.

    Where the host tells its tempo and its position in quarters, the quarters of the file lie on those of
    the project, at the project's tempo. Where it tells its position in samples only, the file keeps its
    own tempo. A host that tells neither hears nothing.

    Args:
        piece: what is played.
        rate: Hz of the stream's samples.
        origin: stream time of the first.
    """

    piece: Piece
    rate: int
    origin: int
    pending: int = field(default=0, init=False)
    _end: int = field(default=0, init=False)
    _anchor: tuple[int, wire.Transport] = field(default=(0, wire.Transport()), init=False)
    _scale: tuple[float, ...] | None = field(default=None, init=False)
    _next: float = field(default=0.0, init=False)  # everything before this place was played

    def __post_init__(self) -> None:
        self._end = self.origin

    @property
    def batch(self) -> tuple[object, ...]:
        """All players step together."""
        return (NAME,)

    @property
    def due(self) -> int:
        """Not known: every block brings its own position, at once."""
        return 0

    def place(self, start: int, transport: wire.Transport) -> None:
        """Where the song is at the block that is pushed next."""
        self._anchor = start, transport

    def push(self, audio: Samples) -> None:
        """Take the length of a block; what sounds in it is of no interest."""
        self._end += audio.shape[1]
        self.pending = 1

    def step(self) -> Events:
        """What is to be played until the end of the audio that was pushed."""
        self.pending = 0
        notes: list[NoteOn | NoteOff] = []
        controls: list[Control] = []
        for event in self._due_events():
            if isinstance(event, Control):
                controls.append(event)
            else:
                notes.append(event)
        return Events(self._end, tuple(notes), tuple(controls))

    def finish(self) -> Events:
        """The end of a pass; who asked for it releases what sounds."""
        return Events(self._end)

    def _due_events(self) -> list[Event]:
        start, transport = self._anchor
        here, pace, scale = self._position(transport)
        if scale is None or pace <= 0:
            self._scale = None
            return []
        begins = self._scale is not scale
        if begins:
            self._scale, self._next = scale, here - SLACK * pace
        until = here + (self._end - start - 0.5) * pace  # what rounds to the next sample is the next block's
        first, last = bisect_left(scale, self._next), bisect_left(scale, until)
        pedals = self._pedals(first, start) if begins else []
        self._next = max(self._next, until)
        return pedals + [
            replace(
                self.piece.events[index],
                time=min(max(start + round((scale[index] - here) / pace), start), self._end - 1),
            )
            for index in range(first, last)
        ]

    def _position(self, transport: wire.Transport) -> tuple[float, float, tuple[float, ...] | None]:
        """Place of the song, how far it moves in a sample, and the places of the events on that scale."""
        if not transport.playing:
            return 0.0, 0.0, None
        if transport.beats is not None and transport.tempo_bpm is not None:
            return transport.beats, transport.tempo_bpm / 60 / self.rate, self.piece.quarters
        if transport.position is not None:
            return transport.position / self.rate, 1 / self.rate, self.piece.seconds
        return 0.0, 0.0, None

    def _pedals(self, index: int, time: int) -> list[Event]:
        """Pedals that were down before the event at `index`, for a pass that begins there."""
        down = {(c.controller, c.channel): c for c in self.piece.events[:index] if isinstance(c, Control)}
        return [replace(control, time=time) for control in down.values() if control.value > 0]
