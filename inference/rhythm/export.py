"""From a training checkpoint to shipped weights: averaged, and a decoder tuned on validation music."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import weights
from inference.rhythm import BARS, COUNTING, DYNAMICS, METRE, NOTED, NOTED_DYNAMICS, PARTS, TUNED, load
from inference.rhythm.config import FrontEndConfig
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.dynamics import DynamicsSettings
from inference.rhythm.evaluate import f1, seconds
from inference.rhythm.listener import Frames, RhythmListener
from inference.rhythm.material import hear, recordings
from inference.rhythm.metre import TASKS
from inference.rhythm.train import STRUCK_CONFIG, STRUCK_FOLDER
from inference.training.beats import BeatTable, beats_file, read_beats
from inference.training.corpus import RATE, read_audio, read_performance
from inference.training.notes import Floats
from inference.training.pianos import read_banks
from inference.training.sampler import Sampler

TRIED: dict[str, tuple[float, ...]] = {
    "beat_bias": (-0.4, 0.0, 0.3),
    "jump": (15.0, 30.0, 60.0),
    "meter_change": (3.0, 6.0, 12.0),
    "noted_beats": (0.0, 0.5, 1.0),
    "noted_bias": (-1.5, -1.0, -0.5),
    "noted_tempo": (0.3, 0.6, 1.0),
    "noted_bars": (0.7, 1.0, 1.5),
    "noted_bars_bias": (-0.75, -0.3, 0.0, 0.3),
}
"""Settings of the decoder that are tried, one after the other."""
BEGIN_S, END_S = 15.0, 75.0
"""Which part of each piece is listened to."""


@dataclass(frozen=True)
class Music:
    """What was heard of one excerpt, and its beats and downbeats in seconds."""

    frames: Frames
    beats: NDArray[np.float64]
    downbeats: NDArray[np.float64]


def export(
    folder: Path,
    data: Path,
    out: Path,
    config: str = "fused",
    progress: Callable[[str], None] = lambda line: None,
    beside: str | None = None,
) -> str:
    """Write the averaged weights of a run's checkpoint as `out` (safetensors, half precision).

    The decoder is tuned on `maps/software/validation` and on the ASAP validation performances as the
    run's own pianos play them, never on `disklavier-dev`. Returns a line that says how well it went.
    `beside` names weights that give the networks which the run has not trained, and the settings from
    which tuning begins.

    Raises:
        WeightsError: there are no such weights.
    """
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    parts = {"": state["average"], **_trained_parts(folder)}
    tensors = {f"{prefix}{name}": value for prefix, part in parts.items() for name, value in part.items()}
    metadata = {f"dynamics_{name}": str(value) for name, value in asdict(DynamicsSettings()).items()}
    if beside is not None:
        stored = weights.read(beside)
        missing = tuple(part for part in PARTS if not any(name.startswith(part) for name in tensors))
        tensors |= {name: value for name, value in stored.tensors.items() if name.startswith(missing)}
        metadata |= stored.metadata
    metadata |= {"config": config, "training": json.dumps({**state["config"], **state["progress"]})}
    if NOTED in parts:
        metadata["noted"] = STRUCK_CONFIG
    with TemporaryDirectory() as place:  # tuned as they will be read
        draft = Path(place) / out.name
        weights.write(draft, tensors, metadata)
        listener = load(str(draft))
    music = validation_music(listener, data, folder / "banks.npz")
    settings = tune(music, listener, progress)
    weights.write(out, tensors, metadata | {name: str(getattr(settings, name)) for name in TUNED})
    weights.record(out)
    beat, downbeat = measure(music, listener)
    return f"validation: beats {beat:.3f}, downbeats {downbeat:.3f} in {len(music)} excerpts"


def _trained_parts(folder: Path) -> dict[str, Mapping[str, Tensor]]:
    """What a run trained besides the network over sound: tensors by the prefix that they will have."""
    struck = folder / STRUCK_FOLDER
    files = {
        BARS: folder / "bars.pt",
        DYNAMICS: folder / "dynamics.pt",
        NOTED_DYNAMICS: folder / "noted-dynamics.pt",
        NOTED: struck / "checkpoint.pt",
        COUNTING: struck / "counting.pt",
        **{f"{METRE}{task}.": struck / task / "checkpoint.pt" for task in TASKS},
    }
    found = {}
    for prefix, path in files.items():
        if path.is_file():
            stored = torch.load(path, weights_only=True)
            found[prefix] = stored.get("average", stored)
    return found


def validation_music(listener: RhythmListener, data: Path, banks: Path) -> list[Music]:
    """Parts of the recordings, and of one performance of each ASAP validation piece."""
    music = []
    for path, beats in recordings(data / "maps" / "software" / "validation"):
        music.append(_music(hear(listener, read_audio(path)), beats, listener.config))
    for audio, beats in _played(data / "asap" / "validation", banks):
        music.append(_music(hear(listener, audio), beats, listener.config))
    return music


def tune(
    music: Sequence[Music], listener: RhythmListener, progress: Callable[[str], None] = lambda line: None
) -> DecodeSettings:
    """The settings of `TRIED` with the largest mean of beat and downbeat F1; the listener has them then."""
    best = float(np.mean(measure(music, listener)))
    for name, values in TRIED.items():
        chosen = listener.settings
        for value in values:
            listener.settings = replace(chosen, **{name: value})  # type: ignore[arg-type]
            if listener.settings != chosen and (score := float(np.mean(measure(music, listener)))) > best:
                chosen, best = listener.settings, score
            listener.settings = chosen
        progress(f"{name} {getattr(chosen, name)}: {best:.4f}")
    return listener.settings


def measure(music: Sequence[Music], listener: RhythmListener) -> tuple[float, float]:
    """Mean beat and downbeat F1."""
    scores = []
    for one in music:
        beats = listener.beats(one.frames)
        down = seconds([beat for beat in beats if beat.position == 0], listener.rate)
        scores.append((f1(one.beats, seconds(beats, listener.rate)), f1(one.downbeats, down)))
    beat, downbeat = np.mean(scores, 0)
    return float(beat), float(downbeat)


def _music(frames: Frames, beats: BeatTable, config: FrontEndConfig) -> Music:
    rate, total = config.frames_per_second, len(frames.beat)
    first = int(BEGIN_S * rate) if total > 2 * BEGIN_S * rate else 0
    last = min(total, int(END_S * rate))
    inside = (beats.time > first / rate) & (beats.time < last / rate)
    times = beats.time - first / rate
    return Music(frames.part(first, last), times[inside], times[inside & beats.downbeat])


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
        notes = notes.select(notes.onset < END_S + 2)
        found.append((sampler.play(notes, random, int((END_S + 1) * RATE))[0], read_beats(beats_file(path))))
    return found
