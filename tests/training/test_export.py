"""From a checkpoint to weights: each delay has its thresholds, and a decision time finds its head."""

import json

import numpy as np
import pytest
import torch
from pedalboard.io import AudioFile

from bridge import cli
from inference import weights
from inference.piano import load
from inference.piano.config import CONFIGS
from inference.piano.decode import DecodeSettings, Frame
from inference.piano.export import LATE, ONSETS, choose, export
from inference.piano.verdict import EVIDENCE
from inference.training.corpus import RATE
from tests.contract.networks import SMALL, restless


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(CONFIGS, "light", SMALL["light"])
    return SMALL["light"]


@pytest.fixture
def exported(small, tmp_path):
    """Weights of a network that learned nothing, calibrated on half a second of noise."""
    folder = tmp_path / "data" / "maps" / "software" / "validation"
    folder.mkdir(parents=True)
    with AudioFile(str(folder / "take.ogg"), "w", 16_000, 1) as file:
        file.write(np.random.default_rng(0).normal(0, 0.1, (1, 8_000)).astype(np.float32))
    (folder / "take.notes.tsv").write_text("0.1\t0.3\t60\t64\n0.2\t0.4\t67\t90\n")
    state = restless(small).state_dict()
    checkpoint = {"average": state, "progress": {"steps": 1}, "config": {"minutes": 1}}
    (tmp_path / "run").mkdir()
    torch.save(checkpoint, tmp_path / "run" / "checkpoint.pt")
    out = tmp_path / "mine.safetensors"
    return out, export(tmp_path / "run", tmp_path / "data", out, processes=1)


def test_every_delay_is_calibrated_and_can_be_asked_for(exported, small):
    out, calibrations = exported
    assert list(calibrations) == list(small.delays)
    thresholds = json.loads(weights.read(str(out)).metadata["thresholds"])
    for delay, found in calibrations.items():
        assert thresholds[str(delay)] == json.loads(json.dumps(found.thresholds()))
        assert found.onset in ONSETS
        assert (found.late, found.faint) in LATE
    for decision in load(str(out)).decisions_ms:
        transcriber = load(str(out), decision_ms=decision + 0.5)
        assert 1000 * transcriber.latency / transcriber.rate == pytest.approx(decision)
        asked = calibrations[small.delays[transcriber.network.chosen]]
        assert transcriber.settings.offset == asked.offset
        assert transcriber.settings.onset == pytest.approx(asked.onset)
    assert load(str(out)).network.chosen == 0
    with pytest.raises(ValueError, match="at least"):
        load(str(out), decision_ms=1)


def heard():
    """Played 100 notes, of which one is fainter than the others, and one overtone that is fainter still."""
    onset = np.zeros((520, 88), np.float32)
    onset[12:507:5, 40] = 0.9
    onset[512, 40], onset[12, 70] = 0.62, 0.52
    still = np.zeros(88, np.float32)
    frames = [Frame(row, np.ones(88, np.float32), still + 0.5, still, still, 0.0) for row in onset]
    time = ((np.flatnonzero(onset[:, 40]) + 1) * 320 - 1440) / RATE
    return np.stack([time, time + 0.05, np.full(len(time), 61.0), np.full(len(time), 64.0)], 1), frames


def test_a_higher_threshold_may_cost_a_little():
    found = choose(DecodeSettings(hop=320, delay=1440, late=1.0), [heard()])
    assert found.onset == 0.6 and found.onset_f1 == 1.0, "the last that hears all of these and nothing else"


@pytest.mark.parametrize(("certain", "kept"), [(0.0, True), (-9.0, False)])
def test_a_verdict_is_kept_unless_peaks_alone_are_better(certain, kept):
    """One that goes by each peak's own probability, as it is or as if hardly any were a note."""
    verdict = (1.0, *[0.0] * (EVIDENCE - 1), certain)
    settings = DecodeSettings(hop=320, delay=1440, late=1.0, verdict=verdict)
    found = choose(settings, [heard()])
    assert found.verdict == (verdict if kept else ())
    assert found.onset_f1 > 0.99


def test_the_mean_with_other_weights(exported, tmp_path, capsys):
    """Of a run, of weights, and of a run again, a third each; others must be of the same shape."""
    plain = weights.read(str(exported[0]))
    other = {n: value + value.is_floating_point() for n, value in plain.tensors.items()}
    weights.write(tmp_path / "other.safetensors", other, plain.metadata)
    command = ["train", "export", str(tmp_path / "run"), "--data", str(tmp_path / "data")]
    command += ["-o", str(tmp_path / "mean.safetensors"), "--mean-with"]
    others = [str(tmp_path / "other.safetensors"), "--mean-with", str(tmp_path / "run")]
    assert cli.run([*command, *others]) == 0
    for name, value in weights.read(str(tmp_path / "mean.safetensors")).tensors.items():
        expected = plain.tensors[name] + value.is_floating_point() / 3
        assert torch.allclose(value.float(), expected.float(), rtol=2e-3, atol=2e-3), name
    (tmp_path / "mean.safetensors").unlink()
    assert cli.run([*command, "rhythm"]) == 2
    assert cli.run([*command, "nothing"]) == 2
    assert "there is no mean with 'nothing'" in capsys.readouterr().err
    assert not (tmp_path / "mean.safetensors").exists()
