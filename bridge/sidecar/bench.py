"""How long the way there and back takes, without a model: what the wire and the sidecar cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.errors import LinkError
from bridge.sidecar.private import private_sidecar
from bridge.sidecar.settings import ServeSettings
from bridge.wire import protocol as wire
from bridge.wire.blocks import Block
from bridge.wire.connection import Connection
from bridge.wire.link import Link, State
from inference.events import Events

QUANTILES = (0.5, 0.9, 0.99, 1.0)
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Deaf:
    """A transcriber that hears nothing, at once."""

    rate: int = 16_000
    hop: int = 320
    latency: int = 0

    def start(self) -> None:
        """No state."""

    def step(self, audio: Any, states: Sequence[None]) -> tuple[list[Events], list[None]]:
        """Nothing, for every row of `audio` `(batch, samples)`."""
        return [Events(0) for _ in states], list(states)

    def finish(self, _state: None) -> Events:
        """Nothing."""
        return Events(0)


def round_trip(count: int = 1_000, samples: int = 128, rate: int = 48_000) -> dict[float, float]:
    """Send blocks one by one over the loopback and wait for each answer.

    Args:
        count: blocks to send.
        samples: samples of a stereo block.
        rate: Hz.

    Returns:
        Quantile (0.5, 0.9, 0.99, 1.0) -> milliseconds between sending a block and holding its answer.
    """
    settings = ServeSettings(make_transcriber=lambda _preset: Deaf(), freeze=False)
    with private_sidecar(settings) as connection:
        times = _times(connection, count, samples, rate)
    return {q: float(np.quantile(times, q)) for q in QUANTILES}


def _times(connection: Connection, count: int, samples: int, rate: int) -> list[float]:
    """Milliseconds of each of `count` round trips, after a few to warm up."""
    hello = wire.Hello(wire.PROTOCOL, rate, 2, samples, name="bench")
    link = Link(hello, lambda: connection)
    audio = np.zeros((2, samples), np.float32)
    transport = wire.Transport(playing=True)
    times: list[float] = []
    try:
        _pump(link, lambda: link.state is State.READY)
        for number in range(count + 20):
            began = time.perf_counter_ns()
            link.send(Block(number * samples, audio, transport))
            _pump(link, lambda: link.credit == _credit(link))
            times.append((time.perf_counter_ns() - began) / 1e6)
    finally:
        link.close()
    return times[20:]


def _credit(link: Link) -> int:
    return 0 if link.welcome is None else link.welcome.credit


def _pump(link: Link, done: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        link.pump(PATIENCE_S)
        if time.monotonic() > deadline:
            raise link.trouble or LinkError("the sidecar does not answer", remedy="Run: dawbridge doctor")
