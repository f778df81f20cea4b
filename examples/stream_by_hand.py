"""Only the engine, no wire: blocks of your own go in, notes come out.

python examples/stream_by_hand.py
"""

import numpy as np

from inference.events import NoteCollector
from inference.pipeline import Stream, advance, open_transcriber

RATE, BLOCK, SECONDS = 48_000, 256, 3.0


def tone(begin: int, length: int) -> np.ndarray:
    """A decaying A4 with harmonics, struck once a second."""
    time = (np.arange(begin, begin + length) % RATE) / RATE
    sound = sum(np.sin(2 * np.pi * 440 * k * time) / k**2 for k in range(1, 7))
    return (0.25 * np.exp(-4 * time) * sound).astype(np.float32)[None]


def main() -> None:
    stream = Stream(open_transcriber("piano"), RATE, channels=1)
    parts, collector, notes = stream.latency, NoteCollector(), []
    print(f"latency {1000 * parts.total / RATE:.0f} ms: {parts}")
    for begin in range(0, int(SECONDS * RATE), BLOCK):
        stream.push(tone(begin, BLOCK))
        (events,) = advance([stream])
        notes += collector.add(events)
    notes += collector.add(stream.finish())
    for note in notes:
        print(f"{note.onset / RATE:.3f} s: pitch {note.pitch}, velocity {note.velocity:.2f}")
    print(f"{len(notes)} notes")


if __name__ == "__main__":
    main()
