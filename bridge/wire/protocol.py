"""Bridge Protocol 1: the messages, their fields and limits. PROTOCOL.md is the specification.

Every message is one msgpack map with its name under `type`. Values that travel by the thousand
(transport, notes, controls, lane points, beats) are msgpack arrays: fields in the order written
here, new ones only at the end. Times are stream time: samples at the host's rate.
"""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

PROTOCOL = (1, 1)
"""Oldest and newest protocol that this code speaks. A protocol number is not a package version."""

MAX_CHANNELS = 8
MAX_BLOCK = 8192
MIN_RATE, MAX_RATE = 8_000, 384_000
MAX_HEADER = 65_536
MAX_MESSAGE = 1 << 20
MAX_NOTES = 1024
MAX_POINTS = 4096
MAX_SESSIONS = 256
MAX_LINES = 256
HEARTBEAT_MS = 500
MISSES = 4
SHORT_GAP_S = 0.25

Text: TypeAlias = Annotated[str, Meta(max_length=256)]
Prose: TypeAlias = Annotated[str, Meta(max_length=2048)]
Code: TypeAlias = Annotated[str, Meta(max_length=32)]
Contents: TypeAlias = Annotated[str, Meta(max_length=8192)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Position: TypeAlias = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Version: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Versions: TypeAlias = tuple[Version, Version]
Pitch: TypeAlias = Annotated[int, Meta(ge=0, le=127)]
Channel: TypeAlias = Annotated[int, Meta(ge=0, le=15)]
Unit: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Names: TypeAlias = Annotated[tuple[Text, ...], Meta(max_length=8)]
Line: TypeAlias = Annotated[int, Meta(ge=0, lt=MAX_LINES)]
Rate: TypeAlias = Annotated[int, Meta(ge=MIN_RATE, le=MAX_RATE)]
Channels: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_CHANNELS)]
BlockSize: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_BLOCK)]
Meter: TypeAlias = tuple[Annotated[int, Meta(ge=1, le=64)], Annotated[int, Meta(ge=1, le=64)]]


class Message(Struct, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """A map on the wire; its `type` is the lower-case name of the class."""


class Row(Struct, frozen=True, array_like=True):
    """An array on the wire; rejects numbers that are not finite, which limits alone let through."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is not a finite number")


class Transport(Row, frozen=True, array_like=True):
    """The host's transport at the first sample of a block; `None` where the host does not say.

    `tempo_bpm` in quarters per minute, `beats` and `bar` (start of the bar) in quarters from the
    start of the song, `position` in samples from the start of the song.
    """

    playing: bool = False
    recording: bool = False
    looping: bool = False
    tempo_bpm: Annotated[float, Meta(gt=0.0, le=10_000.0)] | None = None
    beats: float | None = None
    bar: float | None = None
    meter: Meter | None = None
    position: Position | None = None


class NoteOn(Row, frozen=True, array_like=True, tag="on", tag_field="type"):
    """A key goes down; `note` names the voice within the session."""

    time: Count
    pitch: Pitch
    velocity: Unit
    note: Count
    channel: Channel = 0
    confidence: Unit = 1.0


class NoteOff(Row, frozen=True, array_like=True, tag="off", tag_field="type"):
    """The voice `note` ends."""

    time: Count
    pitch: Pitch
    velocity: Unit
    note: Count
    channel: Channel = 0


class Control(Row, frozen=True, array_like=True):
    """MIDI controller number `controller` (a pedal) moves to `value`."""

    time: Count
    controller: Annotated[int, Meta(ge=0, le=127)]
    value: Unit
    channel: Channel = 0


class LanePoint(Row, frozen=True, array_like=True):
    """A point of the lane called `lane`; `value` in 0..1, or bpm for the lane `tempo`."""

    time: Count
    lane: Code
    value: float


class Beat(Row, frozen=True, array_like=True):
    """A beat: number `position` (0 is the downbeat) of a bar with `of` beats."""

    time: Count
    position: Annotated[int, Meta(ge=0, le=64)]
    of: Annotated[int, Meta(ge=0, le=64)]
    confidence: Unit = 1.0


class Latency(Struct, frozen=True):
    """Parts of the promised latency in samples; `total` is their sum."""

    block: Count = 0
    resampler: Count = 0
    network: Count = 0
    chunk: Count = 0
    budget: Count = 0

    @property
    def total(self) -> int:
        """Samples between a sound and the moment at which its event is played."""
        return self.block + self.resampler + self.network + self.chunk + self.budget


class Instrument(Struct, frozen=True):
    """How the plug-in turns events into MIDI.

    `channel` as shown to people; `velocities[k]` is the MIDI velocity of a wire velocity of
    `k / 127`; `lanes` are the controllers of the lanes.
    """

    channel: Annotated[int, Meta(ge=1, le=16)] = 1
    key_range: tuple[Pitch, Pitch] = (0, 127)
    velocities: Annotated[tuple[Pitch, ...], Meta(max_length=128)] = ()
    lanes: dict[Code, Annotated[int, Meta(ge=0, le=127)]] = field(default_factory=dict)


class Hello(Message, frozen=True):
    """A plug-in instance asks for a session. `instance` is kept in the project.

    `contents` is a preset by value, as a Welcome gave it; it counts instead of `presets`.
    """

    protocol: Versions
    rate: Rate
    channels: Channels
    max_block: BlockSize
    instance: Text = ""
    name: Text = ""
    track: Text = ""
    software: Text = ""
    presets: Names = ()
    offline: bool = False
    monitor: bool = True
    contents: Contents = ""


class Opening(Message, frozen=True, tag="hello"):
    """The part of Hello that no protocol may ever change: read first, to compare versions."""

    protocol: Versions


class Welcome(Message, frozen=True):
    """The session is open. The plug-in may have `credit` audio messages unacknowledged.

    `lines` is how many sessions one connection may have, each on a line of its own; `contents` is the
    preset that hears, by value, for the plug-in to keep.
    """

    protocol: Version
    epoch: Count
    session: Count
    latency: Latency
    credit: Annotated[int, Meta(ge=1, le=65_536)]
    heartbeat_ms: Annotated[int, Meta(ge=10, le=60_000)] = HEARTBEAT_MS
    alignment: Code = "aligned"
    systems: Names = ()
    weights: Text = ""
    software: Text = ""
    instrument: Instrument = field(default_factory=Instrument)
    lines: Annotated[int, Meta(ge=1, le=MAX_LINES)] = 1
    contents: Contents = ""


class Refusal(Message, frozen=True):
    """The message of type `about` was not carried out; codes are listed in PROTOCOL.md."""

    code: Code
    message: Prose
    remedy: Prose = ""
    about: Code = "hello"


class Audio(Message, frozen=True):
    """A block begins at stream time `start`; its samples follow as the second frame."""

    seq: Count
    start: Count
    samples: BlockSize
    transport: Transport = field(default_factory=Transport)


class Events(Message, frozen=True):
    """What was heard; acknowledges every message up to `through_seq`.

    Audio before `due` may be held back and sent together: more is not heard without what lies there.
    """

    through_seq: Count
    final_until: Count
    notes: Annotated[tuple[NoteOn | NoteOff, ...], Meta(max_length=MAX_NOTES)] = ()
    controls: Annotated[tuple[Control, ...], Meta(max_length=MAX_POINTS)] = ()
    lanes: Annotated[tuple[LanePoint, ...], Meta(max_length=MAX_POINTS)] = ()
    beats: Annotated[tuple[Beat, ...], Meta(max_length=MAX_POINTS)] = ()
    compute_us: Count = 0
    queue_us: Count = 0
    due: Count = 0


class Configure(Message, frozen=True):
    """Change the session; answered by a new Welcome, or by Refusal and nothing changes."""

    presets: Names | UnsetType = UNSET
    offline: bool | UnsetType = UNSET
    monitor: bool | UnsetType = UNSET
    name: Text | UnsetType = UNSET
    track: Text | UnsetType = UNSET
    contents: Contents | UnsetType = UNSET


class Flush(Message, frozen=True):
    """Finish hearing what was sent and release all that sounds; counts in `seq` like Audio."""

    seq: Count
    reason: Code = "stop"


class Ping(Message, frozen=True):
    """Are you there? `sent_ns` is the sender's own clock."""

    sent_ns: Count


class Pong(Message, frozen=True):
    """The answer to Ping: its `sent_ns`, and how the session fares, for the status light."""

    sent_ns: Count
    queue: Count = 0
    late: Count = 0
    dropped: Count = 0
    load: Unit = 0.0


class Status(Message, frozen=True):
    """Ask for a Report; needs no session."""


class SessionReport(Struct, frozen=True, omit_defaults=True):
    """How one session fares; durations are the 50th and 99th percentile."""

    session: Count
    name: Text
    track: Text
    rate: Rate
    channels: Channels
    presets: Names
    offline: bool
    age_s: float
    blocks: Count
    notes: Count
    sounding: Count
    queue: Count
    late: Count
    dropped: Count
    duplicates: Count
    gaps: Count
    repaired: Count
    compute_us: tuple[Count, Count]
    queue_us: tuple[Count, Count]


class Report(Message, frozen=True):
    """The answer to Status."""

    protocol: Versions
    epoch: Count
    pid: Count
    software: Text
    uptime_s: float
    load: Unit
    systems: Names = ()
    refused: Count = 0
    sessions: Annotated[tuple[SessionReport, ...], Meta(max_length=MAX_SESSIONS)] = ()


class Goodbye(Message, frozen=True):
    """The session is over: code `end`, `shutdown`, `failure`, `credit` or `silence`."""

    code: Code = "end"
    reason: Prose = ""
    remedy: Prose = ""


class Item(Row, frozen=True, array_like=True):
    """A message of a bundle: its line, its header frame, and its bytes in the samples frame."""

    line: Line
    header: bytes
    size: Count = 0


class Bundle(Message, frozen=True):
    """Messages of several lines at once; the samples of its audio follow, in order, as one frame."""

    items: Annotated[tuple[Item, ...], Meta(max_length=MAX_LINES)]


ToSidecar: TypeAlias = Hello | Configure | Audio | Flush | Ping | Status | Goodbye | Bundle
ToPlugin: TypeAlias = Welcome | Refusal | Events | Pong | Report | Goodbye | Bundle
AnyMessage: TypeAlias = ToSidecar | ToPlugin
