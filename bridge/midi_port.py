"""Events to a MIDI port, for hosts that cannot take notes from a plug-in."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Protocol, Self

import mido

from bridge.errors import OutputError
from bridge.presets import InstrumentPreset
from bridge.voicing import (
    RELEASE_VELOCITY,
    BeatNotes,
    LaneThinner,
    midi_value,
    midi_velocity,
    pedal_number,
)
from inference.events import Events, LanePoint, NoteOff, NoteOn

SUSTAIN, ALL_NOTES_OFF = 64, 123


class Sink(Protocol):
    """Where messages go: a mido output, or anything that looks like one."""

    def send(self, message: Any) -> None:
        """Send one MIDI message now."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class LivePort:
    """Sends events to a MIDI output as they come, and never leaves a note sounding.

    Use it as a context manager, or call `close`.

    Args:
        sink: the MIDI output; `close` closes it too.
        instrument: channel, key range, velocity curve and lanes.
        rate: samples per second of the events' times.
        beat_notes: send each beat as a note on this channel, 2..16, that lasts until the next; None: none.
    """

    def __init__(
        self,
        sink: Sink,
        instrument: InstrumentPreset | None = None,
        rate: int = 44_100,
        beat_notes: int | None = None,
    ) -> None:
        self._instrument = instrument or InstrumentPreset()
        self._sink: Sink | None = sink
        self._lock = threading.Lock()
        self._beats = None if beat_notes is None else BeatNotes(beat_notes)
        self._sounding: dict[tuple[int, int], int] = {}
        self._channels = {self._instrument.channel - 1}
        self._thinner = LaneThinner(rate, self._instrument.lanes)

    @property
    def sounding(self) -> frozenset[tuple[int, int]]:
        """Keys that are down, as (channel, pitch)."""
        return frozenset(self._sounding)

    def send(self, events: Events) -> None:
        """Send everything in `events`, in time order; at one time offs first, then ons."""
        notes = [*events.notes, *(() if self._beats is None else self._beats.notes(events.beats))]
        order: list[tuple[int, int, Any]] = [
            (event.time, 2 if isinstance(event, NoteOn) else 0, event) for event in notes
        ]
        if self._instrument.pedal == "raw":
            order += [(control.time, 1, control) for control in events.controls]
        order += [(point.time, 1, point) for point in events.lanes]
        for _, _, event in sorted(order, key=lambda item: item[:2]):
            self._dispatch(event)

    def tick(self, kind: str) -> None:
        """Send a message of MIDI's real time, `clock`, `start` or `stop`, from any thread."""
        self._send(kind)

    def release(self) -> None:
        """End every sounding note, lift the pedal, then ask for silence."""
        for channel, pitch in list(self._sounding):
            self._off(channel, pitch, RELEASE_VELOCITY)
        for channel in sorted(self._channels):
            self._change(channel, self._instrument.lanes.get("sustain", SUSTAIN), 0)
            self._change(channel, ALL_NOTES_OFF, 0)

    def close(self) -> None:
        """Release everything and close the output; a second call does nothing."""
        if (sink := self._sink) is None:
            return
        try:
            self.release()
        finally:
            with self._lock:
                self._sink = None
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dispatch(self, event: Any) -> None:
        channel = getattr(event, "channel", 0) or self._instrument.channel - 1
        self._channels.add(channel)
        if isinstance(event, NoteOn):
            self._on(channel, event)
        elif isinstance(event, NoteOff):
            # Only the voice that holds the key may lift it: a re-strike has ended the older one.
            if self._sounding.get((channel, event.pitch)) == event.note:
                self._off(channel, event.pitch, midi_value(event.velocity))
        elif isinstance(event, LanePoint):
            for _, number, value in self._thinner.add([event]):
                self._change(channel, number, value)
        else:
            self._change(channel, pedal_number(event, self._instrument), midi_value(event.value))

    def _on(self, channel: int, event: NoteOn) -> None:
        low, high = self._instrument.key_range
        if not low <= event.pitch <= high:
            return
        if (channel, event.pitch) in self._sounding:
            self._off(channel, event.pitch, RELEASE_VELOCITY)
        self._sounding[channel, event.pitch] = event.note
        velocity = midi_velocity(event.velocity, self._instrument.velocity)
        self._send("note_on", channel=channel, note=event.pitch, velocity=velocity)

    def _off(self, channel: int, pitch: int, velocity: int) -> None:
        self._sounding.pop((channel, pitch), None)
        self._send("note_off", channel=channel, note=pitch, velocity=velocity)

    def _change(self, channel: int, number: int, value: int) -> None:
        self._send("control_change", channel=channel, control=number, value=value)

    def _send(self, kind: str, **fields: int) -> None:
        with self._lock:
            if self._sink is None:
                raise OutputError("the MIDI port is closed", remedy="Open it again")
            self._sink.send(mido.Message(kind, **fields))


def open_port(
    name: str = "dawbridge",
    instrument: InstrumentPreset | None = None,
    rate: int = 44_100,
    beat_notes: int | None = None,
) -> LivePort:
    """Make a virtual MIDI port called `name` that other programs can listen to.

    On Windows, which has no virtual ports, `name` must be a port that exists (loopMIDI makes some).
    """
    import sys

    try:
        sink = mido.open_output(name, virtual=sys.platform != "win32")
    except ImportError as error:
        raise OutputError(
            "no MIDI port can be opened",
            why="python-rtmidi is not installed",
            remedy="Install it with: pip install 'dawbridge[midi-port]'",
        ) from error
    except Exception as error:  # rtmidi raises its own kinds, which cannot be imported without it
        raise OutputError(
            f"MIDI port {name!r} cannot be opened",
            why=str(error),
            remedy="Check that the system's MIDI service runs (ALSA on Linux; loopMIDI on Windows)",
        ) from error
    return LivePort(sink, instrument, rate, beat_notes)
