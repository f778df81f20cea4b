"""The training diet: what is rendered matches its labels, and the same seed gives the same music."""

from itertools import combinations

import mido
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from inference.features import LogFrequencySpectrogram
from inference.piano.config import LIGHT, NoteState
from inference.piano.mix import Mix, MixConfig
from inference.training.augment import Augment, AugmentConfig
from inference.training.codecs import LOSSY, coded
from inference.training.corpus import (
    RATE,
    Recording,
    cut_repeats,
    open_performances,
    open_recordings,
    read_performance,
    save_performances,
    save_recordings,
)
from inference.training.pianos import read_banks, save_banks
from inference.training.sampler import Sampler, _lag, _play, _ringing
from tests.training.music import bank, chance, performance, table

ONE = np.ones(1, np.float32)


def sampler(**changes):
    return Sampler([performance()], [bank()], ONE, **changes)


def test_sampled_notes_sound_where_their_labels_are():
    heard = 0
    for seed in range(12):
        excerpt = sampler().excerpt(np.random.default_rng(seed), 4 * RATE)
        if excerpt is None:
            continue
        audio, notes, _ = excerpt
        for onset in notes.onset[(notes.onset > 0.1) & (notes.onset < 3.9)]:
            others = np.append(notes.onset[notes.onset != onset], np.inf)
            if np.abs(others - onset).min() < 0.05:
                continue
            at = int(onset * RATE)
            change = np.abs(np.diff(audio))
            before, after = change[at - 160 : at - 8].max(), change[at : at + 160].max()
            heard += after > before * 0.5
    assert heard > 20


def test_dampers_touch_when_keys_are_up_or_a_little_later():
    lags = [_lag(np.random.default_rng(seed), 50) for seed in range(40)]
    assert all((lag >= 0).all() and (lag < 0.135 + 1e-6).all() for lag in lags)
    late = [lag for lag in lags if lag.any()]
    assert 10 < len(late) < 35 and all(np.ptp(lag) > 0 for lag in late)
    assert max(lag.max() for lag in late) > 0.09


def test_dampers_leave_some_of_a_tone_and_it_fades():
    steady = np.full(4 * RATE, 16_000, np.int16)
    row = {"begin": [0], "end": [len(steady)], "start": [0], "stop": [RATE]}
    places = {name: np.array(value, np.int64) for name, value in row.items()}
    out = np.zeros(3 * RATE, np.float32)
    _play(
        steady,
        *(places["begin"], places["end"], ONE, ONE, places["start"], places["stop"]),
        *(ONE * 0.02 * RATE, ONE * 0.5 * RATE, ONE * 0.1),
        out,
    )
    held = out[RATE // 2]
    for after in (0.2, 0.5, 1.0):
        assert out[int((1 + after) * RATE)] / held == pytest.approx(0.1 * np.exp(-after / 0.5), rel=0.01)
    pitch = np.arange(21, 109)
    shares = [_ringing(np.random.default_rng(seed), pitch)[1] for seed in range(100)]
    assert 25 < sum(not share.any() for share in shares) < 55
    assert all((share >= 0).all() and (share < 0.71).all() for share in shares)


def test_an_excerpt_has_music_pitches_of_a_piano_and_sane_levels():
    audio, notes, pedal = sampler().excerpt(np.random.default_rng(3), 4 * RATE)
    assert audio.shape == (4 * RATE,) and np.isfinite(audio).all()
    assert 0.01 < np.abs(audio).max() <= 1
    assert notes.pitch.min() >= 21 and notes.pitch.max() <= 108
    assert (notes.offset > notes.onset).all() and pedal.shape[1] == 2


def mix(seed, recorded=0.5):
    random = np.random.default_rng(0)
    noise = (random.standard_normal(20 * RATE) * 3000).astype(np.int16)
    recording = Recording("a_b", "b", noise, table(chance(1, 80, 20.0)))
    config = MixConfig(chunk_s=1.0, batch=2, recorded=recorded)
    front = LogFrequencySpectrogram(LIGHT.front_end)
    room = np.exp(-np.arange(2000) / 300).astype(np.float32)
    return Mix(LIGHT, front, [recording], sampler(), Augment([room]), config, seed)


def test_a_batch_is_whole_and_repeatable():
    first = next(iter(mix(5)))
    again = next(iter(mix(5)))
    other = next(iter(mix(6)))
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.features, other.features)
    frames = RATE // LIGHT.hop
    assert first.features.shape == (2, frames, 3, 297)
    assert first.state.shape == (2, frames, 88) and int(first.state.max()) <= max(NoteState)
    assert torch.isfinite(first.features).all()


def test_recordings_tell_no_pedal_and_samples_do():
    assert next(iter(mix(1, recorded=1.0))).pedal.isnan().all()
    assert not next(iter(mix(1, recorded=0.0))).pedal.isnan().any()


def test_each_process_that_loads_draws_other_batches():
    loader = DataLoader(mix(5), None, num_workers=2, multiprocessing_context="fork")
    batches = [batch.features for batch, _ in zip(loader, range(4), strict=False)]
    assert not any(torch.equal(a, b) for a, b in combinations(batches, 2))


@pytest.mark.parametrize(("kind", "quality"), LOSSY)
def test_codecs_change_the_sound_and_not_its_time(kind, quality):
    random, time = np.random.default_rng(1), np.arange(RATE) / RATE
    strokes = np.zeros(2 * RATE, np.float32)
    for start in (RATE // 4, RATE):
        strokes[start : start + RATE // 2] += np.sin(1500 * time[: RATE // 2]) * np.exp(
            -9 * time[: RATE // 2]
        )
    audio = 0.3 * strokes + 0.01 * random.standard_normal(2 * RATE).astype(np.float32)
    heard = coded(audio, kind, quality)
    assert heard.dtype == np.float32 and heard.shape == audio.shape
    together = np.fft.irfft(np.fft.rfft(heard, 2 * len(audio)) * np.fft.rfft(audio, 2 * len(audio)).conj())
    assert together.argmax() == 0
    lost = np.mean((heard - audio) ** 2) / np.mean(audio**2)
    assert 1e-4 < lost < 0.1


def test_augmentation_keeps_time():
    click = torch.zeros(1, 2 * RATE)
    click[0, RATE] = 1
    loud = AugmentConfig(equaliser=1, room=1, noise=0, hum=0)
    for seed in range(5):
        heard = Augment([], loud)(click, np.random.default_rng(seed))[0]
        assert abs(int(heard.abs().argmax()) - RATE) <= 16


def test_minutes_are_noisy_to_their_end():
    random, tone = np.random.default_rng(4), torch.sin(torch.arange(90 * RATE) * 0.2)[None]
    noisy = Augment([], AugmentConfig(equaliser=0, colour=0, thin=0, room=0, distortion=0, noise=1, hum=0))
    heard = noisy(tone, random)
    assert heard.shape == tone.shape
    apart = heard - tone * (heard * tone).sum() / tone.square().sum()
    first, last = apart[:, :RATE].std(), apart[:, -RATE:].std()
    assert first > 0 and last / first == pytest.approx(1, abs=0.2)


def test_kept_data_comes_back(tmp_path):
    recordings = [Recording("x_y", "y", np.arange(100, dtype=np.int16), table(chance(2)))]
    save_recordings(recordings, tmp_path)
    (back,) = open_recordings(tmp_path)
    assert (back.audio == recordings[0].audio).all() and back.piano == "y"
    assert (back.notes.onset == recordings[0].notes.onset).all()
    save_performances([performance(1), performance(2)], tmp_path / "p.npz")
    first, second = open_performances(tmp_path / "p.npz")
    assert (second.notes.pitch == performance(2).notes.pitch).all() and first.pedal.shape == (1, 2)
    save_banks([bank("a"), bank("b")], tmp_path / "b.npz")
    names = [b.name for b in read_banks(tmp_path / "b.npz")]
    assert names == ["a", "b"]


def test_a_played_file_is_read_with_its_pedal(tmp_path):
    track = mido.MidiTrack(
        [
            mido.Message("note_on", note=60, velocity=80, time=0),
            mido.Message("control_change", control=64, value=127, time=240),
            mido.Message("note_off", note=60, time=240),
            mido.Message("control_change", control=64, value=0, time=480),
            mido.Message("note_on", note=62, velocity=40, time=0),
            mido.Message("note_off", note=62, time=480),
        ]
    )
    file = mido.MidiFile(ticks_per_beat=480, tracks=[track])
    file.save(tmp_path / "a.mid")
    played = read_performance(tmp_path / "a.mid")
    assert played.notes.onset == pytest.approx([0, 1.0])
    assert played.notes.release == pytest.approx([0.5, 1.5])
    assert played.notes.offset == pytest.approx([1.0, 1.5]), "the pedal holds the first"
    assert played.pedal.tolist() == [[0.25, 1.0]]


def test_repeated_keys_end_the_note_before():
    cut = cut_repeats(table([(0, 2, 1.5, 60, 0.5), (1, 3, 3, 60, 0.5), (1, 1.005, 1.005, 61, 0.5)]))
    assert cut.offset.tolist() == [1, 3] and cut.release.tolist() == [1, 3]


def test_some_chunks_are_noise_alone_and_nothing_is_to_be_heard_in_them():
    front = LogFrequencySpectrogram(LIGHT.front_end)
    config = MixConfig(chunk_s=1.0, batch=4, silent=1.0)
    batch = Mix(LIGHT, front, [], sampler(), Augment([], AugmentConfig(noise=1.0)), config, 3).draw(
        np.random.default_rng(3)
    )
    assert not batch.state.any() and not batch.pedal.any()
    loudness = batch.features.mean((1, 2, 3))
    assert torch.isfinite(batch.features).all()
    assert loudness.max() - loudness.min() > 0.1, "noise of all levels"


def test_an_excerpt_is_heard_with_its_notes():
    one = mix(4).heard(np.random.default_rng(4), 3.0)
    assert one.audio.dtype == np.int16 and len(one.audio) == 3 * RATE
    assert np.abs(one.audio.astype(int)).max() == 32_000
    assert len(one.notes) and (one.notes.onset < 3.5).all()
    again = mix(4).heard(np.random.default_rng(4), 3.0)
    assert np.array_equal(one.audio, again.audio)
