"""The piano system: network and decoder behind the `Transcriber` contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inference.events import Events, merge
from inference.piano.acoustic import fold_norms
from inference.piano.config import LOWEST, PITCHES, STATE_WEIGHTS, NoteState, Output, PianoConfig
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish
from inference.piano.network import PianoNetwork
from inference.piano.recorded import RecordedStep, Row, Tensors, join

_PIECE = 500
"""Frames per network call; bounds memory when a step brings minutes of audio."""


class PianoState(NamedTuple):
    """One stream: what the network and the decoder carry."""

    network: Row
    decoder: DecodeState


class PianoTranscriber:
    """Hears one piano: mono audio at `rate` to notes with velocity, and the sustain pedal.

    `decisions_ms` are the times after which its network can decide; `latency` is that of the chosen one.
    """

    def __init__(self, network: PianoNetwork, settings: DecodeSettings) -> None:
        if settings.raw and not network.config.joint:
            raise ValueError(f"network {network.config.name!r} hears no pedal; use pedal='extended'")
        self.network = network.eval()
        fold_norms(self.network)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.rate, self.hop = network.config.rate, network.config.hop
        # A frame's onset lies up to half a hop before its middle, and the decoder waits for the
        # next frame; the hop itself is counted by whoever waits for it to fill.
        self.latency = settings.delay + self.hop // 2
        self.decisions_ms = sorted(decisions(network.config))
        # Only the joint networks are trained with weighted states.
        self._log_weights = torch.tensor(STATE_WEIGHTS).log() if network.config.joint else torch.zeros(5)
        self._step = RecordedStep(self.network, self._view)

    def start(self) -> PianoState:
        """State of a stream that has heard nothing."""
        return PianoState(Row(self._step.init_state(), 0), DecodeState.initial(PITCHES))

    def step(self, audio: Tensor, states: Sequence[PianoState]) -> tuple[list[Events], list[PianoState]]:
        """Advance several streams: audio `(batch, samples)`, a multiple of `hop` samples."""
        network = join([state.network for state in states])
        decoders = [state.decoder for state in states]
        found: list[list[Events]] = [[] for _ in states]
        after = network
        for seen, after in self._pieces(audio, network):  # noqa: B007
            for row, frames in enumerate(_frames(seen)):
                events, decoders[row] = decode(frames, decoders[row], self.settings)
                found[row].append(events)
        return [merge(parts) for parts in found], [
            PianoState(Row(after, row), decoder) for row, decoder in enumerate(decoders)
        ]

    def finish(self, state: PianoState) -> Events:
        """Hear silence until all is decided, then end what still sounds."""
        rest = -(-self.latency // self.hop) + 1
        (events,), (state,) = self.step(torch.zeros(1, rest * self.hop), [state])
        return merge([events, finish(state.decoder, self.settings)])

    def frames(self, audio: Tensor) -> list[Frame]:
        """What the decoder would see of one stream `(1, samples)` from its start."""
        pieces = self._pieces(audio, self._step.init_state())
        return [frame for seen, _ in pieces for frame in _frames(seen)[0]]

    def _pieces(self, audio: Tensor, state: Tensors) -> Iterator[tuple[Tensor, Tensors]]:
        for piece in torch.split(audio, _PIECE * self.hop, dim=1):
            with torch.inference_mode():
                seen, state = self._step(piece, state)
            yield seen, state

    def _view(self, output: Tensor) -> Tensor:
        """Network output `(batch, frames, 88, outputs)` as the decoder sees it, `(batch, frames, 6, 88)`."""
        # With the states on an axis of their own, the softmax goes over all keys at once.
        logits = output[..., : len(NoteState)].movedim(-1, 2).contiguous() - self._log_weights[:, None]
        states = torch.softmax(logits, 2)
        onset = states[:, :, NoteState.ONSET] + states[:, :, NoteState.REONSET]
        active = onset + states[:, :, NoteState.SUSTAIN]
        velocity = output[..., Output.VELOCITY]
        if self.network.config.joint:
            shift, key = output[..., Output.SHIFT], torch.sigmoid(output[..., Output.KEY])
            pedal = torch.sigmoid(output[..., Output.PEDAL])
        else:  # the published networks tell onsets to the frame, and sounding ends alone
            shift, key, pedal = torch.zeros_like(onset), active, torch.zeros_like(onset)
        return torch.stack([onset, active, velocity, shift, key, pedal], 2)


def _frames(seen: Tensor) -> list[list[Frame]]:
    """What `_view` made, as frames of each stream."""
    return [[Frame(c[0], c[1], c[2], c[3], c[4], float(c[5, 0])) for c in stream] for stream in seen.numpy()]


def decode_settings(network: PianoNetwork, **thresholds: float | bool) -> DecodeSettings:
    """Decoder settings that fit a network's frames and the delay it was set to."""
    config = network.config
    delay = config.delays[network.chosen] + config.lookahead * config.hop
    return DecodeSettings(config.hop, delay, LOWEST, **thresholds)  # type: ignore[arg-type]


def decisions(config: PianoConfig) -> tuple[float, ...]:
    """Milliseconds that pass at most from a sound to the decision about it, for each delay."""
    ahead = config.lookahead * config.hop + config.hop // 2
    return tuple(1000 * (delay + ahead) / config.rate for delay in config.delays)
