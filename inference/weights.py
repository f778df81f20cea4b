"""Trained weights, as float32 tensors, and graphs to run them in: checked. The only place that opens them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FOLDER = Path(__file__).parent / "weights"
_CHECKSUMS = FOLDER / "SHA256SUMS"


class WeightsError(RuntimeError):
    """Weights that cannot be found or trusted."""


@dataclass(frozen=True)
class Stored:
    """What a weights file holds: tensors (float32), string metadata, and its SHA-256."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


def names() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def read(name: str) -> Stored:
    """Weights by shipped name or by path of a `.safetensors` file.

    Raises:
        WeightsError: unknown name, unreadable file, or a shipped file that was altered.
    """
    path = _find(name)
    digest = _digest(path, path.read_bytes())
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: _widened(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
            return Stored(path, tensors, dict(file.metadata() or {}), digest)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no safetensors file ({error}). Choose one of: {_choices()}."
        ) from error


def graph(name: str) -> bytes | None:
    """A shipped ONNX file, which holds no weights; None if there is no such one.

    Raises:
        WeightsError: it was altered.
    """
    path = FOLDER / f"{name}.onnx"
    if not path.exists():
        return None
    found = path.read_bytes()
    _digest(path, found)
    return found


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Store weights in half precision (integers as they are), in one move."""
    narrowed = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in tensors.items()
    }
    part = path.with_suffix(".part")
    save_file(narrowed, str(part), metadata=dict(metadata))
    part.chmod(0o644)
    os.replace(part, path)


def record(path: Path) -> None:
    """Note the checksum of weights that were written into the package; others are left alone."""
    if path.resolve().parent != FOLDER:
        return
    known = checksums() | {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items()))
    part = _CHECKSUMS.with_suffix(".part")
    part.write_text(lines)
    os.replace(part, _CHECKSUMS)


def checksums() -> dict[str, str]:
    """SHA-256 of each shipped file, as `sha256sum` writes them."""
    if not _CHECKSUMS.exists():
        return {}
    lines = _CHECKSUMS.read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line.strip())}


def _digest(path: Path, content: bytes) -> str:
    """The SHA-256 of a file, which for a shipped one must be the one noted."""
    digest = hashlib.sha256(content).hexdigest()
    expected = checksums().get(path.name) if path.parent == FOLDER else None
    if expected is not None and expected != digest:
        raise WeightsError(f"{path} is damaged: its SHA-256 is not the one shipped. Reinstall dawbridge.")
    return digest


def _find(name: str) -> Path:
    shipped = FOLDER / f"{name}.safetensors"
    if shipped.exists():
        return shipped
    if name.endswith(".safetensors") and Path(name).is_file():
        return Path(name)
    close = get_close_matches(name, names(), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise WeightsError(f"there are no weights {name!r}.{hint} Choose one of: {_choices()}, or a file's path.")


def _choices() -> str:
    return ", ".join(names()) or "none are shipped"


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor
