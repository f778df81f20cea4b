"""PAR: streaming autoregressive piano transcription (arXiv 2404.06818)."""

from __future__ import annotations

import json
from typing import Literal

from inference import weights as files
from inference.device import open_device
from inference.piano.config import CONFIGS
from inference.piano.early import ONSET
from inference.piano.network import PianoNetwork
from inference.piano.transcriber import PianoTranscriber, decisions, decode_settings

DEFAULT_WEIGHTS = "piano-light"


def load(
    weights: str | None = None,
    *,
    pedal: Literal["extended", "raw"] = "extended",
    sensitivity: float = 0.5,
    decision_ms: float | None = None,
    early_ms: float | None = None,
    device: str = "cpu",
) -> PianoTranscriber:
    """Open trained weights as a transcriber.

    Args:
        weights: name of shipped weights or path of a safetensors file; default the light ones.
        pedal: `extended`: notes last as long as they sound; `raw`: until the key comes up, with
            the sustain pedal as events.
        sensitivity: 0..1, more notes above 0.5, fewer below.
        decision_ms: longest time from a sound to the decision about it. The network decides after
            one of a few delays, the longest that is not longer; default its main one.
        early_ms: the same for notes that are sure sooner: they are told then, and end soon if the
            decision about them turns out otherwise. Default: none is told early.
        device: where the network runs, `cpu`, `cuda` or `cuda:1`. What is heard differs by rounding.

    Raises:
        WeightsError: no such weights, a damaged file, or weights of another release.
        ValueError: an option out of range.
    """
    if pedal not in ("extended", "raw"):
        raise ValueError(f"pedal is {pedal!r}; choose 'extended' or 'raw'")
    if not 0 <= sensitivity <= 1:
        raise ValueError(f"sensitivity is {sensitivity}; choose a number from 0 to 1")
    where = open_device(device)
    stored = files.read(weights or DEFAULT_WEIGHTS)
    network = PianoNetwork(CONFIGS[stored.metadata["config"]])
    try:
        network.load_state_dict(stored.tensors)
    except RuntimeError as error:
        raise files.WeightsError(
            f"{stored.path} does not fit the network {network.config.name!r}: it comes from another release. "
            "Use the shipped weights, or train on from these: dawbridge train piano --start FILE."
        ) from error
    network.chosen = _chosen(decisions(network.config), decision_ms)
    delay = network.config.delays[network.chosen]
    thresholds = json.loads(stored.metadata["thresholds"])[str(delay)]
    settings = decode_settings(network, raw=pedal == "raw", **thresholds)
    if early_ms is not None:
        network.sooner = _sooner(network, early_ms)
    sooner = network.sooner
    early = None if sooner is None else decode_settings(network, sooner, onset=ONSET)
    return PianoTranscriber(
        network,
        settings.with_sensitivity(sensitivity),
        None if early is None else early.with_sensitivity(sensitivity),
        where,
    )


def _sooner(network: PianoNetwork, asked: float) -> int:
    """A head that decides by then; only those that decide before the main one need not look back."""
    known = decisions(network.config)
    chosen = _chosen(known, min(asked, known[0]))
    if known[chosen] >= known[network.chosen]:
        raise ValueError(
            f"early_ms is {asked:g}, but the decision falls after {known[network.chosen]:g} ms anyway"
        )
    return chosen


def _chosen(known: tuple[float, ...], asked: float | None) -> int:
    if asked is None:
        return 0
    possible = [ms for ms in known if ms <= asked]
    if not possible:
        raise ValueError(f"the network cannot decide within {asked:g} ms; it needs {min(known):g} at least")
    return known.index(max(possible))
