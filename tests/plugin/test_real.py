"""The real piano system through the plug-in gives what `dawbridge bounce` gives."""

from __future__ import annotations

import time
from contextlib import contextmanager

import numpy as np

from bridge.presets import load
from bridge.sidecar.settings import ServeSettings
from bridge.studio.audio import open_audio
from bridge.studio.bounce import hear
from bridge.studio.render import render
from tests.host.conftest import Running
from tests.plugin import native

RATE = 44_100
SECONDS = 24


@contextmanager
def real_sidecar():
    sidecar = Running(ServeSettings(presets=("live",), threads=1))
    try:
        assert sidecar.error is None, sidecar.error
        yield
    finally:
        sidecar.stop()


def test_a_recording_through_the_plugin_gives_the_notes_of_bounce(tmp_path):
    wav = tmp_path / "prelude.wav"
    render(native.ROOT / "tests" / "golden" / "prelude.mid", wav)
    from pedalboard.io import AudioFile

    with AudioFile(str(wav)) as file:
        assert file.samplerate == RATE and file.num_channels == 2
        audio = file.read(file.frames)
    padded = np.zeros((2, SECONDS * RATE), np.float32)
    padded[:, : audio.shape[1]] = audio
    padded.tofile(tmp_path / "prelude.raw")
    native.fake_host()
    with real_sidecar():
        for settings in ({"preset": "offline", "block": 512}, {"preset": "live", "block": 512}):
            preset = load([settings["preset"]])
            bounced = hear(open_audio(str(wav)), preset.transcriber(), preset.latency.chunk_ms)
            truth = sorted((note.onset, note.pitch) for note in bounced.notes)
            assert len(truth) > 50
            begun = time.monotonic()
            played = native.play(
                raw=tmp_path / "prelude.raw", rate=RATE, seconds=SECONDS, offline=1, realtime=0, **settings
            )
            print(settings, f"{SECONDS / (time.monotonic() - begun):.1f} times real time")
            within = [(at, p) for at, p in truth if at + played.latency < SECONDS * RATE]
            assert sorted((at - played.latency, p) for at, p in played.ons) == within
            assert played.late == 0 and played.wrong == 0
