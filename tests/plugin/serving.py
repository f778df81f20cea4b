"""A sidecar process that hears clicks at 48 kHz, exact to the sample: `python -m tests.plugin.serving`.

With the argument `asked` it begins when a line comes, so that it is there at once; with `takes FOLDER`
it keeps takes; with `play FILE` it plays; with `plain` it knows neither lines nor bundles; with `slow` it is
long in loading what hears.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bridge.sidecar.desk import Desk
from bridge.sidecar.server import serve
from bridge.sidecar.settings import ServeSettings
from tests.fakes import ClickTranscriber

if __name__ == "__main__":
    transcriber = ClickTranscriber(rate=48_000, hop=480, latency=960, hold=4_800, lanes=True)
    takes, play = (
        Path(sys.argv[sys.argv.index(word) + 1]) if word in sys.argv else None for word in ("takes", "play")
    )
    if "plain" in sys.argv:
        Desk._unbundle = lambda *message: None

    def load(preset: object) -> ClickTranscriber:
        time.sleep(0.8 if "slow" in sys.argv else 0)
        return transcriber

    settings = ServeSettings(
        make_transcriber=load,
        threads=1,
        takes=takes,
        play=play,
        max_sessions=1 if "plain" in sys.argv else 32,
    )
    if "asked" in sys.argv:
        print("waiting", flush=True)
        sys.stdin.readline()
    serve(settings, lambda connection: print("ready", flush=True))
