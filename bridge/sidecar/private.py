"""A sidecar inside another program, for as long as that needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bridge.errors import LinkError
from bridge.sidecar.server import Server
from bridge.sidecar.settings import ServeSettings
from bridge.wire.connection import Connection

READY_S = 60.0


@contextmanager
def private_sidecar(settings: ServeSettings) -> Iterator[Connection]:
    """A sidecar on a thread, with keys and folders that nobody else knows."""
    with TemporaryDirectory(prefix="dawbridge-") as folder:
        runtime, data = Path(folder) / "run", Path(folder) / "data"
        server = Server(replace(settings, runtime_folder=runtime, data_folder=data))
        connections: list[Connection] = []
        failed: list[BaseException] = []
        ready = threading.Event()

        def connected(connection: Connection) -> None:
            connections.append(connection)
            ready.set()

        def serve() -> None:
            try:
                server.run(connected)
            except BaseException as error:
                failed.append(error)
            ready.set()

        thread = threading.Thread(target=serve, name="dawbridge-sidecar")
        thread.start()
        try:
            if not ready.wait(READY_S):
                raise LinkError("the sidecar does not get ready", remedy="Run: dawbridge doctor")
            if failed:
                raise failed[0]
            yield connections[0]
        finally:
            server.stop()
            thread.join()
