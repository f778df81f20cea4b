"""Logging: what matters to the terminal, everything to one file per run."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import platformdirs

LARGEST = 2_000_000
"""Bytes after which a run's file is rotated, once."""
KEPT = 20
"""Runs whose files are kept."""
FORMAT = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"


def log_folder() -> Path:
    """Folder of the log files; `DAWBRIDGE_LOG_DIR` overrides."""
    override = os.environ.get("DAWBRIDGE_LOG_DIR")
    return Path(override) if override else Path(platformdirs.user_log_dir("dawbridge", appauthor=False))


def start_logging(command: str, verbosity: int) -> Path | None:
    """Log to stderr as `verbosity` says, and to a new file; its path, or None if it cannot be written.

    Args:
        command: goes into the file's name.
        verbosity: -1 errors, 0 warnings, 1 what happens, 2 everything.
    """
    terminal = logging.StreamHandler(sys.stderr)
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    terminal.setLevel(levels.get(verbosity, logging.DEBUG))
    terminal.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    path = _file(command)
    if path is not None:
        file = RotatingFileHandler(path, maxBytes=LARGEST, backupCount=1, encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter(FORMAT))
        handlers.append(file)
    root = logging.getLogger()
    stop_logging()
    root.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
    for handler in handlers:
        handler.set_name("dawbridge")
        root.addHandler(handler)
    for loud in ("matplotlib", "PIL", "numba"):
        logging.getLogger(loud).setLevel(logging.WARNING)
    return path


def stop_logging() -> None:
    """Close what `start_logging` opened."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if h.get_name() == "dawbridge"]:
        root.removeHandler(handler)
        handler.close()


def _file(command: str) -> Path | None:
    """A new file in the log folder, after the oldest ones are gone; a run never fails for its log."""
    folder = log_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("*.log*"), key=lambda file: file.stat().st_mtime)
        for file in old[: max(0, len(old) - KEPT + 1)]:
            with suppress(OSError):
                file.unlink()
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{command}-{os.getpid()}.log"
        path.touch(mode=0o600)
        return path
    except OSError:
        return None
