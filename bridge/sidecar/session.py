"""One plug-in instance: order, gaps, transport, credit, and what sounds. Knows no sockets, no tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from bridge.presets import InstrumentPreset
from bridge.sidecar.jobs import Job, Part, Result, Samples, StreamMaker
from bridge.sidecar.meters import Histogram
from bridge.sidecar.takes import Pass, Take
from bridge.sidecar.voices import Voices
from bridge.voicing import BeatNotes
from bridge.wire import protocol as wire
from bridge.wire.blocks import jumped
from inference import events as heard

CONTROL_JOBS = 64
"""Messages that need no credit (Flush) which may wait at once."""


class Overrun(Exception):  # noqa: N818
    """The client sends far more than its credit allows."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session was granted.

    Args:
        make_stream: begins a stream for the worker.
        latency: parts of the promised latency.
        credit: audio messages that may wait for an answer.
        budget_us: time for queue and inference; `None` = nobody waits.
        drop_late: note-ons that come after the budget are dropped instead of sent.
        presets: names they came from.
        contents: the preset by value.
        systems: names of the systems that hear.
        weights: which weights they use.
        alignment: `aligned` or `immediate`.
        instrument: how the plug-in makes MIDI.
        voicing: the same, for files.
    """

    make_stream: StreamMaker
    latency: wire.Latency
    credit: int
    budget_us: int | None = None
    drop_late: bool = False
    presets: tuple[str, ...] = ()
    contents: str = ""
    systems: tuple[str, ...] = ()
    weights: str = ""
    alignment: str = "aligned"
    instrument: wire.Instrument = field(default_factory=wire.Instrument)
    voicing: InstrumentPreset = field(default_factory=InstrumentPreset)


@dataclass(slots=True)
class Counts:
    """What happened to a session so far; `gaps` were too long to fill, `repaired` values were NaN."""

    blocks: int = 0
    late: int = 0
    dropped: int = 0
    duplicates: int = 0
    gaps: int = 0
    filled: int = 0
    repaired: int = 0


class Session:
    """Turns messages into jobs and results into messages, in whatever order the world sends them.

    The stream breaks (and what sounds is released) at a long gap, a seek or loop, a transport stop,
    a flush. It ends in `answer`, in order with the notes that were heard before the break.
    """

    def __init__(self, number: int, hello: wire.Hello, terms: Terms, *, keeps_takes: bool = False) -> None:
        self.number, self.hello, self.terms = number, hello, terms
        self._keeps_takes = keeps_takes
        self.counts = Counts()
        self.compute, self.queue = Histogram(), Histogram()
        self.voices = Voices()
        self._beats = _beat_notes(terms)
        self._waiting: deque[int] = deque()  # numbers of messages that cost credit
        self._controls: deque[int] = deque()  # and of those that do not
        self._expected: int | None = None  # stream time of the next sample
        self._seq = 0
        self._acknowledged = 0
        self._final_until = 0
        self._transport: wire.Transport | None = None
        self._length = 0  # samples of the block that _transport began
        self._open = False  # the worker has a stream of ours, as of the last job
        self._passes: deque[Pass] = deque()  # streams that have not been heard to their end
        self._closing: deque[bool] = deque()  # for each end that was asked for: was there a stream?
        self._takes: list[Take] = []

    @property
    def outstanding(self) -> int:
        """Messages that wait for an answer."""
        return len(self._waiting) + len(self._controls)

    @property
    def sounding(self) -> tuple[wire.NoteOn, ...]:
        """Voices that the plug-in believes to sound."""
        return self.voices.sounding

    def hear(self, message: wire.Audio, samples: Samples, now_ns: int) -> Job | None:
        """Take a block `(channels, samples)`; `None` if it is a duplicate or exceeds the credit."""
        if message.seq <= self._seq:
            self.counts.duplicates += 1
            return None
        if len(self._waiting) >= self.terms.credit:
            self._refuse_excess()
            return None
        self._seq = message.seq
        self._waiting.append(message.seq)
        self.counts.blocks += 1
        end = message.start + samples.shape[1]
        if self._expected is not None and end <= self._expected:
            self.counts.duplicates += 1
            return self._job(now_ns)
        job = self._place(message, samples, now_ns)
        self._transport, self._length = message.transport, samples.shape[1]
        self._expected = end
        return job

    def flush(self, message: wire.Flush, now_ns: int) -> Job | None:
        """Finish hearing what came so far; the answer releases everything."""
        if message.seq <= self._seq:
            self.counts.duplicates += 1
            return None
        if len(self._controls) >= CONTROL_JOBS:
            raise Overrun
        self._seq = message.seq
        return self.pause(now_ns)

    def pause(self, now_ns: int) -> Job:
        """End the running stream; the next block begins another."""
        self._controls.append(self._seq)
        return self._job(now_ns, finish_at=self._close())

    def leave(self, now_ns: int) -> Job:
        """The last job: forget the session."""
        return Job(self.number, max(self._seq, 0), now_ns, self.hello.offline, leave=True)

    def answer(self, result: Result) -> list[wire.Events]:
        """Events for the plug-in; the last of them acknowledges what the result answers."""
        for queue in (self._waiting, self._controls):
            while queue and queue[0] <= result.through_seq:
                queue.popleft()
        late = self._measure(result)
        notes: list[wire.NoteOn | wire.NoteOff] = []
        controls: list[wire.Control] = []
        for part in result.parts:
            self._play(part, notes, controls, mute=late and self.terms.drop_late)
        before, self._acknowledged = self._acknowledged, max(self._acknowledged, result.through_seq)
        lanes = [p for part in result.parts for p in _lanes(part.events)]
        beats = [b for part in result.parts for b in _beats(part.events)]
        whole = wire.Events(
            self._acknowledged,
            self._final_until,
            tuple(notes),
            tuple(controls),
            tuple(lanes),
            tuple(beats),
            result.compute_us,
            result.queue_us,
            self._due(result),
        )
        return divide(whole, before)

    def _due(self, result: Result) -> int:
        """Up to where it makes no difference when audio comes; where nobody listens that is always so."""
        if result.due or self._open or result.through_seq < self._seq:
            return result.due
        return (self._expected or 0) + self.terms.latency.chunk

    def release(self) -> wire.Events:
        """Note-offs for everything, at once: the end of the session, whatever happened."""
        time = max(self._expected or 0, self._final_until)
        notes, controls = self.voices.release(time)
        self._final_until = time
        return wire.Events(self._acknowledged, time, tuple(notes), tuple(controls))

    def takes(self, *, ended: bool = False) -> list[Take]:
        """Takes that were finished since the last call; with `ended`, those cut short too."""
        if ended:
            for begun in self._passes:
                self._shelve(begun, self._expected or 0)
            self._passes.clear()
        takes, self._takes = self._takes, []
        return takes

    def reconfigure(self, hello: wire.Hello, terms: Terms, now_ns: int) -> Job | None:
        """Go on with other terms; a job that ends the running stream if it hears by other ones."""
        cut = (terms.contents, terms.presets, hello.offline) != (
            self.terms.contents,
            self.terms.presets,
            self.hello.offline,
        )
        self.hello = hello
        if not cut:
            return None
        job = self.pause(now_ns)
        self.terms, self._beats = terms, _beat_notes(terms)
        return job

    def _place(self, message: wire.Audio, samples: Samples, now_ns: int) -> Job:
        start, transport = message.start, message.transport
        gap = 0 if self._expected is None else start - self._expected
        hearing = transport.playing or self.hello.monitor
        short = gap <= wire.SHORT_GAP_S * self.hello.rate
        breaks = not hearing or not short or self._stopped(transport) or self._jumped(transport, gap)
        if gap < 0:  # the block overlaps what was heard: take what is new
            start, samples = start - gap, samples[:, -gap:]
        if gap > 0 and self._open:
            self.counts.filled += gap if short else 0
            self.counts.gaps += 0 if short else 1
        finish_at = self._close() if self._open and breaks else None
        if not hearing:
            return self._job(now_ns, finish_at=finish_at)
        if self._open:
            self._follow(message)
            return self._job(now_ns, audio=_after_silence(samples, gap), place=(message.start, transport))
        self._open = True
        if self._keeps_takes:
            self._passes.append(Pass(self.hello.rate, start))
            self._follow(message)
        place = message.start, transport
        return self._job(now_ns, finish_at=finish_at, begin_at=start, audio=samples, place=place)

    def _follow(self, message: wire.Audio) -> None:
        if self._passes:
            self._passes[-1].place(message.start, message.transport)

    def _close(self) -> int:
        """Have the running stream ended, if there is one; where it ends."""
        self._closing.append(self._open)
        self._open = False
        return self._expected or 0

    def _stopped(self, transport: wire.Transport) -> bool:
        return self._transport is not None and self._transport.playing and not transport.playing

    def _jumped(self, now: wire.Transport, gap: int) -> bool:
        """Whether the song position is not where the block before (and the gap) leads to."""
        before = self._transport
        return before is not None and jumped(before, now, self._length + gap, self.hello.rate)

    def _job(
        self,
        now_ns: int,
        *,
        finish_at: int | None = None,
        begin_at: int | None = None,
        audio: Samples | None = None,
        place: tuple[int, wire.Transport] | None = None,
    ) -> Job:
        maker = None if begin_at is None else self.terms.make_stream
        offline = self.hello.offline
        return Job(self.number, self._seq, now_ns, offline, finish_at, begin_at, maker, audio, place=place)

    def _refuse_excess(self) -> None:
        self.counts.dropped += 1
        if self.counts.dropped > 100 and self.counts.dropped > self.counts.blocks:
            raise Overrun

    def _measure(self, result: Result) -> bool:
        self.compute.add(result.compute_us)
        self.queue.add(result.queue_us)
        budget = None if self.hello.offline else self.terms.budget_us
        late = budget is not None and result.queue_us + result.compute_us > budget
        self.counts.late += late
        return late

    def _play(
        self, part: Part, notes: list[wire.NoteOn | wire.NoteOff], controls: list[wire.Control], *, mute: bool
    ) -> None:
        notes += self.voices.notes(part.events.notes, mute=mute)
        if self._beats is not None:
            notes += self.voices.notes(self._beats.notes(part.events.beats), mute=mute)
        controls += self.voices.controls(part.events.controls)
        self._final_until = max(self._final_until, part.events.final_until)
        if self._passes:
            self._passes[0].add(part.events)
        if part.closed_at is not None:
            if self._closing and self._closing.popleft() and self._passes:
                self._shelve(self._passes.popleft(), part.closed_at)
            offs, ups = self.voices.release(part.closed_at)
            notes += offs
            controls += ups
            self._final_until = max(self._final_until, part.closed_at)

    def _shelve(self, begun: Pass, time: int) -> None:
        if (take := begun.close(time)) is not None:
            self._takes.append(take)


def divide(events: wire.Events, acknowledged: int) -> list[wire.Events]:
    """Cut events into messages within the limits; only the last acknowledges and is final."""
    pieces = max(
        _pieces(events.notes, wire.MAX_NOTES),
        _pieces(events.controls, wire.MAX_POINTS),
        _pieces(events.lanes, wire.MAX_POINTS),
        _pieces(events.beats, wire.MAX_POINTS),
    )
    if pieces == 1:
        return [events]
    cut = []
    for piece in range(pieces):
        notes = slice(piece * wire.MAX_NOTES, (piece + 1) * wire.MAX_NOTES)
        points = slice(piece * wire.MAX_POINTS, (piece + 1) * wire.MAX_POINTS)
        rows = {"notes": events.notes[notes]} | {
            name: getattr(events, name)[points] for name in ("controls", "lanes", "beats")
        }
        cut.append(msgspec.structs.replace(events, through_seq=acknowledged, final_until=0, **rows))
    cut[-1] = msgspec.structs.replace(cut[-1], through_seq=events.through_seq, final_until=events.final_until)
    return cut


def _pieces(rows: tuple[object, ...], limit: int) -> int:
    return max(1, -(-len(rows) // limit))


def _after_silence(samples: Samples, gap: int) -> Samples:
    if gap <= 0:
        return samples
    return np.concatenate([np.zeros((len(samples), gap), np.float32), samples], axis=1)


def _beat_notes(terms: Terms) -> BeatNotes | None:
    channel = terms.voicing.beat_notes
    return None if channel is None else BeatNotes(channel)


def _lanes(events: heard.Events) -> Iterable[wire.LanePoint]:
    return (wire.LanePoint(max(p.time, 0), str(p.lane), float(p.value)) for p in events.lanes)


def _beats(events: heard.Events) -> Iterable[wire.Beat]:
    return (wire.Beat(max(b.time, 0), b.position, b.of, b.confidence) for b in events.beats)
