"""Variants of the network are trained, measured and compared; what was done is not done again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pedalboard.io import AudioFile

from bridge import cli
from inference.piano import ablate
from inference.piano.config import ABLATIONS
from inference.piano.network import PianoNetwork
from inference.training.loop import LoopConfig
from tests.contract.networks import SMALL, restless

SHAPE = {name: getattr(SMALL["light"], name) for name in ("front_end", "harmonic", "features", "hidden")}
SHRUNK = (*(replace(config, **SHAPE) for config in ABLATIONS), SMALL["par-compact"])


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A data folder with short recordings of noise, and runs that end at once with weights by chance."""
    random = np.random.default_rng(0)
    for name in ("disklavier-dev", "software/validation"):
        folder = tmp_path / "data" / "maps" / name
        folder.mkdir(parents=True)
        with AudioFile(str(folder / "take.flac"), "w", 16_000, 1) as file:
            file.write(random.normal(0, 0.1, (1, 8_000)).astype(np.float32))
        (folder / "take.notes.tsv").write_text("0.1\t0.3\t60\t64\n0.2\t2.4\t67\t90\n")
    monkeypatch.chdir(tmp_path)
    light = replace(SMALL["light"], name="light")
    configs, asked = {config.name: config for config in (*SHRUNK, light)}, []

    def run(settings):
        asked.append(settings)
        settings.folder.mkdir(parents=True, exist_ok=True)
        progress = {"used_s": 90.0, "steps": settings.loop.steps or 3, "seen_s": 1.0}
        average = PianoNetwork(configs[settings.config]).state_dict()
        torch.save({"average": average, "progress": progress}, settings.folder / "checkpoint.pt")

    monkeypatch.setattr(ablate, "run", run)
    monkeypatch.setattr(ablate, "ABLATIONS", SHRUNK[:-1])
    monkeypatch.setattr(ablate, "PAR_COMPACT", SHRUNK[-1])
    monkeypatch.setattr(ablate, "LIGHT", light)
    return asked


def test_every_variant_has_its_row(runs, capsys):
    command = ["train", "ablate", "--data", "data", "--work", "work", "--steps", "5"]
    assert cli.run([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in rows]
    assert names == [*(config.name for config in ABLATIONS), "light-context, corrupted", "par-compact"]
    assert [run.config for run in runs] == [name for name in names if "corrupted" not in name]
    assert {run.loop for run in runs[:-1]} == {LoopConfig(steps=5, ranks=1)}
    assert (runs[-1].loop.steps, runs[-1].loop.minutes) == (0, 1.5), "as long as the first took"
    assert {run.corpus for run in runs} == {runs[0].folder.parent}
    parameters = {row["name"]: row["parameters"] for row in rows}
    assert parameters["light-no-film"] < parameters["light-plain"] < parameters["light-context"]

    kept = runs[0].folder / "light-plain.json"
    kept.write_text(json.dumps({**rows[0], "onset": 0.125}))
    assert cli.run(command) == 0
    out = capsys.readouterr().out
    assert "| light-plain | " in out and "| 0.125 |" in out, "what was measured is not measured again"
    assert len(out.splitlines()) == 2 + len(rows)


def test_the_published_network_is_given_the_same_minutes(runs, capsys):
    command = ["train", "ablate", "--data", "data", "--work", "work", "--minutes", "100", "--json"]
    assert cli.run(command) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["light", "par-compact"]
    assert {(run.loop.minutes, run.loop.steps, run.loop.ranks) for run in runs} == {(100, 0, 1)}
    assert [run.loop.learning_rate for run in runs] == [LoopConfig().learning_rate, 1e-3]


def test_long_notes_are_counted():
    reference = np.array([[0, 3, 60, 64], [1, 4, 62, 64], [2, 6, 64, 64], [5, 5.2, 66, 64]], float)
    estimate = np.array([[0, 2.5, 60, 64], [1, 2, 62, 64], [5, 5.2, 66, 64]], float)
    found = ablate.long_notes([(reference, estimate)])
    assert found == {"long_found": pytest.approx(2 / 3), "long_ended": 0.5}


def test_a_corrupted_context_is_another():
    config = replace(SMALL["light-context"])
    plain, corrupted = restless(config), ablate.CorruptedNetwork(config)
    corrupted.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    output = torch.randn(1, 88, config.outputs) * 3
    context = plain.init_state(1).context
    after, stray = plain.follow(context, output), corrupted.follow(context, output)
    share = (after.state != stray.state).float().mean()
    assert 0.02 < share < 0.2
    assert torch.allclose(after.velocity, stray.velocity, atol=0.2)


def test_without_recordings_there_is_nothing_to_compare(runs, capsys):
    assert cli.run(["train", "ablate", "--data", "nowhere", "--work", "work"]) == 3
    assert "nowhere" in capsys.readouterr().err
