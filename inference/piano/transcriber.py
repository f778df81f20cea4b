"""The piano system: network and decoder behind the `Transcriber` contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.events import Events, merge
from inference.piano.acoustic import fold_norms
from inference.piano.config import LOWEST, PITCHES, PianoConfig
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish
from inference.piano.early import EarlyDecoder, EarlyState
from inference.piano.network import PianoNetwork
from inference.piano.recorded import Leaves, RecordedStep, Row, join
from inference.piano.seen import CHANNELS

_PIECE = 500
"""Frames per network call; bounds memory when a step brings minutes of audio."""


class PianoState(NamedTuple):
    """One stream: what the network and the decoder carry."""

    network: Row
    decoder: DecodeState | EarlyState


class PianoTranscriber:
    """Hears one piano: mono audio at `rate` to notes with velocity, and the sustain pedal.

    `decisions_ms` are the times after which its network can decide; `latency` is that of the chosen one.

    Args:
        network: in any mode, with the delay chosen.
        settings: how its decisions become notes.
        early: the same for a network that also decides sooner: notes that are sure by then are told then.
        device: where the network runs, default the processor; audio and events stay there.
    """

    def __init__(
        self,
        network: PianoNetwork,
        settings: DecodeSettings,
        early: DecodeSettings | None = None,
        device: torch.device | None = None,
    ) -> None:
        if settings.raw and not network.config.joint:
            raise ValueError(f"network {network.config.name!r} hears no pedal; use pedal='extended'")
        self.network = network.eval()
        fold_norms(self.network)
        self.network.to(device or torch.device("cpu"), memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.rate, self.hop = network.config.rate, network.config.hop
        self._early = None if early is None else EarlyDecoder(settings, early, self.rate)
        # A frame's onset lies up to half a hop before its middle, and the decoder waits for the
        # next frame; the hop itself is counted by whoever waits for it to fill.
        self.latency = settings.delay + self.hop // 2
        self.decisions_ms = sorted(decisions(network.config))
        self._step = RecordedStep(self.network)

    @property
    def tells_early(self) -> bool:
        """Whether notes may be told before others that began earlier, and taken back."""
        return self._early is not None

    def start(self) -> PianoState:
        """State of a stream that has heard nothing."""
        decoder = DecodeState if self._early is None else EarlyState
        return PianoState(Row(self._step.init_state(), 0), decoder.initial(PITCHES))

    def step(self, audio: Tensor, states: Sequence[PianoState]) -> tuple[list[Events], list[PianoState]]:
        """Advance several streams: audio `(batch, samples)`, a multiple of `hop` samples."""
        network = join([state.network for state in states])
        decoders = [state.decoder for state in states]
        found: list[list[Events]] = [[] for _ in states]
        after = network
        for seen, after in self._pieces(audio, network):  # noqa: B007
            for row, stream in enumerate(seen):
                events, decoders[row] = self._decode(stream, decoders[row])
                found[row].append(events)
        return [merge(parts) for parts in found], [
            PianoState(Row(after, row), decoder) for row, decoder in enumerate(decoders)
        ]

    def finish(self, state: PianoState) -> Events:
        """Hear silence until all is decided, then end what still sounds."""
        rest = -(-self.latency // self.hop) + 1
        (events,), (state,) = self.step(torch.zeros(1, rest * self.hop), [state])
        if isinstance(state.decoder, EarlyState):
            assert self._early is not None
            return merge([events, self._early.finish(state.decoder)])
        return merge([events, finish(state.decoder, self.settings)])

    def frames(self, audio: Tensor) -> list[Frame]:
        """What the decoder would see of one stream `(1, samples)` from its start."""
        pieces = self._pieces(audio, self._step.init_state())
        return [frame for seen, _ in pieces for frame in as_frames(seen[0])]

    def _decode(
        self, seen: NDArray[np.float32], state: DecodeState | EarlyState
    ) -> tuple[Events, DecodeState | EarlyState]:
        if isinstance(state, DecodeState):
            return decode(as_frames(seen), state, self.settings)
        assert self._early is not None
        return self._early.decode(as_frames(seen[:, :CHANNELS]), as_frames(seen[:, CHANNELS:]), state)

    def _pieces(self, audio: Tensor, state: Leaves) -> Iterator[tuple[NDArray[np.float32], Leaves]]:
        longest, samples = _PIECE * self.hop, audio.shape[1]
        for begin in range(0, samples, longest):
            piece = audio if samples <= longest else audio[:, begin : begin + longest]
            seen, state = self._step(piece, state)
            yield seen, state


def as_frames(channels: NDArray[np.float32]) -> list[Frame]:
    """What the decoder sees of one stream, `(frames, 6, 88)`, frame by frame."""
    return [Frame(c[0], c[1], c[2], c[3], c[4], float(c[5, 0])) for c in channels]


def decode_settings(
    network: PianoNetwork, chosen: int | None = None, **thresholds: float | bool | Sequence[float]
) -> DecodeSettings:
    """Decoder settings that fit a network's frames and the delay it was set to, or another."""
    config = network.config
    delay = config.delays[network.chosen if chosen is None else chosen] + config.lookahead * config.hop
    stored = {name: tuple(x) if isinstance(x, Sequence) else x for name, x in thresholds.items()}
    return DecodeSettings(config.hop, delay, LOWEST, **stored)  # type: ignore[arg-type]


def decisions(config: PianoConfig) -> tuple[float, ...]:
    """Milliseconds that pass at most from a sound to the decision about it, for each delay."""
    ahead = config.lookahead * config.hop + config.hop // 2
    return tuple(1000 * (delay + ahead) / config.rate for delay in config.delays)
