"""Sessions are shared out among workers, and each stays with its own."""

import threading
from queue import SimpleQueue

import numpy as np
import pytest

from bridge.sidecar.jobs import Job
from bridge.sidecar.workers import Workers
from inference.events import Events


class Ear:
    """Notes on which thread it is heard."""

    batch = ("one",)
    due = 1

    def __init__(self, heard):
        self.heard, self.pending = heard, 0

    def push(self, audio):
        self.pending += 1

    def finish(self):
        return Events(0)


def advance(ears):
    for ear in ears:
        ear.pending -= 1
        ear.heard.append(threading.current_thread())
    return [Events(0) for _ in ears]


@pytest.fixture
def workers():
    results = SimpleQueue()
    pool = Workers(2, lambda found: [results.put(result) for result in found], advance)
    pool.start()
    yield pool, results
    assert pool.stop()


def begin(pool, session, seq=1):
    heard = []
    block = np.zeros((1, 8), np.float32)
    pool.submit(Job(session, seq, 0, begin_at=0, make_stream=lambda _start: Ear(heard), audio=block))
    return heard


def test_sessions_are_shared_out_and_stay(workers):
    pool, results = workers
    threads = {}
    for session in range(4):
        heard = begin(pool, session)
        assert results.get(timeout=5).session == session
        for seq in (2, 3):
            pool.submit(Job(session, seq, 0, audio=np.zeros((1, 8), np.float32)))
            assert results.get(timeout=5).through_seq == seq
        assert len(heard) == 3 and len(set(heard)) == 1
        threads[session] = heard[0]
    assert threads[0] is threads[2] and threads[1] is threads[3] and threads[0] is not threads[1]


def test_who_leaves_makes_room(workers):
    pool, results = workers
    first, second = begin(pool, 1), begin(pool, 2)
    results.get(timeout=5), results.get(timeout=5)
    pool.submit(Job(2, 2, 0, leave=True))
    third = begin(pool, 3)
    assert results.get(timeout=5).session == 3
    assert third[0] is second[0] and third[0] is not first[0]


def test_something_is_run_on_every_thread(workers):
    pool, _ = workers
    seen = SimpleQueue()
    pool.call(lambda: seen.put(threading.current_thread()))
    assert seen.get(timeout=5) is not seen.get(timeout=5) and len(pool) == 2


def test_load_is_that_of_the_busiest(workers):
    pool, _ = workers
    pool._workers[1].load.add(0, 10**10)
    assert pool.load == 1.0


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="give at least 1"):
        Workers(0, print, advance)
