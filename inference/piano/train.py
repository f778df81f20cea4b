"""Losses of the piano networks, and the run that trains the light one."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from inference.piano.config import CONFIGS, STATE_WEIGHTS, NoteState, Output, PianoConfig
from inference.piano.mix import Batch, Mix, MixConfig
from inference.piano.network import PianoNetwork
from inference.training import corpus, pianos
from inference.training.augment import Augment
from inference.training.loop import LoopConfig, train
from inference.training.sampler import Sampler

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossConfig:
    """Relative weights. Velocity must be scaled up a lot, or it learns nothing beside the states."""

    velocity: float = 40.0
    chunk_level: float = 0.15
    shift: float = 1.0
    key: float = 0.3
    pedal: float = 0.15


def joint_loss(network: nn.Module, batch: Batch, config: LossConfig) -> Mapping[str, Tensor]:
    """Losses of a joint network on one batch."""
    assert isinstance(network, PianoNetwork)
    output = network.from_features(batch.features)
    frames = output.shape[1]
    states = batch.state.long()
    weight = torch.tensor(STATE_WEIGHTS)
    logits = output[..., : len(NoteState)].reshape(-1, len(NoteState))
    state = F.cross_entropy(logits, states.reshape(-1), weight=weight, reduction="sum")
    state = state / (len(output) * frames)
    struck = ((states == NoteState.ONSET) | (states == NoteState.REONSET)).float()
    velocity = _velocity_loss(output[..., Output.VELOCITY], batch.velocity, struck, config.chunk_level)
    shift = ((output[..., Output.SHIFT] - batch.shift).abs() * struck).sum() / struck.sum().clamp(min=1)
    key = _known(output[..., Output.KEY], batch.key)
    pedal = _known(output[:, :, 0, Output.PEDAL], batch.pedal)
    total = (
        state + config.velocity * velocity + config.shift * shift + config.key * key + config.pedal * pedal
    )
    return {"total": total, "state": state, "velocity": velocity, "shift": shift, "key": key, "pedal": pedal}


def _velocity_loss(estimate: Tensor, truth: Tensor, struck: Tensor, level: float) -> Tensor:
    """Variance of the error within each chunk plus a part of its squared mean.

    How loud a recording is as a whole says little about how hard it was played, so an error that
    all notes of a chunk share counts for less.
    """
    error = (estimate - truth) * struck
    count = struck.sum((1, 2))
    safe = count.clamp(min=1)
    mean = error.sum((1, 2)) / safe
    each = (error.square().sum((1, 2)) / safe - (1 - level) * mean.square()) * (count > 1)
    return (each * count).sum() / count.sum().clamp(min=1)


def _known(logits: Tensor, truth: Tensor) -> Tensor:
    known = ~truth.isnan()
    if not known.any():
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(logits[known], truth[known])


@dataclass(frozen=True)
class PianoRun:
    """A training run: which network, on what, for how long. `folder` holds everything it writes."""

    data: Path
    folder: Path
    config: str = "light"
    seed: int = 1
    loop: LoopConfig = field(default_factory=LoopConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    soundfonts: tuple[tuple[Path, int, int], ...] = ()
    performances_per_piece: int = 3


def run(settings: PianoRun) -> None:
    """Prepare the data, then train in `settings.loop.ranks` processes of one thread each."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare(settings)
    if settings.loop.ranks == 1:
        _rank(0, settings, "")
        return
    meeting = settings.folder / "ranks"
    meeting.unlink(missing_ok=True)
    spawn(  # type: ignore[no-untyped-call]
        _rank, (settings, meeting.resolve().as_uri()), nprocs=settings.loop.ranks
    )


def _rank(rank: int, settings: PianoRun, meeting: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if settings.loop.ranks > 1:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=settings.loop.ranks)
    config = CONFIGS[settings.config]
    torch.manual_seed(settings.seed)
    network = PianoNetwork(config)
    batches = _batches(settings, config, network, settings.seed * 1000 + rank)
    seconds = settings.mix.batch * settings.mix.chunk_s
    progress = train(
        network,
        batches,
        lambda net, batch: joint_loss(net, batch, settings.loss),
        settings.loop,
        settings.folder,
        seconds,
        rank,
    )
    log.info("done: %.1f h of audio in %d steps", progress.seen_s / 3600, progress.steps)
    if settings.loop.ranks > 1:
        dist.destroy_process_group()


def _batches(settings: PianoRun, config: PianoConfig, network: PianoNetwork, seed: int) -> Iterator[Batch]:
    recordings = corpus.open_recordings(settings.folder)
    performances = corpus.open_performances(settings.folder / "performances.npz")
    banks = pianos.read_banks(settings.folder / "banks.npz")
    # Recorded pianos weigh double; the variants of one SoundFont would else outvote them.
    weights = torch.tensor([2.0 if "-" not in bank.name else 1.0 for bank in banks]).numpy()
    mix = Mix(
        config,
        copy.deepcopy(network.front_end),
        recordings,
        Sampler(performances, banks, weights),
        Augment(corpus.load_rooms(settings.data / "rooms")),
        settings.mix,
        seed,
    )
    log.info("%d recordings, %d performances, %d pianos", len(recordings), len(performances), len(banks))
    return iter(DataLoader(mix, batch_size=None, num_workers=1, prefetch_factor=6))


def performance_files(settings: PianoRun) -> list[Path]:
    """Up to `performances_per_piece` of each piece's performances, chosen by a fixed shuffle."""
    order = torch.Generator().manual_seed(settings.seed)
    chosen: list[Path] = []
    folders: dict[Path, list[Path]] = {}
    for path in sorted((settings.data / "asap" / "train").rglob("*.mid")):
        if path.name != "midi_score.mid":
            folders.setdefault(path.parent, []).append(path)
    for paths in folders.values():
        picks = torch.randperm(len(paths), generator=order)[: settings.performances_per_piece]
        chosen += [paths[i] for i in picks.tolist()]
    return chosen + sorted((settings.data / "piano-midi-de" / "train").rglob("*.mid"))


def prepare(settings: PianoRun) -> None:
    """Decode recordings, performances and sampled pianos once, into the run's folder."""
    folder = settings.folder
    if not (folder / "banks.npz").exists():
        pianos.save_banks(_load_banks(settings), folder / "banks.npz")
    if not (folder / "performances.npz").exists():
        performances = corpus.load_performances(performance_files(settings))
        corpus.save_performances(performances, folder / "performances.npz")
    if not (folder / "recordings.npz").exists():
        corpus.save_recordings(corpus.load_recordings(settings.data / "maps" / "software" / "train"), folder)


def _load_banks(settings: PianoRun) -> list[pianos.Bank]:
    folder = settings.data / "pianos"
    banks = [pianos.load_folder(folder / name) for name in ("salamander", "splendid")]
    return banks + [pianos.load_soundfont(font, program, bank) for font, program, bank in settings.soundfonts]
