"""Bytes to messages and back. Whatever the bytes are, decoding raises nothing but `ProtocolError`."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.errors import ProtocolError
from bridge.wire.protocol import MAX_HEADER, MAX_MESSAGE, AnyMessage, Opening, ToPlugin, ToSidecar

Samples = NDArray[np.float32]
Buffer: TypeAlias = bytes | memoryview
T = TypeVar("T")


class _Envelope(msgspec.Struct, frozen=True):
    type: str


_encoder = msgspec.msgpack.Encoder()
_to_sidecar: msgspec.msgpack.Decoder[ToSidecar] = msgspec.msgpack.Decoder(ToSidecar)
_to_plugin: msgspec.msgpack.Decoder[ToPlugin] = msgspec.msgpack.Decoder(ToPlugin)
_opening = msgspec.msgpack.Decoder(Opening)
_envelope = msgspec.msgpack.Decoder(_Envelope)
_TYPES_TO_SIDECAR = frozenset(("hello", "configure", "audio", "flush", "ping", "status", "goodbye", "bundle"))
_TYPES_TO_PLUGIN = frozenset(("welcome", "refusal", "events", "pong", "report", "goodbye", "bundle"))


def encode(message: AnyMessage) -> bytes:
    """The header frame of a message."""
    return _encoder.encode(message)


def decode_to_sidecar(header: bytes) -> ToSidecar | None:
    """A plug-in's message, or `None` if its type is unknown and it must be ignored."""
    return _decode(_to_sidecar, _TYPES_TO_SIDECAR, header, MAX_HEADER)


def decode_to_plugin(header: bytes) -> ToPlugin | None:
    """A sidecar's message, or `None` if its type is unknown and it must be ignored."""
    return _decode(_to_plugin, _TYPES_TO_PLUGIN, header, MAX_MESSAGE)


def decode_opening(header: bytes) -> Opening | None:
    """The version range of a Hello of any protocol, past or future; `None` if it is no Hello."""
    if len(header) > MAX_HEADER:
        return None
    try:
        return _opening.decode(header)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None


def encode_samples(audio: Samples) -> bytes:
    """The samples frame of a block `(channels, samples)`: float32, little-endian, planar."""
    return np.ascontiguousarray(audio, dtype="<f4").tobytes()


def decode_samples(frame: Buffer, channels: int, samples: int) -> tuple[Samples, int]:
    """The block `(channels, samples)` in a samples frame, and how many values were not finite.

    Values that are not finite become 0, so that one bad plug-in before us cannot poison a state.
    """
    expected = channels * samples * 4
    if len(frame) != expected:
        raise ProtocolError(
            f"a block of {samples} samples in {channels} channels came with {len(frame)} bytes",
            why=f"it must have {expected}",
            remedy="Send float32, little-endian, planar, with the channels promised in Hello.",
        )
    audio: Samples = np.frombuffer(frame, dtype="<f4").reshape(channels, samples)
    finite = np.isfinite(audio)
    if finite.all():
        return audio, 0
    return np.where(finite, audio, np.float32(0.0)), int(audio.size - np.count_nonzero(finite))


def _decode(
    decoder: msgspec.msgpack.Decoder[T], known: frozenset[str], header: bytes, limit: int
) -> T | None:
    if len(header) > limit:
        raise ProtocolError(
            f"a message header has {len(header)} bytes", why=f"the limit is {limit}", remedy=_REMEDY
        )
    try:
        return decoder.decode(header)
    except msgspec.ValidationError as error:
        if _type_of(header) not in known | {None}:
            return None
        raise _broken(error) from error
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise _broken(error) from error


def _type_of(header: bytes) -> str | None:
    try:
        return _envelope.decode(header).type
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, MemoryError):
        return None


_REMEDY = "Update the plug-in and dawbridge to versions that belong together."


def _broken(error: BaseException) -> ProtocolError:
    why: Any = str(error)[:512] or type(error).__name__
    return ProtocolError("a message breaks the protocol", why=why, remedy=_REMEDY)
