"""Audio to listen to: files and raw streams, block by block, in constant memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pedalboard.io import AudioFile, get_supported_read_formats

from bridge.errors import AudioError, UsageError

_log = logging.getLogger(__name__)

Audio = NDArray[np.float32]
"""Audio `(channels, samples)`, full scale 1.0."""

BLOCK = 16_384
"""Samples per block. Where a file is damaged the decoder loses a whole block, so it is not larger."""
HEARD_CHANNELS = 2
"""Systems hear mono or stereo."""
RATES = (4_000, 768_000)
RAW_FORMATS: dict[str, np.dtype[np.generic]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
MP3_DECODER_DELAY = 529
"""Samples by which every MP3 decoder is late, beside the encoder's delay in the LAME tag."""


@dataclass(slots=True)
class AudioSource:
    """Audio that can be heard once, block by block.

    Args:
        name: the file, or what to call the stream in messages.
        rate: Hz.
        channels: of the blocks, 1 or 2.
        samples: length, None if not known before the end.
        warnings: what was found odd, complete when the last block has been read.
    """

    name: str
    rate: int
    channels: int
    samples: int | None
    _blocks: Iterator[Audio]
    warnings: list[str] = field(default_factory=list)
    silent: bool = True

    @property
    def seconds(self) -> float | None:
        """Length in seconds, None if not known before the end."""
        return None if self.samples is None else self.samples / self.rate

    def blocks(self) -> Iterator[Audio]:
        """Blocks `(channels, samples)` of finite float32; samples that are no number become 0."""
        mended = 0
        for block in self._blocks:
            finite = np.isfinite(block)
            if not finite.all():
                mended += int(block.size - finite.sum())
                block = np.where(finite, block, np.float32(0))
            self.silent = self.silent and not block.any()
            yield block
        if mended:
            self.warnings.append(f"{mended} samples were not finite numbers and were heard as silence")
        if self.silent:
            self.warnings.append("the audio is silent from beginning to end")


def audio_suffixes() -> tuple[str, ...]:
    """Endings of the file names that can be read here, in lower case, with the dot."""
    return tuple(sorted(get_supported_read_formats()))


def open_audio(path: str | Path, channels: Sequence[int] | None = None) -> AudioSource:
    """Open an audio file.

    Args:
        path: wav, flac, mp3, ogg, aiff, or what else the system can decode.
        channels: which channels to hear, counted from 1; None hears all of a mono or stereo file.
    """
    path = Path(path)
    rate, found, total = _probe(path)
    picked = _pick(path.name, found, channels)
    skip, drop = _mp3_padding(path)
    if skip + drop >= total:
        skip = drop = 0
    samples = total - skip - drop
    warnings = _truncation(path, total)
    blocks = _file_blocks(path, picked, skip, samples)
    return AudioSource(str(path), rate, len(picked), samples, blocks, warnings)


def open_raw(
    stream: BinaryIO,
    rate: int,
    channels: int,
    sample_format: Literal["s16le", "f32le"] = "s16le",
    *,
    pick: Sequence[int] | None = None,
    name: str = "raw audio",
) -> AudioSource:
    """Open interleaved raw samples from a binary stream, such as standard input.

    Args:
        stream: where the bytes come from; read until it ends, never rewound.
        rate: Hz.
        channels: interleaved in the stream.
        sample_format: 16-bit integers or 32-bit floats, little-endian.
        pick: which channels to hear, counted from 1.
        name: what to call the stream in messages.
    """
    if sample_format not in RAW_FORMATS:
        raise UsageError(
            f"raw audio of format {sample_format!r} is unknown", remedy=f"Choose {' or '.join(RAW_FORMATS)}"
        )
    if channels < 1:
        raise UsageError(f"raw audio with {channels} channels", remedy="Give 1 or more")
    _check_rate(name, rate)
    picked = _pick(name, channels, pick)
    warnings: list[str] = []
    blocks = _raw_blocks(stream, channels, RAW_FORMATS[sample_format], picked, warnings)
    return AudioSource(name, rate, len(picked), None, blocks, warnings)


def _probe(path: Path) -> tuple[int, int, int]:
    """Rate, channels and samples of a file that can be read."""
    if path.is_dir():
        raise AudioError(f"{path} is a folder", remedy="Give a file")
    if not path.is_file():
        raise AudioError(f"there is no audio file {path}", remedy="Check the path")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty", remedy="Record or export it again")
    try:
        with AudioFile(str(path)) as file:
            rate, channels, total = round(file.samplerate), file.num_channels, file.frames
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    _check_rate(str(path), rate)
    if total <= 0 or channels <= 0:
        raise AudioError(f"{path} holds no samples", remedy="Record or export it again")
    return rate, channels, total


def _file_blocks(path: Path, picked: list[int], skip: int, samples: int) -> Iterator[Audio]:
    try:
        with AudioFile(str(path)) as file:
            file.seek(skip)
            left = samples
            while left > 0 and (block := file.read(min(BLOCK, left))).shape[1]:
                left -= block.shape[1]
                yield np.ascontiguousarray(block[picked], np.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if left > 0 and left == samples:
        raise AudioError(f"{path} holds no samples that can be decoded", remedy="Export it again")


def _raw_blocks(
    stream: BinaryIO,
    channels: int,
    kind: np.dtype[np.generic],
    picked: list[int],
    warnings: list[str],
) -> Iterator[Audio]:
    width = channels * kind.itemsize
    scale = np.float32(1 / 32768) if kind.kind == "i" else np.float32(1)
    rest = b""
    while data := stream.read(BLOCK * width):
        data = rest + data
        whole = len(data) // width * width
        rest = data[whole:]
        if whole:
            samples = np.frombuffer(data[:whole], kind).reshape(-1, channels).T[picked]
            yield np.ascontiguousarray(samples.astype(np.float32) * scale)
    if rest:
        warnings.append(f"{len(rest)} bytes at the end do not make a whole sample and were left out")


def _pick(name: str, found: int, channels: Sequence[int] | None) -> list[int]:
    """Indices of the channels to hear, from numbers counted from 1."""
    if channels is None:
        if found > HEARD_CHANNELS:
            raise AudioError(
                f"{name} has {found} channels; systems hear 1 or 2", remedy="Choose with --channels 1,2"
            )
        return list(range(found))
    if not 1 <= len(channels) <= HEARD_CHANNELS or len(set(channels)) != len(channels):
        raise UsageError(
            f"channels {','.join(map(str, channels))}: systems hear 1 or 2",
            remedy="Choose one or two different ones, as in --channels 1,2",
        )
    for channel in channels:
        if not 1 <= channel <= found:
            raise AudioError(f"{name} has no channel {channel}", remedy=f"Choose from 1 to {found}")
    return [channel - 1 for channel in channels]


def _check_rate(name: str, rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"{name} claims {rate} samples per second",
            remedy=f"Give audio between {RATES[0]} and {RATES[1]} Hz",
        )


def _unreadable(path: Path, error: Exception) -> AudioError:
    known = ", ".join(suffix[1:] for suffix in audio_suffixes())
    return AudioError(
        f"{path} cannot be read as audio",
        why="damaged, or of an unknown kind",
        remedy=f"Convert it to wav or flac (readable here: {known})",
    )


def _truncation(path: Path, total: int) -> list[str]:
    """A warning if an uncompressed file is shorter than its header says: the rest reads as zeros."""
    if path.suffix.lower() not in (".wav", ".bwf", ".aif", ".aiff"):
        return []
    with AudioFile(str(path)) as file:
        width = {"int8": 1, "int16": 2, "int24": 3, "int32": 4, "float32": 4, "float64": 8}.get(
            str(file.file_dtype), 0
        )
        promised, rate = total * file.num_channels * width, file.samplerate
    missing = promised - path.stat().st_size
    if missing <= 0:
        return []
    seconds = missing / (promised / total) / rate
    return [f"the file is cut off: about {seconds:.1f} s at the end are missing and are heard as silence"]


def _mp3_padding(path: Path) -> tuple[int, int]:
    """Samples of encoder delay at the beginning, and of padding at the end, from the LAME tag."""
    if path.suffix.lower() != ".mp3":
        return 0, 0
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            file.seek(10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]))
        else:
            file.seek(0)
        frame = file.read(400)
    mark = max(frame.find(b"Info"), frame.find(b"Xing"))
    tag = frame[mark + 120 :] if mark >= 0 else b""
    if len(tag) < 24 or tag[:4] not in (b"LAME", b"Lavf", b"Lavc"):
        return 0, 0
    delay, padding = tag[21] << 4 | tag[22] >> 4, (tag[22] & 15) << 8 | tag[23]
    return delay + MP3_DECODER_DELAY, max(0, padding - MP3_DECODER_DELAY)
