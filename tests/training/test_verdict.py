"""Peaks are judged: the same evidence for any key, weights that learn it, and notes that obey."""

from dataclasses import replace

import numpy as np
import pytest

from inference.events import NoteOn, merge
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish
from inference.piano.refit_verdict import candidates, refit_verdicts, solve
from inference.piano.verdict import EVIDENCE, evidence, probability
from inference.training.corpus import Recording
from inference.training.notes import NoteTable
from tests.contract.networks import SMALL, restless

SETTINGS = DecodeSettings(hop=320, delay=1440)
SURE = (0.0,) * EVIDENCE


def frame(random=None, **keys):
    """A frame of silence, or of noise, in which some keys have values."""
    columns = {}
    for name in ("onset", "active", "velocity", "shift", "key"):
        noise = np.zeros(88) if random is None or name == "shift" else random.uniform(0, 1, 88)
        columns[name] = noise.astype(np.float32)
        for place, value in keys.get(name, {}).items():
            columns[name][place] = value
    return Frame(**columns, pedal=0.0)


def story(onsets, held, count=60):
    """Keys struck in certain frames, `{(frame, key): probability}`, and what sounds, `{key: frames}`."""
    frames = []
    for index in range(count):
        on = {key: p for (at, key), p in onsets.items() if at == index}
        active = {key: 0.9 for key, span in held.items() if index in span}
        frames.append(frame(onset=on, active=active, velocity={key: 0.5 for key in active}, key=active))
    return frames


def notes(frames, settings):
    events, state = decode(frames, DecodeState.initial(88), settings)
    events = merge([events, finish(state, settings)])
    return [event for event in events.notes if isinstance(event, NoteOn)]


@pytest.mark.parametrize("keys", [[0], [87], list(range(88))])
def test_there_is_evidence_for_every_key(keys):
    random = np.random.default_rng(0)
    quad = [frame(random) for _ in range(4)]
    found = evidence(quad, np.array(keys))
    assert found.shape == (len(keys), EVIDENCE) and np.isfinite(found).all()
    alone = np.concatenate([evidence(quad, np.array([key])) for key in keys])
    np.testing.assert_array_equal(found, alone)
    silent = evidence([frame()] * 4, np.array(keys))
    assert np.isfinite(silent).all()


def test_an_overtone_looks_otherwise_than_a_note_of_its_own():
    lone = [frame(), frame(), frame(onset={60: 0.6}), frame(active={60: 0.9})]
    above = [frame(), frame(), frame(onset={60: 0.6, 48: 0.9}), frame(active={60: 0.9, 48: 0.9})]
    key = np.array([60])
    differing = np.flatnonzero((evidence(lone, key) != evidence(above, key))[0])
    assert len(differing) == 2, "how strong the lower onset is, alone and with the peak"


def test_a_logistic_regression_finds_what_decides():
    random = np.random.default_rng(1)
    found = random.normal(0, 3, (30_000, EVIDENCE))
    chance = 1 / (1 + np.exp(-(2 * found[:, 3] - found[:, 7] + 1)))
    right = random.random(30_000) < chance
    weights = np.array(solve(found, right))
    assert weights[3] == pytest.approx(2, rel=0.15) and weights[7] == pytest.approx(-1, rel=0.15)
    assert weights[-1] == pytest.approx(1, rel=0.2)
    assert np.abs(np.delete(weights, [3, 7, EVIDENCE])).max() < 0.1
    assert np.abs(probability(found, weights.tolist()) - chance).mean() < 0.02
    assert solve(found, np.ones(30_000, bool)) == (), "nothing to learn"


def test_candidates_are_the_peaks_and_truth_says_which_are_notes():
    frames = story({(10, 40): 0.9, (30, 40): 0.3, (40, 52): 0.1}, {40: range(10, 50), 52: range(40, 50)})
    time = (11 * 320 - 1440) / 16_000
    truth = np.array([[time + 0.01, time + 1, 61.0, 80.0]])
    found, right = candidates(frames, SETTINGS, truth)
    assert found.shape == (2, EVIDENCE) and right.tolist() == [True, False]
    assert candidates(frames, SETTINGS, np.zeros((0, 4)))[1].tolist() == [False, False]
    assert candidates(frames[:5], SETTINGS, truth)[0].shape == (0, EVIDENCE)


def test_notes_obey_the_verdict_and_are_as_sure_as_it_is():
    frames = story({(10, 40): 0.9, (30, 40): 0.6}, {40: range(10, 50)})
    assert len(notes(frames, SETTINGS)) == 2
    likely = replace(SETTINGS, onset=0.5, verdict=(*SURE, 0.4))
    found = notes(frames, likely)
    assert [note.confidence for note in found] == pytest.approx([1 / (1 + np.exp(-0.4))] * 2)
    assert notes(frames, replace(likely, verdict=(*SURE, -0.4))) == []
    peak_alone = list(SURE)
    peak_alone[0] = 1.0  # the more probable the peak, the surer; its logit is 0.4 and 2.2
    assert len(notes(frames, replace(likely, verdict=(*peak_alone, -1.2)))) == 1


def test_a_judged_peak_may_be_fainter_than_one_that_is_not():
    frames = story({(10, 40): 0.25}, {40: range(10, 50)})
    assert notes(frames, SETTINGS) == []
    assert len(notes(frames, replace(SETTINGS, verdict=(*SURE, 3.0)))) == 1


def test_each_delay_of_a_network_has_a_verdict_of_its_own():
    network = restless(SMALL["light"], seed=2, scale=3.0)
    random = np.random.default_rng(3)
    onset = np.arange(0.2, 3.5, 0.15).astype(np.float32)
    pitch = random.integers(30, 100, len(onset))
    notes = NoteTable(onset, onset + 0.1, onset + 0.1, pitch, np.full(len(onset), 0.5, np.float32))
    music = [
        Recording(f"{take}", "noise", (random.normal(0, 3_000, 64_000)).astype(np.int16), notes)
        for take in range(2)
    ]
    found = refit_verdicts(network, music)
    assert len(found) == len(network.config.delays)
    learned = [weights for weights in found if weights]
    assert learned and all(len(weights) == EVIDENCE + 1 for weights in learned)
    assert len(set(learned)) == len(learned)
