"""What sounds at the plug-in, as far as we told it: the promise that nothing hangs is kept here."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.wire import protocol as wire
from inference import events as heard


class Voices:
    """Follows note-ons, note-offs and pedals of one session on their way to the wire.

    Voices get numbers that are unique within the session, however often its stream starts anew. A
    note-off without a sounding voice is swallowed, a second note-on of a pitch releases the first:
    note-ons sent minus note-offs sent is always exactly `sounding`.
    """

    def __init__(self) -> None:
        self._sounding: dict[int, wire.NoteOn] = {}  # by the stream's own number
        self._pedals: dict[tuple[int, int], wire.Control] = {}  # (controller, channel), those not at 0
        self._next = 0
        self.struck = 0

    @property
    def sounding(self) -> tuple[wire.NoteOn, ...]:
        """Voices that the plug-in believes to sound, oldest first."""
        return tuple(self._sounding.values())

    def notes(
        self, notes: Iterable[heard.NoteOn | heard.NoteOff], *, mute: bool = False
    ) -> list[wire.NoteOn | wire.NoteOff]:
        """Pass notes on; `mute` drops note-ons (they come too late), never a note-off."""
        passed: list[wire.NoteOn | wire.NoteOff] = []
        for note in notes:
            if isinstance(note, heard.NoteOff):
                if (on := self._sounding.pop(note.note, None)) is not None:
                    passed.append(_off(on, note.time, _unit(note.velocity)))
            elif not mute:
                passed += self._strike(note)
        return passed

    def controls(self, controls: Iterable[heard.Control]) -> list[wire.Control]:
        """Pass pedal moves on."""
        passed = []
        for control in controls:
            sent = wire.Control(
                max(control.time, 0), int(control.controller), _unit(control.value), control.channel
            )
            passed.append(sent)
            self._follow(sent)
        return passed

    def release(self, time: int) -> tuple[list[wire.NoteOn | wire.NoteOff], list[wire.Control]]:
        """Note-offs for all that sounds, and pedals up, at `time`."""
        offs: list[wire.NoteOn | wire.NoteOff] = [_off(on, time, 0.0) for on in self._sounding.values()]
        ups = [wire.Control(max(time, c.time), c.controller, 0.0, c.channel) for c in self._pedals.values()]
        self._sounding.clear()
        self._pedals.clear()
        return offs, ups

    def _strike(self, note: heard.NoteOn) -> list[wire.NoteOn | wire.NoteOff]:
        on = wire.NoteOn(
            max(note.time, 0),
            note.pitch,
            _unit(note.velocity),
            self._next,
            note.channel,
            _unit(note.confidence),
        )
        self._next += 1
        self.struck += 1
        before = [
            number
            for number, other in self._sounding.items()
            if number == note.note or (other.pitch == on.pitch and other.channel == on.channel)
        ]
        offs: list[wire.NoteOn | wire.NoteOff] = [
            _off(self._sounding.pop(number), on.time, 0.0) for number in before
        ]
        self._sounding[note.note] = on
        return [*offs, on]

    def _follow(self, control: wire.Control) -> None:
        key = control.controller, control.channel
        if control.value > 0:
            self._pedals[key] = control
        else:
            self._pedals.pop(key, None)


def _off(on: wire.NoteOn, time: int, velocity: float) -> wire.NoteOff:
    return wire.NoteOff(max(time, on.time), on.pitch, velocity, on.note, on.channel)


def _unit(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)
