"""Scores mean what the field means by them."""

import numpy as np
import pytest

from inference.training import evaluate, scores
from tests.training.music import chance

REFERENCE = np.array([(on, off, pitch, 127 * v) for on, off, _, pitch, v in chance(4)])


def test_the_truth_scores_one():
    result = scores.score("truth", REFERENCE, REFERENCE)
    for column in (*scores.F1_COLUMNS, "precision", "recall"):
        assert getattr(result, column) == 1, column
    assert result.velocity_r == pytest.approx(1)
    assert sum(total for _, total in result.by_register) == len(REFERENCE)
    assert all(hits == total for hits, total in (*result.by_register, *result.by_velocity))


def test_lateness_and_tolerances():
    late = REFERENCE.copy()
    late[:, :2] += 0.03
    result = scores.score("late", REFERENCE, late)
    assert result.lateness_ms == pytest.approx(30, abs=0.1)
    assert result.spread_ms == pytest.approx(0, abs=0.1)
    assert (result.onset, result.onset_20) == (1, 0)
    late[:, :2] += 0.04
    assert scores.score("later", REFERENCE, late).onset < 0.1
    assert scores.score("later", REFERENCE, late).onset_100 == 1


def test_half_the_notes_are_half_the_recall():
    half = REFERENCE[::2]
    result = scores.score("half", REFERENCE, half)
    assert result.precision == 1
    assert result.recall == pytest.approx(len(half) / len(REFERENCE))


def test_wrong_ends_and_velocities_count_where_they_should():
    wrong = REFERENCE.copy()
    wrong[:, 1] += 2
    wrong[:, 3] = np.random.default_rng(0).permutation(wrong[:, 3])
    result = scores.score("wrong", REFERENCE, wrong)
    assert result.onset == 1
    assert result.onset_offset < 0.1
    assert result.onset_velocity < 0.6
    assert abs(result.velocity_r) < 0.4


def test_nothing_heard_scores_nothing():
    result = scores.score("silence", REFERENCE, np.zeros((0, 4)))
    assert result.onset == result.recall == 0
    assert result.by_register[0][0] == 0 and result.reference == len(REFERENCE)


def test_robustness_is_told_of_each_piano_where_there_are_several():
    told = REFERENCE[:12]
    one, other = scores.score("a_Grand", told, told), scores.score("b_Upright", told, told[:6])
    found = {"none": {"set": [one, other]}, "noise": {"set": [other, one]}}
    whole, pianos = evaluate.robustness_table(found, "set").split("\n\n")
    assert whole.splitlines()[2].startswith("| none | 0.833 |")
    assert pianos.splitlines()[0] == "| onset | Grand | Upright |"
    assert pianos.splitlines()[2] == "| none | 1.000 | 0.667 |"
    assert "\n\n" not in evaluate.robustness_table({"none": {"set": [one]}}, "set")
