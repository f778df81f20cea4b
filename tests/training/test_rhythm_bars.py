"""First beats of bars: learned from accents, and placed so that bars are whole."""

import numpy as np
import pytest
import torch

from inference.events import Beat
from inference.rhythm.bars import ACCENTS, BarNetwork, accents, beat_frames, hear_bars, place_bars
from inference.rhythm.config import FUSED, MTMS
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.listener import RhythmListener
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.train_bars import fit, separation

SETTINGS = DecodeSettings()


def beats(count, period=22_050):
    return [Beat(i * period, 0, 1, 0.8) for i in range(count)]


def music(meter, count=60, seed=0, first=0):
    """Features in which each downbeat brings a new chord and a bass, and the frames of its beats."""
    random = np.random.default_rng(seed)
    frames = 20 + np.arange(count) * 25
    seen = np.zeros((frames[-1] + 60, 150), np.float32)
    chord = np.zeros(128)
    for index, frame in enumerate(frames):
        if (index - first) % meter == 0:
            chord = random.uniform(0, 4, 128) * (random.random(128) < 0.2)
        seen[frame : frame + 25, 22:] = chord + random.normal(0, 0.3, 128)
        seen[frame : frame + 6, : 4 if (index - first) % meter == 0 else 1] += 3
        seen[frame : frame + 6, 8] += random.uniform(1, 3)
    return seen, frames, (np.arange(count) - first) % meter == 0


def test_a_network_learns_where_bars_begin():
    examples = []
    for seed in range(12):
        seen, frames, down = music(2 + seed % 3, seed=seed, first=seed % 2)
        examples.append((torch.from_numpy(accents(seen, frames)), torch.from_numpy(down.astype(np.float32))))
    network = fit(examples[:9], steps=60, batch=4)
    assert separation(network, examples[9:]) > 0.9
    seen, frames, down = music(3, seed=77, first=1)
    logits = hear_bars(network, seen, frames)
    assert logits[down].mean() > logits[~down].mean() + 1
    placed = place_bars(beats(60), logits, SETTINGS)
    assert [beat.position for beat in placed] == [(i - 1) % 3 for i in range(60)]
    assert {beat.of for beat in placed[1:]} == {3}


def test_a_network_that_learned_nothing_separates_nothing():
    example = torch.zeros(30, ACCENTS), (torch.arange(30) % 3 == 0).float()
    # Only the edges differ, where its convolutions see fewer beats.
    assert separation(BarNetwork().eval(), [example]) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40])
def test_accents_are_finite_for_any_number_of_beats(count):
    seen = np.random.default_rng(0).random((200, 150), np.float32)
    found = accents(seen, np.linspace(0, 400, count).astype(np.int64))
    assert found.shape == (count, ACCENTS) and np.isfinite(found).all()
    assert np.isfinite(accents(np.zeros((9, 150), np.float32), np.arange(count))).all()


def test_accents_do_not_depend_on_what_all_beats_share():
    seen, frames, _ = music(4)
    louder = seen.copy()
    louder[:, 22:] += 1.0  # ten times the power
    assert np.allclose(accents(seen, frames), accents(louder, frames), atol=0.02)


@pytest.mark.parametrize("meter", [2, 3, 4])
def test_bars_outlast_doubtful_beats(meter):
    down = np.arange(48) % meter == 1
    logits = np.where(down, 1.5, -1.5).astype(np.float32)
    logits[20:26] *= -0.3
    placed = place_bars(beats(48), logits, SETTINGS)
    assert [beat.position == 0 for beat in placed[1:]] == down[1:].tolist()
    assert {beat.of for beat in placed[1:]} == {meter}
    assert [beat.time for beat in placed] == [beat.time for beat in beats(48)]


def test_hinted_meters_are_kept_to():
    logits = np.where(np.arange(48) % 4 == 0, 2.0, -2.0).astype(np.float32)
    assert {beat.of for beat in place_bars(beats(48), logits, DecodeSettings(meters=(3,)))} == {3}
    assert place_bars([], logits[:0], SETTINGS) == ()


def test_beats_find_their_frames():
    config = FUSED.front_end
    times = [frame * config.hop - config.early for frame in (3, 10, 500)]
    assert beat_frames([Beat(t, 0, 1, 1.0) for t in times], config).tolist() == [3, 10, 500]


def test_bars_need_the_fused_input():
    with pytest.raises(ValueError, match="fused"):
        RhythmListener(RhythmNetwork(MTMS), bars=BarNetwork())
