"""Listening through the wire: audio goes to a sidecar as a plug-in would send it, notes come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from bridge.errors import SidecarMissing, UsageError
from bridge.midi_clock import MidiClock
from bridge.midi_port import LivePort
from bridge.sidecar.private import private_sidecar
from bridge.sidecar.settings import ServeSettings
from bridge.studio.audio import Audio, AudioSource
from bridge.wire import protocol as wire
from bridge.wire.client import Client, status
from bridge.wire.connection import Connection, read_connection
from inference.events import (
    Beat,
    Control,
    Controller,
    Events,
    Lane,
    LanePoint,
    Note,
    NoteCollector,
    NoteOff,
    NoteOn,
)

BLOCK = 512
"""Samples of a block, as a host would have them."""
CHANNELS, RATES = 8, (8_000, 384_000)
PLAYING = wire.Transport(playing=True)


@dataclass(slots=True)
class Heard:
    """What came back; times are samples at `rate`."""

    rate: int
    latency: int
    samples: int = 0
    dropped: int = 0
    late: int = 0
    worst_late_ms: float = 0.0
    interrupted: bool = False
    notes: list[Note] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    lanes: list[LanePoint] = field(default_factory=list)


class Trickle:
    """A raw stream that gives what is there instead of waiting for a whole buffer."""

    def __init__(self, stream: BinaryIO, largest: int = 4_096) -> None:
        self._stream, self._largest = stream, largest

    def read(self, size: int) -> bytes:
        """At least one byte, unless the stream is over."""
        size = min(size, self._largest)
        read1 = getattr(self._stream, "read1", None)
        data: bytes = self._stream.read(size) if read1 is None else read1(size)
        return data


def listen(
    source: AudioSource,
    presets: Sequence[str],
    connection: Connection,
    *,
    fast: bool = False,
    on_events: Callable[[Events], None] = lambda events: None,
    port: LivePort | None = None,
    clock: MidiClock | None = None,
    name: str = "listen",
) -> Heard:
    """Send a source through a sidecar as a plug-in would, and collect what it hears.

    `KeyboardInterrupt` ends the source early; everything heard until then comes back.

    Args:
        source: audio, read to its end.
        presets: names; none are the sidecar's.
        connection: the sidecar.
        fast: as fast as it goes instead of real time; nothing is dropped.
        on_events: called with events in samples of the source, as they come.
        port: gets them too.
        clock: follows their beats; in real time only.
        name: of the instance, for `status`.
    """
    _check(source)
    client = Client(
        source.rate,
        source.channels,
        max_block=BLOCK,
        presets=presets,
        name=name,
        offline=fast,
        connection=connection,
    )
    with client:
        ear = _Ear(client, source.rate, on_events, port, clock)
        try:
            try:
                _send(source, client, ear, fast)
            except KeyboardInterrupt:  # Ctrl-C ends a recording; what was played until then is kept
                ear.heard.interrupted = True
            ear.began = None  # what the end of the stream brings is not waited for
            if clock is not None:
                clock.close()
            ear.take(client.flush("end"))
        finally:
            client.close()
            ear.take(client.receive())  # what was still owed: offs of everything that sounds
        return ear.close()


@contextmanager
def sidecar(presets: Sequence[str], *, private: bool = False) -> Iterator[tuple[Connection, bool]]:
    """The sidecar that runs, or one of our own for as long as the block lasts; and whether it is ours."""
    running = None if private else _running()
    if running is not None:
        yield running, False
        return
    with private_sidecar(ServeSettings(presets=tuple(presets), freeze=False)) as connection:
        yield connection, True


def from_wire(events: wire.Events) -> Events:
    """Events of the wire as those of the engine."""
    notes = tuple(
        NoteOn(n.time, n.pitch, n.velocity, n.note, n.channel, n.confidence)
        if isinstance(n, wire.NoteOn)
        else NoteOff(n.time, n.pitch, n.velocity, n.note, n.channel)
        for n in events.notes
    )
    known_lanes, known_pedals = set(Lane), set(Controller)
    return Events(
        events.final_until,
        notes,
        tuple(
            Control(c.time, Controller(c.controller), c.value, c.channel)
            for c in events.controls
            if c.controller in known_pedals
        ),
        tuple(LanePoint(p.time, Lane(p.lane), p.value) for p in events.lanes if p.lane in known_lanes),
        tuple(Beat(b.time, b.position, b.of, b.confidence) for b in events.beats),
    )


class _Ear:
    """Takes what the client receives, and knows how late each note-on was."""

    def __init__(
        self,
        client: Client,
        rate: int,
        on_events: Callable[[Events], None],
        port: LivePort | None,
        clock: MidiClock | None,
    ) -> None:
        welcome = client.welcome
        self.heard = Heard(rate, welcome.latency.total if welcome else 0)
        self._client, self._on_events, self._port, self._clock = client, on_events, port, clock
        self._collector = NoteCollector()
        self.began: float | None = None

    def begin(self) -> None:
        """The source plays from now on."""
        self.began = time.perf_counter()
        if self._clock is not None:
            self._clock.begin()

    def take(self, received: Sequence[wire.Events]) -> None:
        now = time.perf_counter()
        for message in received:
            events = from_wire(message)
            if self.began is not None:
                self._time(events, (now - self.began) * self.heard.rate)
                if self._clock is not None:
                    self._clock.tell(events.beats)
            self.heard.notes += self._collector.add(events)
            self.heard.controls += events.controls
            self.heard.lanes += events.lanes
            if self._port is not None:
                self._port.send(events)
            self._on_events(events)

    def close(self) -> Heard:
        self.heard.dropped = self._client.dropped
        self.heard.notes += self._collector.close(self.heard.samples)
        self.heard.notes.sort(key=lambda note: (note.onset, note.pitch))
        return self.heard

    def _time(self, events: Events, now: float) -> None:
        for note in events.notes:
            late = now - note.time - self.heard.latency
            if isinstance(note, NoteOn) and late > 0:
                self.heard.late += 1
                self.heard.worst_late_ms = max(self.heard.worst_late_ms, 1000 * late / self.heard.rate)


def _send(source: AudioSource, client: Client, ear: _Ear, fast: bool) -> None:
    if not fast:
        ear.begin()
    for block in _cut(source):
        if fast:
            client.send(block, PLAYING)
            ear.take(client.receive())
        else:
            _wait_for(ear, (ear.heard.samples + block.shape[1]) / source.rate, client)
            client.offer(block, PLAYING)
        ear.heard.samples += block.shape[1]


def _wait_for(ear: _Ear, seconds: float, client: Client) -> None:
    """Until the source has played for `seconds`; a host gives a block when its last sample was played."""
    assert ear.began is not None
    while (left := ear.began + seconds - time.perf_counter()) > 0:
        ear.take(client.receive(left))
    ear.take(client.receive())


def _cut(source: AudioSource) -> Iterator[Audio]:
    for block in source.blocks():
        for begin in range(0, block.shape[1], BLOCK):
            yield block[:, begin : begin + BLOCK]


def _running() -> Connection | None:
    try:
        connection = read_connection()
        status(connection)
    except SidecarMissing:
        return None
    return connection


def _check(source: AudioSource) -> None:
    if not RATES[0] <= source.rate <= RATES[1]:
        raise UsageError(
            f"{source.name} has {source.rate} Hz",
            why=f"the wire carries {RATES[0]} to {RATES[1]} Hz",
            remedy="Use dawbridge bounce, or resample it",
        )
