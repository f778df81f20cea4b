"""What loudness adds to velocities is solved, and brings them nearer to the truth."""

import numpy as np
import torch

from inference.piano.config import NoteState, Output
from inference.piano.labels import frame_labels
from inference.piano.refit_touch import refit_touch
from inference.training.corpus import RATE, Recording
from inference.training.notes import NoteTable
from tests.contract.networks import SMALL, restless


def recording(network, seed, seconds=8):
    """Bursts of noise, and notes whose velocity is how loud they are, whatever the level that is followed."""
    random = np.random.default_rng(seed)
    audio = random.normal(0, 0.002, seconds * RATE)
    onset = np.arange(0.2, seconds - 0.3, 0.12)
    swell = np.cumsum(random.normal(0, 2, len(onset)))
    decibels = -35 + 12 * swell / np.abs(swell).max()
    for at, level in zip((onset * RATE).astype(int), decibels, strict=True):
        audio[at : at + 1600] += random.normal(0, 10 ** (level / 20), 1600)
    notes = NoteTable(
        onset.astype(np.float32),
        (onset + 0.1).astype(np.float32),
        (onset + 0.1).astype(np.float32),
        random.integers(30, 90, len(onset)),
        ((decibels + 60) / 60).astype(np.float32),
    )
    return Recording("", "", (audio * 32_767).astype(np.int16), notes)


def agreement(network, recording):
    """How well the velocities of a stream follow the true ones."""
    audio = torch.from_numpy(recording.audio.astype(np.float32) / 32_768)[None]
    with torch.no_grad():
        output = network(audio)[0].numpy()
    labels = frame_labels(recording.notes, None, len(output), network.config)
    struck = labels.state == NoteState.ONSET
    return np.corrcoef(output[struck][:, Output.VELOCITY], labels.velocity[struck])[0, 1]


def test_loudness_tells_velocity_where_the_network_does_not():
    network = restless(SMALL["light"])
    for head in network.heads:
        head.touch.zero_()
    heard = recording(network, 1)
    before = agreement(network, heard)
    refit_touch(network, [recording(network, seed) for seed in (2, 3, 4)])
    assert before < 0.5 < 0.7 < agreement(network, heard)
    assert network.heads[0].touch[0] > 0, "the louder the harder"
