"""Audio is read block by block, and what cannot be read is met with a reason."""

import io

import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge.errors import AudioError, UsageError
from bridge.studio.audio import audio_suffixes, open_audio, open_raw

RATE = 16_000


def save(path, audio, rate=RATE, **options):
    audio = np.atleast_2d(np.asarray(audio, np.float32))
    with AudioFile(str(path), "w", rate, len(audio), **options) as file:
        file.write(audio)
    return path


def everything(source):
    return np.concatenate(list(source.blocks()), axis=1)


def burst(at, length=40_000):
    audio = np.zeros((1, length), np.float32)
    audio[0, at : at + 400] = 0.8 * np.sin(np.arange(400) * 0.3) * np.hanning(400)
    return audio


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "ogg", "mp3"])
def test_every_format_keeps_the_time_of_a_sound(tmp_path, kind):
    # mp3 too: its encoder's delay is taken away.
    sound = burst(20_000)
    source = open_audio(save(tmp_path / f"x.{kind}", sound, 44_100))
    heard = everything(source)
    assert heard.dtype == np.float32 and heard.shape == sound.shape and source.samples == 40_000
    assert np.argmax(np.correlate(heard[0], sound[0, 20_000:20_400], "valid")) == 20_000
    assert not source.warnings and f".{kind}" in audio_suffixes()


def test_blocks_do_not_depend_on_length(tmp_path):
    noise = np.random.default_rng(0).standard_normal((2, 50_000)).astype(np.float32) / 8
    source = open_audio(save(tmp_path / "x.wav", noise, bit_depth=32))
    blocks = list(source.blocks())
    assert max(block.shape[1] for block in blocks) < 20_000 and source.seconds == 50_000 / RATE
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), noise)


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "ogg", "mp3"])
@pytest.mark.parametrize("data", [b"", b"\x00" * 2000, bytes(range(256)) * 20])
def test_files_that_are_not_audio_are_refused(tmp_path, kind, data):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        list(open_audio(path).blocks())
    assert path.name in str(caught.value) and caught.value.remedy


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(AudioError, match="no audio file"):
        open_audio(tmp_path / "x.wav")
    with pytest.raises(AudioError, match="is a folder"):
        open_audio(tmp_path)


def test_no_samples_is_refused_and_one_is_heard(tmp_path):
    with pytest.raises(AudioError, match="holds no samples"):
        open_audio(save(tmp_path / "none.wav", np.zeros((2, 0))))
    assert everything(open_audio(save(tmp_path / "one.wav", [[0.5]]))).shape == (1, 1)


def test_samples_that_are_no_number_are_silence(tmp_path):
    audio = np.full((1, 100), 0.25)
    audio[0, 3:6] = np.nan, np.inf, -np.inf
    source = open_audio(save(tmp_path / "x.wav", audio, bit_depth=32))
    heard = everything(source)
    assert np.isfinite(heard).all() and (heard == 0).sum() == 3
    assert source.warnings == ["3 samples were not finite numbers and were heard as silence"]


def test_silence_is_said(tmp_path):
    source = open_audio(save(tmp_path / "x.wav", np.zeros(1000)))
    everything(source)
    assert source.warnings == ["the audio is silent from beginning to end"]


@pytest.mark.parametrize("kind", ["wav", "aiff"])
def test_a_file_that_is_cut_off_is_heard_with_a_warning(tmp_path, kind):
    path = save(tmp_path / f"x.{kind}", burst(100))
    path.write_bytes(path.read_bytes()[:40_000])
    source = open_audio(path)
    assert everything(source)[0, :1000].any()
    assert source.warnings == [
        "the file is cut off: about 1.2 s at the end are missing and are heard as silence"
    ]


def test_a_flac_that_is_cut_off_gives_what_it_has(tmp_path):
    noise = np.random.default_rng(0).standard_normal((1, 100_000)) / 8
    path = save(tmp_path / "x.flac", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert everything(open_audio(path))[0, :32_000].reshape(32, -1).any(axis=1).all()


def test_more_channels_than_two_must_be_chosen_from(tmp_path):
    audio = np.arange(1, 9)[:, None] / 16 * np.ones((1, 50))
    path = save(tmp_path / "x.wav", audio, bit_depth=32)
    with pytest.raises(AudioError) as caught:
        open_audio(path)
    assert str(caught.value) == "x.wav has 8 channels; systems hear 1 or 2. Choose with --channels 1,2."
    np.testing.assert_allclose(everything(open_audio(path, [7, 2])), audio[[6, 1]])
    np.testing.assert_allclose(everything(open_audio(path, [3])), audio[[2]])
    with pytest.raises(AudioError, match="no channel 9"):
        open_audio(path, [9])
    for wrong in ([], [1, 2, 3], [1, 1]):
        with pytest.raises(UsageError, match="systems hear 1 or 2"):
            open_audio(path, wrong)


class Dribble(io.RawIOBase):
    """Gives few bytes at a time, as a pipe does."""

    def __init__(self, data, sizes):
        self.data, self.sizes, self.turn = data, sizes, 0

    def read(self, size=-1):
        count = min(size, self.sizes[self.turn % len(self.sizes)])
        self.turn += 1
        out, self.data = self.data[:count], self.data[count:]
        return out


@pytest.mark.parametrize("kind, dtype, scale", [("s16le", "<i2", 32768), ("f32le", "<f4", 1)])
def test_raw_streams_are_read_however_they_dribble(kind, dtype, scale):
    samples = (np.random.default_rng(1).uniform(-0.5, 0.5, (1000, 2)) * scale).astype(dtype)
    source = open_raw(Dribble(samples.tobytes(), [1, 7, 4096, 3]), RATE, 2, kind)
    assert source.samples is None and source.seconds is None
    np.testing.assert_allclose(everything(source), samples.T / scale, rtol=1e-6)
    assert not source.warnings


def test_bytes_left_over_in_a_raw_stream_are_said():
    source = open_raw(io.BytesIO(np.ones(10, "<i2").tobytes() + b"x"), RATE, 2)
    assert everything(source).shape == (2, 5)
    assert source.warnings == ["1 bytes at the end do not make a whole sample and were left out"]


def test_raw_streams_must_make_sense():
    for arguments in ((0, 1), (RATE, 0), (RATE, 1, "mp3")):
        with pytest.raises((UsageError, AudioError)) as caught:
            open_raw(io.BytesIO(), *arguments)
        assert caught.value.remedy
    with pytest.raises(AudioError, match="has 4 channels"):
        open_raw(io.BytesIO(), RATE, 4)
    assert open_raw(io.BytesIO(), RATE, 4, pick=[4]).channels == 1
