from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from bridge.sidecar.server import Server
from bridge.sidecar.settings import ServeSettings
from tests.fakes import ClickTranscriber


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """No test ever touches the user's own keys and connection file."""
    monkeypatch.setenv("DAWBRIDGE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DAWBRIDGE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


class Running:
    """A sidecar on a thread."""

    def __init__(self, settings):
        self.server = Server(settings)
        self.connection = None
        self.error = None
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self._ready.wait(20), "the sidecar does not get ready"

    def _run(self):
        try:
            self.server.run(self._on_ready)
        except BaseException as error:
            self.error = error
        self._ready.set()

    def _on_ready(self, connection):
        self.connection = connection
        self._ready.set()

    def stop(self):
        self.server.stop()
        self.thread.join(10)
        assert not self.thread.is_alive(), "the sidecar does not stop"


@contextmanager
def running(**changes):
    """A sidecar that hears clicks; `changes` to its settings."""
    transcriber = ClickTranscriber()
    settings = replace(
        ServeSettings(make_transcriber=lambda preset: transcriber, freeze=False, warm_up=False), **changes
    )
    sidecar = Running(settings)
    try:
        if sidecar.error is not None:
            raise sidecar.error
        yield sidecar
    finally:
        sidecar.stop()


@pytest.fixture
def serve():
    """Start sidecars: `serve(**settings) -> Running`; all are stopped after the test."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running(**changes))
