"""A sidecar that writes down what it receives: `python -m tests.plugin.witness FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from bridge.sidecar.server import serve
from bridge.sidecar.session import Session
from bridge.sidecar.settings import ServeSettings
from tests.fakes import ClickTranscriber

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    hear = Session.hear

    def note(session, message, samples, now_ns):
        row = {"start": message.start, **msgspec.structs.asdict(message.transport)}
        row |= {"session": session.number, "samples": message.samples, "offline": session.hello.offline}
        with open(folder / "blocks.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with open(folder / f"{session.number}.f32", "ab") as file:
            file.write(samples.T.astype("<f4").tobytes())
        return hear(session, message, samples, now_ns)

    Session.hear = note
    transcriber = ClickTranscriber(rate=48_000, hop=480, latency=960, hold=4_800)
    settings = ServeSettings(make_transcriber=lambda preset: transcriber, threads=1)
    serve(settings, lambda connection: print("ready", flush=True))
