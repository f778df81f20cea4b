"""The piano system: network and decoder behind the `Transcriber` contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inference.events import Events, merge
from inference.piano.acoustic import fold_norms
from inference.piano.config import LOWEST, PITCHES, STATE_WEIGHTS, NoteState, Output
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish
from inference.piano.network import NetworkState, PianoNetwork
from inference.piano.recorded import RecordedStep
from inference.streaming import split, stack

_PIECE = 500
"""Frames per network call; bounds memory when a step brings minutes of audio."""


class PianoState(NamedTuple):
    """One stream: what the network and the decoder carry."""

    network: NetworkState
    decoder: DecodeState


class PianoTranscriber:
    """Hears one piano: mono audio at `rate` to notes with velocity, and the sustain pedal."""

    def __init__(self, network: PianoNetwork, settings: DecodeSettings) -> None:
        if settings.raw and not network.config.joint:
            raise ValueError(f"network {network.config.name!r} hears no pedal; use pedal='extended'")
        self.network = network.eval()
        fold_norms(self.network)
        self.settings = settings
        self.rate, self.hop = network.config.rate, network.config.hop
        # A frame's onset lies up to half a hop before its middle, and the decoder waits for the
        # next frame; the hop itself is counted by whoever waits for it to fill.
        self.latency = settings.delay + self.hop // 2
        self._step = RecordedStep(self.network)
        # Only the joint networks are trained with weighted states.
        self._log_weights = torch.tensor(STATE_WEIGHTS).log() if network.config.joint else torch.zeros(5)

    def start(self) -> PianoState:
        """State of a stream that has heard nothing."""
        return PianoState(self.network.init_state(1), DecodeState.initial(PITCHES))

    def step(self, audio: Tensor, states: Sequence[PianoState]) -> tuple[list[Events], list[PianoState]]:
        """Advance several streams: audio `(batch, samples)`, a multiple of `hop` samples."""
        alone = len(states) == 1
        network = states[0].network if alone else stack([state.network for state in states])
        decoders = [state.decoder for state in states]
        found: list[list[Events]] = [[] for _ in states]
        after = network
        for output, after in self._pieces(audio, network):  # noqa: B007
            for row, frames in enumerate(self._frames(output)):
                events, decoders[row] = decode(frames, decoders[row], self.settings)
                found[row].append(events)
        networks = [after] if alone else split(after, [1] * len(states))
        return [merge(parts) for parts in found], [
            PianoState(n, d) for n, d in zip(networks, decoders, strict=True)
        ]

    def finish(self, state: PianoState) -> Events:
        """Hear silence until all is decided, then end what still sounds."""
        rest = -(-self.latency // self.hop) + 1
        (events,), (state,) = self.step(torch.zeros(1, rest * self.hop), [state])
        return merge([events, finish(state.decoder, self.settings)])

    def frames(self, audio: Tensor) -> list[Frame]:
        """What the decoder would see of one stream `(1, samples)` from its start."""
        pieces = self._pieces(audio, self.network.init_state(1))
        return [frame for output, _ in pieces for frame in self._frames(output)[0]]

    def _pieces(self, audio: Tensor, state: NetworkState) -> Iterator[tuple[Tensor, NetworkState]]:
        for piece in torch.split(audio, _PIECE * self.hop, dim=1):
            with torch.inference_mode():
                output, state = self._step(piece, state)
            yield output, state

    def _frames(self, output: Tensor) -> list[list[Frame]]:
        """Network output `(batch, frames, 88, outputs)` as frames for the decoder."""
        states = torch.softmax(output[..., : len(NoteState)] - self._log_weights, -1)
        onset = states[..., NoteState.ONSET] + states[..., NoteState.REONSET]
        active = onset + states[..., NoteState.SUSTAIN]
        if self.network.config.joint:
            shift, key = output[..., Output.SHIFT], torch.sigmoid(output[..., Output.KEY])
            pedal = torch.sigmoid(output[:, :, 0, Output.PEDAL])
        else:  # the published networks tell onsets to the frame, and sounding ends alone
            shift, key = torch.zeros_like(onset), active
            pedal = torch.zeros(output.shape[:2])
        columns = [onset, active, output[..., Output.VELOCITY], shift, key]
        on, sound, velocity, place, down = (column.numpy() for column in columns)
        return [
            [
                Frame(on[r, f], sound[r, f], velocity[r, f], place[r, f], down[r, f], float(pedal[r, f]))
                for f in range(output.shape[1])
            ]
            for r in range(len(output))
        ]


def decode_settings(network: PianoNetwork, **thresholds: float | bool) -> DecodeSettings:
    """Decoder settings that fit a network's frames."""
    config = network.config
    return DecodeSettings(config.hop, config.label_delay, LOWEST, **thresholds)  # type: ignore[arg-type]
