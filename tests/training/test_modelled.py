"""Pianos drawn by chance: strings stiff as they should be, attacks at once, no two alike."""

import numpy as np
import pytest

from inference.training.corpus import RATE
from inference.training.modelled import draw, inharmonicity, modelled_bank
from inference.training.pianos import attack


@pytest.fixture(scope="module")
def bank():
    return modelled_bank("modelled-0", np.random.default_rng(4))


def tone(bank, root, strongest=True):
    rows = np.flatnonzero(bank.root == root)
    row = rows[-1 if strongest else 0]
    return bank.audio[bank.edges[row] : bank.edges[row + 1]].astype(np.float32)


def peak_hz(audio, low, high):
    spectrum = np.abs(np.fft.rfft(audio[: 2 * RATE] * np.hanning(min(len(audio), 2 * RATE))))
    hz = np.fft.rfftfreq(min(len(audio), 2 * RATE), 1 / RATE)
    inside = (hz > low) & (hz < high)
    return hz[inside][spectrum[inside].argmax()]


def test_partials_lie_where_a_stiff_string_has_them(bank):
    build = draw(np.random.default_rng(4))
    for root in (36, 48, 60):
        stiffness, hertz = inharmonicity(build, root), 440 * 2 ** ((root - 69) / 12)
        audio = tone(bank, root)
        for number in (1, 2, 3, 5):
            expected = number * hertz * np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
            found = peak_hz(audio, expected - 0.35 * hertz, expected + 0.35 * hertz)
            assert abs(found - expected) < 0.02 * hertz + 2, (root, number)


def test_tones_begin_at_once_and_decay(bank):
    for root in (21, 48, 84, 108):
        audio = tone(bank, root)
        assert attack(audio) < 0.004 * RATE
        early, late = np.abs(audio[: RATE // 10]).max(), np.abs(audio[-RATE // 20 :]).max()
        assert late < early / 4


def test_harder_strokes_sound_brighter(bank):
    for root in (36, 60, 84):
        soft, hard = (centroid(tone(bank, root, strongest)) for strongest in (False, True))
        assert hard > 1.05 * soft, root


def centroid(audio):
    spectrum = np.abs(np.fft.rfft(audio[: RATE // 2])) ** 2
    return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum())


def test_a_seed_gives_one_piano_and_another_seed_another():
    first, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.modes, again.modes) and first.stretch == again.stretch
    assert first.stretch != other.stretch
    stretches = [inharmonicity(draw(np.random.default_rng(seed)), 36) for seed in range(40)]
    assert max(stretches) > 4 * min(stretches), "grands and uprights"
