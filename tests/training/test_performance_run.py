"""Training of the performance networks: it learns, goes on where it stopped, and becomes weights."""

import csv

import numpy as np
import pytest
import torch

from bridge import cli
from inference import weights
from inference.performance import STYLE, corpus, load, load_writer, steps, words
from inference.performance import export as exporting
from inference.performance.config import CONFIGS
from inference.performance.example import example
from inference.performance.losses import LOSSES, LossConfig, expectations
from inference.performance.network import Xmvae
from inference.performance.pages import PageWindows, meter
from inference.performance.playing import FIELDS
from inference.performance.windows import Windows
from inference.performance.wishes import Wishes
from tests.contract.scores import a_performance, a_score
from tests.contract.test_performance_network import SMALL


def examples(count=4):
    """Loud where it is marked loud, soft where soft."""
    found = []
    for seed in range(count):
        score = a_score(bars=12, seed=seed, meter=3)
        played = a_performance(score, seed)
        played.velocity[:] = np.where(score.level == 6, 96, 40)
        found.append(example(f"p{seed // 2}/{seed}", score, played))
    return found


def sheets(count=4):
    return [
        corpus.Sheet(f"p{seed}", 1, words.spell(a_score(bars=12, seed=seed, meter=3)).tokens)
        for seed in range(count)
    ]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("DAWBRIDGE_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setitem(CONFIGS, SMALL.name, SMALL)
    for name in ("run", "data"):
        (tmp_path / name).mkdir()
    steps.save(examples(), tmp_path / "run" / "steps.npz")
    return tmp_path


def test_steps_are_kept_as_they_are(tmp_path):
    steps.save(examples(2), tmp_path / "steps.npz")
    for a, b in zip(examples(2), steps.load(tmp_path / "steps.npz"), strict=True):
        assert (a.name, a.tempo) == (b.name, b.tempo)
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in steps.COLUMNS)


def test_windows_repeat_with_their_seed_and_transpose():
    one, other = (Windows(examples(), 3, 24, 7) for _ in range(2))
    for _ in range(3):
        a, b = one.draw(), other.draw()
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    drawn = [one.draw() for _ in range(40)]
    starts = {int(window[0]) for batch in drawn for window in batch.beat}
    assert len(starts) > 15
    assert not torch.equal(drawn[0].tokens, drawn[1].tokens)
    assert one.seconds() > 0 and meter(examples(1)[0].tokens) == 3


def test_pieces_shorter_than_a_window_are_said_to_be():
    with pytest.raises(ValueError, match="9999"):
        Windows(examples(1), 2, 9999, 1)


def test_the_pianist_learns_what_marks_mean():
    torch.manual_seed(1)
    network, windows = Xmvae(SMALL), Windows(examples(), 8, 24, 1)
    config = LossConfig(blind=1.0, unmarked=0.0, plain=1.0)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(60):
        losses = LOSSES["pianist"](network, windows.draw(), config)
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
    batch = windows.draw()
    network.eval()
    with torch.inference_mode():
        score = network.score_features(batch.tokens, batch.extras, batch.beat)
        memory = network.pianist.memory(score, torch.zeros(8, 24, 24))
        places = expectations(network.pianist.decoder(memory, batch.played, batch.beat < -1))
    notes = batch.tokens[..., 0] == 0
    loud, soft = (places[..., 2][notes & (batch.extras[..., 3] == level)].mean() for level in (6, 3))
    assert loud > soft + 8  # bins of four velocities; 14 lie between what was played


def test_the_prior_learns_alone():
    torch.manual_seed(4)
    network, windows = Xmvae(SMALL), PageWindows(sheets(), 4, 24, (), 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    found = []
    for _ in range(30):
        network.train()  # as the loop does
        losses = LOSSES["prior"](network, windows.draw(), LossConfig())
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        found.append(losses["total"].item())
    assert np.mean(found[-5:]) < np.mean(found[:5]) - 0.5
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith(("prior.", "composer.context.")), name


def test_beats_tell_pedals_and_notes_tell_the_rest():
    torch.manual_seed(2)
    network, windows = Xmvae(SMALL), Windows(examples(), 4, 24, 3)
    batch = windows.draw()
    config = LossConfig(hidden=0, noisy=0, blind=1, unmarked=0, plain=1)
    beats = batch.tokens[..., 0] != words.NOTE
    other = batch.played.clone()
    other[..., 0][beats] = 1 + FIELDS[0]  # the pedal is never lifted
    before, after = (
        LOSSES["pianist"](network, batch._replace(played=played), config) for played in (batch.played, other)
    )
    for name in ("beat_period", "timing", "velocity", "articulation"):
        # Seen only by later sub-tokens of the same step, which beats do not have.
        assert torch.allclose(before[name], after[name]), name
    assert not torch.allclose(before["pedal"], after["pedal"])


def test_runs_go_on_and_become_weights(prepared, monkeypatch, capsys):
    monkeypatch.setattr(exporting, "WINDOWS", 16)
    monkeypatch.chdir(prepared)
    train = [
        "train",
        "performance",
        "--data",
        "data",
        "--work",
        "run",
        "--config",
        SMALL.name,
        "--batch",
        "2",
    ]
    assert cli.run([*train, "--minutes", "0.02"]) == 0
    first = torch.load("run/checkpoint.pt", weights_only=True)["progress"]
    assert cli.run([*train, "--minutes", "0.04"]) == 0
    second = torch.load("run/checkpoint.pt", weights_only=True)["progress"]
    assert second["steps"] > first["steps"] > 0 and second["used_s"] > first["used_s"]
    out = ["-o", "own.safetensors", "--config", SMALL.name]
    assert cli.run(["train", "export-performance", "run", *out]) == 0
    assert "gains" in capsys.readouterr().err
    performer = load("own.safetensors")
    assert set(performer.styles) == set(exporting.STYLES) and performer.manner.rubato >= 1
    assert len(performer.perform(a_score(bars=4)).onset) == len(a_score(bars=4))
    assert len(load_writer("own.safetensors").write(Wishes(bars=2)).bars) == 2


def test_the_composer_comes_from_its_own_run(prepared, monkeypatch):
    monkeypatch.setattr(exporting, "WINDOWS", 16)
    monkeypatch.chdir(prepared)
    for work, branch in (("run", "pianist"), ("other", "composer")):
        (prepared / work).mkdir(exist_ok=True)
        if branch == "composer":
            steps.save_sheets(sheets(), prepared / work / "sheets.npz")
        else:
            steps.save(examples(), prepared / work / "steps.npz")
        train = ["train", "performance", "--data", "data", "--work", work, "--branch", branch, "--batch", "2"]
        assert cli.run([*train, "--config", SMALL.name, "--minutes", "0.02"]) == 0
    exporting.export(prepared / "run", prepared / "other", prepared / "both.safetensors", SMALL.name)
    averages = [
        torch.load(prepared / work / "checkpoint.pt", weights_only=True)["average"]
        for work in ("run", "other")
    ]
    both = load_writer("both.safetensors").network.state_dict()
    for name, value in both.items():
        source = averages[1 if name.startswith(exporting.COMPOSER) else 0][name]
        assert torch.equal(value, source.half().float() if source.is_floating_point() else source), name


def test_a_pianist_is_kept_from_weights(prepared, monkeypatch, capsys):
    """Styles, gains and the Pianist are those of the weights, the Composer is the run's."""
    monkeypatch.chdir(prepared)
    torch.manual_seed(0)
    old, new = Xmvae(SMALL), Xmvae(SMALL)
    styles = {f"{STYLE}even": torch.ones(SMALL.piece_latent)}
    metadata = {"config": SMALL.name, "rubato": "1.5"}
    weights.write(prepared / "old.safetensors", {**old.state_dict(), **styles}, metadata)
    (prepared / "composed").mkdir()
    torch.save({"average": new.state_dict()}, prepared / "composed" / "checkpoint.pt")
    command = ["train", "export-performance", "old.safetensors", "--composer", "composed"]
    command += ["--config", SMALL.name]
    assert cli.run([*command, "-o", "new.safetensors"]) == 0
    found = weights.read("new.safetensors")
    assert found.metadata == metadata
    for name, value in found.tensors.items():
        source = new if name.startswith(exporting.COMPOSER) else old
        expected = styles.get(name, source.state_dict().get(name))
        assert torch.equal(value, expected.half().float() if expected.is_floating_point() else expected), name
    assert set(old.state_dict()) | set(styles) == set(found.tensors)
    command[2] = "older.safetensors"
    assert cli.run([*command, "-o", "new.safetensors"]) == 2
    assert "older.safetensors" in capsys.readouterr().err


def test_weights_of_another_shape_are_nothing_to_begin_from(prepared, monkeypatch, capsys):
    monkeypatch.chdir(prepared)
    train = ["train", "performance", "--data", "data", "--work", "run", "--start", "performance"]
    assert cli.run([*train, "--config", SMALL.name, "--minutes", "0.01"]) == 2
    said = capsys.readouterr().err
    assert "--config" in said and repr(SMALL.name) in said and "'bars'" in said


def test_curves_name_every_loss(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    from inference.performance.train import PerformanceRun, run
    from inference.training.loop import LoopConfig

    loop = LoopConfig(minutes=0.05, ranks=1, log_steps=1)
    run(PerformanceRun(prepared / "data", prepared / "run", "joint", SMALL.name, batch=2, loop=loop))
    with (prepared / "run" / "curve.csv").open() as file:
        (row, *_) = csv.DictReader(file)
    assert {"velocity", "beat_period", "score_pitch", "score_prior", "score_perplexity"} <= set(row)


def test_nothing_to_learn_from_is_said(prepared, monkeypatch, capsys):
    monkeypatch.chdir(prepared)
    arguments = ["train", "performance", "--data", "data", "--work", "new", "--config", SMALL.name]
    assert cli.run(arguments) == 3
    assert "nothing to learn from" in capsys.readouterr().err
