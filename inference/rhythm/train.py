"""The run that trains a rhythm network."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from inference import weights
from inference.rhythm import train_counting, train_dynamics, train_metre, train_struck
from inference.rhythm.config import CONFIGS, Input
from inference.rhythm.losses import LossConfig, rhythm_loss
from inference.rhythm.metre import TASKS
from inference.rhythm.mix import Mix, MixConfig
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.train_bars import collect, fit
from inference.rhythm.train_dynamics import marked_performances
from inference.training import corpus, pianos
from inference.training.augment import Augment, AugmentConfig
from inference.training.beats import BeatTable, beats_file, read_beats, with_played_dynamics
from inference.training.corpus import Performance, Recording
from inference.training.loop import LoopConfig, Progress, train
from inference.training.prepare import prepare, sampled_pianos
from inference.training.sampler import Sampler

log = logging.getLogger(__name__)
Music = TypeVar("Music", Recording, Performance)


STRUCK_FOLDER, STRUCK_CONFIG = "struck", "struck-whole"
"""Where in a run's folder the network over notes is trained, and which it is."""
SOUND_MEMBERS, NOTE_MEMBERS = 3, 2
"""Networks that tell dynamics together, from sound and from notes."""


@dataclass(frozen=True)
class RhythmRun:
    """A training run: which network, on what, for how long. `folder` holds everything it writes."""

    data: Path
    folder: Path
    config: str = "fused"
    seed: int = 1
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=2e-3, ranks=1))
    mix: MixConfig = field(default_factory=MixConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    soundfonts: tuple[tuple[Path, int, int], ...] = ()
    performances_per_piece: int = 3
    start: str | None = None
    """Shipped name or path of the weights to begin from, instead of from chance."""
    bar_excerpts: int = 240
    """Minutes of music from which the network that places bars learns; 0: none is trained."""
    marked_per_piece: int = 2
    """Performances of each score with dynamics from which these are learned; 0: they are not."""
    noted_per_piece: int = 4
    """The same of those over notes, which cost less."""
    struck_minutes: float = 60.0
    """How long the network over notes is trained beside it, and those that count and tell bars; 0: none."""


def run(settings: RhythmRun) -> Progress:
    """Prepare the data, then train in this process, on one thread."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    prepare(
        settings.folder,
        settings.data,
        settings.seed,
        settings.performances_per_piece,
        lambda: sampled_pianos(settings.data, settings.soundfonts),
    )
    torch.manual_seed(settings.seed)
    network = RhythmNetwork(CONFIGS[settings.config])
    if settings.start:
        stored = weights.read(settings.start).tensors
        network.load_state_dict({name: stored[name] for name in network.state_dict()})
    mix = open_mix(settings, network)
    progress = train(
        network,
        iter(mix),
        lambda net, batch: rhythm_loss(net, batch, settings.loss),  # type: ignore[arg-type]
        settings.loop,
        settings.folder,
        settings.mix.batch * settings.mix.chunk_s,
    )
    log.info("done: %.1f h of audio in %d steps", progress.seen_s / 3600, progress.steps)
    if settings.bar_excerpts and mix.front_end.input is Input.FUSED:
        examples = collect(mix, settings.bar_excerpts, settings.seed * 1000 + 1, log.info)
        torch.save(fit(examples).state_dict(), settings.folder / "bars.pt")
    if settings.marked_per_piece and mix.front_end.input is Input.FUSED:
        marked = list(marked_performances(settings.data / "asap" / "train", settings.marked_per_piece))
        seed = settings.seed * 1000 + 2
        found = train_dynamics.collect(marked, mix.sampler, mix.augment, mix.front_end, seed, log.info)
        heard = train_dynamics.fit_members(found, SOUND_MEMBERS, 1_000, settings.seed, unseen=0.1)
        torch.save(heard.state_dict(), settings.folder / "dynamics.pt")
        fit_noted_dynamics(settings)
    if settings.struck_minutes:
        own = _struck_run(settings)
        train_struck.run(own)
        played = train_struck.open_pieces(own.data, own.folder, own.every)[0]
        counting = train_counting.fit(train_counting.collect(played, seed=settings.seed))
        torch.save(counting.state_dict(), own.folder / "counting.pt")
        for task in TASKS:
            train_metre.run(
                train_metre.MetreRun(own.data, own.folder / task, own.folder, task, settings.seed)
            )
    return progress


def fit_noted_dynamics(settings: RhythmRun) -> None:
    """Train the networks that tell dynamics from notes, into the run's folder."""
    marked = list(marked_performances(settings.data / "asap" / "train", settings.noted_per_piece))
    found = train_dynamics.collect_noted(marked, settings.seed * 1000 + 3)
    heard = train_dynamics.fit_members(found, NOTE_MEMBERS, 900, settings.seed, unseen=0.3)
    torch.save(heard.state_dict(), settings.folder / "noted-dynamics.pt")


def _struck_run(settings: RhythmRun) -> train_struck.StruckRun:
    loop = replace(train_struck.DEFAULT_LOOP, minutes=settings.struck_minutes)
    folder = settings.folder / STRUCK_FOLDER
    return train_struck.StruckRun(settings.data, folder, STRUCK_CONFIG, settings.seed, loop)


def open_mix(settings: RhythmRun, network: RhythmNetwork) -> Mix:
    """The batches of a prepared run."""
    folder = settings.folder
    recordings = with_beats(corpus.open_recordings(folder), settings.data / "maps" / "software" / "train")
    performances = with_beats(corpus.open_performances(folder / "performances.npz"))
    banks = pianos.read_banks(folder / "banks.npz")
    sampler = Sampler([p for p, _ in performances], banks, np.ones(len(banks), np.float32))
    # Noise is added to the band powers: the one of the augmentation is shorter than an excerpt.
    augment = Augment(corpus.load_rooms(settings.data / "rooms"), AugmentConfig(noise=0.0))
    log.info("%d recordings, %d performances, %d pianos", len(recordings), len(performances), len(banks))
    config = network.config.front_end
    seed = settings.seed * 1000
    return Mix(config, recordings, performances, sampler, augment, settings.mix, seed)


def with_beats(music: Iterable[Music], folder: Path | None = None) -> list[tuple[Music, BeatTable]]:
    """Music whose beats are known, with them and with the dynamics that were played.

    Args:
        music: named like its file.
        folder: where the annotations are; None: the names are paths, and these lie beside them.
    """
    found = []
    for one in music:
        path = beats_file(Path(one.name) if folder is None else folder / f"{one.name}.ogg")
        if not path.is_file():
            log.warning("left out %s: nobody wrote down its beats", one.name)
            continue
        beats = read_beats(path)
        if len(beats) >= 8:
            found.append((one, with_played_dynamics(beats, one.notes)))
    return found
