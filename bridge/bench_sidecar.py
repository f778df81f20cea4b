"""Benchmarks of a sidecar process of its own: how soon it is ready, many streams, memory of each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bridge.bench import Measure
from bridge.errors import LinkError
from bridge.wire import protocol as wire
from bridge.wire.client import Client, status
from bridge.wire.connection import Connection, read_connection

RATE, BLOCK = 48_000, 512
READY_S = 60.0
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar process that is ready after `ready_s`."""

    pid: int
    connection: Connection
    ready_s: float


def sidecar_measures(count: int, seconds: float) -> list[Measure]:
    """Start a sidecar, play `count` live streams of `seconds` to it, and see how it fares."""
    with sidecar_process() as sidecar, ExitStack() as stack:
        first = stack.enter_context(_client(sidecar.connection, 0))
        _play([first], SETTLE_S)
        alone = resident_mb(sidecar.pid)
        clients = [first] + [stack.enter_context(_client(sidecar.connection, n)) for n in range(1, count)]
        _play(clients, SETTLE_S)
        together = resident_mb(sidecar.pid)
        before = status(sidecar.connection, timeout_s=10)
        _play(clients, seconds)
        after = status(sidecar.connection, timeout_s=10)
    late = sum(s.late for s in after.sessions) - sum(s.late for s in before.sessions)
    blocks = sum(s.blocks for s in after.sessions) - sum(s.blocks for s in before.sessions)
    slowest = max(s.queue_us[1] for s in after.sessions) / 1000
    measures = [
        Measure("serve ready", sidecar.ready_s, "s", 5.0),
        Measure(f"{count} streams: late answers of {blocks}", float(late), "", 0.0),
        Measure(f"{count} streams: wait in queue p99", slowest, "ms"),
        Measure(f"{count} streams: load of the worker", after.load, ""),
    ]
    if alone is not None and together is not None and count > 1:
        each = max(0.0, (together - alone) / (count - 1))
        measures.append(Measure("memory per extra session", each, "MB", 10.0))
        measures.append(Measure("memory of the sidecar", together, "MB"))
    return measures


@contextmanager
def sidecar_process(*arguments: str) -> Iterator[Sidecar]:
    """`dawbridge serve` with folders of its own, ready; it is stopped at the end."""
    with TemporaryDirectory(prefix="dawbridge-") as name:
        folders = {
            f"DAWBRIDGE_{key}_DIR": str(Path(name) / key.lower()) for key in ("RUNTIME", "DATA", "LOG")
        }
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge.cli", "serve", "--threads", "1", "--json", *arguments],
            env={**os.environ, **folders},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            line = process.stdout.readline() if process.stdout else b""
            ready_s = time.perf_counter() - began
            if not line:
                trouble = process.stderr.read().decode(errors="replace") if process.stderr else ""
                raise LinkError("the sidecar does not start", why=trouble, remedy="Run: dawbridge doctor")
            connection = read_connection(Path(folders["DAWBRIDGE_RUNTIME_DIR"]))
            yield Sidecar(process.pid, connection, ready_s)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def resident_mb(pid: int) -> float | None:
    """Memory of a process in RAM; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(values[0]) / 1024 if values else None


def _client(connection: Connection, number: int) -> Client:
    return Client(RATE, 2, max_block=BLOCK, name=f"bench {number}", connection=connection)


def _play(clients: list[Client], seconds: float) -> None:
    """Give every client its blocks in real time, each at its own phase, as independent hosts would."""
    noise = np.random.default_rng(0).normal(0, 0.05, (2, BLOCK)).astype(np.float32)
    blocks = round(seconds * RATE / BLOCK)
    begin = time.perf_counter() + 0.05
    playing = wire.Transport(playing=True)
    step = BLOCK / RATE
    quiet = threading.Event()
    for block in range(blocks):
        for number, client in enumerate(clients):
            due = begin + (block + number / len(clients)) * step
            if (left := due - time.perf_counter()) > 0:
                quiet.wait(left)
            client.offer(noise, playing)
            client.receive()
