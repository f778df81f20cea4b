"""Weights are made of what a run trained; what it did not train comes from other weights."""

import numpy as np
import pytest
import torch

from inference import weights
from inference.rhythm import PARTS, TUNED, export, load
from inference.rhythm.config import FUSED
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.train import STRUCK_FOLDER

torch.set_num_threads(1)


def a_second(listener, *_):
    """Twenty seconds of clicks, with their beats."""
    beats = np.arange(1.0, 19.0, 0.5)
    audio = np.zeros(20 * listener.rate, np.float32)
    for at in (beats * listener.rate).astype(int):
        audio[at : at + 200] = 0.5
    return [export.Music(listener.hear(audio), beats, beats[::4])]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "validation_music", a_second)
    monkeypatch.setattr(export, "TRIED", {"jump": (15.0,), "certain": ()})
    torch.manual_seed(1)
    run = {"average": RhythmNetwork(FUSED).state_dict(), "config": {"minutes": 3}, "progress": {"steps": 7}}
    (tmp_path / "run").mkdir()
    torch.save(run, tmp_path / "run" / "checkpoint.pt")
    return tmp_path / "run"


def tensors(path):
    return weights.read(str(path)).tensors


def test_a_run_without_other_networks_is_told_alone(folder, tmp_path):
    out = tmp_path / "alone.safetensors"
    assert "1 excerpts" in export.export(folder, tmp_path, out)
    listener = load(str(out))
    assert listener.struck is None and listener.dynamics is None
    assert not any(name.startswith(PARTS) for name in tensors(out))


def test_what_was_not_trained_comes_from_weights_beside(folder, tmp_path):
    shipped, out = weights.read("rhythm"), tmp_path / "beside.safetensors"
    export.export(folder, tmp_path, out, beside="rhythm")
    found = weights.read(str(out))
    fresh = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
    for name, value in found.tensors.items():
        expected = shipped.tensors[name] if name.startswith(PARTS) else fresh[name].half().float()
        assert torch.equal(value, expected), name
    assert found.tensors.keys() == shipped.tensors.keys()
    assert '"steps": 7' in found.metadata["training"]
    kept = [name for name in TUNED if name != "jump" and name in shipped.metadata]
    assert kept and all(float(found.metadata[n]) == float(shipped.metadata[n]) for n in kept)


def test_what_was_trained_wins_over_weights_beside(folder, tmp_path):
    own = {
        name.removeprefix("noted."): value + 1
        for name, value in weights.read("rhythm").tensors.items()
        if name.startswith("noted.")
    }
    (folder / STRUCK_FOLDER).mkdir()
    torch.save({"average": own}, folder / STRUCK_FOLDER / "checkpoint.pt")
    out = tmp_path / "own.safetensors"
    export.export(folder, tmp_path, out, beside="rhythm")
    name = next(iter(own))
    assert torch.equal(tensors(out)[f"noted.{name}"], own[name].half().float())
