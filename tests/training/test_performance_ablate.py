"""Variants of the performance networks are trained equally long and compared; what was done is kept."""

import json
from dataclasses import replace

import pytest
import torch

from bridge import cli
from inference.performance import ablate, evaluate_generated, steps
from inference.performance import export as exporting
from inference.performance.config import ABLATIONS, BAR_WRITER, CONFIGS, LIGHT
from inference.performance.network import Composer
from inference.performance.pairs import Piece, Played
from tests.contract.scores import a_performance, a_score
from tests.training.test_performance_run import examples, sheets

COMPARED = ("bars", "bars-no-words")
TINY = {"width": 16, "heads": 2, "inner": 16, "temporal_layers": 1}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Tiny variants, four pieces to learn from, and one that three people play to be measured by."""
    monkeypatch.setattr(ablate, "ABLATIONS", COMPARED)
    for name in COMPARED:
        own = replace(CONFIGS[name].composing or BAR_WRITER, **TINY, steps=48)
        monkeypatch.setitem(CONFIGS, name, replace(CONFIGS[name], **TINY, steps=24, composing=own))
    monkeypatch.setenv("DAWBRIDGE_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setattr(exporting, "WINDOWS", 8)
    score = a_score(bars=8)
    everything = range(len(score))
    played = tuple(Played(str(n), [*everything], a_performance(score, n)) for n in range(3))
    for room in (ablate, evaluate_generated):
        monkeypatch.setattr(room, "pieces", lambda folder: iter([Piece("p", score, played)]))
    monkeypatch.setattr(evaluate_generated, "BARS", 2)
    monkeypatch.chdir(tmp_path)
    for name in ("data", "work"):
        (tmp_path / name).mkdir()
    steps.save(examples(), tmp_path / "work" / steps.STEPS)
    steps.save_sheets(sheets(), tmp_path / "work" / steps.SHEETS)
    return tmp_path


COMMAND = [
    "train",
    "ablate-performance",
    "--data",
    "data",
    "--work",
    "work",
    "--steps",
    "2",
    "--samples",
    "3",
]


def test_every_variant_has_its_row(prepared, monkeypatch, capsys):
    assert cli.run([*COMMAND, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [*COMPARED, ablate.JOINT, ablate.PEOPLE]
    parameters = {name: row["parameters"] for name, row in rows.items()}
    assert parameters["bars"] == parameters[ablate.JOINT]
    assert parameters["bars-no-words"] < parameters["bars"]
    for path in prepared.glob("work/*/checkpoint.pt"):
        assert torch.load(path, weights_only=True)["progress"]["steps"] == 2
    assert all(-1 <= value <= 1 for row in rows.values() for value in row["likeness"])
    assert rows["bars"]["music"] != rows["bars-no-words"]["music"] != rows["people"]["music"]
    monkeypatch.setattr(ablate, "run", lambda settings: pytest.fail("what was done is done again"))
    assert cli.run(COMMAND) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 2 + len(rows) and "| bars, jointly |" in out and "| people |  |  |" in out


def test_variants_lack_what_their_names_say():
    count = {
        name: sum(weight.numel() for weight in Composer(CONFIGS[name].composing or LIGHT).parameters())
        for name in ABLATIONS
    }
    assert count["bars-no-beats"] < count["bars"] > count["bars-no-words"]
    for name in ABLATIONS[:3]:
        assert (CONFIGS[name].beat_attention, CONFIGS[name].word_decoder) == (
            name != "bars-no-beats",
            name != "bars-no-words",
        )


def test_nothing_to_learn_from_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(COMMAND) == 3
    (tmp_path / "data").mkdir()
    assert cli.run(COMMAND) == 3
    assert "there is nothing to learn from" in capsys.readouterr().err
