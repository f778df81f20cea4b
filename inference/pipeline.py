"""Audio in, events out, both on the host's clock: the one engine of live and offline listening.

A `Stream` is one audio stream heard by one transcriber. It mixes down, resamples, cuts chunks, and maps
the times of events back to host samples: once, here only. `advance` steps many streams, those of one
transcriber as a batch.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from math import gcd
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from inference.clock import rescale
from inference.events import Beat, Control, Events, LanePoint, Note, NoteOff, NoteOn, merge
from inference.resample import GROUP, Resampler
from inference.streaming import Transcriber

SYSTEMS = {"piano": "inference.piano", "rhythm": "inference.follow"}
"""Systems that hear, by name, and the room whose `load(weights, **options)` opens them."""

CONCERT_HZ = 440.0
"""Frequency of A4 that systems were trained on."""

LOUDEST = 1e6
"""Samples beyond +120 dB of full scale are no sound; like NaN and infinity they count as silence."""

Event = TypeVar("Event", NoteOn | NoteOff, Control, LanePoint, Beat)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LatencyParts:
    """Where a stream's latency comes from, in host samples.

    The event of a sound at `t` has been returned when `t + total` samples were pushed and stepped.
    """

    resampler: int
    network: int
    chunk: int

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.resampler + self.network + self.chunk


class Stream:
    """One audio stream heard by one transcriber.

    The events do not depend on how the audio was cut into blocks: the transcriber always steps on
    exactly one chunk.

    Args:
        transcriber: the system; several streams can share it.
        rate: host rate in Hz.
        channels: channels of the audio, mixed down to their mean.
        chunk_ms: audio per step, rounded to a multiple of the transcriber's hop; None: one hop.
        origin: host sample of the first sample pushed.
        tuning_hz: frequency of A4 of the instrument that plays; the system hears it as 440.
    """

    def __init__(
        self,
        transcriber: Transcriber[Any],
        rate: int,
        channels: int,
        *,
        chunk_ms: float | None = None,
        origin: int = 0,
        tuning_hz: float = CONCERT_HZ,
    ) -> None:
        if rate <= 0:
            raise ValueError(f"a stream at {rate} Hz: give the rate as a positive whole number")
        if channels < 1:
            raise ValueError(f"a stream with {channels} channels: give at least 1")
        self.transcriber, self.rate, self.channels, self.origin = transcriber, rate, channels, origin
        self.chunk = _chunk(transcriber, chunk_ms)
        self._heard_rate = _heard_rate(rate, tuning_hz)
        self._resampler = Resampler(self._heard_rate, transcriber.rate, group=gcd(transcriber.hop, GROUP))
        self._state: Any = transcriber.start()
        self._blocks: list[NDArray[np.float32]] = []  # mixed down when a chunk is due, many at once
        self._waiting = 0  # samples in them
        self._pushed = 0  # samples that went on
        self._peeked = 0  # samples at the model's rate of the step under way
        self._final_until = origin
        self._end = sys.maxsize  # host sample after the last, once known
        self._beyond: set[int] = set()  # voices that began after it
        self._ended = False
        self._warned = False

    @property
    def latency(self) -> LatencyParts:
        """What the stream promises, in host samples."""
        model = self.transcriber.rate
        return LatencyParts(
            resampler=self._resampler.latency,
            network=-(-self.transcriber.latency * self._heard_rate // model),
            chunk=-(-self.chunk * self._heard_rate // model),
        )

    @property
    def pending(self) -> int:
        """Whole chunks ready to be stepped."""
        return 0 if self._ended else self._resampler.ready_after(self._waiting) // self.chunk

    @property
    def due(self) -> int:
        """Host sample up to which audio must be pushed before there is another chunk."""
        return self.origin + self._resampler.needed((self.pending + 1) * self.chunk)

    def push(self, audio: NDArray[np.floating[Any]]) -> None:
        """Take the next block `(channels, samples)`, float32, any number of samples."""
        if self._ended:
            raise ValueError("the stream is over; open a new one")
        audio = np.asarray(audio)
        if audio.ndim != 2 or audio.shape[0] != self.channels:
            raise ValueError(
                f"a block of shape {audio.shape} does not fit the stream: give ({self.channels}, samples)"
            )
        if audio.dtype.kind != "f":
            raise ValueError(f"a block of {audio.dtype} samples: give floating point, full scale 1.0")
        if audio.shape[1]:
            with np.errstate(over="ignore"):  # of float64; infinity is dealt with later
                self._blocks.append(audio.astype(np.float32))
            self._waiting += audio.shape[1]

    def tell(self, notes: Sequence[Note]) -> None:
        """Let the transcriber know all notes of the source, which another one heard, in host samples.

        Raises:
            ValueError: it listens to no notes.
        """
        told = getattr(self.transcriber, "told", None)
        if told is None:
            raise ValueError(f"{type(self.transcriber).__name__} listens to no notes")
        self._state = told(self._state, [self._at_model(note) for note in notes])

    def _at_model(self, note: Note) -> Note:
        onset, offset = (
            rescale(time - self.origin, self._heard_rate, self.transcriber.rate)
            for time in (note.onset, note.offset)
        )
        return replace(note, onset=onset, offset=offset)

    def finish(self) -> Events:
        """Step what is left, end every sounding note; the stream is over."""
        if self._ended:
            raise ValueError("the stream is already over")
        parts = []
        while self.pending:
            parts.extend(_step([self]))
        self._mix()
        self._end = self.origin + self._pushed
        self._resampler.finish()
        while self._resampler.ready:
            parts.extend(_step([self]))
        parts.append(self._mapped(self.transcriber.finish(self._state)))
        self._ended = True
        return replace(merge(parts), final_until=self._end)

    def _mix(self) -> None:
        """Pass on what waits: the mean of the channels, silence where a sample is no sound."""
        if not self._waiting:
            return
        audio = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks, axis=1)
        flat = audio.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            sound = np.dot(flat, flat) <= LOUDEST**2  # a quick look, nearly always enough
        if not sound and not np.abs(audio).max() <= LOUDEST:
            if not self._warned:
                _log.warning("NaN, infinite or absurdly loud samples are heard as silence")
                self._warned = True
            audio = np.where(np.abs(audio) <= LOUDEST, audio, np.float32(0))
        self._resampler.push(
            audio[0] if self.channels == 1 else np.add.reduce(audio, axis=0) / np.float32(self.channels)
        )
        self._pushed += self._waiting
        self._blocks, self._waiting = [], 0

    def _peek(self) -> NDArray[np.float32]:
        """The next chunk, completed with silence to a whole hop at the end of the stream."""
        self._mix()
        audio = self._resampler.peek(min(self.chunk, self._resampler.ready))
        self._peeked = len(audio)
        missing = -len(audio) % self.transcriber.hop
        return np.pad(audio, (0, missing)) if missing else audio

    def _commit(self, state: Any, events: Events) -> Events:
        """The chunk of `_peek` was heard."""
        self._resampler.pull(self._peeked)
        self._state = state
        return self._mapped(events)

    def _mapped(self, events: Events) -> Events:
        """Events of the transcriber in host samples, none before the stream began or after its end."""
        self._final_until = max(self._final_until, min(self._host(events.final_until), self._end))
        return Events(
            final_until=self._final_until,
            notes=self._placed(events.notes),
            controls=self._placed(events.controls),
            lanes=self._placed(events.lanes),
            beats=self._placed(events.beats),
        )

    def _placed(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        if not events:  # as most often
            return ()
        return tuple([self._at_host(event) for event in events if self._within(event)])

    def _host(self, time: int) -> int:
        """Host sample of a time of the transcriber."""
        return self.origin + max(rescale(time, self.transcriber.rate, self._heard_rate), 0)

    def _at_host(self, event: Event) -> Event:
        return replace(event, time=min(self._host(event.time), self._end))

    def _within(self, event: NoteOn | NoteOff | Control | LanePoint | Beat) -> bool:
        """Whether an event belongs to the stream, not to the silence that a system hears after it.

        What ends something belongs to it always, unless its beginning did not.
        """
        if isinstance(event, NoteOff):
            return event.note not in self._beyond
        if self._host(event.time) < self._end or (isinstance(event, Control) and event.value == 0):
            return True
        if isinstance(event, NoteOn):
            self._beyond.add(event.note)
        return False


def advance(streams: Sequence[Stream], *, limit: int | None = None) -> list[Events]:
    """Step the pending chunks of all streams; one `Events` per stream, in host samples.

    It goes in rounds. In each, every stream that has a pending chunk takes one step of one chunk, and
    streams of one transcriber with equal chunks take it as one batch. A stream alone therefore hears
    the same whoever is beside it, up to the rounding of a batched product.

    Args:
        streams: streams not yet finished, each once.
        limit: chunks a stream may step in this call, None: all. With `limit=1` a stream that is far
            behind (an offline one, say) delays the events of the others by one step at most; call
            again while any is pending.
    """
    heard: list[list[Events]] = [[] for _ in streams]
    rounds = 0
    while limit is None or rounds < limit:
        ready = [index for index, stream in enumerate(streams) if stream.pending]
        if not ready:
            break
        for group in _batches(streams, ready):
            for index, events in zip(group, _step([streams[i] for i in group]), strict=True):
                heard[index].append(events)
        rounds += 1
    return [
        merge(parts) if parts else Events(stream._final_until)
        for stream, parts in zip(streams, heard, strict=True)
    ]


def open_transcriber(
    system: str = "piano", weights: str | None = None, **options: object
) -> Transcriber[Any]:
    """Load a system once; the same arguments give the same transcriber.

    Args:
        system: a name in `SYSTEMS`.
        weights: name or file of its weights, None: the ones it comes with.
        options: what the system's `load` takes.

    Raises:
        ValueError: no such system or option.
    """
    if system not in SYSTEMS:
        raise ValueError(_unknown("system", system, list(SYSTEMS)))
    key = (system, weights, tuple(sorted(options.items())))
    with _opening:
        if key not in _opened:
            load = import_module(SYSTEMS[system]).load
            known = [name for name in inspect.signature(load).parameters if name != "weights"]
            for name in options:
                if name not in known:
                    raise ValueError(_unknown(f"option of {system}", name, known))
            _opened[key] = load(weights, **options)
        return _opened[key]


_opened: dict[tuple[object, ...], Transcriber[Any]] = {}
_opening = threading.Lock()


def _chunk(transcriber: Transcriber[Any], chunk_ms: float | None) -> int:
    """Samples at the model's rate of one step."""
    if chunk_ms is None:
        return transcriber.hop
    if not 0 < chunk_ms < float("inf"):
        raise ValueError(f"a chunk of {chunk_ms} ms: give a positive number")
    return max(1, round(chunk_ms * transcriber.rate / 1000 / transcriber.hop)) * transcriber.hop


def _heard_rate(rate: int, tuning_hz: float) -> int:
    """The rate that the audio is taken to have: played a little faster, a flat piano is in tune.

    Within 4 cents, since rates that share many divisors with the model's cost less.
    """
    if not 380 <= tuning_hz <= 500:
        raise ValueError(f"a tuning of {tuning_hz:g} Hz: give the frequency of A4, 380 to 500")
    if tuning_hz == CONCERT_HZ:
        return rate
    step = 100 if rate > 32_000 else 40 if rate > 12_000 else 20
    return round(rate * CONCERT_HZ / tuning_hz / step) * step


def _batches(streams: Sequence[Stream], ready: Sequence[int]) -> list[list[int]]:
    """Indices of streams that can be stepped as one: same transcriber, same chunk."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index in ready:
        stream = streams[index]
        groups.setdefault((id(stream.transcriber), stream.chunk), []).append(index)
    return list(groups.values())


def _step(streams: Sequence[Stream]) -> list[Events]:
    """One step of one chunk; if the transcriber fails, no stream has moved."""
    chunks = [stream._peek() for stream in streams]
    audio = torch.from_numpy(np.stack(chunks) if len(chunks) > 1 else chunks[0][None])
    events, states = streams[0].transcriber.step(audio, [stream._state for stream in streams])
    return [
        stream._commit(state, found) for stream, state, found in zip(streams, states, events, strict=True)
    ]


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
    return f"no {kind} is called {name!r}; {hint}"
