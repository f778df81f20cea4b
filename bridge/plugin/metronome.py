"""A sidecar that strikes notes by the clock of the audio, and writes down when it decided to.

`python -m bridge.plugin.metronome EVERY FILE` serves until it is stopped: a note in each `EVERY`-th step of
20 ms, and in FILE the moment of each decision, in nanoseconds of the machine's monotonic clock, as int64.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.events import Events, NoteOff, NoteOn

if TYPE_CHECKING:
    from bridge.wire.connection import Connection

LOWEST, KEYS = 21, 88


@dataclass(frozen=True, slots=True)
class Metronome:
    """A transcriber without a network; its state is how many steps it took.

    Args:
        every: steps from note to note.
        file: where decisions are written down.
    """

    every: int
    file: Path
    rate: int = 16_000
    hop: int = 320
    latency: int = 0

    def start(self) -> int:
        """Before the first step."""
        return 0

    def step(self, audio: Any, states: Sequence[int]) -> tuple[list[Events], list[int]]:
        """A note-on at the chunk's beginning in every `every`-th step, its note-off in the step after."""
        size = audio.shape[1]
        events = [self._strike(state, size) for state in states]
        with open(self.file, "ab") as file:
            for found in events:
                if any(isinstance(note, NoteOn) for note in found.notes):
                    file.write(time.monotonic_ns().to_bytes(8, "little"))
        return events, [state + 1 for state in states]

    def finish(self, _state: int) -> Events:
        """Nothing."""
        return Events(0)

    def _strike(self, state: int, size: int) -> Events:
        number, phase = divmod(state, self.every)
        begin, end = state * size, (state + 1) * size
        pitch = LOWEST + number % KEYS
        if phase == 0:
            return Events(end, (NoteOn(begin, pitch, 0.5, number),))
        return Events(end, (NoteOff(begin, pitch, 0.5, number),) if phase == 1 else ())


def main(every: str, file: str) -> None:
    """Serve; a line `ready` on stdout tells that plug-ins can connect."""
    from bridge.sidecar.server import serve
    from bridge.sidecar.settings import ServeSettings

    metronome = Metronome(int(every), Path(file))
    settings = ServeSettings(make_transcriber=lambda preset: metronome, threads=1)

    def begin(_connection: Connection) -> None:
        metronome.file.unlink(missing_ok=True)  # what was struck while warming up
        print("ready", flush=True)

    serve(settings, begin)


if __name__ == "__main__":
    main(*sys.argv[1:])
