"""Layers: each streams, and each equals its plain, whole-signal definition."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inference.layers import (
    CausalConv2d,
    Delay,
    FrequencyFilm,
    FrequencyTable,
    GlobalLstm,
    HarmonicGather,
    PitchwiseLstm,
)
from inference.streaming import verify_streaming

torch.set_num_threads(1)


def images(channels, bins):
    return lambda length, generator: torch.randn(2, channels, length, bins, generator=generator)


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


@pytest.mark.parametrize("time_width", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 4])
def test_causal_convolution_streams(time_width, channels):
    layer = seeded(lambda: CausalConv2d(channels, 6, time_width, 3, 10))
    verify_streaming(layer, images(channels, 10), 40)


@pytest.mark.parametrize("time_width", [1, 3, 5])
def test_causal_convolution_is_a_centred_one_that_is_late(time_width):
    layer = seeded(lambda: CausalConv2d(3, 5, time_width, 7, 12, bin_stride=3, bin_padding=2))
    x = torch.randn(2, 3, 30, 12)
    with torch.no_grad():
        centred = F.conv2d(x, layer.conv.weight, layer.conv.bias, (1, 3), (time_width // 2, 2))
        late = layer(x)
    assert layer.latency == time_width // 2
    assert torch.allclose(late[:, :, layer.latency :], centred[:, :, : 30 - layer.latency], atol=1e-5)


def test_convolution_with_stride_over_bins_streams():
    verify_streaming(
        seeded(lambda: CausalConv2d(3, 5, 3, 7, 12, bin_stride=3, bin_padding=2)), images(3, 12), 40
    )


@pytest.mark.parametrize("frames", [0, 1, 4])
def test_delay_delays(frames):
    layer = Delay(frames, 2, 3).eval()
    verify_streaming(layer, images(2, 3), 20, tolerance=0.0)
    x = torch.randn(1, 2, 9, 3)
    y = layer(x)
    assert torch.equal(y[:, :, frames:], x[:, :, : 9 - frames]) and not y[:, :, :frames].any()


@pytest.mark.parametrize("layers, marks", [(1, 0), (1, 3), (2, 3)])
def test_pitchwise_lstm_streams(layers, marks):
    layer = seeded(lambda: PitchwiseLstm(5, 8, layers, 7, marks))
    verify_streaming(layer, lambda n, g: torch.randn(2, n, 7, 5, generator=g), 60)


def test_pitchwise_lstm_is_one_lstm_per_pitch():
    layer = seeded(lambda: PitchwiseLstm(5, 8, 2, 7))
    plain = nn.LSTM(5, 8, 2, batch_first=True)
    plain.load_state_dict(layer.lstm.state_dict())
    x = torch.randn(2, 20, 7, 5)
    with torch.no_grad():
        expected = torch.stack([plain(x[:, :, pitch])[0] for pitch in range(7)], 2)
        assert torch.allclose(layer(x), expected, atol=1e-6)


def test_a_global_lstm_streams_and_lets_pitches_hear_each_other():
    layer = seeded(lambda: GlobalLstm(5, 8, 7, 6))
    verify_streaming(layer, lambda n, g: torch.randn(2, n, 7, 5, generator=g), 60)
    x = torch.randn(1, 20, 7, 5)
    other = x.clone()
    other[:, 10, 3] += 1
    with torch.no_grad():
        changed = (layer(x) - layer(other)).abs().amax((0, 3)) > 1e-6
    assert not changed[:10].any() and changed[10:].all()


def test_marks_tell_pitches_apart():
    layer = seeded(lambda: PitchwiseLstm(5, 8, 1, 7, 3))
    x = torch.randn(1, 20, 1, 5).expand(-1, -1, 7, -1)
    with torch.no_grad():
        assert not torch.allclose(layer(x)[:, :, 0], layer(x)[:, :, 1], atol=1e-3)
        layer.marks.zero_()
        assert torch.allclose(layer(x)[:, :, 0], layer(x)[:, :, 1], atol=1e-6)
    layer(x).sum().backward()
    assert (layer.marks.grad.abs().sum(1) > 0).all()


def test_pitches_do_not_hear_each_other():
    layer = seeded(lambda: PitchwiseLstm(5, 8, 1, 7))
    x = torch.randn(1, 20, 7, 5)
    other = x.clone()
    other[:, :, 3] += 1
    with torch.no_grad():
        changed = (layer(x) - layer(other)).abs().amax((0, 1, 3)) > 1e-6
    assert changed.tolist() == [pitch == 3 for pitch in range(7)]


def test_film_scales_and_shifts_each_bin_in_its_own_way():
    film = seeded(lambda: FrequencyFilm(4, 6))
    x = torch.randn(2, 4, 3, 6)
    with torch.no_grad():
        y = film(x)
        for k in range(6):
            place = torch.tensor([[k / 6]])
            expected = x[..., k] * film.scale(place).view(1, 4, 1) + film.shift(place).view(1, 4, 1)
            assert torch.allclose(y[..., k], expected, atol=1e-6)


def test_folded_film_equals_its_perceptrons_and_follows_new_weights():
    film = seeded(lambda: FrequencyFilm(4, 6))
    x = torch.randn(2, 4, 3, 6)
    with torch.no_grad():
        folded = film(x)
    assert torch.allclose(film(x), folded, atol=1e-6), "with gradients it is computed anew"
    fresh = seeded(lambda: FrequencyFilm(4, 6))
    with torch.no_grad():
        other = copy.deepcopy(fresh)
        for parameter in other.parameters():
            parameter.mul_(1.5)
        film(x)
        film.load_state_dict(other.state_dict())
        assert torch.allclose(film(x), other(x), atol=1e-6)
        assert not torch.allclose(film(x), folded, atol=1e-3)


def test_film_learns():
    film = FrequencyFilm(4, 6)
    film(torch.randn(2, 4, 3, 6)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in film.parameters())


@pytest.mark.parametrize(
    "offsets, first, pitches, bins", [((-12, 0, 12, 19), 1, 8, 20), ((0,), 0, 5, 5), ((3, 7), 2, 4, 30)]
)
def test_harmonic_gather_collects_the_right_bins(offsets, first, pitches, bins):
    x = torch.randn(2, 3, bins, 2, dtype=torch.float64, requires_grad=True)
    gather = HarmonicGather(offsets, first, pitches, bins)
    for learning in (True, False):
        with torch.set_grad_enabled(learning):
            y = gather(x)
        for pitch in range(pitches):
            for index, offset in enumerate(offsets):
                place = first + pitch + offset
                found = y[:, :, pitch, 2 * index : 2 * index + 2]
                expected = x[:, :, place] if 0 <= place < bins else torch.zeros_like(found)
                assert torch.equal(found, expected)
    assert torch.autograd.gradcheck(gather, x)


def test_frames_one_by_one_equal_the_sequence_kernel():
    """The single-frame cell is written out; nn.LSTM is the truth."""
    layer = seeded(lambda: PitchwiseLstm(5, 8, 1, 7))
    x = 3 * torch.randn(2, 30, 7, 5)
    rows = x.permute(1, 0, 2, 3).reshape(30, 14, 5)
    with torch.no_grad():
        truth = layer.lstm(rows)[0].view(30, 2, 7, 8).permute(1, 0, 2, 3)
        state, found = layer.init_state(2), []
        for frame in range(30):
            y, state = layer.step(x[:, frame : frame + 1], state)
            found.append(y)
    assert torch.allclose(torch.cat(found, 1), truth, atol=1e-6)


def test_the_single_frame_cell_follows_new_weights():
    layer = seeded(lambda: PitchwiseLstm(5, 8, 1, 7))
    x = torch.randn(1, 1, 7, 5)
    with torch.no_grad():
        before = layer(x)
        other = {name: value * 1.5 for name, value in layer.state_dict().items()}
        layer.load_state_dict(other)
        after = layer(x)
        truth = layer.lstm(x[0])[0][None]
    assert torch.allclose(after, truth, atol=1e-6) and not torch.allclose(after, before, atol=1e-3)


def test_table_scales_and_shifts_each_bin_in_its_own_way_and_learns():
    table = FrequencyTable(4, 6)
    x = torch.randn(2, 4, 3, 6)
    assert torch.equal(table(x), x), "it begins by changing nothing"
    with torch.no_grad():
        table.scale.normal_()
        table.shift.normal_()
    y = table(x)
    for k in range(6):
        expected = x[..., k] * table.scale[k].view(1, 4, 1) + table.shift[k].view(1, 4, 1)
        assert torch.allclose(y[..., k], expected, atol=1e-6)
    y.square().sum().backward()
    assert table.scale.grad is not None and table.shift.grad is not None
