"""Writing files so that nobody ever finds half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bridge.errors import OutputError

PART = ".part"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` if the block succeeds, and vanishes if not.

    Folders above `path` are made. An `OSError` inside the block becomes an `OutputError`.
    """
    part = path.with_name(path.name + PART)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error for a file that the system refuses to write."""
    return OutputError(
        f"{path} cannot be written",
        why=error.strerror or str(error),
        remedy="Check free space and permissions, or choose another folder",
    )
