"""Which blocks travel together, and which must not wait."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from bridge.wire import protocol as wire
from bridge.wire.blocks import Block, joined, leading

RATE = 48_000
PLAYING = wire.Transport(True, tempo_bpm=120.0, beats=0.0, position=0)


def run(count, samples=256, start=0):
    """Blocks of a transport that plays."""
    blocks = []
    for number in range(count):
        at = start + number * samples
        transport = msgspec.structs.replace(PLAYING, position=at, beats=at / RATE * 2)
        blocks.append(Block(at, np.full((1, samples), number, np.float32), transport))
    return blocks


def test_blocks_wait_for_the_one_that_is_due():
    assert leading(run(3), 1_000, RATE) == []
    blocks = run(6)
    assert leading(blocks, 1_000, RATE) == blocks[:4], "256 * 4 is the first end not before 1000"
    assert leading(blocks, 1_024, RATE) == blocks[:4] and leading(blocks, 1_025, RATE) == blocks[:5]


def test_nothing_waits_where_nothing_is_known():
    blocks = run(3)
    assert leading(blocks, 0, RATE) == blocks[:1]


def changed(block, **changes):
    return Block(block.start, block.audio, msgspec.structs.replace(block.transport, **changes))


@pytest.mark.parametrize(
    "change",
    [{"playing": False}, {"recording": True}, {"tempo_bpm": 121.0}, {"meter": (3, 4)}, {"position": 9_000}],
)
def test_what_changes_the_transport_sends_the_blocks_before_at_once(change):
    blocks = run(3)
    blocks[2] = changed(blocks[2], **change)
    assert leading(blocks, 100_000, RATE) == blocks[:2]


def test_a_gap_a_mark_and_the_longest_message_end_a_run():
    blocks = [*run(2), *run(1, start=5_000)]
    assert leading(blocks, 100_000, RATE) == blocks[:2]
    assert len(leading([*run(2), "a mark"], 100_000, RATE)) == 2
    assert len(leading(run(40), 100_000, RATE)) == wire.MAX_BLOCK // 256


def test_joined_blocks_hold_the_same_samples():
    whole = joined(run(3, samples=4))
    assert whole.start == 0 and whole.end == 12
    assert whole.audio.tolist() == [[0.0] * 4 + [1.0] * 4 + [2.0] * 4]
