"""Scores as MusicXML: what is written is read again, note by note."""

from itertools import pairwise

import numpy as np
import pytest

from bridge import cli
from bridge.commands import output
from bridge.errors import EngineError
from bridge.studio import scores
from bridge.studio.perform import write_performance
from bridge.studio.scores import read_score, write_score
from inference.performance.engrave import voices
from inference.performance.score import ended, make_score
from tests.contract.scores import a_performance, a_score


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DAWBRIDGE_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(output, "quiet", False)


def rows(score):
    duration = ended(score.onset, score.duration, score.pitch)
    return sorted(zip(score.onset.round(2), score.pitch, duration.round(2), strict=True))


@pytest.mark.parametrize("meter, seed", [(4, 0), (3, 1), (2, 2), (6, 3)])
def test_scores_are_read_as_they_were_written(tmp_path, meter, seed):
    score = a_score(bars=10, seed=seed, meter=meter)
    write_score(tmp_path / "a.musicxml", score)
    back = read_score(tmp_path / "a.musicxml").score
    assert rows(back) == rows(score)
    np.testing.assert_allclose(back.bars[: len(score.bars)], score.bars, atol=1e-3)


def test_bars_without_notes_ties_tempo_and_meters_survive(tmp_path):
    onset = np.array([0.0, 0.5, 7.5, 7.5, 14.25, 20.0])
    length = np.array([0.5, 6.0, 3.25, 3.25, 0.25, 1.0])
    bars = np.array([0.0, 1.0, 5.0, 9.0, 12.0, 15.0, 19.5])
    score, _ = make_score(onset, length, np.array([60, 40, 64, 67, 72, 30]), bars, tempo=72.0, meter=(4, 4))
    write_score(tmp_path / "a.musicxml", score)
    back = read_score(tmp_path / "a.musicxml").score
    assert rows(back) == rows(score) and back.tempo == 72
    np.testing.assert_allclose(back.bars, bars, atol=1e-3)


def test_a_key_that_is_struck_again_ends(tmp_path):
    score, _ = make_score(np.array([0, 1, 1.5]), np.array([4.0, 2, 1]), np.array([60, 60, 62]), np.zeros(1))
    write_score(tmp_path / "a.musicxml", score)
    assert read_score(tmp_path / "a.musicxml").score.duration.tolist() == [1, 2, 1]


def test_voices_never_overlap():
    random = np.random.default_rng(5)
    begin = np.sort(random.integers(0, 400, 120))
    length, staff = random.integers(1, 90, 120), random.integers(1, 3, 120)
    found = voices(begin, length, staff)
    for voice in np.unique(found):
        own = found == voice
        spans = sorted(set(zip(begin[own].tolist(), length[own].tolist(), staff[own].tolist(), strict=True)))
        assert all(a + b <= c for (a, b, _), (c, _, _) in pairwise(spans))
        assert len(set(staff[own].tolist())) == 1


def test_the_command_writes_what_it_performs(tmp_path, capsys):
    score = a_score(bars=3).unmarked()
    write_performance(tmp_path / "in.mid", score, a_performance(score))
    heard = read_score(tmp_path / "in.mid").score
    assert cli.run(["perform", "in.mid", "-o", "out.mid", "--score", "out.musicxml"]) == 0
    assert capsys.readouterr().out.split() == ["out.mid", "out.musicxml"]
    assert len(read_score("out.musicxml").score) == len(heard)
    assert cli.run(["perform", "in.mid", "-o", "bad.mid", "--score", "bad.pdf"]) == 2
    assert not list(tmp_path.glob("bad*"))


def test_without_partitura_it_is_said_before_any_work(tmp_path, monkeypatch):
    def missing():
        raise ModuleNotFoundError("partitura")

    monkeypatch.setattr(scores.notation, "partitura", missing)
    with pytest.raises(EngineError, match="partitura"):
        scores.check_score_name(tmp_path / "a.musicxml")
