"""Everything comes out equally loud, played once, and as the piano alone would have played it."""

import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge.errors import OutputError
from bridge.midi import write_midi
from bridge.studio import loudness as loudness_module
from bridge.studio.loudness import TARGET_LUFS, loudness, render_loud
from bridge.studio.render import render
from inference.events import Note

RATE = 44_100


def music(path, velocity, count=12):
    notes = [Note(k * RATE // 4, k * RATE // 4 + RATE // 5, 48 + 3 * k, velocity) for k in range(count)]
    write_midi(path, notes, (), RATE)
    return path


def load(path):
    with AudioFile(str(path)) as file:
        return file.read(file.frames)


def test_soft_and_loud_music_come_out_alike(tmp_path):
    gains = []
    for velocity in (0.4, 0.9):
        report = render_loud(music(tmp_path / "a.mid", velocity), tmp_path / "a.wav")
        assert loudness(tmp_path / "a.wav") == pytest.approx(TARGET_LUFS, abs=0.5)
        assert report.loudness == pytest.approx(TARGET_LUFS)
        gains.append(report.gain_db)
    assert gains[0] > gains[1] + 5


def test_it_is_the_same_sound_at_another_level(tmp_path):
    source = music(tmp_path / "a.mid", 0.4)
    report = render_loud(source, tmp_path / "loud.wav")
    render(source, tmp_path / "plain.wav", level_db=report.gain_db)
    loud, plain = load(tmp_path / "loud.wav"), load(tmp_path / "plain.wav")
    shorter = min(loud.shape[1], plain.shape[1])
    assert abs(loud.shape[1] - plain.shape[1]) < 2 * RATE
    np.testing.assert_allclose(loud[:, :shorter], plain[:, :shorter], atol=2e-6)


def test_the_piano_plays_once(tmp_path, monkeypatch):
    opened = []
    open_piano = loudness_module.open_piano
    monkeypatch.setattr(loudness_module, "open_piano", lambda *given: opened.append(1) or open_piano(*given))
    render_loud(music(tmp_path / "a.mid", 0.5), tmp_path / "a.wav")
    assert len(opened) == 1


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    source = music(tmp_path / "a.mid", 0.5)

    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(loudness_module, "TemporaryFile", Full)
    with pytest.raises(OutputError, match="No space left"):
        render_loud(source, tmp_path / "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mid"]


@pytest.mark.parametrize("play", [render, render_loud])
def test_progress_goes_to_the_end_of_the_audio(tmp_path, play):
    told = []
    report = play(
        music(tmp_path / "a.mid", 0.5), tmp_path / "a.wav", progress=lambda *word: told.append(word)
    )
    done, total = zip(*told, strict=True)
    assert len(done) > 5 and sorted(done) == list(done) and done[-1] == report.seconds
    assert set(total) == {(11 * (RATE // 4) + RATE // 5) / RATE}
