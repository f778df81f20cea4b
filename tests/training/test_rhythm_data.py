"""What the rhythm network learns from: beats on the right frames, losses that allow what they should."""

import mido
import numpy as np
import pytest
import torch

from inference.rhythm.bars import frame_of
from inference.rhythm.config import FUSED, MTMS, Task
from inference.rhythm.labels import UNKNOWN, frame_targets
from inference.rhythm.losses import LossConfig, dynamics_loss, rhythm_loss, tolerant_bce
from inference.rhythm.mix import Mix, MixConfig
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.train import RhythmRun, with_beats
from inference.training.augment import Augment, AugmentConfig
from inference.training.beats import BeatTable, beats_file, read_beats, with_played_dynamics
from inference.training.corpus import RATE, Performance, Recording
from inference.training.prepare import performance_files
from inference.training.sampler import Sampler
from tests.training.music import bank, performance, table

FRONT_END = MTMS.front_end


def beats(times, downbeats=(), dynamics=None):
    times = np.array(times, np.float64)
    down = np.isin(np.arange(len(times)), downbeats)
    classes = np.zeros(len(times), np.int64) if dynamics is None else np.array(dynamics)
    return BeatTable(times, down, classes)


@pytest.mark.parametrize(
    "text",
    [
        "0.5\t0.5\tdb,3/4,-4\n1.0\t1.0\tb\n1.5\t1.5\tbR\n2.0\t2.0\tdb\n",
        "0.5\tdb,3/4,-4\n1.0\tb\n1.5\tb\n2.0\tdb\n",
    ],
    ids=["asap", "acpas"],
)
def test_annotations_are_read(tmp_path, text):
    path = tmp_path / "take_annotations.txt"
    path.write_text(text)
    found = read_beats(path)
    assert found.time.tolist() == [0.5, 1, 1.5, 2] and found.downbeat.tolist() == [True, False, False, True]
    assert beats_file(tmp_path / "take.mid") == path


def test_a_beat_written_twice_counts_once(tmp_path):
    path = tmp_path / "take.beats.tsv"
    path.write_text("0.5\tdb\n0.5\tdb\n1.0\tb\n")
    assert read_beats(path).time.tolist() == [0.5, 1.0]


def test_events_lie_on_the_frame_nearest_to_them():
    targets = frame_targets(beats([0.5, 1.0, 99], [1]), 100, FRONT_END)
    assert np.flatnonzero(targets.beat).tolist() == [25, 50]
    assert np.flatnonzero(targets.downbeat).tolist() == [50]
    centre = (frame_of(np.array([0.73]), FRONT_END)[0] * FRONT_END.hop - FRONT_END.early) / FRONT_END.rate
    assert abs(centre - 0.73) <= FRONT_END.hop / FRONT_END.rate / 2


def test_dynamics_change_where_their_class_does():
    targets = frame_targets(beats([0.1, 0.5, 0.9, 1.3], dynamics=[3, 5, 5, 2]), 80, FRONT_END)
    assert np.flatnonzero(targets.change).tolist() == [25, 65]
    assert targets.dynamics[[5, 25, 45, 65]].tolist() == [3, 5, 5, 2]
    assert (targets.dynamics == UNKNOWN).sum() == 76
    assert np.isnan(frame_targets(beats([0.5]), 80, FRONT_END).change).all(), "nobody knows"


def test_played_dynamics_rank_what_is_loud():
    times = np.arange(40) * 0.5
    rows = [(t, t + 0.2, t + 0.2, 60, 0.2 + 0.6 * (t >= 10)) for t in times]
    found = with_played_dynamics(beats(times), table(rows)).dynamics
    assert found[:15].max() < found[25:].min()
    same = with_played_dynamics(beats(times), table([(*r[:4], r[4] / 2) for r in rows])).dynamics
    assert (found == same).all(), "only the order counts"


def logits_at(frames, length=100, high=6.0):
    logits = torch.full((1, length), -6.0)
    logits[0, frames] = high
    return logits


def test_an_event_may_be_three_frames_off_but_not_four():
    target = torch.zeros(1, 100)
    target[0, 50] = 1
    exact, near, far, missing = (
        float(tolerant_bce(logits_at(at), target, 10.0)) for at in ([50], [53], [54], [])
    )
    assert exact == pytest.approx(near) and exact < 0.01
    assert far > missing > 50 * exact, "it misses the event, and is a false alarm"
    false_alarm = float(tolerant_bce(logits_at([50, 70]), target, 10.0))
    assert false_alarm > 50 * exact


def test_unknown_targets_teach_nothing():
    logits = torch.randn(2, 100, requires_grad=True)
    target = torch.zeros(2, 100)
    target[1] = torch.nan
    tolerant_bce(logits, target, 10.0).backward()
    assert logits.grad[0].abs().sum() > 0 and not logits.grad[1].any()
    classes = torch.randn(1, 50, 6, requires_grad=True)
    dynamics_loss(classes, torch.full((1, 50), UNKNOWN)).backward()
    assert not classes.grad.any()


def mix(seed=0, **changes):
    played = performance()
    times = beats(np.arange(0.5, 119, 0.5), range(0, 240, 4))
    recording = Recording(
        "take_piano", "piano", (np.sin(np.arange(40 * RATE) / 5) * 9_000).astype(np.int16), table([])
    )
    config = MixConfig(**{"chunk_s": 12.0, "batch": 3, "fresh": 2, "kept": 4, **changes})
    augment = Augment([], AugmentConfig(room=0.0, noise=0.0))
    sampler = Sampler([played], [bank()], np.ones(1, np.float32))
    return Mix(
        FUSED.front_end,
        [(recording, beats(np.arange(0.25, 40, 1.0), range(0, 40, 3)))],
        [(played, with_played_dynamics(times, played.notes))],
        sampler,
        augment,
        config,
        seed,
    )


def test_batches_have_beats_and_are_the_same_for_the_same_seed():
    (first, second), (again, _) = (
        [next(source) for _ in range(2)] for source in (iter(mix(3)), iter(mix(3)))
    )
    assert first.features.shape == (2, 600, 150) and second.features.shape == (3, 600, 150)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True) if not a.isnan().any())
    assert (first.beat.sum(1) > 3).all() and (first.downbeat <= first.beat).all()
    assert not torch.equal(second.features[2], first.features[0]), "heard again, but not the same"


@pytest.mark.parametrize("recorded", [0.0, 1.0])
def test_beats_lie_where_the_music_has_them(recorded):
    """Clicks on the beats, recorded or played, are heard in the frames that are labelled."""
    source = mix(recorded=recorded)
    times = np.arange(1.0, 39, 0.8)
    click = np.zeros(40 * RATE, np.int16)
    for time in times:
        click[int(time * RATE) : int(time * RATE) + 40] = 20_000
    source.recordings = [(Recording("click_piano", "piano", click, table([])), beats(times))]
    rows = [(t, t + 0.3, t + 0.3, 72, 0.7) for t in times]
    source.performances = [(Performance("click", table(rows), np.zeros((0, 2), np.float32)), beats(times))]
    source.augment = lambda audio, random: audio
    hits = count = 0
    for seed in range(3):
        heard = source.excerpt(np.random.default_rng(seed))
        energy = (10 ** heard.powers.float()).sum(-1).numpy()
        rise = np.diff(np.log(energy + 1), prepend=0)
        for frame in np.flatnonzero(heard.targets.beat):
            if 10 < frame < 590:
                peak = frame - 4 + int(rise[frame - 4 : frame + 5].argmax())
                hits, count = hits + (abs(peak - frame) <= 2), count + 1
    assert count > 15 and hits == count


def test_the_network_learns_from_the_diet():
    torch.manual_seed(0)
    network, source = RhythmNetwork(FUSED).train(), iter(mix(fresh=1))
    batch = next(source)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    totals = []
    for _ in range(12):
        losses = rhythm_loss(network, batch, LossConfig())
        assert set(losses) == {"total", *map(str, Task)}
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        totals.append(float(losses["total"].detach()))
    assert totals[-1] < 0.85 * totals[0]


def test_training_files_are_those_of_the_training_folders(tmp_path):
    for name in ("asap/train/a/one.mid", "asap/train/a/midi_score.mid", "asap/validation/b/two.mid"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mido.MidiFile().save(path)
    settings = RhythmRun(tmp_path, tmp_path / "run")
    assert [
        path.name for path in performance_files(settings.data, settings.seed, settings.performances_per_piece)
    ] == ["one.mid"]


def test_music_without_beats_is_left_out(tmp_path, caplog):
    (tmp_path / "known.beats.tsv").write_text("\n".join(f"{t}\tb" for t in range(10)))
    notes = table([(t, t + 1, t + 1, 60, 0.5) for t in range(10)])
    music = [Recording(name, "", np.zeros(9, np.int16), notes) for name in ("known", "unknown")]
    assert [one.name for one, _ in with_beats(music, tmp_path)] == ["known"]
    assert "unknown" in caplog.text
