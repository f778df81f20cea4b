"""Loudness and unusual gain, from which velocities are corrected."""

import math

import torch

from inference.piano.touch import Touch
from inference.streaming import verify_streaming


def found(power, gain):
    frames = torch.stack([torch.as_tensor(power), torch.as_tensor(gain)], -1)[None].float()
    touch, told = Touch(50).eval(), []
    state = touch.init_state(1)
    for piece in frames.split(500, dim=1):
        seen, state = touch.step(piece, state)
        told.append(seen)
    return torch.cat(told, 1)[0].T


def test_it_streams_beyond_what_it_remembers():
    def frames(length, generator):
        return torch.rand(2, length, 2, generator=generator)

    verify_streaming(Touch(2.0).eval(), frames, 3_000, tolerance=1e-4)


def test_loudness_is_in_decibels_and_follows_within_seconds():
    loud, _ = found([0.01] * 100 + [1.0] * 400, [0.0] * 500)
    assert torch.allclose(loud[:100], torch.tensor(-20.0), atol=0.01)
    assert -1 < loud[200] < 0.001 and abs(loud[-1]) < 0.01


def test_a_rest_takes_less_from_loudness_than_it_lasts():
    loud, _ = found([1.0] * 100 + [0.0] * 100 + [1.0] * 5, [0.0] * 205)
    assert -6 < loud[-1] < -3


def test_gain_counts_only_while_it_is_unusual():
    tenth = math.log(0.1)
    _, gain = found([0.1] * 60_000, [0.0] * 1_500 + [tenth] * 58_500)
    assert gain[:1_500].abs().max() < 1e-3, "the gain that always was"
    assert abs(gain[1_500] + 20) < 0.1, "a bang: from now on all is scaled down by 20 dB"
    assert abs(gain[-1]) < 1, "and that has become usual"
