"""How presets become streams: loading, what a session is granted, warming up. Imports torch late."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge import presets
from bridge.errors import BridgeError, EngineError, PresetError
from bridge.presets import InstrumentPreset, Preset
from bridge.sidecar.jobs import Hearing, Samples, StreamMaker
from bridge.sidecar.player import NAME, Piece, Player
from bridge.sidecar.session import Terms
from bridge.voicing import midi_velocity
from bridge.wire import protocol as wire
from inference.events import Events

if TYPE_CHECKING:
    from inference.pipeline import Stream

CREDIT_S = 0.2
LEAST_CREDIT = 8
WARM_UP_S = 1.0


class Ear:
    """A pipeline stream as the worker sees it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    @property
    def batch(self) -> tuple[object, ...]:
        """Streams of one transcriber with equal chunks step together."""
        return id(self.stream.transcriber), self.stream.chunk

    @property
    def pending(self) -> int:
        """Chunks that wait to be stepped."""
        return self.stream.pending

    @property
    def due(self) -> int:
        """Stream time up to which audio is needed for another chunk."""
        return self.stream.due

    def place(self, start: int, transport: wire.Transport) -> None:
        """An ear does not care where the song is."""

    def push(self, audio: Samples) -> None:
        """Take a block `(channels, samples)`."""
        self.stream.push(audio)

    def finish(self) -> Events:
        """Drain, close what sounds, end."""
        return self.stream.finish()


def advance(ears: Sequence[Hearing]) -> list[Events]:
    """Step one chunk of each of several streams of one batch."""
    if isinstance(ears[0], Player):
        return [player.step() for player in ears if isinstance(player, Player)]
    from inference import pipeline

    return pipeline.advance([ear.stream for ear in ears if isinstance(ear, Ear)], limit=1)


@dataclass
class Engine:
    """Opens presets; one transcriber per system, so that sessions can share batches.

    Args:
        defaults: presets of a session that names none.
        load: names to a preset.
        make_transcriber: a preset to a transcriber with its weights loaded.
        piece: what plays, instead of a system that hears, wherever no system is named.
    """

    defaults: tuple[str, ...] = ("live",)
    load: Callable[[Sequence[str]], Preset] = presets.load
    make_transcriber: Callable[[Preset], Any] = Preset.transcriber
    piece: Piece | None = None
    systems: tuple[str, ...] = ()
    _opened: dict[tuple[str, ...], tuple[Preset, Any]] = field(default_factory=dict)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def open(self, names: Sequence[str], contents: str = "") -> tuple[Preset, Any]:
        """Preset and transcriber for `names`, or for a preset by value; slow at first, then kept."""
        key = (contents,) if contents else tuple(names) or self.defaults
        with self._opening:
            if key not in self._opened:
                preset = self._preset(key, contents)
                self._opened[key] = preset, self._transcriber(preset)
                self.systems = tuple(sorted({opened.system.name for opened, _ in self._opened.values()}))
            return self._opened[key]

    def _preset(self, names: Sequence[str], contents: str) -> Preset:
        return presets.by_value(contents) if contents else self.load(names)

    def _transcriber(self, preset: Preset) -> Any:
        try:
            return self.make_transcriber(preset)
        except BridgeError:
            raise
        except Exception as error:
            raise EngineError(
                f"the system {preset.system.name} cannot be opened",
                why=str(error) or type(error).__name__,
                remedy="Run: dawbridge doctor",
            ) from error

    def grant(self, hello: wire.Hello) -> Terms:
        """What a plug-in with these properties gets."""
        if self._plays(hello):
            return self._play(hello)
        preset, transcriber = self.open(hello.presets, hello.contents)
        make_stream = partial(_ear, transcriber, hello.rate, hello.channels, preset)
        return replace(
            _terms(hello, preset, make_stream, **asdict(make_stream(0).stream.latency)),
            drop_late=preset.latency.when_late == "drop",
            presets=hello.presets or self.defaults,
            contents=presets.contents(preset),
            systems=(preset.system.name,),
            weights=preset.system.weights or "",
            alignment=preset.latency.alignment,
        )

    def _plays(self, hello: wire.Hello) -> bool:
        if NAME in hello.presets:
            return True
        return self.piece is not None and not any(map(_is_system, hello.presets))

    def _play(self, hello: wire.Hello) -> Terms:
        """The terms of a session that plays the piece: notes are known when their block comes."""
        if self.piece is None:
            raise PresetError(
                "this sidecar has nothing to play", remedy="Start it with: dawbridge serve --play FILE"
            )
        names = [name for name in hello.presets if name != NAME] or self.defaults
        terms = _terms(hello, self._preset(names, hello.contents), partial(Player, self.piece, hello.rate))
        self.systems = tuple(sorted({*self.systems, NAME}))
        return replace(terms, presets=hello.presets or (NAME,), systems=(NAME,))

    def prepare(self, threads: int | None, warm_up: bool) -> None:
        """Open the default presets, on each thread that will step them.

        Args:
            threads: threads of torch, `None` = its own choice.
            warm_up: also hear a second of silence, so that the first session finds all in place.
        """
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        if self.piece is not None:
            return  # systems are opened when somebody asks for one
        preset, transcriber = self.open(())
        if not warm_up:
            return
        ear = _ear(transcriber, 48_000, 2, preset, 0)
        ear.push(np.zeros((2, round(48_000 * WARM_UP_S)), np.float32))
        while ear.pending:
            advance([ear])
        ear.finish()


def _is_system(name: str) -> bool:
    try:
        return presets.find(name).layer == "system"
    except PresetError:
        return False


def _terms(hello: wire.Hello, preset: Preset, make_stream: StreamMaker, **parts: int) -> Terms:
    """What every session gets: `parts` are those of the latency that the stream itself has."""
    budget_ms = preset.latency.budget_ms
    budget = math.ceil((budget_ms or 0) * hello.rate / 1000)
    return Terms(
        make_stream=make_stream,
        latency=wire.Latency(block=hello.max_block, budget=budget, **parts),
        credit=max(LEAST_CREDIT, math.ceil(CREDIT_S * hello.rate / hello.max_block)),
        budget_us=None if budget_ms is None else round(budget_ms * 1000),
        instrument=_instrument(preset.instrument),
        voicing=preset.instrument,
    )


def _ear(transcriber: Any, rate: int, channels: int, preset: Preset, origin: int) -> Ear:
    from inference.pipeline import Stream

    chunk_ms, tuning_hz = preset.latency.chunk_ms, preset.system.tuning_hz
    return Ear(Stream(transcriber, rate, channels, chunk_ms=chunk_ms, origin=origin, tuning_hz=tuning_hz))


def _instrument(preset: InstrumentPreset) -> wire.Instrument:
    return wire.Instrument(
        preset.channel,
        preset.key_range,
        tuple(midi_velocity(step / 127, preset.velocity) for step in range(128)),
        dict(preset.lanes),
    )
