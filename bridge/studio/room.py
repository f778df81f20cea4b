"""What lies between a piano and the file: room, level, and a limiter against clipping."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import AudioError, UsageError
from bridge.presets import suggest
from bridge.studio.audio import Audio

CEILING_DB = -1.0
"""No sample is louder than this."""
IMPULSE_MIX = 0.3
LONGEST_IMPULSE_S = 20.0
DRY = 0.5
"""JUCE's reverb doubles its dry signal: this is unity."""
ROOMS: dict[str, dict[str, float]] = {
    "room": {"room_size": 0.35, "damping": 0.7, "wet_level": 0.06, "width": 0.8},
    "hall": {"room_size": 0.65, "damping": 0.5, "wet_level": 0.09, "width": 1.0},
    "cathedral": {"room_size": 0.92, "damping": 0.3, "wet_level": 0.14, "width": 1.0},
}


class Room:
    """A chain of effects that keeps its state between blocks and delays nothing.

    The limiter looks ahead, so audio comes out a little later than it goes in, but at the same
    sample: `process` may return less than it was given, and `finish` returns the rest.

    Args:
        rate: Hz.
        room: a name in `ROOMS`, an impulse response file, or None for no room.
        level_db: gain before the limiter.
        limit: whether there is one.
    """

    def __init__(
        self, rate: int, room: str | None = None, level_db: float = 0.0, *, limit: bool = True
    ) -> None:
        pedalboard: Any = import_module("pedalboard")  # its types are not re-exported
        effects: list[Any] = [pedalboard.Gain(level_db)] if level_db else []
        if room in ROOMS:
            effects.append(pedalboard.Reverb(dry_level=DRY, **ROOMS[room]))
        elif room is not None:
            effects.append(pedalboard.Convolution(_impulse(room, rate), IMPULSE_MIX, float(rate)))
        if limit:
            effects.append(pedalboard.BrickwallLimiter(ceiling_db=CEILING_DB))
        self._board: Any = pedalboard.Pedalboard(effects)
        self._rate = rate
        self._owed = 0

    def process(self, audio: Audio) -> Audio:
        """The next block `(2, samples)`."""
        out: Audio = self._board(audio, float(self._rate), reset=False)
        self._owed += audio.shape[1] - out.shape[1]
        return out

    def finish(self) -> Audio:
        """What the limiter still holds back."""
        owed, self._owed = self._owed, 0
        if owed <= 0:
            return np.zeros((2, 0), np.float32)
        out: Audio = self._board(np.zeros((2, owed), np.float32), float(self._rate), reset=False)
        return out


def _impulse(room: str, rate: int) -> Audio:
    """An impulse response `(2, samples)` at `rate`."""
    from pedalboard.io import AudioFile

    path = Path(room)
    if not path.is_file():
        raise UsageError(
            f"there is no room {room!r}",
            remedy=suggest(room, list(ROOMS)) or f"Choose {', '.join(ROOMS)}, or an impulse response file",
        )
    try:
        with AudioFile(str(path)) as file, file.resampled_to(float(rate)) as resampled:
            audio: Audio = resampled.read(int(LONGEST_IMPULSE_S * rate))
    except (OSError, ValueError, RuntimeError) as error:
        raise AudioError(
            f"{path} cannot be read as an impulse response", remedy="Give a wav or flac file"
        ) from error
    if not audio.shape[1] or not np.isfinite(audio).all() or not audio.any():
        raise AudioError(f"impulse response {path} is empty or silent", remedy="Choose another file")
    return audio[:2] if len(audio) > 1 else np.repeat(audio, 2, axis=0)
