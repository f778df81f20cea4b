"""MTMS: beats, downbeats and dynamics (arXiv 2510.18190)."""

from __future__ import annotations

from dataclasses import replace

from inference import weights as files
from inference.rhythm.bars import BarNetwork
from inference.rhythm.config import CONFIGS
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.listener import RhythmListener
from inference.rhythm.network import RhythmNetwork

DEFAULT_WEIGHTS = "rhythm"
BARS = "bars."
"""Prefix of the tensors of the network that places bars."""


def load(
    weights: str | None = None,
    *,
    meters: tuple[int, ...] | None = None,
    tempo: tuple[float, float] | None = None,
) -> RhythmListener:
    """Open trained weights as a listener to whole recordings.

    Args:
        weights: name of shipped weights or path of a safetensors file.
        meters: beats per bar that may occur; default 2, 3 and 4.
        tempo: slowest and fastest beats per minute; default 30 to 240.

    Raises:
        WeightsError: no such weights, or a damaged file.
        ValueError: an option out of range.
    """
    stored = files.read(weights or DEFAULT_WEIGHTS)
    network = RhythmNetwork(CONFIGS[stored.metadata["config"]])
    own = {name: value for name, value in stored.tensors.items() if not name.startswith(BARS)}
    network.load_state_dict(own)
    bars = None
    if len(own) < len(stored.tensors):
        bars = BarNetwork()
        bars.load_state_dict({n.removeprefix(BARS): v for n, v in stored.tensors.items() if n not in own})
    tuned = {name: float(stored.metadata[name]) for name in TUNED if name in stored.metadata}
    settings = hinted(replace(DecodeSettings(), **tuned), meters, tempo)  # type: ignore[arg-type]
    return RhythmListener(network, settings, bars)


TUNED = (
    *("beat_bias", "beat_limit", "downbeat_bias", "downbeat_weight", "jump"),
    *("usual_bpm", "unusual", "meter_change", "pause", "certain"),
)
"""Settings of the decoder that come with the weights."""


def hinted(
    settings: DecodeSettings, meters: tuple[int, ...] | None = None, tempo: tuple[float, float] | None = None
) -> DecodeSettings:
    """Settings with what a user knows.

    Raises:
        ValueError: a meter outside 1..12, or a range of tempi outside 20..400 or the wrong way round.
    """
    if meters is not None:
        if not meters or not all(1 <= meter <= 12 for meter in meters):
            raise ValueError(f"{meters} are no meters; give numbers of beats from 1 to 12")
        settings = replace(settings, meters=tuple(sorted(set(meters))))
    if tempo is not None:
        slowest, fastest = tempo
        if not 20 <= slowest <= fastest <= 400:
            raise ValueError(
                f"{slowest:g} to {fastest:g} is no range of tempi; give two numbers from 20 to 400"
            )
        settings = replace(settings, slowest_bpm=slowest, fastest_bpm=fastest)
    return settings
