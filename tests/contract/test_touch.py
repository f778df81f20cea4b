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
    loud, _ = found([0.01] * 20_000 + [1.0] * 200, [0.0] * 20_200)
    assert loud[:20_000].abs().max() < 1e-3, "as loud as it always was"
    assert 5 < loud[20_100] - loud[19_999] < 20
    assert 8 < loud[20_010] < 20


def test_how_a_stream_was_recorded_changes_nothing():
    music = torch.rand(3_000).square()
    expected, _ = found(music, [0.0] * 3_000)
    softer, _ = found(music / 100, [0.0] * 3_000)
    assert torch.allclose(expected, softer, atol=1e-2)


def test_a_rest_takes_less_from_loudness_than_it_lasts():
    loud, _ = found([1.0] * 100 + [0.0] * 100 + [1.0] * 5, [0.0] * 205)
    assert -6 < loud[-1] < -1


def test_gain_counts_only_while_it_is_unusual():
    tenth = math.log(0.1)
    _, gain = found([0.1] * 60_000, [0.0] * 1_500 + [tenth] * 58_500)
    assert gain[:1_500].abs().max() < 1e-3, "the gain that always was"
    assert abs(gain[1_500] + 20) < 0.1, "a bang: from now on all is scaled down by 20 dB"
    assert abs(gain[-1]) < 1, "and that has become usual"
