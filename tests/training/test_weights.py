"""Weights are found, checked, and mean the same as when they were written."""

import pytest
import torch

from inference import piano, weights
from inference.weights import WeightsError


def test_weights_come_back_as_written(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"w": torch.tensor([[1.5, -2.25]]), "n": torch.tensor(3)}
    weights.write(path, tensors, {"config": "light"})
    stored = weights.read(str(path))
    assert torch.equal(stored.tensors["w"], tensors["w"]) and stored.tensors["w"].dtype == torch.float32
    assert int(stored.tensors["n"]) == 3 and stored.metadata == {"config": "light"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_unknown_names_are_answered_with_a_suggestion():
    with pytest.raises(WeightsError, match="Did you mean 'piano-light'"):
        weights.read("piano-lite")


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="no safetensors file"):
        weights.read(str(path))


def test_altered_shipped_weights_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    weights.write(path, {"w": torch.zeros(2)}, {})
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  x.safetensors\n")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    monkeypatch.setattr(weights, "_CHECKSUMS", tmp_path / "SHA256SUMS")
    with pytest.raises(WeightsError, match="damaged"):
        weights.read("x")


def test_weights_of_another_release_are_refused(tmp_path):
    stored = weights.read("piano-light")
    path = tmp_path / "old.safetensors"
    weights.write(path, {n: t for n, t in stored.tensors.items() if n != "notes.marks"}, stored.metadata)
    with pytest.raises(WeightsError, match=r"old.safetensors does not fit .* another release.*--start"):
        piano.load(str(path))


def test_every_shipped_file_has_its_checksum_and_card():
    assert weights.names()
    for name in weights.names():
        assert f"{name}.safetensors" in weights.checksums()
        assert (weights.FOLDER / f"{name}.md").exists(), "model card"
        weights.read(name)
