"""The judge of readings is solved by a command, on performances that a SoundFont plays."""

from pathlib import Path

import mido
import pretty_midi
import pytest

from bridge import cli
from inference.rhythm import JUDGE, PARTS, load
from inference.rhythm.judge import EVIDENCE
from inference.weights import read

SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two pieces of a minute, in three and in four, with their beats."""
    folder = tmp_path_factory.mktemp("data")
    for meter, beat_ms in ((3, 500), (4, 650)):
        place = folder / "asap" / "train" / "Nobody" / f"In {meter}"
        place.mkdir(parents=True)
        file, lines = mido.MidiFile(ticks_per_beat=500), []  # 1 ms per tick at 120 bpm
        track = mido.MidiTrack()
        file.tracks.append(track)
        for beat in range(60_000 // beat_ms):
            keys = (40 + beat // meter % 5,) if beat % meter == 0 else (60, 64 + beat % 3)
            for kind, wait in (("note_on", 0), ("note_off", beat_ms)):
                for turn, key in enumerate(keys):
                    track.append(mido.Message(kind, note=key, velocity=70, time=0 if turn else wait))
            time = beat * beat_ms / 1000
            lines.append(f"{time}\t{time}\t{'b' if beat % meter else 'db'}")
        file.save(place / "Somebody01.mid")
        (place / "Somebody01_annotations.txt").write_text("\n".join(lines))
    return folder


def arguments(data, out, *more):
    return [
        "train",
        "judge-rhythm",
        "--data",
        str(data),
        "--soundfont",
        str(SOUNDFONT),
        "-o",
        str(out),
        *more,
    ]


def test_weights_get_a_judge_and_are_else_the_same(data, tmp_path, capsys):
    out = tmp_path / "judged.safetensors"
    assert cli.run(arguments(data, out, "--pieces", "2")) == 0
    assert "2 pieces" in capsys.readouterr().err
    before, after = read("rhythm"), read(str(out))
    assert after.tensors[f"{JUDGE}weight"].shape == (EVIDENCE,)
    assert all(
        value.equal(before.tensors[name]) for name, value in after.tensors.items() if JUDGE not in name
    )
    assert before.metadata == after.metadata and JUDGE in PARTS
    assert load(str(out)).judge.any()


@pytest.mark.parametrize(
    "change, code",
    [({"-o": "judged.pt"}, 2), ({"--data": "empty"}, 3), ({"--soundfont": "none.sf2"}, 3)],
)
def test_what_cannot_be_judged_is_said(data, tmp_path, change, code):
    (tmp_path / "empty").mkdir()
    given = arguments(data, tmp_path / "judged.safetensors")
    for option, value in change.items():
        given[given.index(option) + 1] = str(tmp_path / value)
    assert cli.run(given) == code
    assert not list(tmp_path.glob("judged*"))
