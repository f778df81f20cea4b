"""What a run learns from, decoded once into its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from inference.training import corpus, pianos

Soundfont = tuple[Path, int, int]
"""A SoundFont with the program and the bank to play."""


def prepare(
    folder: Path, data: Path, seed: int, per_piece: int, load_banks: Callable[[], list[pianos.Bank]]
) -> None:
    """Decode recordings, performances and sampled pianos, where the folder does not have them yet.

    Args:
        folder: of the run.
        data: folder of recordings, performances and pianos.
        seed: of the choice of performances.
        per_piece: performances of each ASAP piece at most.
        load_banks: the pianos.
    """
    if not (folder / "banks.npz").exists():
        pianos.save_banks(load_banks(), folder / "banks.npz")
    if not (folder / "performances.npz").exists():
        performances = corpus.load_performances(performance_files(data, seed, per_piece))
        corpus.save_performances(performances, folder / "performances.npz")
    if not (folder / "recordings.npz").exists():
        corpus.save_recordings(corpus.load_recordings(data / "maps" / "software" / "train"), folder)


def performance_files(data: Path, seed: int, per_piece: int) -> list[Path]:
    """Up to `per_piece` of each ASAP piece, chosen by a fixed shuffle, and all of piano-midi.de."""
    order = torch.Generator().manual_seed(seed)
    chosen: list[Path] = []
    folders: dict[Path, list[Path]] = {}
    for path in sorted((data / "asap" / "train").rglob("*.mid")):
        if path.name != "midi_score.mid":
            folders.setdefault(path.parent, []).append(path)
    for paths in folders.values():
        picks = torch.randperm(len(paths), generator=order)[:per_piece]
        chosen += [paths[i] for i in picks.tolist()]
    return chosen + sorted((data / "piano-midi-de" / "train").rglob("*.mid"))


def sampled_pianos(data: Path, soundfonts: Sequence[Soundfont]) -> list[pianos.Bank]:
    """The recorded pianos of the data, and those of SoundFonts."""
    banks = [pianos.load_folder(data / "pianos" / name) for name in ("salamander", "splendid")]
    return banks + [pianos.load_soundfont(font, program, bank) for font, program, bank in soundfonts]
