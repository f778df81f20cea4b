"""Printed dynamics: read from a score, unfolded, and carried to the beats that were played."""

from zipfile import ZipFile

import numpy as np
import pytest

from inference.training.beats import BeatTable, beats_file, read_beats
from inference.training.markings import printed_dynamics, read_score, unfold

NOTE = "<note><pitch><step>{}</step><octave>4</octave></pitch><duration>{}</duration></note>"
MARK = "<direction><direction-type><dynamics><{}/></dynamics></direction-type></direction>"
WEDGE = '<direction><direction-type><wedge type="{}"/></direction-type></direction>'
TIME = (
    "<attributes><divisions>2</divisions><time><beats>3</beats><beat-type>4</beat-type></time></attributes>"
)
FORWARD, BACKWARD = (f'<barline><repeat direction="{way}"/></barline>' for way in ("forward", "backward"))


def bar(*parts, pitches="CDE"):
    """Three quarters, with other elements before the first of them."""
    return "".join([*parts, *(NOTE.format(step, 2) for step in pitches)])


def ending(number, kind="start"):
    return f'<barline><ending number="{number}" type="{kind}"/></barline>'


def score(folder, *bars):
    measures = "".join(f"<measure>{text}</measure>" for text in bars)
    path = folder / "xml_score.mxl"
    with ZipFile(path, "w") as file:
        file.writestr("META-INF/container.xml", "<container/>")
        file.writestr("score.xml", f"<score-partwise><part>{measures}</part></score-partwise>")
    return path


def alignment(folder, notes, second_per_beat=0.5):
    """A performance of `notes` `(beat, pitch)` in strict time."""
    beat, pitch = np.array(notes, float).T
    ticks = np.rint((beat - beat.min()) * second_per_beat * 1000)
    path = folder / "a.aligned.npz"
    np.savez(
        path,
        score_onset=beat.astype(np.float32),
        pitch=pitch.astype(np.uint8),
        onset_tick=ticks.astype(np.uint32),
        seconds_per_tick=0.001,
    )
    return path


def beats(count, second_per_beat=0.5):
    times = np.arange(count) * second_per_beat
    return BeatTable(times, np.arange(count) % 3 == 0, np.zeros(count, np.int64))


def classes(folder, path, repeat=True):
    measures = read_score(path)
    notes = sorted(unfold(measures, repeat).notes)
    table = beats(round(notes[-1][0] - notes[0][0]) + 1)
    found = printed_dynamics(table, measures, alignment(folder, notes))
    return None if found is None else found.dynamics.tolist()


def test_a_marking_holds_until_the_next(tmp_path):
    path = score(
        tmp_path, TIME + bar(), bar(MARK.format("pp")), bar(MARK.format("f")), bar(MARK.format("mp"))
    )
    assert classes(tmp_path, path) == [0, 0, 0, 1, 1, 1, 4, 4, 4, 3, 3, 3]


def test_accents_are_no_markings(tmp_path):
    path = score(
        tmp_path,
        TIME + bar(MARK.format("p")),
        bar(MARK.format("sfz")),
        bar(MARK.format("p")) * 1,
        bar(MARK.format("ff")),
    )
    assert classes(tmp_path, path) == [2] * 9 + [5] * 3


def test_a_hairpin_that_leads_nowhere_moves_the_class_by_one(tmp_path):
    swell = bar(WEDGE.format("crescendo"))
    stop = bar(WEDGE.format("stop"))
    path = score(
        tmp_path,
        TIME + bar(MARK.format("p")),
        swell,
        stop,
        bar(),
        bar(),
        bar(MARK.format("f")),
        bar(MARK.format("p")),
    )
    assert classes(tmp_path, path) == [2] * 6 + [3] * 9 + [4] * 3 + [2] * 3


def test_a_hairpin_that_leads_to_a_marking_does_not(tmp_path):
    swell = bar(WEDGE.format("crescendo"))
    path = score(
        tmp_path,
        TIME + bar(MARK.format("p")),
        swell,
        bar(WEDGE.format("stop"), MARK.format("ff")),
        bar(MARK.format("p")),
    )
    assert classes(tmp_path, path) == [2] * 6 + [5] * 3 + [2] * 3


@pytest.mark.parametrize("repeat", [True, False])
def test_repeats_are_written_out_as_they_were_played(tmp_path, repeat):
    path = score(
        tmp_path,
        TIME + bar(MARK.format("p")),
        FORWARD + bar(MARK.format("f"), pitches="GAB"),
        bar(MARK.format("pp"), pitches="GGG") + BACKWARD,
        bar(MARK.format("ff"), pitches="AAA"),
    )
    once = [2] * 3 + [4] * 3 + [1] * 3
    again = [4] * 3 + [1] * 3
    assert classes(tmp_path, path, repeat) == once + (again if repeat else []) + [5] * 3


def test_endings_are_played_in_their_turn(tmp_path):
    path = score(
        tmp_path,
        TIME + bar(MARK.format("p")),
        ending(1) + bar(MARK.format("f"), pitches="GGG") + BACKWARD + ending(1, "stop"),
        ending(2) + bar(MARK.format("ff"), pitches="AAA") + ending(2, "stop"),
        bar(MARK.format("pp"), pitches="BBB"),
    )
    assert classes(tmp_path, path) == [2] * 3 + [4] * 3 + [2] * 3 + [5] * 3 + [1] * 3
    pitches = [pitch for _, pitch in sorted(unfold(read_score(path), False).notes)]
    assert pitches == [60, 62, 64, 69, 69, 69, 71, 71, 71]


def test_a_pick_up_lies_before_beat_zero(tmp_path):
    path = score(tmp_path, TIME + NOTE.format("C", 2), bar(), bar())
    assert min(unfold(read_score(path), True).notes) == (-1.0, 60)


def test_both_hands_and_chords_share_their_time(tmp_path):
    chord = NOTE.format("E", 2).replace("<note>", "<note><chord/>")
    left = "<backup><duration>6</duration></backup>" + NOTE.format("C", 6).replace("<octave>4", "<octave>2")
    path = score(tmp_path, TIME + NOTE.format("C", 2) + chord + NOTE.format("D", 4) + left)
    assert unfold(read_score(path), True).notes == {(0.0, 60), (0.0, 64), (1.0, 62), (0.0, 36)}


def test_another_score_than_the_played_one_tells_nothing(tmp_path):
    path = score(
        tmp_path, *([TIME + bar(MARK.format("p"))] + [bar(MARK.format("f")), bar(MARK.format("p"))] * 3)
    )
    measures = read_score(path)
    other = [(float(beat), 90) for beat in range(21)]
    assert printed_dynamics(beats(21), measures, alignment(tmp_path, other)) is None


def test_few_markings_tell_nothing(tmp_path):
    path = score(tmp_path, TIME + bar(MARK.format("p")), bar(MARK.format("f")))
    assert classes(tmp_path, path) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"<score-partwise/>"])
def test_a_damaged_score_is_refused(tmp_path, content):
    path = tmp_path / "bad.mxl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="MusicXML"):
        read_score(path)


def test_a_score_without_music_is_refused(tmp_path):
    with pytest.raises(ValueError, match="measures"):
        read_score(score(tmp_path))


def test_beats_of_pop_songs_are_read(tmp_path):
    (tmp_path / "beat_midi.txt").write_text(
        "0.05 1.0 1.0\n0.72 0.0 0.0\n1.39 1.0 0.0\n2.06 0.0 0.0\n2.7 1.0 1.0\n"
    )
    path = beats_file(tmp_path / "001.mid")
    assert read_beats(path).downbeat.tolist() == [True, False, False, False, True]
