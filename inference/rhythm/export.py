"""From a training checkpoint to shipped weights: averaged, and a decoder tuned on validation music."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference import weights
from inference.resample import resample
from inference.rhythm import TUNED
from inference.rhythm.config import CONFIGS, FrontEndConfig
from inference.rhythm.decode import DecodeSettings, decode
from inference.rhythm.evaluate import f1, frames_of, recordings, seconds
from inference.rhythm.listener import RhythmListener
from inference.rhythm.network import RhythmNetwork
from inference.training.beats import BeatTable, beats_file, read_beats
from inference.training.corpus import RATE, read_performance
from inference.training.notes import Floats
from inference.training.pianos import read_banks
from inference.training.sampler import Sampler

TRIED: dict[str, tuple[float, ...]] = {
    "beat_bias": (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
    "unusual": (0.0, 0.3, 0.6, 1.0, 1.5),
    "usual_bpm": (80.0, 95.0, 110.0, 130.0),
    "jump": (4.0, 8.0, 16.0, 32.0, 64.0),
    "downbeat_weight": (0.3, 0.6, 1.0, 1.5),
    "downbeat_bias": (-0.5, 0.0, 0.5, 1.0),
    "meter_change": (3.0, 6.0, 10.0),
    "beat_limit": (3.0, 5.0, 8.0),
    "pause": (8.0, 16.0),
}
"""Settings of the decoder that are tried, one after the other."""
EXCERPT_S = 90.0


@dataclass(frozen=True)
class Music:
    """Logits of one excerpt, and its beats and downbeats in seconds."""

    beat: NDArray[np.float64]
    downbeat: NDArray[np.float64]
    beats: NDArray[np.float64]
    downbeats: NDArray[np.float64]


def export(
    folder: Path,
    data: Path,
    out: Path,
    config: str = "fused",
    progress: Callable[[str], None] = lambda line: None,
) -> str:
    """Write the averaged weights of a run's checkpoint as `out` (safetensors, half precision).

    The decoder is tuned on `maps/software/validation` and on the ASAP validation performances as the
    run's own pianos play them, never on `disklavier-dev`. Returns a line that says how well it went.
    """
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    network = RhythmNetwork(CONFIGS[config])
    tensors = {
        name: value.half().float() if value.is_floating_point() else value
        for name, value in state["average"].items()
    }
    network.load_state_dict(tensors)
    listener = RhythmListener(network)
    music = validation_music(listener, data, folder / "banks.npz")
    settings, best = tune(music, listener.config, progress)
    metadata = {
        "config": config,
        **{name: str(getattr(settings, name)) for name in TUNED},
        "training": json.dumps({**state["progress"], **state["config"]}),
    }
    weights.write(out, tensors, metadata)
    if out.resolve().parent == weights.FOLDER:
        known = weights.checksums() | {out.name: hashlib.sha256(out.read_bytes()).hexdigest()}
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items()))
        (out.parent / "SHA256SUMS").write_text(lines)
    beat, downbeat = measure(music, settings, listener.config)
    return f"validation: mean {best:.3f}, beats {beat:.3f}, downbeats {downbeat:.3f} in {len(music)} excerpts"


def validation_music(listener: RhythmListener, data: Path, banks: Path) -> list[Music]:
    """The recordings, and one performance of each ASAP validation piece, from their beginnings."""
    music = []
    for path, beats in recordings(data / "maps" / "software" / "validation"):
        found = frames_of(listener, path)
        music.append(_music(found.beat, found.downbeat, beats, listener.config))
    for audio, beats in _played(data / "asap" / "validation", banks):
        found = listener.hear(resample(audio, RATE, listener.rate))
        music.append(_music(found.beat, found.downbeat, beats, listener.config))
    return music


def tune(
    music: Sequence[Music], config: FrontEndConfig, progress: Callable[[str], None] = lambda line: None
) -> tuple[DecodeSettings, float]:
    """The settings of `TRIED` with the largest mean of beat and downbeat F1, and that mean."""
    settings = DecodeSettings()
    best = float(np.mean(measure(music, settings, config)))
    for name, values in TRIED.items():
        for value in values:
            other = replace(settings, **{name: value})  # type: ignore[arg-type]
            if other != settings and (score := float(np.mean(measure(music, other, config)))) > best:
                settings, best = other, score
        progress(f"{name} {getattr(settings, name)}: {best:.4f}")
    return settings, best


def measure(music: Sequence[Music], settings: DecodeSettings, config: FrontEndConfig) -> tuple[float, float]:
    """Mean beat and downbeat F1."""
    scores = []
    for one in music:
        beats = decode(one.beat, one.downbeat, settings, config)
        down = seconds([beat for beat in beats if beat.position == 0], config.rate)
        scores.append((f1(one.beats, seconds(beats, config.rate)), f1(one.downbeats, down)))
    beat, downbeat = np.mean(scores, 0)
    return float(beat), float(downbeat)


def _music(
    beat: NDArray[np.float64], downbeat: NDArray[np.float64], beats: BeatTable, config: FrontEndConfig
) -> Music:
    frames = min(len(beat), int(EXCERPT_S * config.frames_per_second))
    inside = beats.time < frames / config.frames_per_second - 0.1
    return Music(beat[:frames], downbeat[:frames], beats.time[inside], beats.time[inside & beats.downbeat])


def _played(folder: Path, banks: Path) -> list[tuple[Floats, BeatTable]]:
    """The first performance of each piece that has beats, on a piano drawn by chance."""
    random = np.random.default_rng(0)
    pieces: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*.mid")):
        if path.name != "midi_score.mid" and beats_file(path).is_file():
            pieces.setdefault(path.parent, path)
    if not pieces:
        return []
    pianos = read_banks(banks)
    sampler = Sampler([], pianos, np.ones(len(pianos), np.float32))
    found = []
    for path in pieces.values():
        notes = read_performance(path).notes
        notes = notes.select(notes.onset < EXCERPT_S + 2)
        found.append(
            (sampler.play(notes, random, int((EXCERPT_S + 1) * RATE))[0], read_beats(beats_file(path)))
        )
    return found
