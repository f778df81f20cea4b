"""The measures of the performance system: they tell like from unlike, and cannot be pleased by nothing."""

from dataclasses import replace

import mido
import numpy as np
import pytest

from bridge.loop import RATE, Loop, compare, table
from inference.events import Note
from inference.performance import evaluate, evaluate_generated, rules, statistics
from inference.performance.pairs import Piece, Played, _match
from inference.performance.score import Performance, make_score
from tests.contract.scores import a_performance, a_score


def piece(people=3):
    score = a_score(bars=16)
    everything = np.arange(len(score))
    base = a_performance(score, 1)
    random = np.random.default_rng(4)
    played = []
    for index in range(people):
        velocity = np.clip(base.velocity + random.normal(0, 6, len(score)), 1, 127)
        kept = everything[random.random(len(score)) > 0.03]
        played.append(Played(str(index), kept, replace(base, velocity=velocity).select(kept)))
    return Piece("p", score, tuple(played)), base


def test_likeness_knows_itself_and_its_opposite():
    score = a_score()
    played = a_performance(score)
    assert evaluate.likeness(score, played, played) == pytest.approx((1, 1, 1))
    upside_down = replace(played, velocity=128 - played.velocity)
    assert evaluate.likeness(score, played, upside_down)[0] == pytest.approx(-1)
    assert evaluate.likeness(score, rules.deadpan(score), played) == pytest.approx((0, 0, 0), abs=0.05)


def test_the_nearest_person_counts_and_people_are_the_ceiling():
    whole, base = piece()
    strange = replace(base, velocity=np.random.default_rng(9).permutation(base.velocity))
    rows = evaluate.compare(whole, {"like": lambda score: base, "unlike": lambda score: strange})
    by_name = {row.player: row for row in rows}
    assert by_name["like"].velocity > 0.85 > 0.3 > abs(by_name["unlike"].velocity)
    assert by_name["people"].velocity == pytest.approx(by_name["like"].velocity, abs=0.15)
    assert by_name["people"].people == 3
    told = evaluate.table(rows)
    assert "| people |" in told and "100 %, 100 %, 100 %" in told and "1 pieces, 3 performances" in told


def test_rules_do_what_their_names_say():
    score = a_score(bars=16)
    played = rules.by_rule(score)
    assert played.velocity[score.level == 6].mean() > played.velocity[score.level == 3].mean() + 20
    dead = rules.deadpan(score)
    assert dead.onset == pytest.approx((score.onset - score.onset[0]) / 2) and np.ptp(dead.velocity) == 0


def test_notes_of_an_alignment_are_found_once_each():
    score, _ = make_score(np.array([0, 0, 1, 1.0]), np.ones(4), np.array([60, 64, 60, 60]), np.zeros(1))
    rows, sources = _match(np.array([1, 1, 0, 5.0]), np.array([60, 60, 64, 60]), score, score.onset)
    assert rows.tolist() == [1, 2, 3] and sorted(sources.tolist()) == [0, 1, 2]


def test_round_trips_are_told_in_milliseconds():
    whole, _ = piece(1)
    row = evaluate._round_trip("p/0", whole.score, whole.played[0])
    assert row.exact_max < 1 and 0.5 < row.rounded_median < 5 and row.rounded_p99 < 6
    assert "| worst performance |" in evaluate.round_trip_table([row])


def test_descriptions_by_hand():
    score, _ = make_score(
        np.array([0, 1, 2, 3, 4, 5.0]), np.ones(6), np.array([60, 62, 72, 60, 60, 61]), np.array([0, 4.0])
    )
    onset = np.array([0, 0.5, 1.0, 1.5, 2.0, 2.5])
    velocity = np.array([60, 70, 60, 70, 60, 70.0])
    played = Performance(onset, np.array([0.2, 0.4] * 3), velocity, np.zeros((0, 2)))
    found = statistics.describe(score, played)
    assert found.upc == pytest.approx((2 + 2) / 2) and found.pr == 12
    assert found.aps == pytest.approx((2 + 10 + 12 + 0 + 1) / 5)
    assert found.dstd == pytest.approx(0.1) and found.ioi == pytest.approx(0.5) and found.avi == 10
    assert len(list(statistics.excerpts(score, played, 1))) == 2


def test_what_is_copied_is_found():
    random = np.random.default_rng(3)
    train = [random.integers(0, 60, 500).tolist() for _ in range(3)]
    own = [random.integers(100, 160, 80).tolist(), [1, *train[1][200:223], 2]]
    assert statistics.longest_shared(own, train) == 23
    assert statistics.longest_shared(own[:1], train) == 0


def test_melodies_of_files_are_those_of_scores(tmp_path):
    score = a_score(bars=4)
    ticks = np.round(score.onset * 84).astype(int)
    track = mido.MidiTrack()
    now = 0
    for tick, pitch in zip(ticks, score.pitch, strict=True):
        track.append(mido.Message("note_on", note=int(pitch), velocity=60, time=int(tick - now)))
        now = tick
    mido.MidiFile(ticks_per_beat=84, tracks=[track]).save(tmp_path / "a.mid")
    assert evaluate_generated.read_melody(tmp_path / "a.mid") == statistics.melody(score)


def test_a_loop_is_scored_by_what_came_back():
    random = np.random.default_rng(1)
    truth = [
        Note(i * RATE // 5, i * RATE // 5 + RATE // 6, int(random.integers(40, 90)), (i % 7 + 2) / 10)
        for i in range(60)
    ]
    heard = [replace(n, onset=n.onset + 100, velocity=n.velocity / 2) for n in truth[:50]]
    wrong = [replace(n, pitch=n.pitch - 19) for n in truth[:10]]
    f1, pairs = compare(truth, [*heard, *wrong])
    assert f1 == pytest.approx(2 * 50 / 120) and len(pairs) == 50
    assert all(a.pitch == b.pitch for a, b in pairs)
    told = table([Loop(0, 60, 12.0, f1, 0.9, 3.0, 40.0, 1.0)])
    assert "0.8333" in told and "**mean**" in told


def test_generated_reports_name_both_sides():
    one = statistics.Description(1, 2, 3, 4, 5, 6)
    returns = statistics.Returns(0.81, 0.22), statistics.Returns(0.73, 0.14)
    row = evaluate_generated.Generated(one, replace(one, upc=7), 5, 9, 3.0, 4, (10.0, 14.0), 0.05, returns)
    told = evaluate_generated.report([row])
    assert "4 samples" in told and "7.000" in told and "5 notes" in told and "9" in told
    assert all(share in told for share in ("81%", "22%", "73%", "14%"))
