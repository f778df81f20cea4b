"""What a bounce reads and what it writes: files found in folders, outputs that never collide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import UsageError
from bridge.midi import SUFFIXES
from bridge.studio.audio import audio_suffixes


@dataclass(frozen=True, slots=True)
class Target:
    """One source and its output files."""

    source: Path
    midi: Path

    @property
    def picture(self) -> Path:
        """The piano roll beside the MIDI file."""
        return self.midi.with_suffix(".png")

    @property
    def beats(self) -> Path:
        """The beats beside the MIDI file, as JSON."""
        return self.midi.with_suffix(".beats.json")


@dataclass(frozen=True, slots=True)
class _Found:
    """A source, and where it lies within the folder that was given."""

    source: Path
    inside: Path
    root: Path


def find_targets(paths: Sequence[str | Path], out: Path | None) -> list[Target]:
    """Sources in the order given (folders sorted), each once, with outputs that differ from each other.

    `take.wav` becomes `take.mid`; if `take.flac` wants that too, they become `take.wav.mid` and
    `take.flac.mid`; equal names from two folders go into folders called like those.

    Args:
        paths: files and folders.
        out: a folder, or the MIDI file of the only source; None is beside each source.

    Raises:
        UsageError: one file for what may be several sources, or a file where a folder belongs.
    """
    if out is not None and not out.is_dir():
        if out.suffix.lower() in SUFFIXES:
            return [_only(paths, out)]
        if out.exists():
            raise UsageError(
                f"{out} is a file, not a folder", remedy="Give a folder, or a name that ends in .mid"
            )
    found = list({item.source.resolve(): item for path in paths for item in _expand(Path(path))}.values())
    outputs: list[Path | None] = [None] * len(found)
    for name in (_short, _with_suffix, _with_root):
        names = {i: _output(item, name, out) for i, item in enumerate(found) if outputs[i] is None}
        taken = Counter(_key(path) for path in [*names.values(), *outputs] if path)
        for i, path in names.items():
            if taken[_key(path)] == 1:
                outputs[i] = path
    used = {_key(path) for path in outputs if path}
    return [
        Target(item.source, path or _numbered(_output(item, _with_root, out), used))
        for item, path in zip(found, outputs, strict=True)
    ]


def _only(paths: Sequence[str | Path], out: Path) -> Target:
    if len(paths) != 1 or Path(paths[0]).is_dir():
        raise UsageError(f"{out} is one MIDI file for several recordings", remedy="Give a folder to write to")
    return Target(Path(paths[0]), out)


def _expand(path: Path) -> list[_Found]:
    if path.is_dir():
        suffixes = audio_suffixes()
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        return [_Found(file, file.relative_to(path), path) for file in files]
    return [_Found(path, Path(path.name), path.parent)]


def _short(item: _Found) -> Path:
    return item.inside.with_suffix(".mid")


def _with_suffix(item: _Found) -> Path:
    return item.inside.with_name(item.inside.name + ".mid")


def _with_root(item: _Found) -> Path:
    return Path(item.root.resolve().name) / _with_suffix(item)


def _output(item: _Found, name: Callable[[_Found], Path], out: Path | None) -> Path:
    if out is None:
        return item.source.with_name(name(item).name)
    return out / name(item)


def _numbered(path: Path, used: set[str]) -> Path:
    """The first of `path`, `path-2`, `path-3` ... that is free; it is taken from then on."""
    number, free = 1, path
    while _key(free) in used:
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    used.add(_key(free))
    return free


def _key(path: Path) -> str:
    # Some file systems do not tell upper case from lower.
    return str(path).casefold()
