"""Pictures show what was heard, beside what was played."""

import sys

import numpy as np
import pytest
from matplotlib.image import imread

from bridge.errors import EngineError, OutputError
from bridge.studio.demo import prelude
from bridge.studio.report import EXTRA, HIT, match, piano_roll
from inference.events import Note

RATE = 44_100


def pixels(path, color):
    """How many pixels have that colour."""
    wanted = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((np.abs(imread(path)[:, :, :3] - wanted).max(axis=2) < 0.02).sum())


def test_hits_misses_and_extras():
    a, b, c = Note(0, 10, 60, 0.5), Note(RATE, RATE + 10, 60, 0.5), Note(2 * RATE, 2 * RATE + 9, 62, 0.5)
    near, far, wrong = Note(2_000, 9_000, 60, 0.4), Note(RATE + 2_300, 90_000, 60, 0.4), Note(0, 9, 61, 0.1)
    found = match([near, far, wrong], [a, b, c], RATE)
    assert found.hits == (near,) and found.misses == (b, c) and set(found.extras) == {far, wrong}


def test_one_estimate_hits_one_reference_only():
    twice = [Note(0, 9, 60, 0.5), Note(500, 900, 60, 0.5)]
    assert len(match(twice[:1], twice, RATE).hits) == 1
    assert len(match(twice, twice, RATE).hits) == 2


def test_a_picture_of_a_performance(tmp_path):
    played = prelude()
    piano_roll(tmp_path / "a.png", played.notes, RATE, controls=played.controls, title="Prelude")
    piano_roll(tmp_path / "b.png", played.notes, RATE)
    a, b = imread(tmp_path / "a.png"), imread(tmp_path / "b.png")
    assert a.shape[0] > 700 and a.shape[1] > 1_200
    assert a.shape != b.shape or (a != b).any()
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_the_reference_is_told_apart(tmp_path):
    notes = prelude().notes
    extra = Note(0, 3 * RATE, 90, 0.5)
    piano_roll(tmp_path / "good.png", notes, RATE, reference=notes)
    piano_roll(tmp_path / "bad.png", [*notes[:30], extra], RATE, reference=notes)
    assert pixels(tmp_path / "good.png", HIT) > 1.5 * pixels(tmp_path / "bad.png", HIT) > 0
    # The legend shows each colour once.
    assert pixels(tmp_path / "bad.png", EXTRA) > 1.5 * pixels(tmp_path / "good.png", EXTRA)


def test_no_notes_and_very_many_still_make_a_picture(tmp_path):
    assert piano_roll(tmp_path / "a.png", [], RATE).exists()
    many = [Note(i * 30_000, i * 30_000 + 9_000, 21 + i % 88, 0.5) for i in range(3_000)]
    assert imread(piano_roll(tmp_path / "b.png", many, RATE)).shape[1] < 7_000


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EngineError, match="pip install 'dawbridge\\[plot\\]'"):
        piano_roll(tmp_path / "a.png", [], RATE)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        piano_roll(tmp_path / "file" / "a.png", prelude().notes, RATE)
