"""Audio as lossy files give it back."""

from __future__ import annotations

import io

from pedalboard.io import AudioFile

from inference.training.corpus import RATE
from inference.training.notes import Floats

LOSSY = (
    *(("ogg", f"{rate} kbps") for rate in (64, 80, 96, 112, 128)),
    ("mp3", "32"),
    ("mp3", "48"),
    ("mp3", "V9"),
)
"""Formats and qualities; of mono at 16 kHz, Vorbis makes a third of what they are called: 22 to 35 kbit/s."""
_LATE = {"ogg": 0, "mp3": 1105}
"""Samples by which a format gives back everything later."""


def coded(audio: Floats, kind: str, quality: str) -> Floats:
    """Mono audio at 16 kHz after a lossy format, `(samples,)` and as long and as early as before."""
    memory = io.BytesIO()
    with AudioFile(memory, "w", RATE, 1, format=kind, quality=quality) as file:
        file.write(audio[None])
    memory.seek(0)
    with AudioFile(memory) as file:
        heard: Floats = file.read(file.frames)[0, _LATE[kind] :][: len(audio)]
    return heard
