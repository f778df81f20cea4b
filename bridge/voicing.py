"""From loudness and lanes in 0..1 to the 7 bits of MIDI, as an instrument preset wants it."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.presets import InstrumentPreset, VelocityCurve
from inference.events import Beat, Control, Controller, LanePoint, NoteOff, NoteOn

LANE_INTERVAL_MS = 10
"""A lane sends at most one value in this time."""
DEAD_BAND = 2
"""A lane stays silent for changes smaller than this many MIDI steps."""
RELEASE_VELOCITY = 64
"""MIDI's value for a release velocity that nobody measured."""
DOWNBEAT_KEY, BEAT_KEY = 76, 77
"""Wood blocks, on a drum channel."""
EXPONENTS: dict[str, float] = {"linear": 1.0, "soft": 0.7, "hard": 1.4}


def midi_velocity(velocity: float, curve: VelocityCurve) -> int:
    """Velocity in (0, 1] as 1..127; the linear full-range curve undoes `velocity = midi / 127`."""
    shape: float = min(1.0, max(0.0, (127 * velocity - 1) / 126)) ** EXPONENTS[curve.curve]
    return round(curve.min + (curve.max - curve.min) * shape)


def midi_value(value: float) -> int:
    """A value in [0, 1] as 0..127."""
    return round(127 * min(1.0, max(0.0, value)))


def pedal_number(control: Control, instrument: InstrumentPreset) -> int:
    """The MIDI controller that the instrument wants for a pedal."""
    name = Controller(control.controller).name.lower()
    return instrument.lanes.get(name, int(control.controller))


def beat_strike(beat: Beat) -> tuple[int, float]:
    """Key and velocity of a beat as a note: high and strong where a bar begins."""
    return (DOWNBEAT_KEY, 0.9) if beat.position == 0 else (BEAT_KEY, 0.6)


class BeatNotes:
    """Beats as notes while they come: each lasts until the next.

    Args:
        channel: of the notes, 2..16 (the first means that of the instrument).
    """

    def __init__(self, channel: int) -> None:
        self._channel = channel - 1
        self._held: NoteOn | None = None
        self._next = -1  # below all voices of what is played

    def notes(self, beats: Iterable[Beat]) -> list[NoteOn | NoteOff]:
        """Notes of these beats, and the end of the one before; who takes them ends the last."""
        found: list[NoteOn | NoteOff] = []
        for beat in beats:
            if self._held is not None:
                found.append(NoteOff(beat.time, self._held.pitch, 0.5, self._held.note, self._channel))
            pitch, velocity = beat_strike(beat)
            self._held = NoteOn(beat.time, pitch, velocity, self._next, self._channel, beat.confidence)
            self._next -= 1
            found.append(self._held)
        return found


class LaneThinner:
    """Turns the points of lanes into few controller values, as they arrive.

    A value is sent when it moved by `DEAD_BAND` steps or reached an end of the range, at most
    every `LANE_INTERVAL_MS`; the value where a lane comes to rest is never lost to that limit.

    Args:
        rate: samples per second of the points' times.
        numbers: lane name -> MIDI controller; points of other lanes are left out.
    """

    def __init__(self, rate: int, numbers: dict[str, int]) -> None:
        self._interval = rate * LANE_INTERVAL_MS // 1000
        self._numbers = numbers
        self._sent: dict[int, tuple[int, int]] = {}
        self._waiting: dict[int, int] = {}

    def add(self, points: Iterable[LanePoint]) -> list[tuple[int, int, int]]:
        """Take points in time order; return `(time, controller, value)` of what is to be sent."""
        out: list[tuple[int, int, int]] = []
        for point in points:
            if (number := self._numbers.get(point.lane.value)) is None:
                continue
            out += self._due(number, point.time)
            out += self._take(number, point.time, midi_value(point.value))
        return out

    def close(self) -> list[tuple[int, int, int]]:
        """What still waits at the end of the stream."""
        out = []
        for number in sorted(self._waiting):
            out += self._due(number, self._sent[number][0] + self._interval)
        return out

    def _due(self, number: int, time: int) -> list[tuple[int, int, int]]:
        if number not in self._waiting or time < self._sent[number][0] + self._interval:
            return []
        return [self._send(number, self._sent[number][0] + self._interval, self._waiting.pop(number))]

    def _take(self, number: int, time: int, value: int) -> list[tuple[int, int, int]]:
        if (last := self._sent.get(number)) is None:
            return [self._send(number, time, value)]
        self._waiting.pop(number, None)
        moved = abs(value - last[1])
        if moved < DEAD_BAND and not (moved and value in (0, 127)):
            return []
        if time - last[0] < self._interval:
            self._waiting[number] = value
            return []
        return [self._send(number, time, value)]

    def _send(self, number: int, time: int, value: int) -> tuple[int, int, int]:
        self._sent[number] = (time, value)
        return time, number, value
