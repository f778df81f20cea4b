"""The commands of training hand over what was asked for, and their results come out."""

import json
from pathlib import Path

import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge import cli
from bridge.studio.demo import prelude
from bridge.studio.render import render
from inference.training.disturb import DISTURBANCES

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def data(tmp_path):
    """A data folder with one silent recording whose notes are known."""
    folder = tmp_path / "data" / "maps" / "disklavier-dev"
    folder.mkdir(parents=True)
    with AudioFile(str(folder / "take.flac"), "w", 16_000, 1) as file:
        file.write(np.zeros((1, 16_000 * 20), np.float32))
    notes = prelude(1_000).notes
    rows = [f"{n.onset / 1000}\t{n.offset / 1000}\t{n.pitch}\t{round(127 * n.velocity)}" for n in notes]
    (folder / "take.notes.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data"


def test_evaluate_scores_what_there_is(data, tmp_path, capsys):
    code = cli.run(
        ["evaluate", "piano", "--data", str(data), "-o", "scores", "--set", "disklavier-dev", "--json"]
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    (score,) = json.loads(captured.out)["disklavier-dev"]
    assert score["name"] == "take" and score["reference"] == len(prelude().notes)
    assert score["onset"] == 0.0, "nothing can be heard in silence"
    assert (tmp_path / "scores" / "scores.csv").is_file()
    assert "take" in captured.err


def test_plots_show_errors_and_truth_beside_estimate(data, tmp_path):
    take = data / "maps" / "disklavier-dev" / "take.flac"
    render(GOLDEN / "prelude.mid", tmp_path / "take.wav")
    with AudioFile(str(tmp_path / "take.wav")).resampled_to(16_000) as file:
        audio = file.read(8 * 16_000).mean(0, keepdims=True)
    with AudioFile(str(take), "w", 16_000, 1) as file:
        file.write(audio)
    options = ["--data", str(data), "-o", str(tmp_path / "scores"), "--plot", "--chunk-ms", "1000"]
    assert cli.run(["evaluate", "piano", *options]) == 0
    for name in ("errors-disklavier-dev.png", "take.png"):
        assert (tmp_path / "scores" / name).read_bytes().startswith(b"\x89PNG")
    (scores,) = json.loads((tmp_path / "scores" / "scores.json").read_text())["disklavier-dev"]
    assert scores["estimated"] > 10 and scores["told_ms"] > 100


def test_robustness_scores_every_disturbance(data, capsys):
    assert cli.run(["evaluate", "piano", "--data", str(data), "--robustness", "--chunk-ms", "1000"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("disklavier-dev\n")
    assert all(f"| {name} |" in out for name in DISTURBANCES)
    assert cli.run(["evaluate", "piano", "--data", str(data), "--robustness", "-o", "scores"]) == 2


def test_latencies_scores_every_delay_the_network_has(data, capsys):
    assert cli.run(["evaluate", "piano", "--data", str(data), "--latencies"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("disklavier-dev\n")
    assert all(f"| {ms} |" in out for ms in (40, 60, 100, 120, 160, 320))
    assert cli.run(["evaluate", "piano", "--data", str(data), "--latencies", "--robustness"]) == 2


def test_a_decision_sooner_than_the_network_can_is_refused(data, capsys):
    assert cli.run(["evaluate", "piano", "--data", str(data), "--decision-ms", "5"]) == 2
    assert "needs 20 at least" in capsys.readouterr().err


def test_an_unknown_set_is_refused(data, capsys):
    assert cli.run(["evaluate", "piano", "--data", str(data), "--set", "disklavier"]) == 2
    assert "disklavier-dev" in capsys.readouterr().err


def test_train_hands_everything_over(data, tmp_path, monkeypatch, capsys):
    from inference.piano import train

    seen = []
    monkeypatch.setattr(train, "run", seen.append)
    (tmp_path / "grand.sf2").touch()
    arguments = ["--data", data, "--work", "run", "--minutes", 1.5, "--ranks", 1, "--seed", 7]
    arguments += ["--soundfont", "grand.sf2:3:5", "--soundfont", "grand.sf2"]
    arguments += ["--start", "piano-light", "--learning-rate", 0.001, "--velocity-weight", 240]
    assert cli.run(["train", "piano", *map(str, arguments)]) == 0
    (run,) = seen
    assert (run.data, run.folder.name, run.config, run.seed) == (data, "run", "light", 7)
    assert (run.loop.minutes, run.loop.ranks) == (1.5, 1)
    assert (run.start, run.loop.learning_rate, run.loss.velocity) == ("piano-light", 0.001, 240)
    assert [(font.name, program, bank) for font, program, bank in run.soundfonts] == [
        ("grand.sf2", 5, 3),
        ("grand.sf2", 0, 0),
    ]
    assert capsys.readouterr().out.split() == ["run/checkpoint.pt"]


def test_train_draws_its_curve(data, tmp_path, monkeypatch, capsys):
    from inference.piano import train

    def trained(run):
        run.folder.mkdir()
        lines = [f"{i},{i},{i / 10},{4 - i / 10},{1 - i / 20},1,{2 - i / 20}" for i in range(12)]
        (run.folder / "curve.csv").write_text(
            "\n".join(["minutes,step,hours_seen,total,state,key,shift", *lines])
        )

    monkeypatch.setattr(train, "run", trained)
    assert cli.run(["train", "piano", "--data", str(data), "--work", "run"]) == 0
    assert capsys.readouterr().out.split() == ["run/curve.png", "run/checkpoint.pt"]
    assert (tmp_path / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_weights_to_start_from_are_refused(data, capsys):
    assert cli.run(["train", "piano", "--data", str(data), "--work", "run", "--start", "piano-lihgt"]) == 2
    assert "piano-light" in capsys.readouterr().err


def test_an_unknown_network_is_refused(data, capsys):
    assert cli.run(["train", "piano", "--data", str(data), "--work", "run", "--config", "lihgt"]) == 2
    assert "light" in capsys.readouterr().err
