"""The worker batches what is ready together, keeps order, and survives any one session's failure."""

from __future__ import annotations

import threading
import time

import numpy as np

from bridge.sidecar.jobs import Job, Result
from bridge.sidecar.meters import Histogram, Load
from bridge.sidecar.worker import GATHER_S, Worker
from inference.events import Events, NoteOff, NoteOn

CHUNK = 100


class Stream:
    """Hears in chunks of 100 samples, reports a note-on per chunk; `fails` when told to."""

    def __init__(self, batch="a", fails=None):
        self.batch, self.fails = (batch,), fails
        self.waiting = self.stepped = 0

    @property
    def pending(self):
        return self.waiting // CHUNK

    @property
    def due(self):
        return (self.stepped + self.pending + 1) * CHUNK

    def push(self, audio):
        if self.fails == "push":
            raise RuntimeError("cannot push")
        self.waiting += audio.shape[1]

    def finish(self):
        if self.fails == "finish":
            raise RuntimeError("cannot finish")
        return Events(self.stepped * CHUNK, (NoteOff(self.stepped * CHUNK, 60, 0.5, 0),))

    def step(self):
        self.waiting -= CHUNK
        self.stepped += 1
        return Events(self.stepped * CHUNK, (NoteOn(self.stepped * CHUNK, 60, 0.5, self.stepped),))


class Room:
    """A worker, what it delivered, and the batches it stepped."""

    def __init__(self):
        self.results, self.batches, self.threads = [], [], set()
        self.arrived = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.worker = Worker(self.deliver, self.advance)

    def __enter__(self):
        self.worker.start()
        return self

    def __exit__(self, *error):
        self.gate.set()
        assert self.worker.stop()

    def advance(self, streams):
        self.gate.wait(5)
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(streams))
        if any(stream.fails == "step" for stream in streams):
            raise RuntimeError("cannot step")
        return [stream.step() for stream in streams]

    def deliver(self, results):
        with self.arrived:
            self.results += results
            self.arrived.notify_all()

    def of(self, session):
        return [result for result in self.results if result.session == session]

    def wait_for(self, session, seq):
        with self.arrived:
            done = lambda: any(r.through_seq >= seq for r in self.of(session))  # noqa: E731
            assert self.arrived.wait_for(done, 5), f"session {session} is not answered"

    def submit(self, session, seq, samples=CHUNK, stream=None, **fields):
        begin = {} if stream is None else {"begin_at": 0, "make_stream": lambda origin: stream}
        audio = np.zeros((1, samples), np.float32) if samples else None
        self.worker.submit(Job(session, seq, time.perf_counter_ns(), audio=audio, **begin, **fields))

    def hold(self):
        """Keep the worker busy until `gate` is set, so that what is submitted meanwhile is one round."""
        self.gate.clear()
        self.submit(99, 1, stream=Stream("hold"))
        while self.worker._queue.qsize():
            time.sleep(0.001)


def notes(results: list[Result]):
    return [n.time for r in results for p in r.parts for n in p.events.notes]


def test_a_host_that_takes_a_while_to_give_all_its_tracks_still_gets_one_batch():
    tracks = range(1, 6)
    with Room() as room:
        for track in tracks:
            room.submit(track, 1, stream=Stream(), samples=0)
            room.wait_for(track, 1)
        for attempt in range(2, 40):  # a busy machine may stretch the pauses
            for track in tracks:
                room.submit(track, attempt)
                time.sleep(GATHER_S * 0.4)
            for track in tracks:
                room.wait_for(track, attempt)
            if len(tracks) in room.batches:
                return
    raise AssertionError(f"always in pieces: {room.batches}")


def test_sessions_that_are_ready_together_are_one_batch():
    with Room() as room:
        room.hold()
        for session in range(1, 5):
            room.submit(session, 1, stream=Stream())
        room.submit(5, 1, stream=Stream("other transcriber"))
        room.gate.set()
        for session in range(1, 6):
            room.wait_for(session, 1)
        assert room.batches == [1, 4, 1]
        assert room.threads == {"dawbridge-worker"}


def test_jobs_of_a_session_keep_their_order():
    with Room() as room:
        room.hold()
        room.submit(1, 1, stream=Stream())
        for seq in range(2, 5):
            room.submit(1, seq)
        room.submit(1, 5, samples=0, finish_at=400)
        room.submit(1, 6, stream=Stream(), finish_at=None)
        room.gate.set()
        room.wait_for(1, 6)
        (result,) = room.of(1)
        closed = [part.closed_at for part in result.parts]
        assert result.through_seq == 6 and closed == [400, None]


def test_a_failing_stream_ends_alone():
    for fails in ("push", "step", "finish"):
        with Room() as room:
            room.hold()
            for session in range(1, 5):
                room.submit(session, 1, stream=Stream(fails=fails if session == 3 else None))
            room.gate.set()
            for session in range(1, 5):
                room.wait_for(session, 1)
            room.submit(3, 2, samples=0, finish_at=CHUNK)
            for session in (1, 2, 4):
                room.submit(session, 2)
                room.wait_for(session, 2)
                assert notes(room.of(session)) == [100, 200]
                assert all(result.error is None for result in room.of(session))
            room.wait_for(3, 2)
            assert str(room.of(3)[-1].error) == f"cannot {fails}"


def test_a_stream_that_cannot_begin_ends_alone():
    def refuse(origin):
        raise MemoryError("no room for a state")

    with Room() as room:
        room.worker.submit(Job(1, 1, 0, begin_at=0, make_stream=refuse, audio=np.zeros((1, 5), np.float32)))
        room.submit(2, 1, stream=Stream())
        room.wait_for(1, 1)
        room.wait_for(2, 1)
        assert isinstance(room.of(1)[0].error, MemoryError) and room.of(2)[0].error is None


def test_an_answer_that_makes_no_sense_ends_the_sessions_but_not_the_worker():
    with Room() as room:
        sane, room.worker._advance = room.worker._advance, lambda streams: []
        room.submit(1, 1, stream=Stream())
        room.wait_for(1, 1)
        assert room.of(1)[0].error is not None
        room.worker._advance = sane
        room.submit(2, 1, stream=Stream())
        room.wait_for(2, 1)
        assert notes(room.of(2)) == [100]


def test_a_session_that_left_is_forgotten():
    with Room() as room:
        room.submit(1, 1, stream=Stream())
        room.wait_for(1, 1)
        room.submit(1, 2, samples=0, leave=True)
        room.submit(2, 1, stream=Stream())
        room.wait_for(2, 1)
        assert [result.through_seq for result in room.of(1)] == [1]
        assert list(room.worker._lanes) == [2]


def test_live_sessions_overtake_offline_ones():
    with Room() as room:
        room.hold()
        room.submit(1, 1, stream=Stream("offline"), offline=True)
        for seq in range(2, 20):
            room.submit(1, seq, offline=True)
        room.submit(2, 1, stream=Stream("live"))
        room.gate.set()
        room.wait_for(1, 19)
        order = [result.session for result in room.results]
        assert order[:2] == [99, 2]
        assert notes(room.of(1)) == [100 * n for n in range(1, 20)]


def test_queue_age_and_work_are_measured():
    with Room() as room:
        room.hold()
        room.submit(1, 1, stream=Stream())
        time.sleep(0.05)
        room.gate.set()
        room.wait_for(1, 1)
        assert room.of(1)[0].queue_us >= 45_000
        assert room.worker.load.value > 0


def test_quantiles_are_within_an_eighth_of_an_octave():
    histogram = Histogram()
    for value in range(1, 10_001):
        histogram.add(value)
    for q in (0.01, 0.5, 0.9, 0.99, 1.0):
        assert 10_000 * q <= histogram.quantile(q) <= 10_000 * q * 1.13
    assert histogram.count == 10_000 and Histogram().span() == (0, 0)


def test_load_is_the_share_of_busy_time():
    load = Load(memory_s=1)
    for _ in range(100):
        load.add(idle_ns=30_000_000, busy_ns=10_000_000)
    assert abs(load.value - 0.25) < 0.02
    for _ in range(100):
        load.add(idle_ns=40_000_000, busy_ns=0)
    assert load.value < 0.02
