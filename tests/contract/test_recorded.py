"""A recorded step is the step itself, for every batch and length."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference import weights
from inference.piano import frame as frames
from inference.piano import write_graphs
from inference.piano.acoustic import fold_norms
from inference.piano.config import LIGHT, PITCHES
from inference.piano.network import PianoNetwork
from inference.piano.recorded import RecordedStep, Row, join
from inference.piano.seen import CHANNELS, seen
from inference.streaming import leaves
from tests.contract.networks import SMALL, restless

WAYS = {"live": (1440, None), "tight": (480, None), "eager": (2080, 1120)}


def light(way="live"):
    """A network that is set to decide as a preset has it, none of its weights as they began."""
    network = restless(LIGHT, seed=3, scale=3.0)
    fold_norms(network)
    delay, sooner = WAYS[way]
    network.chosen = LIGHT.delays.index(delay)
    network.sooner = None if sooner is None else LIGHT.delays.index(sooner)
    return network


@pytest.fixture(scope="module")
def network():
    return light()


def compared(network, recorded, batch, count, steps=4):
    """What steps of `count` frames of a batch give, recorded and not: outputs, then states."""
    expected_state = network.init_state(batch)
    state = tuple(leaves(expected_state))
    with torch.inference_mode():
        for step in range(steps):
            # Silence now and then, and sound that makes the followed level rise and fall.
            audio = torch.randn(batch, count * LIGHT.hop) * (step % 5) * 0.1
            output, state = recorded(audio, state)
            expected, expected_state = network.step(audio, expected_state)
            yield torch.as_tensor(output), seen(expected, LIGHT)
            yield from zip(map(torch.as_tensor, state), leaves(expected_state), strict=True)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_recorded_steps_equal_the_networks_to_the_bit(network, count):
    recorded = RecordedStep(network, graph=False)
    for batch in (1, 3, 2, 5):
        assert all(torch.equal(a, b) for a, b in compared(network, recorded, batch, count))


@pytest.mark.parametrize("way", WAYS)
def test_a_frame_in_its_graph_differs_by_rounding(way):
    """A graph of an older network, or with weights in other places, would not."""
    network = light(way)
    recorded = RecordedStep(network)
    for batch in (1, 3, 4):
        for found, expected in compared(network, recorded, batch, 1, steps=40):
            assert found.shape == expected.shape
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_single_frames_of_few_streams_run_in_a_graph_and_others_do_not(network, monkeypatch):
    recorded = RecordedStep(network)
    ran = []

    def call(self, audio, state):
        ran.append(audio.shape)
        return np.zeros((len(audio), CHANNELS, PITCHES), np.float32), state

    monkeypatch.setattr(frames.Frame, "__call__", call)
    with torch.inference_mode():
        for batch, count in ((1, 1), (4, 1), (5, 1), (1, 2)):
            recorded(torch.zeros(batch, count * LIGHT.hop), tuple(leaves(network.init_state(batch))))
    assert ran == [(1, LIGHT.hop), (4, LIGHT.hop)]


def test_networks_of_other_shapes_have_no_graph():
    for config in (*SMALL.values(), replace(LIGHT, hidden=32)):
        assert frames.Frame.of(PianoNetwork(config).eval()) is None
    assert frames.Frame.of(light()) is not None
    network = light()
    network.chosen = LIGHT.delays.index(4640)  # which looks back further than any graph does
    assert frames.Frame.of(network) is None


def test_streams_go_from_a_graph_to_a_batch_without_one_and_back(network):
    """As others come and go; what each hears stays what it would hear alone."""
    recorded = RecordedStep(network)
    rows = [Row(recorded.init_state(), 0) for _ in range(6)]
    alone = [network.init_state(1) for _ in rows]
    generator = torch.Generator().manual_seed(5)
    for together in ([0], [0, 1, 2, 3, 4, 5], [1], [5, 1], [2, 4, 3, 1, 0], [4]):
        audio = torch.randn(len(together), LIGHT.hop, generator=generator) * 0.1
        told, state = recorded(audio, join([rows[place] for place in together]))
        for row, place in enumerate(together):
            rows[place] = Row(state, row)
            with torch.inference_mode():
                output, alone[place] = network.step(audio[row : row + 1], alone[place])
            expected = seen(output, LIGHT)[0]
            torch.testing.assert_close(torch.as_tensor(told[row]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_graphs_can_be_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    network = light("eager")
    assert frames.Frame.of(network) is None
    write_graphs.write(network, tmp_path / f"{frames.graph_name(network)}.onnx")
    recorded = RecordedStep(network)
    for found, expected in compared(network, recorded, 2, 1, steps=5):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_recordings_are_made_once_per_length(network):
    recorded = RecordedStep(network, graph=False)
    with torch.inference_mode():
        for batch in (1, 4):
            recorded(torch.zeros(batch, LIGHT.hop), tuple(leaves(network.init_state(batch))))
    assert list(recorded._recordings) == [LIGHT.hop]


def test_rows_of_one_batch_are_joined_without_a_copy_and_others_in_their_order():
    batch = (torch.arange(6.0).view(3, 2), torch.arange(3.0))
    other = (torch.full((1, 2), 9.0), torch.full((1,), 9.0))
    rows = [Row(batch, place) for place in range(3)]
    assert join(rows) is batch
    for chosen, expected in (
        ([rows[2], rows[0]], [2, 0]),
        (rows[:2], [0, 1]),
        ([rows[1], Row(other, 0), rows[0]], [1, 9, 0]),
    ):
        first, second = join(chosen)
        assert second.tolist() == expected
        assert len(first) == len(chosen)
        assert all(torch.equal(first[i], row.batch[0][row.place]) for i, row in enumerate(chosen))
