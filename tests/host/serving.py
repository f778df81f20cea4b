"""A sidecar process that hears clicks: `python -m tests.host.serving`."""

from __future__ import annotations

from bridge.sidecar.server import serve
from bridge.sidecar.settings import ServeSettings
from tests.fakes import ClickTranscriber

if __name__ == "__main__":
    transcriber = ClickTranscriber(hold=10**9)
    settings = ServeSettings(make_transcriber=lambda preset: transcriber, threads=1)
    serve(settings, lambda connection: print("ready", flush=True))
    print("stopped", flush=True)
