"""What sounds on the client's side, so that it can be silenced without anybody's help."""

from __future__ import annotations

from bridge.wire import protocol as wire


class Sounding:
    """Follows events; `release` gives the note-offs and pedal releases that are still owed."""

    def __init__(self) -> None:
        self._notes: dict[int, wire.NoteOn] = {}
        self._pedals: dict[tuple[int, int], wire.Control] = {}

    def __len__(self) -> int:
        return len(self._notes)

    @property
    def pedals(self) -> int:
        """Pedals that are down."""
        return len(self._pedals)

    def follow(self, events: wire.Events) -> None:
        """Take the next events."""
        for note in events.notes:
            if isinstance(note, wire.NoteOn):
                self._notes[note.note] = note
            else:
                self._notes.pop(note.note, None)
        for control in events.controls:
            key = control.controller, control.channel
            if control.value > 0:
                self._pedals[key] = control
            else:
                self._pedals.pop(key, None)

    def release(self, time: int) -> tuple[tuple[wire.NoteOff, ...], tuple[wire.Control, ...]]:
        """Everything off at `time`."""
        offs = tuple(
            wire.NoteOff(max(time, on.time), on.pitch, 0.0, on.note, on.channel)
            for on in self._notes.values()
        )
        ups = tuple(wire.Control(time, c.controller, 0.0, c.channel) for c in self._pedals.values())
        self._notes.clear()
        self._pedals.clear()
        return offs, ups
