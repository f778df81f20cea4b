"""The live commands: listen gives what bounce gives; serve starts, serves and stops cleanly."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import mido
import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge import cli, listening
from bridge.presets import Preset
from bridge.sidecar.private import private_sidecar
from bridge.sidecar.settings import ServeSettings
from bridge.studio.audio import open_raw
from bridge.wire.client import Client
from inference.events import Beat, NoteOn
from tests.fakes import ClickTranscriber, clicks

ROOT = Path(__file__).parents[2]
RATE = 44_100
TIMES = [4_410, 22_050, 40_000, 60_000]
SOUND = clicks(TIMES, 66_150, RATE, 2, height=0.9)


@pytest.fixture
def settings():
    transcriber = ClickTranscriber()
    return ServeSettings(make_transcriber=lambda preset: transcriber, freeze=False, warm_up=False)


@pytest.fixture
def take(tmp_path, monkeypatch):
    """A recording of clicks, and presets that hear them."""
    hears = ClickTranscriber()
    monkeypatch.setattr(Preset, "transcriber", lambda preset: hears)
    original = ServeSettings

    def with_clicks(*args, **kwargs):
        return original(*args, **{"make_transcriber": lambda preset: hears, **kwargs})

    monkeypatch.setattr(listening, "ServeSettings", with_clicks)
    path = tmp_path / "take.wav"
    with AudioFile(str(path), "w", RATE, 2) as file:
        file.write(SOUND)
    return path


def messages(path):
    return [m for m in mido.MidiFile(path) if not m.is_meta]


@pytest.mark.parametrize("pace", [(), ("--fast",)], ids=["real time", "fast"])
def test_listen_gives_what_bounce_gives(pace, call, take):
    began = time.perf_counter()
    code, out, err = call("listen", take, "--midi", "live.mid", "--preset", "live", *pace)
    elapsed = time.perf_counter() - began
    assert code == 0, err
    assert len(out.splitlines()) == 4 and "4 notes" in err and "0 blocks dropped" in err
    assert call("bounce", take, "--preset", "live", "-o", "bounced")[0] == 0
    assert messages("live.mid") == messages("bounced/take.mid")
    assert (elapsed > 1.5) == (pace == ()), "real time takes as long as the recording"


def test_listen_prints_json_lines_as_they_come(call, take):
    code, out, _ = call("listen", take, "--fast", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [line["type"] for line in lines] == ["on", "off"] * 4
    on = [line["sample"] for line in lines if line["type"] == "on"]
    assert np.abs(np.array(on) - TIMES).max() <= 2


class CountedClicks(ClickTranscriber):
    """Each click is a beat too, in bars of two."""

    def step(self, audio, states):
        events, states = super().step(audio, states)
        return [self._counted(one) for one in events], states

    def _counted(self, events):
        struck = [note for note in events.notes if isinstance(note, NoteOn)]
        return replace(events, beats=tuple(Beat(on.time, on.note % 2, 2, 1.0) for on in struck))


def test_listen_plays_notes_beats_and_clock_on_a_port(call, take, monkeypatch):
    class Sink(list):
        def send(self, message):
            self.append((time.perf_counter(), message))

        def close(self):
            self.append((time.perf_counter(), None))

    sink, hears = Sink(), CountedClicks()
    monkeypatch.setattr(mido, "open_output", lambda name, virtual: sink)
    monkeypatch.setattr(Preset, "transcriber", lambda preset: hears)
    monkeypatch.setattr(listening, "ServeSettings", partial(ServeSettings, make_transcriber=lambda p: hears))
    with AudioFile(str(take), "w", RATE, 1) as file:
        file.write(clicks([4_410 + 8_820 * k for k in range(14)], 3 * RATE, RATE, 1, height=0.9))
    options = ("--preset", "rhythm", "--midi-port", "x", "--beat-notes", "10", "--midi-clock")
    code, _, err = call("listen", take, *options)
    assert code == 0, err
    assert sink.pop()[1] is None, "nothing comes after the port was closed"
    messages = [message for _, message in sink]
    beats = [m.note for m in messages if m.type == "note_on" and m.channel == 9]
    assert beats == [76, 77] * 7, "each beat, high where a bar begins"
    assert sum(m.type == "note_on" and m.channel == 0 for m in messages) == 14
    order = [m.type for m in messages if m.type in ("start", "stop")]
    assert order == ["start", "stop"]
    at = [when for when, m in sink if m.type == "clock"]
    first = next(k for k, (_, m) in enumerate(sink) if m.type == "start")
    whole = [when for when, m in sink[first:] if m.type == "clock"][::24]
    gaps = np.diff(whole)
    assert len(whole) >= 6 and abs(np.median(gaps) - 0.2) < 0.01, "a beat has 24 clocks"
    assert len(at) > 24 * 6


@pytest.mark.parametrize(
    "options, wrong",
    [
        (("--midi-clock",), "no port"),
        (("--beat-notes", "10"), "no port"),
        (("--midi-clock", "--midi-port", "x"), "needs beats"),
        (("--midi-clock", "--midi-port", "x", "--preset", "rhythm", "--fast"), "real time"),
        (("--beat-notes", "1", "--midi-port", "x", "--preset", "rhythm"), "2<=x<=16"),
    ],
)
def test_clock_and_beats_that_cannot_be_are_refused(options, wrong, call, take, monkeypatch):
    monkeypatch.setattr(mido, "open_output", lambda name, virtual: pytest.fail("a port was opened"))
    code, _, err = call("listen", take, *options)
    assert code == 2 and wrong in err


def test_listen_hears_raw_audio_from_standard_input(call, take, monkeypatch):
    raw = io.TextIOWrapper(io.BytesIO((SOUND.T * 32767).astype("<i2").tobytes()))
    monkeypatch.setattr(sys, "stdin", raw)
    code, out, err = call("listen", "-", "--fast", "--rate", RATE, "--raw-channels", 2)
    assert code == 0, err
    assert len(out.splitlines()) == 4


def test_ctrl_c_keeps_what_was_heard(call, take, monkeypatch):
    """Whoever records from standard input ends it so."""

    class Interrupted(io.BytesIO):
        def read1(self, size=-1):
            if self.tell() > 4 * 44_100:
                raise KeyboardInterrupt
            return super().read1(size)

    raw = io.TextIOWrapper(Interrupted((SOUND.T * 32767).astype("<i2").tobytes()))
    monkeypatch.setattr(sys, "stdin", raw)
    code, out, err = call("listen", "-", "--fast", "--midi", "kept.mid")
    assert code == cli.INTERRUPTED, err
    assert len(out.splitlines()) == 3 and "3 notes" in err
    assert [m.type for m in messages("kept.mid")] == ["note_on", "note_off"] * 3


def test_listen_takes_what_is_there(take):
    """Raw audio that trickles in is heard before the stream is full."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as feed:
        source = open_raw(listening.Trickle(stream), RATE, 1, "f32le")
        feed.write(np.ones(100, "<f4").tobytes())
        assert next(iter(source.blocks())).shape == (1, 100)


def test_listen_to_a_rate_that_no_wire_carries(settings):
    source = open_raw(io.BytesIO(b"\0" * 4_000), 4_000, 1)
    with (
        private_sidecar(settings) as connection,
        pytest.raises(Exception, match="8000 to 384000") as caught,
    ):
        listening.listen(source, [], connection)
    assert caught.value.exit_code == 2


def test_a_lost_sidecar_ends_listening_and_releases_every_note(settings, tmp_path):
    """Sounding notes come back as note-offs even when nobody is there to send them."""
    transcriber = ClickTranscriber(hold=10**9)
    hears = ServeSettings(make_transcriber=lambda preset: transcriber, freeze=False, warm_up=False)
    heard = []

    class Blocks(io.BytesIO):
        def read(self, size=-1):
            if len(heard) == 1 and leaving:
                leaving.pop()()
            return super().read(min(size, 16_384))

    sound = clicks([4_000], 400_000, RATE, 1, height=0.9)
    source = open_raw(Blocks(sound[0].astype("<f4").tobytes()), RATE, 1, "f32le")
    sidecar = private_sidecar(hears)
    connection = sidecar.__enter__()
    leaving = [lambda: sidecar.__exit__(None, None, None)]
    try:
        with pytest.raises(Exception) as caught:
            listening.listen(source, [], connection, fast=True, on_events=lambda e: heard.extend(e.notes))
    finally:
        for leave in leaving:
            leave()
    assert caught.value.exit_code == 5
    kinds = [type(note).__name__ for note in heard]
    assert kinds == ["NoteOn", "NoteOff"], kinds


def test_serve_says_where_it_is_serves_and_stops(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge.cli", "serve", "--json", "--threads", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["endpoint"].startswith("tcp://127.0.0.1:") and ready["presets"] == ["live"]
        assert ready["device"].startswith("cpu") and ready["pid"] == process.pid
        with Client(RATE, 2, name="guest", track="Piano") as client:
            client.send(np.zeros((2, 4_096), np.float32))
            report = subprocess.run(
                [sys.executable, "-m", "bridge.cli", "status"],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert report.returncode == 0, report.stderr
            assert "1 sessions" in report.stdout and "guest" in report.stdout and "Piano" in report.stdout
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=20)
    finally:
        process.kill()  # if it was not stopped above
        process.communicate()
    assert process.returncode == 0 and rest == "" and "Stopped." in err and "Traceback" not in err
    assert not (tmp_path / "runtime" / "connection.json").exists()
