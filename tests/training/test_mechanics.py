"""What a piano's mechanism adds: open strings answer while the pedal is down, and only then."""

import numpy as np
import torch

from inference.training.augment import Augment, AugmentConfig
from inference.training.corpus import RATE
from inference.training.mechanics import with_mechanics
from inference.training.notes import NO_PEDAL
from tests.training.music import table

SECONDS = 4
IN_TUNE = np.zeros(128)


def struck(pitch=48, at=0.5):
    """A tone of many partials that ends after half a second, and its note."""
    time = np.arange(SECONDS * RATE) / RATE
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    tone = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8))
    tone = np.where((time > at) & (time < at + 0.5), tone, 0).astype(np.float32)
    return tone * 0.1, table([(at, at + 0.5, at + 0.5, pitch, 0.5)])


def added(pedal, cents=IN_TUNE, seed=0):
    tone, notes = struck()
    pedal = np.array(pedal, np.float32).reshape(-1, 2)
    return with_mechanics(tone, notes, pedal, cents, np.random.default_rng(seed)) - tone


def rms(audio, begin, end):
    return float(np.sqrt(np.mean(audio[int(begin * RATE) : int(end * RATE)] ** 2)))


def test_open_strings_ring_on_until_the_pedal_comes_up():
    held, dry = added([(0.2, 3.0)]), added(NO_PEDAL)
    assert rms(held, 1.3, 2.9) > 10 * rms(dry, 1.3, 2.9)
    assert rms(held, 3.5, 4.0) < 0.01 * rms(held, 2.0, 2.9)
    assert np.isfinite(held).all()


def test_what_rings_are_the_strings_that_share_a_partial():
    """C3 makes C4 and G4 answer rather than C#4 and F#4."""
    spectrum = sum(
        np.abs(np.fft.rfft(added([(0.2, 3.9)], seed=seed)[int(1.1 * RATE) : int(2.9 * RATE)]))
        for seed in range(6)
    )
    hertz = np.fft.rfftfreq(int(2.9 * RATE) - int(1.1 * RATE), 1 / RATE)

    def at(pitch):
        return spectrum[np.abs(hertz - 440 * 2 ** ((pitch - 69) / 12)) < 3].max()

    assert min(at(60), at(67)) > 3 * max(at(61), at(66))


def test_the_same_seed_gives_the_same_piano():
    assert np.array_equal(added([(0.2, 3.0)]), added([(0.2, 3.0)]))
    assert not np.array_equal(added([(0.2, 3.0)]), added([(0.2, 3.0)], seed=1))


def test_keys_and_pedal_are_heard_when_they_move():
    moves = added(NO_PEDAL)
    assert rms(moves, 1.0, 1.1) > 0 == rms(moves, 0.0, 0.9)


def through(**config):
    """A click of the middle of a second, twice, through one of the disturbances alone."""
    parts = ("equaliser", "colour", "thin", "reflected", "room", "distortion", "noise", "hum", "lossy")
    click = torch.zeros(2, RATE)
    click[:, 8_000] = 0.5
    return Augment([], AugmentConfig(**{**dict.fromkeys(parts, 0.0), **config}))(
        click, np.random.default_rng(4)
    )


def test_a_microphone_colours_what_it_hears_but_moves_nothing():
    coloured = through(colour=1.0)
    power = torch.fft.rfft(coloured).abs()[0, 20:].log10() * 20
    assert 3 < float(power.max() - power.min()) < 60
    assert [int(row.abs().argmax()) for row in coloured] == [8_000, 8_000]


def test_reflections_come_within_milliseconds_and_leave_notches():
    heard = through(reflected=1.0)
    assert [int(row.abs().argmax()) for row in heard] == [8_000, 8_000], (
        "what is direct stays first and loudest"
    )
    late = heard[:, 8_001 : 8_000 + int(0.0065 * RATE)]
    assert (late.norm(dim=1) > 0.1 * heard[:, 8_000].abs()).all()
    elsewhere = heard.norm(dim=1) ** 2 - heard[:, 8_000] ** 2 - late.norm(dim=1) ** 2
    assert (elsewhere < 0.01 * heard.norm(dim=1) ** 2).all()
    power = torch.fft.rfft(heard).abs()[:, 20:4_000].log10() * 20
    assert (power.median(1).values - power.min(1).values > 3).all()
