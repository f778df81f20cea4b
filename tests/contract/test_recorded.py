"""A recorded step is the step itself, for every batch and length."""

import pytest
import torch

from inference.piano.config import LIGHT
from inference.piano.network import PianoNetwork
from inference.piano.recorded import RecordedStep, Row, join
from inference.streaming import leaves


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return PianoNetwork(LIGHT).eval()


@pytest.mark.parametrize("frames", [1, 2, 12])
def test_recorded_steps_equal_the_networks_to_the_bit(network, frames):
    recorded = RecordedStep(network)
    with torch.inference_mode():
        for batch in (1, 3, 2, 5):
            expected_state = network.init_state(batch)
            state = tuple(leaves(expected_state))
            for _ in range(4):
                audio = torch.randn(batch, frames * LIGHT.hop) * 0.1
                output, state = recorded(audio, state)
                expected, expected_state = network.step(audio, expected_state)
                assert torch.equal(output, expected)
                pairs = zip(state, leaves(expected_state), strict=True)
                assert all(torch.equal(a, b) for a, b in pairs)


def test_recordings_are_made_once_per_length(network):
    recorded = RecordedStep(network)
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
