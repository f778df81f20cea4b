"""Both ends speak alike, and no bytes whatsoever break the decoder."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ProtocolError
from bridge.wire import protocol as wire
from bridge.wire.codec import (
    decode_opening,
    decode_samples,
    decode_to_plugin,
    decode_to_sidecar,
    encode,
    encode_samples,
)
from tests.protocol.samples import GOLDEN, SAMPLES, TO_PLUGIN, TO_SIDECAR

ALL = TO_SIDECAR | TO_PLUGIN


def decode(name: str, header: bytes) -> object:
    return decode_to_sidecar(header) if name in TO_SIDECAR else decode_to_plugin(header)


@pytest.mark.parametrize("name", ALL)
def test_golden_files_mean_what_they_meant(name):
    golden = (GOLDEN / f"{name}.bin").read_bytes()
    assert encode(ALL[name]) == golden
    assert decode(name, golden) == ALL[name]
    told = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
    assert told == msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(golden)))  # bytes as base64


def test_golden_samples():
    golden = (GOLDEN / "audio.samples.bin").read_bytes()
    assert encode_samples(SAMPLES) == golden
    audio, repaired = decode_samples(golden, 2, 3)
    assert repaired == 0
    np.testing.assert_array_equal(audio, SAMPLES)


def test_every_message_has_a_golden_file():
    kinds = {type(message) for message in ALL.values()}
    assert kinds == set(wire.AnyMessage.__args__)
    assert {path.name for path in GOLDEN.iterdir()} == {f"{n}.{e}" for n in ALL for e in ("bin", "json")} | {
        "audio.samples.bin"
    }


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_random_bytes_raise_nothing_but_protocol_error(data):
    for decoder in (decode_to_sidecar, decode_to_plugin):
        try:
            message = decoder(data)
        except ProtocolError as error:
            assert error.why and error.remedy
        else:
            assert message is None or encode(message)
    decode_opening(data)


@given(st.sampled_from(sorted(ALL)), st.data())
@settings(max_examples=1000, deadline=None)
def test_damaged_messages_raise_nothing_but_protocol_error(name, data):
    broken = bytearray(encode(ALL[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    for damaged in (bytes(broken), bytes(broken[:cut])):
        try:
            message = decode(name, damaged)
        except ProtocolError:
            continue
        assert message is None or decode(name, encode(message)) == message


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from(sorted(ALL)), st.data(), json_like)
@settings(max_examples=500, deadline=None)
def test_fields_of_any_type_raise_nothing_but_protocol_error(name, data, value):
    fields = msgspec.msgpack.decode(encode(ALL[name]))
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    try:
        message = decode(name, msgspec.msgpack.encode(fields))
    except ProtocolError:
        return
    assert message is None or decode(name, encode(message)) == message


@pytest.mark.parametrize(
    "nested", [b"\x91" * 60_000, b"\x81\xa1a" * 20_000, b"\x82\xa4type\xa4ping\xa7sent_ns" + b"\x91" * 5000]
)
def test_deep_nesting_is_refused(nested):
    with pytest.raises(ProtocolError):
        decode_to_sidecar(nested)


def test_too_long_a_header_is_refused_before_it_is_read():
    padded = msgspec.msgpack.encode({"type": "ping", "sent_ns": 1, "padding": "x" * wire.MAX_HEADER})
    with pytest.raises(ProtocolError, match="limit"):
        decode_to_sidecar(padded)


@pytest.mark.parametrize("name", ALL)
def test_unknown_fields_are_ignored(name):
    fields = msgspec.msgpack.decode(encode(ALL[name]))
    assert decode(name, msgspec.msgpack.encode({**fields, "of_protocol_2": [1, {"a": None}]})) == ALL[name]


def test_rows_may_grow_at_their_end():
    fields = msgspec.msgpack.decode(encode(ALL["events"]))
    for key in ("notes", "controls", "lanes", "beats"):
        fields[key] = [[*row, "of protocol 2"] for row in fields[key]]
    assert decode_to_plugin(msgspec.msgpack.encode(fields)) == ALL["events"]
    fields = msgspec.msgpack.decode(encode(ALL["audio"]))
    fields["transport"].append(17)
    assert decode_to_sidecar(msgspec.msgpack.encode(fields)) == ALL["audio"]


def test_unknown_types_are_ignored():
    assert decode_to_sidecar(msgspec.msgpack.encode({"type": "teleport", "to": 3})) is None
    assert decode_to_plugin(msgspec.msgpack.encode({"type": "teleport"})) is None
    assert decode_to_sidecar(encode(ALL["welcome"])) is None, "a message in the wrong direction is unknown"


HELLO = {"type": "hello", "protocol": [1, 1], "rate": 48_000, "channels": 2, "max_block": 512}


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 7_999},
        {"rate": 384_001},
        {"rate": float("nan")},
        {"rate": 44_100.5},
        {"channels": 0},
        {"channels": 9},
        {"max_block": 0},
        {"max_block": 8193},
        {"name": "x" * 257},
        {"presets": ["live"] * 9},
        {"protocol": [1]},
        {"protocol": [-1, 1]},
        {"offline": 1},
    ],
)
def test_hello_beyond_its_limits_is_refused(change):
    assert decode_to_sidecar(msgspec.msgpack.encode(HELLO)) is not None
    with pytest.raises(ProtocolError) as caught:
        decode_to_sidecar(msgspec.msgpack.encode(HELLO | change))
    assert next(iter(change)) in caught.value.why


@pytest.mark.parametrize("index", [3, 4, 5])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_transport_is_finite(index, value):
    transport = [True, False, False, 120.0, 1.0, 0.0, [4, 4], 0]
    transport[index] = value
    with pytest.raises(ProtocolError):
        decode_to_sidecar(
            msgspec.msgpack.encode(
                {"type": "audio", "seq": 1, "start": 0, "samples": 1, "transport": transport}
            )
        )


def test_versions_are_read_from_a_hello_of_any_protocol():
    future = msgspec.msgpack.encode({"type": "hello", "protocol": [7, 9], "rate": "by arrangement"})
    opening = decode_opening(future)
    assert opening is not None and opening.protocol == (7, 9)
    assert decode_opening(encode(ALL["ping"])) is None


@pytest.mark.parametrize(
    ("channels", "samples", "size"), [(2, 3, 23), (2, 3, 25), (2, 3, 0), (1, 1, 8), (8, 8192, 4)]
)
def test_samples_of_the_wrong_size_are_refused(channels, samples, size):
    with pytest.raises(ProtocolError, match=str(channels * samples * 4)):
        decode_samples(b"\0" * size, channels, samples)


def test_samples_that_are_not_finite_become_silence():
    audio = np.array([[1.0, np.nan, np.inf], [-np.inf, 0.5, -1.0]], np.float32)
    heard, repaired = decode_samples(encode_samples(audio), 2, 3)
    assert repaired == 3
    np.testing.assert_array_equal(heard, [[1.0, 0.0, 0.0], [0.0, 0.5, -1.0]])
