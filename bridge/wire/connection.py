"""The connection file: how a plug-in finds the sidecar that runs, and knows that it does."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from bridge.errors import LinkError, SidecarMissing
from bridge.files import unwritable
from bridge.wire.folders import check_secret, make_private, runtime_folder, write_secret
from bridge.wire.protocol import Versions

FILE = "connection.json"
START = "Start it with: dawbridge serve"


class Connection(msgspec.Struct, frozen=True):
    """Everything that a plug-in needs to reach a sidecar; keys in Z85.

    `client_public` and `client_secret` are the local client's key pair: whoever can read the file
    may connect, nobody else can.
    """

    endpoint: str
    server_key: str
    client_public: str
    client_secret: str
    protocol: Versions
    pid: int
    epoch: int
    software: str = ""


def connection_file(folder: Path | None = None) -> Path:
    """Where the connection file is, or would be."""
    return (folder or runtime_folder()) / FILE


def write_connection(connection: Connection, folder: Path | None = None) -> Path:
    """Write the connection file, mode 0600, at one stroke."""
    path = connection_file(folder)
    write_secret(path, msgspec.json.format(msgspec.json.encode(connection), indent=2))
    return path


def read_connection(folder: Path | None = None) -> Connection:
    """Read the connection file of a sidecar that runs; `SidecarMissing` if there is none."""
    path = connection_file(folder)
    try:
        check_secret(path)
        connection = msgspec.json.decode(path.read_bytes(), type=Connection)
    except FileNotFoundError as error:
        raise SidecarMissing("no sidecar is running", why=f"there is no {path}", remedy=START) from error
    except OSError as error:
        raise SidecarMissing(f"{path} cannot be read", why=str(error), remedy=START) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise SidecarMissing(
            f"{path} is damaged", why=str(error), remedy="Stop the sidecar and start it again"
        ) from error
    if not alive(connection.pid):
        raise SidecarMissing(
            "the sidecar is gone", why=f"{path} was left behind by process {connection.pid}", remedy=START
        )
    return connection


def remove_connection(epoch: int, folder: Path | None = None) -> None:
    """Remove the connection file if it is still the one of this `epoch`."""
    path = connection_file(folder)
    with suppress(OSError, msgspec.MsgspecError):
        if msgspec.json.decode(path.read_bytes(), type=Connection).epoch == epoch:
            path.unlink()


def alive(pid: int) -> bool:
    """Whether a process `pid` exists."""
    if pid <= 0:
        return False
    if sys.platform == "win32":  # os.kill(pid, 0) would end the process there
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class RunLock:
    """Held by the one sidecar of a runtime folder; the system lets go of it however the process ends."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = make_private(folder or runtime_folder()) / "sidecar.lock"
        try:
            self._file: IO[bytes] = open(self._path, "ab")  # noqa: SIM115 (held for as long as we run)
        except OSError as error:
            raise unwritable(self._path, error) from error
        if not _lock(self._file.fileno()):
            self._file.close()
            raise LinkError(
                "a sidecar is already running",
                why=f"it holds {self._path}",
                remedy="Use that one (dawbridge status), or stop it first",
            )

    def release(self) -> None:
        """Let the next sidecar start."""
        self._file.close()


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
