"""Disturbances do what their names say, and notes stay where they sound."""

import numpy as np
import pytest

from inference.training.corpus import RATE
from inference.training.disturb import DISTURBANCES

NOTES = np.array([[0.5, 1.0, 69.0, 80.0]])


@pytest.fixture(scope="module")
def audio():
    """A4 from half a second on."""
    time = np.arange(2 * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * 440 * time) * (time >= 0.5)).astype(np.float32)


def change(name, audio):
    before = audio.copy()
    heard, notes = DISTURBANCES[name](audio, NOTES)
    assert heard.dtype == np.float32 and np.array_equal(audio, before) and np.isfinite(heard).all()
    return heard, notes


def peak_hz(audio):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 8 * len(audio)))
    return spectrum.argmax() * RATE / (8 * len(audio))


def onset_s(audio):
    return np.flatnonzero(np.abs(audio) > 0.1)[0] / RATE


@pytest.mark.parametrize("name", list(DISTURBANCES))
def test_the_note_is_still_there(name, audio):
    heard, notes = change(name, audio)
    assert abs(len(heard) - len(audio) / notes[0, 0] * NOTES[0, 0]) < 0.05 * len(audio)
    assert peak_hz(heard) == pytest.approx(440 * NOTES[0, 0] / notes[0, 0], rel=1e-3)


@pytest.mark.parametrize("decibels", [0, -20, -40])
def test_levels(decibels, audio):
    heard, _ = change(f"peak at {decibels} dB", audio)
    assert 20 * np.log10(np.abs(heard).max()) == pytest.approx(decibels, abs=1e-3)


def test_noise_lies_as_far_below_as_said(audio):
    heard, _ = change("noise at -20 dB", audio)
    noise = np.mean((heard - audio) ** 2) / np.mean(audio**2)
    assert 10 * np.log10(noise) == pytest.approx(-20, abs=0.01)


def test_a_room_goes_on_after_the_sound():
    click = np.zeros(2 * RATE, np.float32)
    click[100] = 1
    heard, _ = change("room, 0.8 s at -6 dB", click)
    power = [np.mean(heard[100 + int(t * RATE) :][:800] ** 2) for t in (0.1, 0.5)]
    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(60 * 0.4 / 0.8, abs=3)
    assert not np.any(np.abs(heard[100 + RATE :]) > 1e-6)


def test_detuning_moves_pitch_and_time_together(audio):
    for name, cents in (("40 cents flat", -40), ("40 cents sharp", 40)):
        heard, notes = change(name, audio)
        assert onset_s(heard) == pytest.approx(notes[0, 0], abs=2e-3)
        assert 1200 * np.log2(NOTES[0, 0] / notes[0, 0]) == pytest.approx(cents)


def test_bits(audio):
    heard, _ = change("8 bits", audio)
    assert len(np.unique(heard)) <= 257 and not np.array_equal(heard, audio)


def test_lossy_coding_keeps_the_time(audio):
    heard, _ = change("Vorbis, 64 kbit/s", audio)
    assert onset_s(heard) == pytest.approx(onset_s(audio), abs=5e-3) and not np.array_equal(heard, audio)
