"""Octaves, grace notes and repetitions among the notes of a performance."""

import numpy as np
import pytest

from inference.training import figures
from inference.training.notes import NO_PEDAL, NoteTable


def scale(count=200, length=0.4, gap=0.5):
    onset = np.arange(count, dtype=np.float32) * gap
    end = onset + np.float32(length)
    return NoteTable(onset, end, end, 48 + np.arange(count) % 24, np.full(count, 0.5, np.float32))


@pytest.mark.parametrize("seed", range(20))
def test_notes_that_were_there_stay(seed):
    notes = scale()
    more = figures.with_figures(notes, NO_PEDAL, np.random.default_rng(seed))
    kept = {(float(a), int(b)) for a, b in zip(more.onset, more.pitch, strict=True)}
    assert kept >= {(float(a), int(b)) for a, b in zip(notes.onset, notes.pitch, strict=True)}
    assert (np.diff(more.onset) >= 0).all() and (more.offset > more.onset).all()


def test_octaves_double_at_once():
    notes = scale()
    added = figures.octaves(notes, np.random.default_rng(1))
    nearest = np.abs(added.onset[:, None] - notes.onset).argmin(1)
    assert len(added) > 5
    assert set(added.pitch - notes.pitch[nearest]) <= {12, -12, 24, 19}
    assert np.abs(added.onset - notes.onset[nearest]).max() < 0.05


def test_grace_notes_are_short_and_just_before():
    notes = scale()
    added = figures.graces(notes, np.random.default_rng(1))
    following = notes.onset[np.searchsorted(notes.onset, added.onset)[added.onset < notes.onset[-1]]]
    early = following - added.onset[added.onset < notes.onset[-1]]
    assert len(added) > 5 and (early > 0).all() and (early < 0.22).all()
    assert (added.release - added.onset < 0.09).all()


def test_repetitions_strike_a_key_that_was_held():
    notes = scale()
    added = figures.repetitions(notes, np.random.default_rng(1))
    held = np.searchsorted(notes.onset, added.onset, "right") - 1
    assert len(added) > 5 and (added.pitch == notes.pitch[held]).all()
    assert (added.onset < notes.release[held]).all()


def test_staccato_notes_end_at_once():
    notes = scale()
    shorter = [figures.staccato(notes, np.random.default_rng(seed)) for seed in range(8)]
    for table in shorter:
        length = table.release - table.onset
        cut = length < 0.3
        assert cut.any() and (length > 0.02).all() and (table.offset == table.release).all()
        assert cut.all() or notes.pitch[cut].max() < notes.pitch[~cut].min()
    assert {bool((table.release - table.onset < 0.3).all()) for table in shorter} == {False, True}


def test_added_notes_sound_as_long_as_the_pedal_is_down(monkeypatch):
    notes, pedal = scale(), np.array([[0.0, 40.0]], np.float32)
    monkeypatch.setattr(figures, "FIGURES", ((figures.graces, 1.0),))
    more = figures.with_figures(notes, pedal, np.random.default_rng(1))
    short = more.release - more.onset < 0.1
    inside = short & (more.onset > 0) & (more.release < 40)
    assert inside.any() and (more.offset[inside] == 40).all()
    assert (more.offset[short & (more.onset > 40)] < more.onset[short & (more.onset > 40)] + 0.1).all()


def test_no_key_is_struck_twice_at_once(monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", ((figures.octaves, 1.0),))
    notes = scale()
    doubled = NoteTable(
        *(np.concatenate([getattr(notes, n)] * 2) for n in ("onset", "offset", "release")),
        np.concatenate([notes.pitch, notes.pitch + 12]),
        np.concatenate([notes.velocity] * 2),
    )
    more = figures.with_figures(doubled, NO_PEDAL, np.random.default_rng(3))
    for pitch in np.unique(more.pitch):
        assert (np.diff(np.sort(more.onset[more.pitch == pitch])) > 0.03).all()


def test_lone_keys_are_anywhere_and_mostly_one_by_one():
    drawn = [figures.lone(np.random.default_rng(seed), 6.0) for seed in range(60)]
    pitch = np.concatenate([notes.pitch for notes, _ in drawn])
    assert pitch.min() == 21 and pitch.max() == 108
    loud = np.concatenate([notes.velocity for notes, _ in drawn])
    assert loud.min() < 0.1 and loud.max() > 0.95
    gaps = np.concatenate([np.diff(notes.onset) for notes, _ in drawn])
    assert (gaps >= 0).all() and 0.02 < (gaps < 0.04).mean() < 0.25
    for notes, pedal in drawn:
        assert len(notes) and (notes.onset > 0).all() and (notes.onset < 6.1).all()
        assert (notes.offset >= notes.release).all()
        assert not len(pedal) or (notes.offset[notes.release < 6] == 6).all()
    assert {len(pedal) for _, pedal in drawn} == {0, 1}
