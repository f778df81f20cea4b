"""Notes, pedals and lanes to standard MIDI files, and back."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import metadata
from itertools import chain, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import mido

from bridge.errors import MidiError
from bridge.files import replacing
from bridge.presets import InstrumentPreset
from bridge.ticks import Line, samples_to_ticks, ticks_to_samples
from bridge.voicing import RELEASE_VELOCITY, LaneThinner, midi_value, midi_velocity, pedal_number
from inference.clock import PPQ, TempoMap
from inference.events import Control, Controller, LanePoint, Note

SUFFIXES = (".mid", ".midi", ".smf")
LONGEST_S = 24 * 3600
"""Files that claim to last longer are damaged: a wrong delta time, not music."""


Meter = tuple[Fraction | int, int] | tuple[Fraction | int, int, int]


@dataclass(frozen=True, slots=True)
class ControlChange:
    """A MIDI controller takes `value` 0..127 at `time` samples; channel 0..15."""

    time: int
    number: int
    value: int
    channel: int = 0


@dataclass(frozen=True, slots=True)
class MidiSummary:
    """What was written, and what was left out because the instrument has no such key."""

    path: Path
    notes: int
    changes: int
    outside_range: int


@dataclass(frozen=True, slots=True)
class MidiContent:
    """What a MIDI file holds, in samples at `rate`.

    `length` is the time of the last note-off or controller, `changes` are all controllers, `warnings` say
    what was mended while reading, `meters` are `(quarter, numerator, denominator)` of time signatures.
    """

    path: Path
    rate: int
    notes: tuple[Note, ...]
    changes: tuple[ControlChange, ...]
    tempo: TempoMap
    length: int
    warnings: tuple[str, ...] = ()
    meters: tuple[tuple[Fraction, int, int], ...] = ()

    @property
    def controls(self) -> tuple[Control, ...]:
        """The piano pedals among the controllers, as values in [0, 1]."""
        pedals = {int(controller) for controller in Controller}
        return tuple(
            Control(change.time, Controller(change.number), change.value / 127, change.channel)
            for change in self.changes
            if change.number in pedals
        )


def write_midi(
    path: str | Path,
    notes: Iterable[Note],
    controls: Iterable[Control] = (),
    rate: int = 44_100,
    *,
    lanes: Iterable[LanePoint] = (),
    instrument: InstrumentPreset | None = None,
    tempo: TempoMap | None = None,
    meters: Iterable[Meter] = (),
    markers: Iterable[tuple[int, str]] = (),
    beats: Iterable[Note] = (),
    name: str = "piano",
    midi_format: Literal[0, 1] = 1,
    ppq: int = PPQ,
) -> MidiSummary:
    """Write a standard MIDI file; times are samples at `rate`.

    A note's channel, if it is not 0, goes before the instrument's. `meters` are `(quarter, numerator,
    denominator)` from which bars are that long; without a denominator they are counted in quarters.
    `markers` are `(time, text)`; `beats` are notes of a track of their own, on the channels that they
    name, whatever the instrument.

    A time in the file is the nearest tick: at 480 PPQ and the default 120 bpm it is off by at
    most 0.53 ms. Pedals are written when the instrument's pedal is "raw"; with "extended" the
    notes already last as long as they sound, and CC 64 would hold them twice.
    """
    path, instrument, tempo = Path(path), instrument or InstrumentPreset(), _on_grid(tempo or TempoMap(), ppq)
    low, high = instrument.key_range
    everything = list(notes)
    playable = [note for note in everything if low <= note.pitch <= high]
    clock = samples_to_ticks(tempo, rate, ppq)
    changes = list(control_changes(controls, lanes, rate, instrument))
    written = separate(_on_ticks(note, clock, instrument) for note in playable)
    events = heapq.merge(_note_events(written, instrument), _change_events(changes, clock))
    marks = [(clock(max(0, time)), mido.MetaMessage("marker", text=text)) for time, text in markers]
    timing = sorted([*_meter_events(meters, ppq), *_tempo_events(tempo, ppq), *marks], key=itemgetter(0))
    counted = [event for beat in beats for event in _beat_events(beat, clock)]
    header = [*_names(name), *timing]
    file = mido.MidiFile(type=midi_format, ticks_per_beat=ppq, charset="utf-8")
    # Hours of music are many messages: each is made when it is written.
    if midi_format == 1:
        file.tracks = [_deltas(header), chain([_track_name(name)], _deltas(events))]
        if counted:
            file.tracks.append(chain([_track_name("beats")], _deltas(counted)))
    else:
        file.tracks = [_deltas(heapq.merge(header, events, counted, key=itemgetter(0)))]
    with replacing(path) as part:
        file.save(str(part))
    return MidiSummary(path, len(written), len(changes), len(everything) - len(playable))


def control_changes(
    controls: Iterable[Control], lanes: Iterable[LanePoint], rate: int, instrument: InstrumentPreset
) -> Iterator[ControlChange]:
    """Pedals (if the instrument's pedal is "raw") and thinned lanes as controllers, in time order."""
    channel = instrument.channel - 1
    thinner = LaneThinner(rate, instrument.lanes)
    sent = thinner.add(sorted(lanes, key=lambda point: point.time))
    curves = [ControlChange(time, number, value, channel) for time, number, value in sent + thinner.close()]
    pedals, last = [], dict[int, int]()
    for control in sorted(controls if instrument.pedal == "raw" else (), key=lambda c: c.time):
        number, value = pedal_number(control, instrument), midi_value(control.value)
        if last.get(number) != value:
            pedals.append(ControlChange(control.time, number, value, channel))
            last[number] = value
    yield from sorted(curves + pedals, key=lambda change: (change.time, change.number))


def separate(notes: Iterable[Note]) -> list[Note]:
    """Cut notes so that one key never sounds twice: a re-strike ends the note before it.

    Of notes that begin together on one key, the loudest stays, with the latest offset.
    """
    keys: defaultdict[tuple[int, int], list[Note]] = defaultdict(list)
    for note in sorted(notes, key=lambda n: (n.onset, n.velocity)):
        voices = keys[note.channel, note.pitch]
        if voices and voices[-1].onset == note.onset:
            note = replace(note, offset=max(note.offset, voices.pop().offset))
        voices.append(note)
    out = []
    for voices in keys.values():
        out += [replace(a, offset=min(a.offset, b.onset)) for a, b in pairwise(voices)]
        out.append(voices[-1])
    return sorted(out, key=lambda note: (note.onset, note.pitch, note.channel))


def read_midi(path: str | Path, rate: int = 44_100) -> MidiContent:
    """Read a standard MIDI file (format 0 or 1) into samples at `rate`.

    Notes that never end are closed at the last event; controllers 123 and 120 end notes too.
    """
    path = Path(path)
    file = _open(path)
    merged = list(heapq.merge(*map(_absolute, file.tracks), key=itemgetter(0)))
    tempo = _tempo_of(merged, file.ticks_per_beat)
    if merged and tempo.seconds(Fraction(merged[-1][0], file.ticks_per_beat)) > LONGEST_S:
        raise _corrupt(path, f"it claims to last longer than {LONGEST_S // 3600} hours")
    reader = _Reader(ticks_to_samples(tempo, rate, file.ticks_per_beat))
    for tick, message in merged:
        reader.take(tick, message)
    warnings = reader.close()
    if not reader.notes:
        raise MidiError(f"{path} holds no notes", remedy="Choose a file with at least one note")
    notes = sorted(reader.notes, key=lambda note: (note.onset, note.pitch, note.channel))
    changes, meters = tuple(reader.changes), tuple(_meters_of(merged, file.ticks_per_beat))
    return MidiContent(path, rate, tuple(notes), changes, tempo, reader.now, tuple(warnings), meters)


class _Reader:
    """Collects notes and controllers from messages in time order."""

    def __init__(self, clock: Line) -> None:
        self._clock = clock
        self._sounding: dict[tuple[int, int], tuple[int, int]] = {}
        self.notes: list[Note] = []
        self.changes: list[ControlChange] = []
        self.now = 0

    def take(self, tick: int, message: Any) -> None:
        if message.is_meta and not (message.type == "end_of_track" and self._sounding):
            return
        self.now = max(self.now, self._clock(tick))
        if message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            self._end(key)
            if message.type == "note_on" and message.velocity > 0:
                self._sounding[key] = (self.now, message.velocity)
        elif message.type == "control_change":
            self.changes.append(ControlChange(self.now, message.control, message.value, message.channel))
            if message.control in (120, 123):
                for key in [k for k in self._sounding if k[0] == message.channel]:
                    self._end(key)

    def close(self) -> list[str]:
        hanging = list(self._sounding)
        for key in hanging:
            self._end(key)
        return [f"{len(hanging)} notes never ended; they were ended at the last event"] if hanging else []

    def _end(self, key: tuple[int, int]) -> None:
        if key in self._sounding:
            onset, velocity = self._sounding.pop(key)
            offset = max(self.now, onset + 1)
            self.now = max(self.now, offset)
            self.notes.append(Note(onset, offset, key[1], velocity / 127, key[0]))


def _open(path: Path) -> Any:
    if not path.is_file():
        raise MidiError(f"there is no MIDI file {path}", remedy="Check the path")
    try:
        file = mido.MidiFile(str(path), clip=True, charset="latin1")
    except (OSError, EOFError, ValueError, LookupError, ArithmeticError) as error:
        raise _corrupt(path, str(error) or type(error).__name__) from error
    except mido.midifiles.meta.KeySignatureError as error:
        raise _corrupt(path, str(error)) from error
    if file.type not in (0, 1):
        raise MidiError(
            f"{path} is a MIDI file of format {file.type}", remedy="Export it as format 0 or 1 and try again"
        )
    if file.ticks_per_beat <= 0 or file.ticks_per_beat >= 0x8000:
        raise MidiError(
            f"{path} counts time in SMPTE frames or not at all",
            remedy="Export it with ticks per quarter note and try again",
        )
    return file


def _corrupt(path: Path, why: str) -> MidiError:
    return MidiError(f"{path} is not a readable MIDI file", why=why, remedy="Export it again as .mid")


def _tempo_of(merged: list[tuple[int, Any]], ppq: int) -> TempoMap:
    changes: dict[Fraction | int, int] = {0: 500_000}
    for tick, message in merged:
        if message.type == "set_tempo" and message.tempo > 0:
            changes[Fraction(tick, ppq)] = message.tempo
    return TempoMap(sorted(changes.items()))


def _meters_of(merged: list[tuple[int, Any]], ppq: int) -> Iterator[tuple[Fraction, int, int]]:
    for tick, message in merged:
        if message.type == "time_signature" and message.numerator > 0:
            yield Fraction(tick, ppq), message.numerator, message.denominator


Event = tuple[int, int, int, Any]
"""Tick, order within the tick (offs, controllers, ons), tie-break, message."""


def _note_events(notes: Iterable[Note], instrument: InstrumentPreset) -> Iterator[Event]:
    """Note-ons and note-offs of notes that are sorted by onset, in the order of their ticks."""
    ends: list[tuple[int, int, int]] = []
    for note in notes:
        yield from _ends(ends, note.onset)
        velocity = midi_velocity(note.velocity, instrument.velocity)
        on = mido.Message("note_on", channel=note.channel, note=note.pitch, velocity=velocity)
        yield note.onset, 2, note.pitch, on
        heapq.heappush(ends, (note.offset, note.pitch, note.channel))
    yield from _ends(ends)


def _ends(ends: list[tuple[int, int, int]], until: float = math.inf) -> Iterator[Event]:
    while ends and ends[0][0] <= until:
        tick, pitch, channel = heapq.heappop(ends)
        off = mido.Message("note_off", channel=channel, note=pitch, velocity=RELEASE_VELOCITY)
        yield tick, 0, pitch, off


def _beat_events(note: Note, clock: Line) -> Iterator[Event]:
    """A beat's note, on its own channel; beats do not overlap."""
    begin = clock(max(0, note.onset))
    end = max(clock(note.offset), begin + 1)
    velocity = midi_value(note.velocity)
    on = mido.Message("note_on", channel=note.channel, note=note.pitch, velocity=velocity)
    off = mido.Message("note_off", channel=note.channel, note=note.pitch, velocity=RELEASE_VELOCITY)
    yield begin, 2, note.pitch, on
    yield end, 0, note.pitch, off


def _on_ticks(note: Note, clock: Line, instrument: InstrumentPreset) -> Note:
    onset = clock(max(0, note.onset))
    channel = note.channel or instrument.channel - 1
    return replace(note, onset=onset, offset=max(clock(note.offset), onset + 1), channel=channel)


def _change_events(changes: Iterable[ControlChange], clock: Line) -> Iterator[Event]:
    for index, change in enumerate(changes):
        message = mido.Message(
            "control_change", channel=change.channel, control=change.number, value=change.value
        )
        yield clock(max(0, change.time)), 1, index, message


def _names(name: str) -> list[tuple[int, Any]]:
    try:
        maker = f"dawbridge {metadata.version('dawbridge')}"
    except metadata.PackageNotFoundError:  # run from a source folder that is not installed
        maker = "dawbridge"
    return [(0, _track_name(name)), (0, mido.MetaMessage("text", text=maker))]


def _track_name(name: str) -> Any:
    return mido.MetaMessage("track_name", name=name)


def _on_grid(tempo: TempoMap, ppq: int) -> TempoMap:
    """The same tempos, changing on ticks: what the file will say, so that times stay exact."""
    return TempoMap(
        sorted({Fraction(round(piece.beats * ppq), ppq): piece.us_per_beat for piece in tempo.pieces}.items())
    )


def _tempo_events(tempo: TempoMap, ppq: int) -> list[tuple[int, Any]]:
    return [
        (round(piece.beats * ppq), mido.MetaMessage("set_tempo", tempo=piece.us_per_beat))
        for piece in tempo.pieces
    ]


def _meter_events(meters: Iterable[Meter], ppq: int) -> list[tuple[int, Any]]:
    return [
        (round(quarter * ppq), mido.MetaMessage("time_signature", numerator=over, denominator=(*under, 4)[0]))
        for quarter, over, *under in meters
    ]


def _absolute(messages: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    tick = 0
    for message in messages:
        tick += message.time
        yield tick, message


def _deltas(events: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """The messages with their delta times set, from tuples that begin with a tick and end with a message."""
    now = 0
    for event in events:
        message = event[-1]
        message.time = event[0] - now
        now = event[0]
        yield message
