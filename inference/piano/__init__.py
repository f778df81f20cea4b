"""PAR: streaming autoregressive piano transcription (arXiv 2404.06818)."""

from __future__ import annotations

from typing import Literal

from inference import weights as files
from inference.piano.config import CONFIGS
from inference.piano.network import PianoNetwork
from inference.piano.transcriber import PianoTranscriber, decode_settings

DEFAULT_WEIGHTS = "piano-light"


def load(
    weights: str | None = None,
    *,
    pedal: Literal["extended", "raw"] = "extended",
    sensitivity: float = 0.5,
) -> PianoTranscriber:
    """Open trained weights as a transcriber.

    Args:
        weights: name of shipped weights or path of a safetensors file; default the light ones.
        pedal: `extended`: notes last as long as they sound; `raw`: until the key comes up, with
            the sustain pedal as events.
        sensitivity: 0..1, more notes above 0.5, fewer below.

    Raises:
        WeightsError: no such weights, or a damaged file.
        ValueError: an option out of range.
    """
    if pedal not in ("extended", "raw"):
        raise ValueError(f"pedal is {pedal!r}; choose 'extended' or 'raw'")
    if not 0 <= sensitivity <= 1:
        raise ValueError(f"sensitivity is {sensitivity}; choose a number from 0 to 1")
    stored = files.read(weights or DEFAULT_WEIGHTS)
    network = PianoNetwork(CONFIGS[stored.metadata["config"]])
    network.load_state_dict(stored.tensors)
    names = ("onset", "offset", "late", "faint")
    thresholds = {name: float(stored.metadata[name]) for name in names if name in stored.metadata}
    settings = decode_settings(network, raw=pedal == "raw", **thresholds)
    return PianoTranscriber(network, settings.with_sensitivity(sensitivity))
