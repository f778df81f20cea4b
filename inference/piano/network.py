"""The piano network: one definition for PAR, PARcompact and the light variant (arXiv 2404.06818)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from inference.features import LogFrequencySpectrogram, MelConfig, MelSpectrogram
from inference.layers import GlobalLstm, LstmState, PitchwiseLstm
from inference.piano.acoustic import AcousticNet
from inference.piano.config import PITCHES, NoteState, PianoConfig
from inference.piano.exchange import Exchange
from inference.piano.heads import DecisionHead, begin_at_priors, decided, together
from inference.piano.touch import Touch
from inference.streaming import Streaming

ACTIVE = (NoteState.ONSET, NoteState.SUSTAIN, NoteState.REONSET)


class Context(NamedTuple):
    """What each pitch did until the frame before: all `(batch, pitches)`.

    `state` is a class id, `duration` the time since the last onset over the longest one,
    `velocity` that of the last onset; the latter two are 0 unless the pitch sounds.
    """

    state: Tensor
    duration: Tensor
    velocity: Tensor


class NetworkState(NamedTuple):
    """Everything a stream carries between two steps; unused parts are empty tuples."""

    front_end: Any
    note_acoustic: Any
    velocity_acoustic: Any
    notes: LstmState
    velocities: Any
    context: Any
    head: Any
    touch: Any


class ContextNet(nn.Module):
    """Enhanced recursive context: previous state, duration and velocity to four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.state = nn.Embedding(len(NoteState), 2)
        self.values = nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 48))
        self.join = nn.Linear(50, 4)

    def forward(self, context: Context) -> Tensor:
        values = self.values(torch.stack([context.duration, context.velocity], -1))
        joined: Tensor = self.join(torch.cat([self.state(context.state.long()), values], -1))
        return joined


class PianoNetwork(Streaming[NetworkState]):
    """Audio `(batch, samples)` to `(batch, frames, 88, outputs)`: state logits, then `Output`.

    With recursive context a frame depends on the decisions of the one before, so the sequence
    nets run frame by frame; without it they run over all frames of a step at once.
    """

    time_axis = 1

    def __init__(self, config: PianoConfig) -> None:
        super().__init__()
        self.config = config
        front = config.front_end
        self.front_end: MelSpectrogram | LogFrequencySpectrogram
        self.front_end = (
            MelSpectrogram(front) if isinstance(front, MelConfig) else LogFrequencySpectrogram(front)
        )
        channels, bins = self.front_end.channels, self.front_end.bins
        width, context = config.features, 4 if config.context else 0
        self.note_acoustic = AcousticNet(config, channels, bins)
        self.context = ContextNet() if config.context else None
        embedding = config.pitch_embedding
        self.notes: PitchwiseLstm | GlobalLstm
        if config.global_units:
            self.notes = GlobalLstm(width + context, config.hidden, PITCHES, config.global_units)
        else:
            self.notes = PitchwiseLstm(width + context, config.hidden, config.layers, PITCHES, embedding)
        self.velocity_acoustic = None if config.joint else AcousticNet(config, channels, bins)
        self.touch = Touch(config.rate / config.hop) if config.joint else None
        if config.joint:
            self.exchange: nn.Module = nn.Identity()
            if config.exchange is not None:
                self.exchange = Exchange(config.hidden, config.exchange)
            hindsight = [max(0, delay - config.delay) // config.hop for delay in config.delays]
            self.heads = nn.ModuleList(DecisionHead(config.hidden, config.outputs, h) for h in hindsight)
        else:
            self.note_head = nn.Linear(config.hidden, len(NoteState))
            begin_at_priors(self.note_head)
            self.velocities = PitchwiseLstm(2 * width + context, config.hidden, config.layers, PITCHES)
            self.velocity_head = nn.Linear(config.hidden, 1)
        self.chosen = 0
        """Which of `config.delays` a step decides after; states begun with another are not for it."""
        self.sooner: int | None = None
        """Which delay a step decides after besides, if any: its outputs come behind the others."""

    @property
    def head(self) -> DecisionHead:
        """The head of the chosen delay, of a joint network."""
        return self._head(self.chosen)

    @property
    def earlier(self) -> DecisionHead | None:
        """The head that decides sooner besides."""
        return None if self.sooner is None else self._head(self.sooner)

    @property
    def frame_latency(self) -> int:
        """Frames by which the convolutions look ahead."""
        return int(self.note_acoustic.latency)

    def init_state(self, batch: int) -> NetworkState:
        second = self.velocity_acoustic
        return NetworkState(
            self.front_end.init_state(batch),
            self.note_acoustic.init_state(batch),
            second.init_state(batch) if second else (),
            self.notes.init_state(batch),
            self.velocities.init_state(batch) if second else (),
            self._no_context(batch) if self.context else (),
            self.head.init_state(batch) if self.config.joint else (),
            self.touch.init_state(batch) if self.touch else (),
        )

    def step(self, x: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        front: Any
        if isinstance(self.front_end, LogFrequencySpectrogram):
            features, level, front = self.front_end.listen(x, state.front_end)
        else:
            features, front = self.front_end.step(x, state.front_end)
            level = features.new_zeros(*features.shape[:2], 2)
        if features.shape[1] == 0:
            heads = 1 if self.sooner is None else 2
            empty = x.new_zeros(len(x), 0, PITCHES, heads * self.config.outputs)
            return empty, state._replace(front_end=front)
        heard, acoustic = self.note_acoustic.step(features, state.note_acoustic)
        state = state._replace(front_end=front, note_acoustic=acoustic)
        if self.touch is not None:
            level, touch = self.touch.step(level, state.touch)
            state = state._replace(touch=touch)
        loud: Tensor | None = None
        if self.velocity_acoustic is not None:
            loud, second = self.velocity_acoustic.step(features, state.velocity_acoustic)
            state = state._replace(velocity_acoustic=second)
        if self.context is None:
            return self._decide(heard, loud, level, state)
        outputs = []
        for frame in range(heard.shape[1]):
            around = self.context(state.context)[:, None]
            now = torch.cat([heard[:, frame : frame + 1], around], -1)
            here = slice(frame, frame + 1)
            softer = None if loud is None else loud[:, here]
            output, state = self._decide(now, softer, level[:, here], state)
            state = state._replace(context=self.follow(state.context, output[:, 0]))
            outputs.append(output)
        return torch.cat(outputs, 1), state

    def from_features(self, features: Tensor, context: Context | None = None) -> Tensor:
        """What a joint network decides after every delay, for training.

        From a whole `(batch, frames, windows, bins)` at once, with the context given,
        `(batch, frames, 88)` each, if it is a recursive one; `(batch, frames, 88, delays, outputs)`.
        """
        return torch.stack(self.decisions(features, range(len(self.heads)), context), 3)

    def decisions(
        self, features: Tensor, heads: Iterable[int], context: Context | None = None
    ) -> list[Tensor]:
        """The same of some delays, given by their places: `(batch, frames, 88, outputs)` each."""
        hidden = self.hidden(features, context)
        pooled = together(hidden)
        return [self._head(place).whole(hidden, pooled) for place in heads]

    def hidden(self, features: Tensor, context: Context | None = None) -> Tensor:
        """What the heads of a joint network read, `(batch, frames, 88, hidden)`, of whole features."""
        heard = self.note_acoustic(features)
        if self.context is not None:
            assert context is not None
            heard = torch.cat([heard, self.context(context)], -1)
        hidden: Tensor = self.exchange(self.notes(heard))
        return hidden

    def teacher_forced(self, features: Tensor, context: Context) -> Tensor:
        """Output for whole features with the context given, `(batch, frames, 88)` each, for training."""
        assert self.context is not None and self.velocity_acoustic is not None
        around = self.context(context)
        heard = torch.cat([self.note_acoustic(features), around], -1)
        notes = self.notes(heard)
        loud = torch.cat([heard.detach(), self.velocity_acoustic(features)], -1)
        return torch.cat([self.note_head(notes), self.velocity_head(self.velocities(loud))], -1)

    def _decide(
        self, heard: Tensor, loud: Tensor | None, level: Tensor, state: NetworkState
    ) -> tuple[Tensor, NetworkState]:
        """Outputs for frames of which the context, if there is one, is already part of `heard`."""
        hidden, notes = self.notes.step(heard, state.notes)
        if loud is not None:
            louder, velocities = self.velocities.step(torch.cat([heard, loud], -1), state.velocities)
            output = torch.cat([self.note_head(hidden), self.velocity_head(louder)], -1)
            return output, state._replace(notes=notes, velocities=velocities)
        hidden = self.exchange(hidden)
        output, head = decided(hidden, level, state.head, self.head, self.earlier)
        return output, state._replace(notes=notes, head=head)

    def _head(self, place: int) -> DecisionHead:
        head = self.heads[place]
        assert isinstance(head, DecisionHead)
        return head

    def _no_context(self, batch: int) -> Context:
        zeros = next(self.parameters()).new_zeros(batch, PITCHES)
        return Context(zeros, zeros, zeros)

    def follow(self, context: Context, output: Tensor) -> Context:
        """The context of the next frame, after the outputs `(batch, 88, outputs)` of this one."""
        states = output[..., : len(NoteState)].argmax(-1)
        struck = (states == NoteState.ONSET) | (states == NoteState.REONSET)
        held = states == NoteState.SUSTAIN
        frame = self.config.hop / self.config.rate / self.config.longest_duration_s
        duration = torch.where(struck, frame, torch.where(held, context.duration + frame, 0.0)).clamp(max=1)
        loudness = output[..., len(NoteState)].clamp(0, 1)
        velocity = torch.where(struck, loudness, torch.where(held, context.velocity, 0.0))
        return Context(states.to(duration.dtype), duration, velocity)
