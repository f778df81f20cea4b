"""What is worth counting along with, and that beats lie where something sounds."""

import numpy as np
import pytest
import torch

from inference.events import Beat
from inference.rhythm.config import FUSED, MTMS
from inference.rhythm.loudness import BandPowers, features, levelled
from inference.rhythm.settle import settle
from inference.rhythm.tonal import has_notes, has_pulse

RATE, CONFIG = 22_050, FUSED.front_end


def seen(audio, config=CONFIG):
    powers = BandPowers(config)(torch.from_numpy(audio.astype(np.float32))[None])
    return features(levelled(powers), config)[0].numpy()


def chords(seconds=10):
    time = np.arange(seconds * RATE) / RATE
    audio = np.zeros_like(time)
    for begin in np.arange(0.3, seconds - 0.5, 0.5):
        after = np.maximum(time - begin, 0)
        for pitch in (48, 55, 64):
            hertz = 440 * 2 ** ((pitch - 69) / 12)
            tones = sum(np.sin(2 * np.pi * hertz * n * after) / n for n in range(1, 12))
            audio += 0.05 * tones * np.exp(-3 * after) * (after > 0)
    return audio


def test_chords_have_notes_and_noise_has_none():
    random = np.random.default_rng(0)
    assert has_notes(seen(chords()))
    assert has_notes(seen(chords() + random.normal(0, 0.003, 10 * RATE))), "on a noisy tape too"
    assert not has_notes(seen(random.normal(0, 0.1, 10 * RATE)))
    assert not has_notes(seen(np.zeros(10 * RATE)))


def test_what_has_no_mel_bands_passes():
    assert has_notes(seen(np.random.default_rng(0).normal(0, 0.1, 5 * RATE), MTMS.front_end))


def beats(times):
    return [Beat(round(time * RATE), i % 3, 3, 0.8) for i, time in enumerate(times)]


def test_a_pulse_may_change_its_tempo_but_not_all_the_time():
    assert has_pulse(beats(np.concatenate([np.arange(0, 10, 0.5), np.arange(10, 20, 0.8)])))
    assert not has_pulse(beats(np.cumsum(np.random.default_rng(0).uniform(0.4, 0.7, 40))))
    assert not has_pulse(beats([0, 1, 2])), "three are no pulse"


def test_beats_move_onto_their_attacks_and_none_lies_in_silence():
    audio = np.concatenate([np.zeros(2 * RATE), chords(8), np.zeros(2 * RATE)])
    true = 2 + np.arange(0.3, 7.5, 0.5)
    late = np.concatenate([[0.8, 1.3], true + 0.035, [11.2]])
    found = settle(beats(late), seen(audio), CONFIG)
    times = np.array([beat.time / RATE for beat in found])
    assert len(times) == len(true) and np.abs(times - true).max() < 0.012
    assert found[0].position == 2, "places in the bar stay"


@pytest.mark.parametrize("count", [0, 1])
def test_few_beats_are_no_trouble(count):
    assert len(settle(beats([0.5])[:count], seen(chords(2)), CONFIG)) == count
