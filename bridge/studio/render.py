"""Render: MIDI through a piano and a room to an audio file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pedalboard.io import AudioFile

from bridge.errors import UsageError
from bridge.files import replacing
from bridge.midi import MidiContent, read_midi
from bridge.presets import RenderPreset, find, listing, load, suggest
from bridge.studio.audio import Audio
from bridge.studio.plugin import PluginPiano, open_plugin
from bridge.studio.room import Room
from bridge.studio.soundfont import (
    CONTROL,
    NOTE_OFF,
    NOTE_ON,
    PlayedEvent,
    SoundFontPiano,
    built_in_soundfont,
)
from bridge.voicing import RELEASE_VELOCITY
from inference.events import Controller

BUILT_IN = "built-in"
BLOCK_S = 0.5
TAIL_STEP_S = 0.1
LONGEST_TAIL_S = 30.0
SILENCE_DB = -60.0
FADE_S = 0.05
"""A tail cut at a length the user chose fades out over this time."""


class Piano(Protocol):
    """Something that plays MIDI, block after block, `latency` samples late."""

    rate: int
    latency: int

    def play(self, events: list[PlayedEvent], samples: int) -> Audio:
        """Audio `(2, samples)` of the next block."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class RenderReport:
    """What was rendered; `tail_s` is the time after the last event, `peak_db` of full scale."""

    path: Path
    seconds: float
    tail_s: float
    notes: int
    peak_db: float
    elapsed_s: float
    warnings: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio per second of work."""
        return self.seconds / self.elapsed_s if self.elapsed_s > 0 else 0.0


def render(
    midi: str | Path,
    out: str | Path,
    *,
    piano: str | Path = BUILT_IN,
    room: str | None = None,
    level_db: float | None = None,
    rate: int = 44_100,
    tail_s: float | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> RenderReport:
    """Render a MIDI file to a wav, flac or ogg file with two channels.

    Args:
        midi: what to play.
        out: the audio file; its ending names the format.
        piano: "built-in", a .sf2, .sf3 or .vst3 file, or an instrument preset.
        room: a named room or an impulse response file; None takes the preset's, "none" is no room.
        level_db: gain before the limiter; None takes the preset's.
        rate: Hz.
        tail_s: seconds after the last event; None takes the preset's, or lets the sound die away to
            -60 dB of full scale (30 s at most).
        progress: called with seconds done and seconds of music after each block.
    """
    begin = time.perf_counter()
    out, content = Path(out), read_midi(midi, checked_rate(rate))
    checked_suffix(out)
    preset = _with_choices(render_preset(str(piano)), room, level_db, tail_s)
    effects = Room(rate, preset.room, preset.level_db)
    with closing(open_piano(preset, rate)) as player:
        blocks = sound(content, player, effects, preset.tail_s)
        peak, count = write_audio(out, counted(blocks, rate, content.length, progress), rate)
    return RenderReport(
        out,
        count / rate,
        (count - content.length) / rate,
        len(content.notes),
        float(20 * np.log10(max(peak, 1e-9))),
        time.perf_counter() - begin,
        content.warnings,
    )


def counted(
    blocks: Iterable[Audio], rate: int, length: int, progress: Callable[[float, float], None] | None
) -> Iterator[Audio]:
    """The blocks `(2, samples)`, and word of how far they go.

    Args:
        blocks: in order.
        rate: Hz.
        length: samples of music, as `progress` is told.
        progress: called with seconds done and seconds of music once a block is dealt with.
    """
    count = 0
    for block in blocks:
        yield block
        count += block.shape[1]
        if progress:
            progress(count / rate, length / rate)


def write_audio(out: Path, blocks: Iterable[Audio], rate: int) -> tuple[float, int]:
    """Write blocks `(2, samples)` to a file of 24 bits; returns their peak and how many samples they were.

    Args:
        out: the audio file; its ending names the format.
        blocks: in order.
        rate: Hz.
    """
    peak, count = 0.0, 0
    with (
        replacing(out) as part,
        part.open("w+b") as raw,
        AudioFile(raw, "w", float(rate), 2, bit_depth=24, format=checked_suffix(out)) as file,
    ):
        for block in blocks:
            file.write(block)
            peak, count = max(peak, float(np.abs(block).max(initial=0.0))), count + block.shape[1]
    return peak, count


def sound(content: MidiContent, piano: Piano, room: Room, tail_s: float | None = None) -> Iterator[Audio]:
    """The audio of a performance in blocks `(2, samples)`, together exactly music and tail long."""
    if tail_s is None:
        yield from _dying_away(content, piano, room)
        return
    total = content.length + round(tail_s * piano.rate)
    fade = min(total - content.length, round(FADE_S * piano.rate))
    done = 0
    for block in _through(room, _played(content, piano, total)):
        left = total - done - np.arange(block.shape[1], dtype=np.float32)
        done += block.shape[1]
        yield block * np.clip(left / max(fade, 1), 0, 1).astype(np.float32)


def _dying_away(content: MidiContent, piano: Piano, room: Room) -> Iterator[Audio]:
    """Music and a tail that ends when it is silent."""
    step = round(TAIL_STEP_S * piano.rate)
    longest = content.length + round(LONGEST_TAIL_S * piano.rate)
    played = 0
    for block in _played(content, piano, longest, step):
        out = room.process(block)
        played += block.shape[1]
        yield out
        if played > content.length and np.abs(out).max(initial=0.0) < 10 ** (SILENCE_DB / 20):
            break
    yield room.finish()


def _through(room: Room, blocks: Iterable[Audio]) -> Iterator[Audio]:
    for block in blocks:
        yield room.process(block)
    yield room.finish()


def render_preset(piano: str) -> RenderPreset:
    """What `--piano` means: the built-in piano, a file, or an instrument preset."""
    suffix = Path(piano).suffix.lower()
    if piano == BUILT_IN:
        return RenderPreset(soundfont=BUILT_IN)
    if suffix in (".sf2", ".sf3"):
        return RenderPreset(soundfont=piano)
    if suffix in (".vst3", ".component"):
        return RenderPreset(plugin=piano)
    names = [file.name for file in listing() if file.layer == "instrument"]
    if piano.removeprefix("instrument/") not in names:
        raise UsageError(
            f"there is no piano {piano!r}",
            remedy=suggest(piano, [BUILT_IN, *names])
            or "Give built-in, a .sf2, .sf3 or .vst3 file, or an instrument preset",
        )
    instrument = load([f"instrument/{find(piano).name}"]).instrument
    return instrument.render or RenderPreset(soundfont=BUILT_IN)


def open_piano(preset: RenderPreset, rate: int) -> Piano:
    """The piano of a preset, ready to play."""
    if preset.plugin:
        return PluginPiano(open_plugin(preset.plugin, preset.state), rate)
    chosen = preset.soundfont or BUILT_IN
    soundfont = built_in_soundfont() if chosen == BUILT_IN else Path(chosen)
    return SoundFontPiano(soundfont, rate, preset.program)


def _with_choices(
    preset: RenderPreset, room: str | None, level_db: float | None, tail_s: float | None
) -> RenderPreset:
    """The preset, with what the user chose in its place."""
    import msgspec

    changes: dict[str, Any] = {"level_db": level_db, "tail_s": tail_s}
    changes = {key: value for key, value in changes.items() if value is not None}
    if room is not None:
        changes["room"] = None if room == "none" else room
    try:
        return msgspec.convert(msgspec.to_builtins(msgspec.structs.replace(preset, **changes)), RenderPreset)
    except msgspec.ValidationError as error:
        raise UsageError("that cannot be rendered", why=str(error), remedy="Choose another value") from error


def _played(content: MidiContent, piano: Piano, total: int, tail_step: int | None = None) -> Iterator[Audio]:
    """The piano alone, its latency taken away: music, then up to `total` samples a tail in `tail_step`s."""
    events = _messages(content)
    size = round(BLOCK_S * piano.rate)
    music, end, late = content.length + piano.latency, total + piano.latency, piano.latency
    begin = 0
    while begin < end:
        stop = min(begin + size, music) if begin < music else min(begin + (tail_step or size), end)
        now = []
        while events and events[0][0] < stop:
            at, message = events.popleft()
            now.append((at - begin, message))
        block = piano.play(now, stop - begin)
        skipped = min(late, block.shape[1])
        late -= skipped
        yield block[:, skipped:]
        begin = stop


def _messages(content: MidiContent) -> deque[PlayedEvent]:
    """Everything to be played, in order; at one time offs, controllers, ons; at the end pedals lift."""
    events = []
    for note in content.notes:
        velocity = max(1, round(127 * note.velocity))
        events.append((note.onset, 2, bytes([NOTE_ON | note.channel, note.pitch, velocity])))
        events.append((note.offset, 0, bytes([NOTE_OFF | note.channel, note.pitch, RELEASE_VELOCITY])))
    for change in content.changes:
        events.append((change.time, 1, bytes([CONTROL | change.channel, change.number, change.value])))
    for channel in {change.channel for change in content.changes}:
        events.append((content.length, 3, bytes([CONTROL | channel, Controller.SUSTAIN, 0])))
    events.sort(key=lambda event: event[:2])
    return deque((at, message) for at, _, message in events)


def checked_rate(rate: int) -> int:
    """The rate, if there can be audio of it.

    Raises:
        UsageError: not from 8 to 192 kHz.
    """
    if not 8_000 <= rate <= 192_000:
        raise UsageError(f"a rate of {rate} Hz", remedy="Choose between 8000 and 192000 Hz")
    return rate


def checked_suffix(out: Path) -> str:
    """The format that an audio file's ending names.

    Raises:
        UsageError: none that can be written.
    """
    suffix = out.suffix.lower().lstrip(".")
    if suffix not in ("wav", "flac", "ogg"):
        raise UsageError(f"{out.name} has no known audio ending", remedy="Call it .wav, .flac or .ogg")
    return suffix
