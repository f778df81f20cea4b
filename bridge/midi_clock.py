"""MIDI clock on a port, so that a DAW, a sequencer or a drum machine follows who plays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from bridge.midi_port import LivePort
from inference.events import Beat
from inference.pulses import Pulse, Pulses


class MidiClock:
    """Sends start, clock and stop when they are due, on a thread of its own, by the beats that it is told.

    Use it as a context manager, inside that of the port.

    Args:
        port: what is sent to.
        rate: samples per second of the beats' times.
    """

    def __init__(self, port: LivePort, rate: int) -> None:
        self._port, self._rate = port, rate
        self._pulses, self._began = Pulses(), 0.0
        self._told, self._over = threading.Condition(), False
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="midi-clock", daemon=True)

    def begin(self) -> None:
        """Sample 0 sounds now."""
        self._began = time.perf_counter()
        self._thread.start()

    def tell(self, beats: Sequence[Beat]) -> None:
        """Follow these beats too.

        Raises:
            OutputError: the port is closed; or whatever else the port said when it was gone.
        """
        with self._told:
            if self._failed is not None:
                raise self._failed
            if beats:
                self._send(self._pulses.tell(beats, self._now()))
                self._told.notify()

    def close(self) -> None:
        """Stop who follows; a second call does nothing."""
        with self._told:
            if self._over:
                return
            self._over = True
            self._told.notify()
            if self._failed is None:
                self._send(self._pulses.stop(self._now()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        with self._told, suppress(Exception):  # whoever tells beats hears of it
            while not self._over:
                due = self._pulses.next
                if due is None:
                    self._told.wait()
                elif (left := (due - self._now()) / self._rate) > 0:
                    self._told.wait(left)
                else:
                    self._send(self._pulses.due(self._now()))

    def _send(self, pulses: Iterable[Pulse]) -> None:
        try:
            for pulse in pulses:
                self._port.tick(pulse.kind)
        except Exception as error:  # ports raise their own kinds
            self._failed = error
            raise

    def _now(self) -> float:
        return (time.perf_counter() - self._began) * self._rate
