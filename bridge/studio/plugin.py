"""A piano that is a VST3 instrument, played through pedalboard."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import EngineError
from bridge.studio.audio import Audio
from bridge.studio.soundfont import PlayedEvent

BUFFER = 512
"""Samples per call of the plug-in, as a DAW would."""


class PluginPiano:
    """Plays MIDI through an instrument plug-in.

    Args:
        instrument: what `open_plugin` gave.
        rate: Hz.
    """

    def __init__(self, instrument: Any, rate: int) -> None:
        self.rate, self._instrument = rate, instrument
        self.latency = int(getattr(instrument, "reported_latency_samples", 0))
        self._fresh = True

    def play(self, events: Sequence[PlayedEvent], samples: int) -> Audio:
        """Audio `(2, samples)` of the next block, `latency` samples late; `events` in time order."""
        reset, self._fresh = self._fresh, False
        audio = self._instrument(
            [(message, time / self.rate) for time, message in events],
            duration=samples / self.rate,
            sample_rate=float(self.rate),
            num_channels=2,
            buffer_size=BUFFER,
            reset=reset,
        )
        # The duration in seconds may round to a neighbouring count of samples.
        short = samples - audio.shape[1]
        return np.pad(audio, ((0, 0), (0, short))) if short > 0 else audio[:, :samples]

    def close(self) -> None:
        """Nothing to free: the plug-in goes with the object."""


def open_plugin(path: str | Path, state: str | Path | None = None) -> Any:
    """Load an instrument plug-in, with a saved state if given.

    Args:
        path: .vst3 file or bundle (on macOS also a .component).
        state: .vstpreset file, or the raw state as the plug-in saved it.
    """
    pedalboard: Any = import_module("pedalboard")  # its types are not re-exported
    if not Path(path).exists():
        raise EngineError(f"there is no plug-in {path}", remedy="Check the path")
    try:
        plugin = pedalboard.load_plugin(str(path))
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(
            f"plug-in {path} cannot be loaded",
            why=str(error),
            remedy="Check that it is made for this system and processor, or use --piano built-in",
        ) from error
    if not plugin.is_instrument:
        raise EngineError(f"plug-in {path} is an effect", remedy="Choose an instrument")
    if state is not None:
        _restore(plugin, Path(state))
    return plugin


def _restore(plugin: Any, state: Path) -> None:
    try:
        if state.suffix.lower() == ".vstpreset":
            plugin.load_preset(str(state))
        else:
            plugin.raw_state = state.read_bytes()
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise EngineError(
            f"the plug-in's state {state} cannot be loaded",
            why=str(error),
            remedy="Save it again from the plug-in, as .vstpreset",
        ) from error
