"""Labels say what was played, to the grid and beyond it."""

import numpy as np
import pytest

from inference.events import NoteCollector, merge
from inference.piano.config import LIGHT, NoteState
from inference.piano.decode import DecodeState, Frame, decode, finish
from inference.piano.labels import frame_labels
from inference.piano.network import PianoNetwork
from inference.piano.transcriber import decode_settings
from tests.training.music import chance, table

HOP = LIGHT.hop / LIGHT.rate


@pytest.fixture(scope="module")
def settings():
    return decode_settings(PianoNetwork(LIGHT), onset=0.5, offset=0.5)


def perfect_frames(labels):
    """What a network without fault would say."""
    active = np.isin(labels.state, (NoteState.ONSET, NoteState.SUSTAIN, NoteState.REONSET))
    onset = np.isin(labels.state, (NoteState.ONSET, NoteState.REONSET))
    columns = [onset, active, labels.velocity, labels.shift, np.nan_to_num(labels.key)]
    floats = [column.astype(np.float32) for column in columns]
    return [
        Frame(*(column[i] for column in floats), pedal=float(labels.pedal[i])) for i in range(len(active))
    ]


def notes_of(labels, settings):
    events, state = decode(perfect_frames(labels), DecodeState.initial(88), settings)
    collector = NoteCollector()
    return sorted(collector.add(merge([events, finish(state, settings)])), key=lambda n: (n.onset, n.pitch))


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_a_perfect_network_give_the_notes_back(seed, settings):
    rows = chance(seed)
    labels = frame_labels(table(rows), np.zeros((0, 2), np.float32), int(32 / HOP), LIGHT)
    found = notes_of(labels, settings)
    assert [n.pitch for n in found] == [int(r[3]) for r in rows]
    for note, (onset, offset, _, _, velocity) in zip(found, rows, strict=True):
        assert abs(note.onset / LIGHT.rate - onset) < 0.0002, "the shift keeps what the grid rounds away"
        assert abs(note.offset / LIGHT.rate - offset) <= 0.51 * HOP
        assert note.velocity == pytest.approx(velocity, abs=1e-6)


def test_a_note_struck_again_while_it_sounds_is_a_reonset(settings):
    rows = [(1.0, 1.5, 1.5, 60, 0.5), (1.5, 2.0, 2.0, 60, 0.7)]
    labels = frame_labels(table(rows), None, 150, LIGHT)
    kinds = [NoteState(s) for s in labels.state[:, 39] if s in (NoteState.ONSET, NoteState.REONSET)]
    assert kinds == [NoteState.ONSET, NoteState.REONSET]
    assert (labels.state[:, 39] == NoteState.OFFSET).sum() == 1
    assert len(notes_of(frame_labels(table(rows), np.zeros((0, 2)), 150, LIGHT), settings)) == 2


def test_a_note_that_began_before_the_excerpt_sounds_without_an_onset():
    labels = frame_labels(table([(-1.0, 1.0, 1.0, 60, 0.5)]), None, 100, LIGHT)
    assert labels.state[0, 39] == NoteState.SUSTAIN
    assert not np.isin(labels.state, (NoteState.ONSET, NoteState.REONSET)).any()


def test_what_is_not_known_is_nan():
    unknown = frame_labels(table([(0.2, 1.0, np.nan, 60, 0.5)]), None, 60, LIGHT)
    assert np.isnan(unknown.key).all() and np.isnan(unknown.pedal).all()
    known = frame_labels(table([(0.2, 1.0, 0.6, 60, 0.5)]), np.array([[0.4, 0.9]]), 60, LIGHT)
    down = np.flatnonzero(known.key[:, 39] == 1)
    assert len(down) == pytest.approx(0.4 / HOP, abs=1)
    assert known.pedal.sum() == pytest.approx(0.5 / HOP, abs=1)


def test_labels_are_late_by_the_promised_delay():
    labels = frame_labels(table([(0.5, 1.0, 1.0, 60, 0.5)]), None, 100, LIGHT)
    frame = int(np.flatnonzero(labels.state[:, 39] == NoteState.ONSET)[0])
    end = (frame + 1 + labels.shift[frame, 39]) * LIGHT.hop
    assert end == pytest.approx(0.5 * LIGHT.rate + LIGHT.delay, abs=1)
