"""The inference thread: jobs in, results out. The only door from the wire to tensors."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from bridge.sidecar.jobs import Hearing, Job, Part, Result
from bridge.sidecar.meters import Load
from inference.events import Events

log = logging.getLogger(__name__)

GATHER_S = 0.001
"""A host gives the blocks of all its tracks at once: as long as they follow each other this closely,
waiting for the others makes one batch of them."""
LONGEST_GATHER_S = 0.004
"""Many hosts that are out of step would be waited for without end."""

Advance = Callable[[Sequence[Hearing]], list[Events]]
"""Steps one chunk of each of several streams; leaves all as they were if it raises."""


@dataclass(slots=True)
class _Lane:
    """One session as the worker sees it, and what the current round found for it."""

    stream: Hearing | None = None
    parts: list[Part] = field(default_factory=list)
    error: BaseException | None = None
    seq: int = 0
    arrived_ns: int | None = None


class Worker:
    """Carries out the jobs of all sessions on one thread; sessions ready together form one batch.

    Live sessions go first; offline ones get one job each between two looks at the live queue. The
    queue needs no limit of its own: credit limits what each session may have in it.

    Args:
        deliver: called on the worker's thread with the results of each round.
        advance: steps the streams of one batch by one chunk.
    """

    def __init__(self, deliver: Callable[[list[Result]], None], advance: Advance) -> None:
        self.load = Load()
        self._deliver, self._advance = deliver, advance
        self._queue: SimpleQueue[Job | Callable[[], None] | None] = SimpleQueue()
        self._backlog: dict[int, deque[Job]] = {}
        self._lanes: dict[int, _Lane] = {}
        self._thread = threading.Thread(target=self._run, name="dawbridge-worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; never waits."""
        self._queue.put(job)

    def call(self, function: Callable[[], None]) -> None:
        """Run something between two rounds on the worker's thread, such as a warm-up."""
        self._queue.put(function)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End after the current round; `False` if that takes longer than `timeout_s`."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ended = time.perf_counter_ns()
        while (live := self._collect()) is not None:
            began = time.perf_counter_ns()
            self._round(live)
            self._round(self._offline_turn())
            idle, ended = began - ended, time.perf_counter_ns()
            self.load.add(idle, ended - began)

    def _collect(self) -> list[Job] | None:
        """Wait for work (not if offline work is left); the live jobs, or `None` at the end."""
        live: list[Job] = []
        present: set[int] = set()
        patience = 0.0 if self._backlog else None
        patient_until = 0.0
        while True:
            try:
                item = self._queue.get(patience != 0, patience)
            except Empty:
                return live
            if item is None:
                return None
            if callable(item):
                item()
            elif item.offline or item.session in self._backlog:
                self._backlog.setdefault(item.session, deque()).append(item)
            else:
                live.append(item)
                present.add(item.session)
            if patience is None:
                patient_until = time.perf_counter() + LONGEST_GATHER_S
            waited_for = len(present) < len(self._lanes) and not self._backlog
            patience = GATHER_S if waited_for and time.perf_counter() < patient_until else 0.0

    def _offline_turn(self) -> list[Job]:
        jobs = [jobs.popleft() for jobs in self._backlog.values()]
        self._backlog = {session: jobs for session, jobs in self._backlog.items() if jobs}
        return jobs

    def _round(self, jobs: Iterable[Job]) -> None:
        """Carry out jobs, step everything that is ready as one batch, deliver the results."""
        began = time.perf_counter_ns()
        touched: dict[int, _Lane] = {}
        for job in jobs:
            lane = self._lanes.setdefault(job.session, _Lane())
            if job.leave:
                self._lanes.pop(job.session)
                touched.pop(job.session, None)
                continue
            touched[job.session] = lane
            self._carry_out(job, lane)
        if touched:
            try:
                self._step_all(touched)
            except Exception as error:  # nothing may end this thread: nobody would be answered any more
                for session, lane in touched.items():
                    self._fail(lane, session, error)
            took = (time.perf_counter_ns() - began) // 1000
            self._deliver([_result(session, lane, began, took) for session, lane in touched.items()])

    def _carry_out(self, job: Job, lane: _Lane) -> None:
        lane.seq = job.seq
        if lane.arrived_ns is None:
            lane.arrived_ns = job.arrived_ns
        if lane.error is not None:
            return
        try:
            if job.finish_at is not None:
                events = Events(0) if lane.stream is None else lane.stream.finish()
                lane.stream = None
                lane.parts.append(Part(events, job.finish_at))
            if job.begin_at is not None and job.make_stream is not None:
                lane.stream = job.make_stream(job.begin_at)
            if job.audio is not None and lane.stream is not None:
                if job.place is not None:
                    lane.stream.place(*job.place)
                lane.stream.push(job.audio)
        except Exception as error:
            self._fail(lane, job.session, error)

    def _step_all(self, lanes: dict[int, _Lane]) -> None:
        """One chunk of every stream that has one, and again until none has."""
        while True:
            groups: dict[tuple[object, ...], list[int]] = {}
            for session, lane in sorted(lanes.items()):  # a batch in the order of the one before is quicker
                if lane.stream is not None and lane.stream.pending:
                    groups.setdefault(lane.stream.batch, []).append(session)
            if not groups:
                return
            for sessions in groups.values():
                self._step({session: lanes[session] for session in sessions})

    def _step(self, lanes: dict[int, _Lane]) -> None:
        """One chunk of streams that form a batch; if that fails, each alone, so that one fault ends one."""
        streams = [lane.stream for lane in lanes.values() if lane.stream is not None]
        try:
            found = self._advance(streams)
        except Exception as error:
            if len(lanes) == 1:
                ((session, lane),) = lanes.items()
                self._fail(lane, session, error)
                return
            log.warning("a batch of %d streams failed (%s); stepping them one by one", len(lanes), error)
            for session, lane in lanes.items():
                self._step({session: lane})
            return
        for lane, events in zip(lanes.values(), found, strict=True):
            lane.parts.append(Part(events))

    def _fail(self, lane: _Lane, session: int, error: BaseException) -> None:
        log.error("session %d failed", session, exc_info=error)
        lane.stream, lane.error = None, error


def _result(session: int, lane: _Lane, began_ns: int, compute_us: int) -> Result:
    arrived = began_ns if lane.arrived_ns is None else lane.arrived_ns
    queue_us = max(0, began_ns - arrived) // 1000
    due = 0 if lane.stream is None else lane.stream.due
    result = Result(session, lane.seq, tuple(lane.parts), queue_us, compute_us, lane.error, due)
    lane.parts, lane.arrived_ns = [], None
    return result
