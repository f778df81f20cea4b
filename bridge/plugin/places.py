"""Where built and installed plug-ins are."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from bridge.errors import UsageError
from bridge.wire.folders import data_folder

FORMATS = ("vst3", "clap", "lv2")
INSTALLED = {"vst3": ".vst3", "clap": ".clap", "lv2": ".lv2"}
COMMAND = "sidecar-command"
"""File with the words of the command that starts a sidecar, one a line; the plug-in reads it."""


def built_folder() -> Path:
    """Where the build puts its bundles; `DAWBRIDGE_PLUGIN_DIR` overrides."""
    override = os.environ.get("DAWBRIDGE_PLUGIN_DIR")
    return (
        Path(override)
        if override
        else Path(platformdirs.user_cache_dir("dawbridge", appauthor=False)) / "plugin"
    )


def bundle(name: str) -> Path:
    """The bundle of the format `name`, built or not."""
    return built_folder() / f"dawbridge.{name}"


def binary(name: str, folder: Path | None = None) -> Path:
    """The library inside the bundle of the format `name`, or of the bundle `folder`."""
    folder = folder or bundle(name)
    if name == "vst3":
        return folder / "Contents" / f"{platform.machine()}-linux" / "dawbridge.so"
    return folder / "dawbridge.so" if name == "lv2" else folder


def built() -> dict[str, Path]:
    """The bundles that are there, by format."""
    return {name: bundle(name) for name in FORMATS if binary(name).exists()}


def install(formats: Iterable[str] = FORMATS, folder: Path | None = None) -> list[Path]:
    """Copy built bundles to where hosts of this user look; where they went.

    Args:
        formats: of `vst3`, `clap`, `lv2`.
        folder: instead of the user's own, with one folder for each format in it.
    """
    from bridge.plugin.build import replace

    there = built()
    targets = []
    for name in formats:
        if name not in there:
            raise UsageError(f"the {name} plug-in is not built", remedy="Run: dawbridge plugin build")
        target = (folder or Path.home()) / INSTALLED[name] / there[name].name
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(there[name], target)
        targets.append(target)
    _leave_command()
    return targets


def _leave_command() -> None:
    """Tell the plug-in how to start a sidecar of this installation."""
    script = shutil.which("dawbridge")
    words = [script] if script else [sys.executable, "-m", "bridge.cli"]
    data_folder().mkdir(parents=True, exist_ok=True)
    part = data_folder() / (COMMAND + ".part")
    part.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    part.replace(data_folder() / COMMAND)
