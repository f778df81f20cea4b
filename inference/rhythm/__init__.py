"""MTMS: beats, downbeats and dynamics (arXiv 2510.18190)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from inference import weights as files
from inference.rhythm.bars import BarNetwork
from inference.rhythm.config import CONFIGS
from inference.rhythm.counting import CountingNetwork
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.dynamics import DynamicsEnsemble, DynamicsSettings
from inference.rhythm.follower import Follower
from inference.rhythm.hints import Hints
from inference.rhythm.listener import RhythmListener
from inference.rhythm.metre import TASKS, MetreNetwork
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.noted_dynamics import NOTE_CUES
from inference.rhythm.pointer import PointerSettings
from inference.rhythm.struck import STRUCK, StruckNetwork

DEFAULT_WEIGHTS, FOLLOWER_WEIGHTS = "rhythm", "rhythm-live"
BARS, DYNAMICS, NOTED, COUNTING, METRE = "bars.", "dynamics.", "noted.", "counting.", "metre."
NOTED_DYNAMICS, JUDGE = "noted_dynamics.", "judge."
"""Prefixes of the tensors of the networks over beats (which begin bars, how loud they are), of those over
notes, and of the judge of readings."""
PARTS = (BARS, DYNAMICS, NOTED, COUNTING, METRE, NOTED_DYNAMICS, JUDGE)


def load(
    weights: str | None = None,
    *,
    meters: tuple[int, ...] | None = None,
    tempo: tuple[float, float] | None = None,
    first_downbeat: float | None = None,
    taps: tuple[float, ...] = (),
) -> RhythmListener:
    """Open trained weights as a listener to whole recordings.

    Args:
        weights: name of shipped weights or path of a safetensors file.
        meters: beats per bar that may occur; default 2, 3 and 4.
        tempo: slowest and fastest beats per minute; default 30 to 280.
        first_downbeat: where the first bar begins, in seconds.
        taps: beats as they were tapped, in seconds.

    Raises:
        WeightsError: no such weights, or a damaged file.
        ValueError: an option out of range.
    """
    stored = files.read(weights or DEFAULT_WEIGHTS)
    network = RhythmNetwork(CONFIGS[stored.metadata["config"]])
    parts = {prefix: _without(prefix, stored.tensors) for prefix in PARTS}
    network.load_state_dict(
        {name: value for name, value in stored.tensors.items() if not name.startswith(PARTS)}
    )
    bars = dynamics = noted_dynamics = struck = metre = None
    if parts[BARS]:
        bars = BarNetwork()
        bars.load_state_dict(parts[BARS])
    if parts[DYNAMICS]:
        dynamics = DynamicsEnsemble.of(parts[DYNAMICS])
    if parts[NOTED_DYNAMICS]:
        noted_dynamics = DynamicsEnsemble.of(parts[NOTED_DYNAMICS], NOTE_CUES)
    if parts[NOTED]:
        struck = StruckNetwork(STRUCK[stored.metadata["noted"]]), CountingNetwork()
        struck[0].load_state_dict(parts[NOTED])
        struck[1].load_state_dict(parts[COUNTING])
    if parts[METRE]:
        metre = MetreNetwork(), MetreNetwork()
        for own, task in zip(metre, TASKS, strict=True):
            own.load_state_dict(_without(f"{task}.", parts[METRE]))
    judge = parts[JUDGE]["weight"].double().numpy() if parts[JUDGE] else None
    tuned = {name: float(stored.metadata[name]) for name in TUNED if name in stored.metadata}
    settings = hinted(replace(DecodeSettings(), **tuned), meters, tempo)  # type: ignore[arg-type]
    loudness = DynamicsSettings()
    if "dynamics_change" in stored.metadata:
        loudness = DynamicsSettings(*(float(stored.metadata[f"dynamics_{n}"]) for n in ("change", "weight")))
    hints = Hints(first_downbeat, taps)
    return RhythmListener(
        network,
        settings,
        bars,
        dynamics,
        struck=struck,
        metre=metre,
        noted_dynamics=noted_dynamics,
        judge=judge,
        loudness=loudness,
        hints=hints,
    )


def load_follower(rate: int, weights: str | None = None) -> Follower:
    """Open trained weights as a follower of notes whose times are samples at `rate`.

    Raises:
        WeightsError: no such weights, or a damaged file.
    """
    stored = files.read(weights or FOLLOWER_WEIGHTS)
    network = StruckNetwork(STRUCK[stored.metadata["config"]])
    own = {n: value for n, value in stored.tensors.items() if not n.startswith((COUNTING, METRE))}
    network.load_state_dict(own)
    counting = metre = None
    if tempi := _without(COUNTING, stored.tensors):
        counting = CountingNetwork()
        counting.load_state_dict(tempi)
        counting.eval()
    if bars := _without(f"{METRE}{TASKS[0]}.", stored.tensors):
        metre = MetreNetwork()
        metre.load_state_dict(bars)
        metre.eval()
    tuned = {name: float(stored.metadata[name]) for name in FOLLOWED if name in stored.metadata}
    settings = replace(PointerSettings(), **tuned)  # type: ignore[arg-type]
    if "wait" in stored.metadata:
        settings = replace(settings, wait=int(stored.metadata["wait"]))
    return Follower(network, settings, rate, counting, metre)


FOLLOWED = (
    *("stiff", "bias", "sharp", "restless", "counted", "certain", "usual_bpm", "spread"),
    *("downbeat_bias", "downbeat_weight", "noted_bars", "meter_change"),
)
"""Settings of the follower that come with its weights."""


def _without(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, named without it."""
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


TUNED = (
    *("beat_bias", "beat_limit", "downbeat_bias", "downbeat_weight", "jump"),
    *("usual_bpm", "unusual", "meter_change", "pause", "certain"),
    *("noted_bias", "noted_beats", "noted_bars", "noted_bars_bias", "noted_tempo"),
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
