"""The loader of MazurkaBL, on made-up tables in its format; on the real ones where they are."""

import os
from pathlib import Path

import pytest

from inference.training.mazurkas import folds, pieces, read_mazurka

REAL = Path(os.environ.get("DAWBRIDGE_MAZURKABL", "mazurkabl"))


def write(folder, piece="M06-1", columns=("pid1-01", "pid2-01"), last="3.1", places="2,5", marks="p,ff"):
    for name in ("beat_time", "markings_dyn"):
        (folder / name).mkdir(exist_ok=True)
    times = [(0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    lines = [",".join(["", "measure_number", "beat_number", *columns])]
    for i, (measure, beat) in enumerate(times):
        cells = [f"{0.5 + i * 0.5}", f"{1 + i * 0.4}" if i < 5 else last][: len(columns)]
        lines.append(",".join([str(i), str(measure), str(beat), *cells]))
    (folder / "beat_time" / f"{piece}beat_time.csv").write_text("\n".join(lines))
    (folder / "markings_dyn" / f"{piece}markings_dyn.csv").write_text(f"x,y\n{places}\n{marks}\n")


def test_bars_begin_at_beat_zero_and_markings_hold(tmp_path):
    write(tmp_path)
    found = read_mazurka(tmp_path, "M06-1")
    beats = found.recordings["pid1-01"]
    assert beats.downbeat.tolist() == [False, True, False, False, True, False]
    assert beats.dynamics.tolist() == [3, 2, 2, 2, 5, 5]
    assert beats.time.tolist() == [0.5, 1, 1.5, 2, 2.5, 3]
    assert pieces(tmp_path) == ["M06-1"]


def test_gaps_are_left_out(tmp_path):
    write(tmp_path, last="")
    found = read_mazurka(tmp_path, "M06-1").recordings
    assert len(found["pid1-01"]) == 6 and len(found["pid2-01"]) == 5


def test_a_misnamed_column_gets_its_name(tmp_path):
    write(tmp_path, "M41-1", ("pid9070b-01", "pid2-01"))
    assert set(read_mazurka(tmp_path, "M41-1").recordings) == {"pid9070b-09", "pid2-01"}


@pytest.mark.parametrize("wrong", [{"last": "0.1"}, {"places": "2,7"}])
def test_damage_is_told(tmp_path, wrong):
    write(tmp_path, **wrong)
    with pytest.raises(ValueError, match="M06-1"):
        read_mazurka(tmp_path, "M06-1")


def test_other_markings_change_nothing(tmp_path):
    write(tmp_path, marks="p,fermata")
    assert read_mazurka(tmp_path, "M06-1").recordings["pid1-01"].dynamics.tolist() == [3, 2, 2, 2, 2, 2]


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(OSError):
        read_mazurka(tmp_path, "M99-9")


def check(found, names):
    assert sorted(piece for fold in found for piece in fold.test) == sorted(names)
    for fold in found:
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(names), "a piece crosses folds"


def test_no_piece_is_in_two_parts_of_a_fold():
    recordings = {f"M{i:02d}": 20 + 7 * i % 50 for i in range(23)}
    found = folds(recordings)
    check(found, recordings)
    sizes = [sum(recordings[piece] for piece in fold.test) for fold in found]
    assert max(sizes) < 1.4 * min(sizes)


def test_too_few_pieces_make_no_folds():
    with pytest.raises(ValueError, match="folds"):
        folds({"a": 1, "b": 2})


@pytest.mark.skipif(not REAL.is_dir(), reason="DAWBRIDGE_MAZURKABL names no folder of MazurkaBL")
def test_the_real_tables_are_read():
    all_of_them = {piece: read_mazurka(REAL, piece) for piece in pieces(REAL)}
    assert len(all_of_them) == 46
    assert sum(len(piece.recordings) for piece in all_of_them.values()) == 2_098
    total = sum(len(beats) for piece in all_of_them.values() for beats in piece.recordings.values())
    assert total == 700_008
    check(folds({name: len(piece.recordings) for name, piece in all_of_them.items()}), all_of_them)
