"""Several workers side by side: each session belongs to one of them for as long as it lives."""

from __future__ import annotations

import os
from collections.abc import Callable

from bridge.sidecar.jobs import Job, Result
from bridge.sidecar.worker import Advance, Worker

MOST = 4
"""More workers than this split the batches too finely to gain anything."""


def default_workers() -> int:
    """One per core, up to `MOST`: steps run beside each other, since tensors need no interpreter."""
    return max(1, min(MOST, os.cpu_count() or 1))


class Workers:
    """Gives each new session to the worker with the fewest; everything else is a `Worker`'s affair.

    Called on one thread, that of the server's loop.

    Args:
        count: how many workers.
        deliver: called on a worker's thread with the results of each round.
        advance: steps the streams of one batch by one chunk; several threads call it at once.
    """

    def __init__(self, count: int, deliver: Callable[[list[Result]], None], advance: Advance) -> None:
        if count < 1:
            raise ValueError(f"{count} workers: give at least 1")
        self._workers = [Worker(deliver, advance) for _ in range(count)]
        self._of: dict[int, int] = {}  # session -> worker

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def load(self) -> float:
        """Load of the busiest worker: 0 idle, 1 never waits."""
        return max(worker.load.value for worker in self._workers)

    def start(self) -> None:
        """Begin to work."""
        for worker in self._workers:
            worker.start()

    def submit(self, job: Job) -> None:
        """Queue a job; never waits."""
        if job.session not in self._of:
            sessions = list(self._of.values())
            self._of[job.session] = min(range(len(self._workers)), key=sessions.count)
        index = self._of.pop(job.session) if job.leave else self._of[job.session]
        self._workers[index].submit(job)

    def call(self, function: Callable[[], None]) -> None:
        """Run something on every worker's thread, between two rounds."""
        for worker in self._workers:
            worker.call(function)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End after the current rounds; `False` if one takes longer than `timeout_s`."""
        return all([worker.stop(timeout_s) for worker in self._workers])
