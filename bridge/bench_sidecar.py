"""Benchmarks of a sidecar process of its own: how soon it is ready, many streams, memory of each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zmq

from bridge.bench import Measure
from bridge.errors import LinkError
from bridge.wire import protocol as wire
from bridge.wire.blocks import Block, joined, leading
from bridge.wire.client import status
from bridge.wire.connection import Connection, read_connection
from bridge.wire.link import Link, State
from bridge.wire.security import Context

RATE, BLOCK = 48_000, 512
READY_S = 60.0
SETTLE_S = 2.0
WINDOWS = 5


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar process that is ready after `ready_s`."""

    pid: int
    connection: Connection
    ready_s: float
    runtime_folder: Path


def sidecar_measures(count: int, seconds: float) -> list[Measure]:
    """Start a sidecar, play `count` live streams to it, and see how it fares.

    The streams are first those of one host, which gives a block of every track in one callback, then
    those of as many hosts, each at its own phase. Answers are counted in five windows of a fifth of
    `seconds` each.
    """
    with sidecar_process() as sidecar, ExitStack() as stack:
        context = zmq.Context()
        stack.callback(context.term)
        links = [_link(sidecar.connection, stack, context, 0)]
        play(links, SETTLE_S)
        alone = resident_mb(sidecar.pid)
        links += [_link(sidecar.connection, stack, context, number) for number in range(1, count)]
        play(links, SETTLE_S)
        together = resident_mb(sidecar.pid)
        one_host = _late_answers(sidecar.connection, links, seconds)
        report = status(sidecar.connection, timeout_s=10)
        play(links, SETTLE_S / 4, apart=True)
        many_hosts = _late_answers(sidecar.connection, links, seconds, apart=True)
    slowest = max(s.queue_us[1] for s in report.sessions) / 1000
    measures = [
        Measure("serve ready", sidecar.ready_s, "s", 5.0),
        *_late_measures(f"{count} streams of one host", one_host),
        Measure(f"{count} streams of one host: wait in queue p99", slowest, "ms"),
        Measure(f"{count} streams of one host: load of the busiest worker", report.load, ""),
        *_late_measures(f"{count} streams of {count} hosts", many_hosts),
    ]
    if alone is not None and together is not None and count > 1:
        each = max(0.0, (together - alone) / (count - 1))
        measures.append(Measure("memory per extra session", each, "MB", 10.0))
        measures.append(Measure("memory of the sidecar", together, "MB"))
    return measures


def private_environment(folder: Path) -> dict[str, str]:
    """An environment with places of its own for connection file, keys and log."""
    places = {f"DAWBRIDGE_{key}_DIR": str(folder / key.lower()) for key in ("RUNTIME", "DATA", "LOG")}
    return {**os.environ, **places}


@contextmanager
def sidecar_process(*arguments: str) -> Iterator[Sidecar]:
    """`dawbridge serve` with folders of its own, ready; it is stopped at the end."""
    with TemporaryDirectory(prefix="dawbridge-") as name:
        environment = private_environment(Path(name))
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge.cli", "serve", "--threads", "1", "--json", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            line = process.stdout.readline() if process.stdout else b""
            ready_s = time.perf_counter() - began
            if not line:
                trouble = process.stderr.read().decode(errors="replace") if process.stderr else ""
                raise LinkError("the sidecar does not start", why=trouble, remedy="Run: dawbridge doctor")
            runtime_folder = Path(environment["DAWBRIDGE_RUNTIME_DIR"])
            yield Sidecar(process.pid, read_connection(runtime_folder), ready_s, runtime_folder)
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


def _link(connection: Connection, stack: ExitStack, context: Context, number: int) -> Link:
    """A session without the thread of a `Client`: the player should not need a core of its own."""
    hello = wire.Hello(
        protocol=wire.PROTOCOL, rate=RATE, channels=2, max_block=BLOCK, name=f"bench {number}", monitor=True
    )
    link = Link(hello, lambda: connection, context=context)
    stack.callback(link.close)
    patience = time.monotonic() + READY_S
    while link.state is not State.READY and time.monotonic() < patience:
        link.pump(0.05)
    if link.state is not State.READY:
        raise link.trouble or LinkError("the sidecar welcomes nobody", remedy="Run: dawbridge doctor")
    return link


def _late_measures(name: str, windows: list[tuple[int, int]]) -> list[Measure]:
    answers = sum(given for _, given in windows)
    return [
        Measure(f"{name}: late answers, best window", float(min(late for late, _ in windows)), "", 0.0),
        Measure(f"{name}: late answers", float(sum(late for late, _ in windows)), f"of {answers}"),
    ]


def _late_answers(
    connection: Connection, links: list[Link], seconds: float, *, apart: bool = False
) -> list[tuple[int, int]]:
    """Late answers in each window, and how many messages were answered."""
    windows = []
    for _ in range(WINDOWS):
        before = status(connection, timeout_s=10)
        play(links, seconds / WINDOWS, apart=apart)
        after = status(connection, timeout_s=10)
        windows.append((_late(after) - _late(before), _blocks(after) - _blocks(before)))
    return windows


def _late(report: wire.Report) -> int:
    return sum(session.late for session in report.sessions)


def _blocks(report: wire.Report) -> int:
    return sum(session.blocks for session in report.sessions)


def play(links: list[Link], seconds: float, *, apart: bool = False) -> None:
    """Give every link its blocks in real time: all at once, or `apart`, each at its own phase.

    Blocks travel together as those of the plug-in do.
    """
    noise = np.random.default_rng(0).normal(0, 0.05, (2, BLOCK)).astype(np.float32)
    blocks = round(seconds * RATE / BLOCK)
    starts = [link.position for link in links]
    begin = time.perf_counter() + 0.05
    playing = wire.Transport(playing=True)
    step = BLOCK / RATE
    waiting: list[list[Block]] = [[] for _ in links]
    for block in range(blocks):
        for number, link in enumerate(links):
            due = begin + (block + apart * number / len(links)) * step
            if (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            waiting[number].append(Block(starts[number] + block * BLOCK, noise, playing))
            run = leading(waiting[number], link.due(waiting[number][0]), RATE)
            if run and link.send(joined(run)):
                del waiting[number][: len(run)]
            if block % 2:
                link.pump()
