"""Pianos that are not at 440 Hz: told, found, or followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge.cli import run
from bridge.midi import read_midi
from bridge.studio.render import render
from inference.pipeline import Stream, advance
from inference.tuning import estimate
from tests.fakes import ClickTranscriber, clicks

GOLDEN = Path(__file__).parents[1] / "golden"
FLAT = 2 ** (-40 / 1200)


@pytest.fixture(scope="module")
def pianos(tmp_path_factory):
    """A recording in tune, and the same on a piano 40 cents flat (and so slower)."""
    folder = tmp_path_factory.mktemp("pianos")
    render(GOLDEN / "prelude.mid", folder / "tuned.wav")
    with AudioFile(str(folder / "tuned.wav")) as file:
        audio, rate = file.read(8 * file.samplerate), file.samplerate
    places = np.arange(int(audio.shape[1] / FLAT) - 2) * FLAT
    flat = np.stack([np.interp(places, np.arange(audio.shape[1]), channel) for channel in audio])
    for name, samples in (("tuned", audio), ("flat", flat.astype(np.float32))):
        with AudioFile(str(folder / f"{name}.wav"), "w", rate, 2) as file:
            file.write(samples)
    return folder


def notes(path):
    return [(note.onset / 44_100, note.pitch) for note in read_midi(path).notes]


def test_the_estimate_is_true_to_a_cent_and_knows_noise():
    rate, time = 4_000, np.arange(40_000) / 4_000
    for cents in (-44, -10, 0, 25):
        tone = sum(
            np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12 + cents / 1200) * time) for key in (52, 59, 64)
        )
        found = estimate(tone.astype(np.float32), rate)
        assert found.cents == pytest.approx(cents, abs=1) and found.agreement > 0.9
    noise = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
    assert estimate(noise, rate).agreement < 0.2
    for nothing in (np.zeros(0, np.float32), np.zeros(9_000, np.float32)):
        assert estimate(nothing, rate).agreement == 0


def test_a_stream_of_a_flat_piano_keeps_the_hosts_time():
    audio = clicks([8_000, 20_000, 44_000], 60_000, 48_000)
    stream = Stream(ClickTranscriber(), 48_000, 1, tuning_hz=430.0)
    stream.push(audio)
    (events,) = advance([stream])
    times = [note.time for note in (*events.notes, *stream.finish().notes) if hasattr(note, "confidence")]
    assert times == pytest.approx([8_000, 20_000, 44_000], abs=4)
    with pytest.raises(ValueError, match="380 to 500"):
        Stream(ClickTranscriber(), 48_000, 1, tuning_hz=300)


def test_a_flat_piano_is_heard_like_one_in_tune_whether_told_found_or_followed(pianos, tmp_path):
    flat = {"auto": ["--tuning", "auto"], "told": ["--tuning", "430"], "followed": []}
    assert run(["bounce", str(pianos / "tuned.wav"), "-o", str(tmp_path)]) == 0
    expected = notes(tmp_path / "tuned.mid")
    for folder, options in flat.items():
        assert run(["bounce", str(pianos / "flat.wav"), "-o", str(tmp_path / folder), *options]) == 0
        found = notes(tmp_path / folder / "flat.mid")
        hits = sum(any(p == q and abs(t * FLAT - u) < 0.05 for t, p in found) for u, q in expected)
        assert hits >= 0.9 * len(expected) and len(found) <= 1.15 * len(expected), folder


def test_a_wrong_tuning_is_refused(capsys):
    assert run(["bounce", "x.wav", "--tuning", "baroque"]) == 2
    assert "baroque" in capsys.readouterr().err
