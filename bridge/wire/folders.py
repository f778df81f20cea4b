"""Where keys and the connection file live, and writing there so that only their owner can read."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import platformdirs

from bridge.errors import LinkError, OutputError
from bridge.files import replacing, unwritable


def runtime_folder() -> Path:
    """Folder of the connection file; `DAWBRIDGE_RUNTIME_DIR` overrides.

    The rule is our own, because plug-ins in other languages must find the same folder (PROTOCOL.md).
    """
    if override := os.environ.get("DAWBRIDGE_RUNTIME_DIR"):
        return Path(override)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "Temp" / "dawbridge"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "TemporaryItems" / "dawbridge"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "dawbridge"
    session = Path("/run/user") / str(os.getuid())  # a shell without the variable finds the same folder
    return session / "dawbridge" if session.is_dir() else Path("/tmp") / f"dawbridge-{os.getuid()}"


def data_folder() -> Path:
    """Folder of what lasts, keys among it; `DAWBRIDGE_DATA_DIR` overrides."""
    override = os.environ.get("DAWBRIDGE_DATA_DIR")
    return Path(override) if override else Path(platformdirs.user_data_dir("dawbridge", appauthor=False))


def make_private(folder: Path) -> Path:
    """Make `folder` for its owner alone; refuse one that somebody else could have prepared."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        raise unwritable(folder, error) from error
    if sys.platform != "win32" and (
        state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise OutputError(
            f"{folder} is not private",
            why="other users can write there, and secrets would not be safe",
            remedy=f"Run: chmod 700 {folder}; or choose another folder with DAWBRIDGE_RUNTIME_DIR"
            " or DAWBRIDGE_DATA_DIR",
        )
    return folder


def write_secret(path: Path, content: bytes) -> None:
    """Write `path` at one stroke, readable by its owner alone from the first moment on."""
    make_private(path.parent)
    with replacing(path) as part:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


def check_secret(path: Path) -> None:
    """Refuse a secret that other users may read."""
    if sys.platform != "win32" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise LinkError(
            f"{path} can be read by others", why="it holds a secret", remedy=f"Run: chmod 600 {path}"
        )
