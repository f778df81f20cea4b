"""What the live network and the dynamics learn from, and that they learn."""

from dataclasses import replace

import mido
import numpy as np
import pytest
import torch

from inference.events import Note
from inference.rhythm import load
from inference.rhythm.dynamics import (
    CUES,
    DynamicsEnsemble,
    DynamicsSettings,
    cues,
    decode_dynamics,
    hear_dynamics,
)
from inference.rhythm.evaluate_dynamics import best_bounds, change_hits, class_f1
from inference.rhythm.labels import frame_targets
from inference.rhythm.noted_dynamics import NOTE_CUES, SHARE, hear_noted_dynamics, note_cues
from inference.rhythm.struck import LIVE, StruckNetwork
from inference.rhythm.train_dynamics import (
    LONGEST_S,
    Example,
    Marked,
    collect_noted,
    fit,
    fit_members,
    stretches,
)
from inference.rhythm.train_struck import SpoilConfig, StruckRun, batches, excerpt, run, spoilt, struck_loss
from inference.training.beats import NO_BEATS, BeatTable
from inference.training.corpus import RATE
from inference.training.loop import LoopConfig
from inference.training.notes import NoteTable
from inference.training.unmusical import unmusical

torch.set_num_threads(1)


def piece(seconds=60.0, interval=0.5, seed=0):
    """Bass on the beat, other notes between: a performance and its beats."""
    random = np.random.default_rng(seed)
    beats = np.arange(1.0, seconds, interval)
    onset = np.sort(np.concatenate([beats, beats + interval / 2]))
    pitch = np.where(np.isin(onset, beats), 40, 70) + random.integers(0, 5, len(onset))
    onset = onset.astype(np.float32)
    notes = NoteTable(onset, onset + 0.2, onset + 0.2, pitch, np.full(len(onset), 0.5, np.float32))
    return notes, BeatTable(beats, np.arange(len(beats)) % 4 == 0, np.zeros(len(beats), np.int64))


CLEAN = SpoilConfig(0, 0, 0, 0, 1, 1)


def test_notes_and_targets_of_an_excerpt_belong_together():
    notes, beats = piece()
    frames, beat, downbeat = excerpt(notes, beats, 20.0, 50, CLEAN, np.random.default_rng(3))
    assert frames.shape == (1_000, 91) and beat.sum() > 20 and beat.sum() >= 3 * downbeat.sum() > 0
    at = np.flatnonzero(beat)
    low = frames[:, :30].any(1)  # the bass, in any key
    assert np.mean([low[max(k - 1, 0) : k + 2].any() for k in at]) == 1.0


def test_notes_are_spoilt_as_a_transcription_is():
    notes, _ = piece(300)
    onset, pitch, velocity = spoilt(notes, SpoilConfig(), np.random.default_rng(0))
    assert len(onset) == len(pitch) == len(velocity) and len(onset) != len(notes)
    assert (velocity > 0).all() and (velocity <= 1).all()
    clean, _, _ = spoilt(notes, CLEAN, np.random.default_rng(0))
    assert np.allclose(np.sort(clean), np.sort(notes.onset))


def test_the_network_learns_beats_in_a_few_steps(tmp_path):
    torch.manual_seed(0)
    settings = StruckRun(tmp_path, tmp_path, batch=4, seconds=20.0, pop=0.0, spoil=CLEAN)
    network = StruckNetwork(replace(LIVE, channels=16, depth=5))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    stream = batches(settings, [[piece(seed=seed) for seed in range(4)]])
    losses = []
    for _ in range(25):
        loss = struck_loss(network, next(stream))
        optimiser.zero_grad()
        loss["total"].backward()
        optimiser.step()
        losses.append(float(loss["beat"].detach()))
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])


def test_a_run_without_music_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="performances"):
        run(StruckRun(tmp_path, tmp_path / "run", loop=LoopConfig(minutes=0.01, ranks=1)))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_unmusical_is_sound_all_the_same(seed):
    audio = unmusical(np.random.default_rng(seed), 10 * RATE)
    assert audio.dtype == np.float32 and len(audio) == 10 * RATE
    assert 0.05 < np.abs(audio).max() <= 0.5 and np.isfinite(audio).all()


def test_no_beats_are_targets_too():
    targets = frame_targets(NO_BEATS, 100, load().config)
    assert not targets.beat.any() and not targets.downbeat.any() and np.isnan(targets.change).all()


def test_f1_of_classes_is_that_of_the_definition():
    printed, heard = np.array([2, 2, 2, 4]), np.array([2, 2, 4, 4])
    weighted, macro = class_f1(printed, heard)
    assert macro == pytest.approx((0.8 + 2 / 3) / 2) and weighted == pytest.approx(0.75 * 0.8 + 0.25 * 2 / 3)


def test_changes_hit_within_their_reach_and_once():
    printed = np.array([0, 0, 2, 2, 2, 4, 4, 4, 4])
    heard = np.array([1, 2, 2, 2, 4, 4, 4, 1, 1])
    assert change_hits(printed, heard, 0) == (0, 2, 1)
    assert change_hits(printed, heard, 1) == (1, 2, 1)


def loud(classes, seed, beats_s=0.5):
    """What a listener sees of a tone whose level follows classes, and the frames of the beats."""
    listener, random = load(), np.random.default_rng(seed)
    rate = listener.rate
    level = np.repeat(10 ** ((np.array(classes) - 5) * 0.35), int(beats_s * rate))
    time = np.arange(len(level)) / rate
    decay = np.exp(-(time % beats_s) * 4)
    audio = level * decay * np.sin(2 * np.pi * random.uniform(200, 500) * time)
    frames = np.rint(np.arange(len(classes)) * beats_s * 50).astype(np.int64)
    return listener, audio.astype(np.float32) * 0.5, frames


def sequence(seed):
    random = np.random.default_rng(seed)
    return np.repeat(random.integers(1, 6, 12), 8)


def test_dynamics_are_learned_and_level_does_not_matter():
    examples = []
    for seed in range(10):
        listener, audio, frames = loud(sequence(seed), seed)
        seen = listener.hear(audio).seen
        examples.append(Example(str(seed), cues(seen, frames), sequence(seed)))
    network = fit(examples[:8], steps=60, batch=4)
    listener, audio, frames = loud(sequence(9), 9)
    found = []
    for gain in (1.0, 0.1, 0.5):
        heard = hear_dynamics(network, listener.hear(audio * np.float32(gain)).seen, frames)
        found.append(decode_dynamics(heard, DynamicsSettings()))
    assert np.mean(found[0] == sequence(9)) > 0.6
    assert np.mean(np.abs(found[0] - sequence(9))) < 0.5
    for other in found[1:]:
        assert np.mean(other == found[0]) >= 0.95


def test_members_are_asked_together_and_come_back_from_their_tensors():
    random = np.random.default_rng(0)
    draw = [random.normal(0, 1, (90, 7)).astype(np.float32) for _ in range(2)]
    examples = [Example(str(i), x, sequence(i)[:90]) for i, x in enumerate(draw)]
    both = fit_members(examples, 2, steps=3, seed=4)
    again = DynamicsEnsemble.of({name: value.clone() for name, value in both.state_dict().items()}, 7)
    x = torch.from_numpy(examples[0].cues)[None]
    told, alone = again(x), [member(x) for member in both.members]
    expected = sum(classes.log_softmax(-1) for classes, _ in alone) / 2
    torch.testing.assert_close(told[0], expected)
    torch.testing.assert_close(told[1], (alone[0][1] + alone[1][1]) / 2)
    assert not torch.allclose(alone[0][0], alone[1][0])


def test_shipped_dynamics_do_not_depend_on_level():
    listener, audio, frames = loud(sequence(3), 3)
    assert listener.dynamics is not None
    found = [
        decode_dynamics(
            hear_dynamics(listener.dynamics, listener.hear(audio * gain).seen, frames), listener.loudness
        )
        for gain in (np.float32(1), np.float32(0.1))
    ]
    assert np.mean(found[0] == found[1]) >= 0.95 and len(set(found[0])) > 1


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_cues_of_any_number_of_beats(count):
    seen = np.random.default_rng(0).random((300, 150)).astype(np.float32)
    found = cues(seen, np.arange(count) * 7)
    assert found.shape == (count, CUES) and np.isfinite(found).all()


def struck(classes, seed, beats_s=0.5):
    """Rows of notes that are struck as hard as classes say, four to a beat, and the beats."""
    random = np.random.default_rng(seed)
    beats = np.arange(len(classes)) * beats_s
    onset = (beats[:, None] + np.arange(4) / 4 * beats_s).ravel()
    velocity = np.repeat(np.array(classes) / 6.0, 4) * random.uniform(0.9, 1.1, 4 * len(classes))
    return np.stack([onset, random.integers(40, 80, len(onset)), velocity], 1), beats


def noted_cues(notes, beats):
    return note_cues(notes[:, 0], notes[:, 1].astype(np.int64), notes[:, 2], beats)


def test_dynamics_are_learned_from_notes_and_how_hard_all_are_struck_does_not_matter():
    examples = [Example(str(s), noted_cues(*struck(sequence(s), s)), sequence(s)) for s in range(9)]
    network = fit(examples[:8], steps=80, batch=4, unseen=0.2)
    notes, beats = struck(sequence(8), 8)
    found = []
    for touch in (1.0, 0.5):
        heard = hear_noted_dynamics(network, notes * (1, 1, touch), beats)
        found.append(decode_dynamics(heard, DynamicsSettings()))
    assert np.mean(found[0] == sequence(8)) > 0.6
    assert np.mean(found[0] == found[1]) >= 0.95


@pytest.mark.parametrize("count", [2, 3, 40])
def test_note_cues_of_any_beats_and_notes(count):
    beats = np.arange(count) * 0.4 + 10
    everywhere, _ = struck(np.full(50, 3), 0)
    for notes in (everywhere[:0], everywhere[:1], everywhere[:4], everywhere, everywhere + (10, 0, 0)):
        found = noted_cues(notes, beats)
        assert found.shape == (count, NOTE_CUES) and np.isfinite(found).all()


def test_a_listener_asks_the_notes_too_where_it_is_told_them():
    listener, audio, _ = loud(sequence(3), 3)
    notes, beats = struck(np.roll(sequence(3), 40), 3)
    told = [
        Note(round(at * listener.rate), round((at + 0.1) * listener.rate), int(pitch), float(velocity))
        for at, pitch, velocity in notes
    ]
    with_notes, without = listener.hear(audio, told), listener.hear(audio)
    alone = listener.heard(without, beats)
    said = hear_noted_dynamics(listener.noted_dynamics, with_notes.noted.struck / (50, 1, 1), beats)
    expected = (1 - SHARE) * alone.classes + SHARE * said.classes
    np.testing.assert_allclose(listener.heard(with_notes, beats).classes, expected, atol=1e-5)
    assert not np.allclose(alone.classes, expected, atol=0.05)


def test_the_best_bounds_are_the_best():
    loud = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2])
    printed = np.array([4, 1, 5, 2, 4, 2])
    assert (best_bounds(printed, loud) == printed).all()
    assert (best_bounds(np.array([5, 1]), np.array([0.1, 0.9])) == [5, 1]).sum() == 1
    random = np.random.default_rng(0)
    loud, printed = random.random(40), random.integers(0, 6, 40)
    most = (best_bounds(printed, loud) == printed).sum()
    for _ in range(300):
        assert most >= (1 + np.searchsorted(np.sort(random.random(4)), loud) == printed).sum()


@pytest.mark.parametrize("seconds, number", [(100, 1), (LONGEST_S - 1, 1), (LONGEST_S + 60, 2), (700, 5)])
def test_a_long_performance_is_heard_in_stretches_that_begin_at_zero(tmp_path, seconds, number):
    file = mido.MidiFile(ticks_per_beat=1_000)
    track = file.add_track("")
    for _ in range(int(seconds / 0.5)):
        track.append(mido.Message("note_on", note=60, velocity=70, time=800))
        track.append(mido.Message("note_off", note=60, time=200))
    file.save(tmp_path / "played.mid")
    time = 0.4 + 0.5 * np.arange(int(seconds / 0.5))
    dynamics = np.where(time < 0.5 * seconds, 2, 4)
    marked = Marked(tmp_path / "played.mid", BeatTable(time, np.arange(len(time)) % 4 == 0, dynamics))
    found = list(stretches(marked, np.random.default_rng(0)))
    assert len(found) == number
    for notes, beats in found:
        assert -0.5 <= beats.time[0] <= 1 and beats.time[-1] < LONGEST_S and (np.diff(beats.time) > 0).all()
        assert np.abs(notes.onset[:, None] - beats.time).min(0).max() < 0.02
    assert (found[0][1].dynamics[:100] == 2).all()
    assert len(collect_noted([marked], 0, copies=2)) == 2 * number
