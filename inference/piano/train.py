"""The run that trains a piano network."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from inference import weights
from inference.device import open_device
from inference.piano.config import CONFIGS
from inference.piano.losses import LossConfig, joint_loss, recursive_loss
from inference.piano.mix import Batch, Mix, MixConfig
from inference.piano.network import PianoNetwork
from inference.piano.start import begin_from
from inference.training import corpus, pianos
from inference.training.augment import Augment
from inference.training.loop import LoopConfig, train
from inference.training.modelled import MODELLED, modelled_bank
from inference.training.notes import Floats
from inference.training.prepare import prepare, sampled_pianos
from inference.training.sampler import Sampler

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PianoRun:
    """A training run: which network, on what, for how long. `folder` holds everything it writes.

    Raises:
        ValueError: there is no such device, or several ranks are to share one.
    """

    data: Path
    folder: Path
    config: str = "light"
    seed: int = 1
    loop: LoopConfig = field(default_factory=LoopConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    soundfonts: tuple[tuple[Path, int, int], ...] = ()
    modelled: int = 24
    """Pianos that are drawn by chance, beside the recorded ones."""
    performances_per_piece: int = 3
    start: str | None = None
    """Shipped name or path of the weights to begin from, instead of from chance."""
    corpus: Path | None = None
    """Folder that holds what the run learns from, prepared, if it is not its own."""
    device: str = "cpu"
    """Where the network is trained; a GPU has one rank, and needs many processes that feed it."""
    loaders: int = 1
    """Processes that make batches for each rank."""

    def __post_init__(self) -> None:
        if open_device(self.device).type != "cpu" and self.loop.ranks > 1:
            raise ValueError(f"a GPU has one rank, not {self.loop.ranks}; give loaders instead")

    @property
    def prepared(self) -> Path:
        """Where the data is, or will be, prepared."""
        return self.corpus or self.folder


def run(settings: PianoRun) -> None:
    """Prepare the data, then train in `settings.loop.ranks` processes of one thread each."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare(
        settings.prepared,
        settings.data,
        settings.seed,
        settings.performances_per_piece,
        lambda: _load_banks(settings),
    )
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
    network, device = PianoNetwork(config), open_device(settings.device)
    if settings.start:
        begin_from(network, weights.read(settings.start).tensors)
    batches = _batches(settings, network, settings.seed * 1000 + rank)
    network.to(device)
    noise = torch.Generator().manual_seed(settings.seed * 1000 + rank)
    seconds = settings.mix.batch * settings.mix.chunk_s

    def loss(network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        batch = Batch(*(column.to(device, non_blocking=True) for column in batch))
        with half_precision(device.type):
            if config.joint:
                return joint_loss(network, batch, settings.loss, noise)
            return recursive_loss(network, batch, noise)

    progress = train(network, batches, loss, settings.loop, settings.folder, seconds, rank)
    log.info("done: %.1f h of audio in %d steps", progress.seen_s / 3600, progress.steps)
    if settings.loop.ranks > 1:
        dist.destroy_process_group()


def half_precision(device: str = "cpu") -> torch.autocast:
    """Products in bfloat16 where there is a unit for them: training is nearly twice as fast."""
    tell = getattr(torch.cpu, "get_capabilities", None)  # torch 2.5 has none
    able = device == "cuda" or (tell is not None and tell().get("amx_bf16", False))
    return torch.autocast(device, torch.bfloat16, enabled=able)


def _batches(settings: PianoRun, network: PianoNetwork, seed: int) -> Iterator[Batch]:
    mix = diet(settings.prepared, settings.data, network, settings.mix, seed)
    pinned = settings.device != "cpu"
    return iter(DataLoader(mix, None, num_workers=settings.loaders, prefetch_factor=6, pin_memory=pinned))


def diet(
    folder: Path, data: Path, network: PianoNetwork, mix: MixConfig, seed: int, modelled: float = 0.35
) -> Mix:
    """What a network learns from, out of the data that was prepared in a folder.

    Args:
        folder: where that is.
        data: has the rooms.
        network: gives the front end and the labels' delay.
        mix: how chunks are made up.
        seed: of all that is drawn by chance.
        modelled: part of the sampled chunks that is played on modelled pianos.
    """
    recordings = corpus.open_recordings(folder)
    performances = corpus.open_performances(folder / "performances.npz")
    banks = pianos.read_banks(folder / "banks.npz")
    log.info("%d recordings, %d performances, %d pianos", len(recordings), len(performances), len(banks))
    return Mix(
        network.config,
        copy.deepcopy(network.front_end),
        recordings,
        Sampler(performances, banks, _shares([bank.name for bank in banks], modelled)),
        Augment(corpus.load_rooms(data / "rooms")),
        mix,
        seed,
    )


def _shares(names: Sequence[str], part: float) -> Floats:
    """How often each piano plays: recorded ones twice as often as SoundFonts, modelled ones `part` in all."""
    modelled = np.array([name.startswith(MODELLED) for name in names])
    share = np.array([1.0 if "-" in name else 2.0 for name in names])
    share[modelled] = part / (1 - part) * share[~modelled].sum() / max(1, modelled.sum())
    shares: Floats = (share / share.sum()).astype(np.float32)
    return shares


def _load_banks(settings: PianoRun) -> list[pianos.Bank]:
    random = np.random.default_rng(settings.seed)
    modelled = [modelled_bank(f"{MODELLED}-{i}", random) for i in range(settings.modelled)]
    return sampled_pianos(settings.data, settings.soundfonts) + modelled
