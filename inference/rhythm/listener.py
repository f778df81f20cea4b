"""The rhythm system for whole recordings, behind the `Transcriber` contract: all is told at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.events import Beat, Events, Lane, LanePoint, Note
from inference.features import Carried
from inference.rhythm.bars import BarNetwork, beat_frames, frame_of, hear_bars, near, place_bars
from inference.rhythm.config import Input, Task
from inference.rhythm.counting import CountingNetwork
from inference.rhythm.decode import DecodeSettings, decode
from inference.rhythm.dynamics import (
    DynamicsEnsemble,
    DynamicsSettings,
    Heard,
    decode_dynamics,
    hear_dynamics,
    level,
)
from inference.rhythm.hints import Hints
from inference.rhythm.judge import FEWEST, Reading, evidence, ways
from inference.rhythm.loudness import BandPowers, features, levelled
from inference.rhythm.metre import MetreNetwork, hear_metre
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.noted import Noted, hear_notes
from inference.rhythm.noted_dynamics import hear_noted_dynamics, together
from inference.rhythm.settle import LATE_FRAMES, settle
from inference.rhythm.struck import StruckNetwork
from inference.rhythm.tonal import countable
from inference.streaming import split, stack

_WINDOW_S, _HOP_S = 60, 40
"""Seconds that the network sees at once, as it was trained, and by which they move on."""
_LONGEST_S = 24 * 3600
_USUAL = 0.02
"""By how much another reading must be worth more than the usual one."""

Floats = NDArray[np.float64]


class ListenerState(NamedTuple):
    """Samples that the next frame needs, and all band powers so far, `(1, frames, bands)` in pieces.

    Each piece is longer than the next, so there are few, and a step costs no more than its audio.
    `notes` are what another system heard, if it told.
    """

    carried: Carried
    powers: tuple[Tensor, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Frames:
    """What the network saw `(frames, bands)`, and its logits: `(frames,)`, dynamics `(frames, 6)`.

    `noted` is what the notes say, where they are known.
    """

    seen: NDArray[np.float32]
    beat: NDArray[np.float64]
    downbeat: NDArray[np.float64]
    dynamics: NDArray[np.float64]
    noted: Noted | None = None

    def part(self, first: int, last: int) -> Frames:
        """Frames `first` to `last`, without that one."""
        noted = self.noted and self.noted.part(first, last)
        beat, downbeat, dynamics = (c[first:last] for c in (self.beat, self.downbeat, self.dynamics))
        return Frames(self.seen[first:last], beat, downbeat, dynamics, noted)


class RhythmListener:
    """Hears the beats of a whole recording, and how loudly each is meant.

    The dynamics lane has a point per beat: fifths of its range are pp, p, mf, f and ff. Nothing is
    final before the end; memory grows by 0.1 MB a second. The beats are surer if the notes are known
    too, see `told`.
    """

    def __init__(
        self,
        network: RhythmNetwork,
        settings: DecodeSettings | None = None,
        bars: BarNetwork | None = None,
        dynamics: DynamicsEnsemble | None = None,
        *,
        struck: tuple[StruckNetwork, CountingNetwork] | None = None,
        metre: tuple[MetreNetwork, MetreNetwork] | None = None,
        noted_dynamics: DynamicsEnsemble | None = None,
        judge: Floats | None = None,
        loudness: DynamicsSettings | None = None,
        hints: Hints | None = None,
    ) -> None:
        config = network.config.front_end
        if (bars or dynamics) is not None and config.input is not Input.FUSED:
            raise ValueError("bars and dynamics are heard from a fused input only")
        self.network, self.settings = network.eval(), settings or DecodeSettings()
        self.bars = None if bars is None else bars.eval()
        self.dynamics = None if dynamics is None else dynamics.eval()
        self.struck = None if struck is None else (struck[0].eval(), struck[1].eval())
        self.metre = None if metre is None else (metre[0].eval(), metre[1].eval())
        self.noted_dynamics = None if noted_dynamics is None else noted_dynamics.eval()
        self.judge = judge
        self.loudness, self.hints = loudness or DynamicsSettings(), hints or Hints()
        self.config = config
        self.rate, self.hop = config.rate, config.hop
        self.latency = _LONGEST_S * self.rate
        self._hear = BandPowers(config).eval()

    def start(self) -> ListenerState:
        """State of a stream that has heard nothing."""
        return ListenerState(self._hear.init_state(1), ())

    def step(
        self, audio: Tensor, states: Sequence[ListenerState]
    ) -> tuple[list[Events], list[ListenerState]]:
        """Keep what was heard; nothing is told yet."""
        with torch.inference_mode():
            powers, carried = self._hear.step(audio, stack([state.carried for state in states]))
        after = [
            state._replace(carried=own, powers=_joined((*state.powers, row)))
            for state, own, row in zip(
                states, split(carried, [1] * len(states)), torch.split(powers, 1), strict=True
            )
        ]
        return [Events(0) for _ in states], after

    def told(self, state: ListenerState, notes: Sequence[Note]) -> ListenerState:
        """The state with all notes that another system heard in the recording, times in samples at `rate`."""
        return state._replace(notes=tuple(notes))

    def finish(self, state: ListenerState) -> Events:
        """All beats, and a point of the dynamics lane at each."""
        if not any(part.any() for part in state.powers):  # silence
            return Events(sum(part.shape[1] for part in state.powers) * self.hop)
        found = self.beside(self.frames(torch.cat(state.powers, 1)), state.notes)
        beats = self.beats(found)
        return Events(len(found.seen) * self.hop, lanes=self.lane(found, beats), beats=beats)

    def lane(self, found: Frames, beats: Sequence[Beat]) -> tuple[LanePoint, ...]:
        """How loudly each beat is meant."""
        if self.dynamics is None or not beats:
            return ()
        heard = self.heard(found, np.array([beat.time / self.rate for beat in beats]))
        values = level(heard, decode_dynamics(heard, self.loudness))
        return tuple(
            LanePoint(beat.time, Lane.DYNAMICS, float(value))
            for beat, value in zip(beats, values, strict=True)
        )

    def heard(self, found: Frames, beats: Floats) -> Heard:
        """What is thought of how loudly beats at these times, in seconds, are meant."""
        assert self.dynamics is not None
        heard = hear_dynamics(self.dynamics, found.seen, frame_of(beats, self.config))
        if self.noted_dynamics is None or found.noted is None or len(beats) < 2:
            return heard
        return together(heard, hear_noted_dynamics(self.noted_dynamics, self._struck(found.noted), beats))

    def beats(self, found: Frames) -> tuple[Beat, ...]:
        """Beats in bars, times in samples at `rate`; none where there is nothing to count along with."""
        settled = settle(self._likeliest(found), found.seen, self.config)
        return settled if self.hints.taps or countable(settled, found.seen) else ()

    def _likeliest(self, found: Frames) -> tuple[Beat, ...]:
        told = self.readings(found)
        usual, known = next(told)
        if self.judge is None or known is None:
            return usual
        chosen, highest = usual, float(known @ self.judge) + _USUAL
        for beats, known in told:
            if known is not None and (worth := float(known @ self.judge)) > highest:
                chosen, highest = beats, worth
        return chosen

    def readings(self, found: Frames) -> Iterator[tuple[tuple[Beat, ...], Floats | None]]:
        """Beats in bars as they are found in several ways, the usual one first, and what tells of each.

        That is `(EVIDENCE,)`, see `inference.rhythm.judge`; None where too little is known.
        """
        beat, tempo, settings = found.beat, None, self.settings
        if found.noted is not None:
            beat, tempo = beat + settings.noted_beats * found.noted.beat, found.noted.tempo
            settings = replace(settings, beat_bias=settings.noted_bias, unusual=0.0)
        drawn = self.hints.led(beat, self.config)
        if self.bars is None:
            yield decode(drawn, found.downbeat, settings, self.config, tempo), None
            return
        uncounted = replace(settings, meters=(1,), downbeat_weight=0.0)
        for way in [uncounted] if self.hints.taps else ways(uncounted):
            beats = decode(drawn, found.downbeat, way, self.config, tempo)
            began = self._bar_logits(beats, found)
            beats = self._in_bars(beats, began)
            yield beats, self._known(beats, began, drawn, found.noted)

    def _known(
        self, beats: tuple[Beat, ...], began: NDArray[np.float32], drawn: Floats, noted: Noted | None
    ) -> Floats | None:
        if self.metre is None or noted is None or len(beats) < FEWEST:
            return None
        counted = hear_metre(self.metre[1], *self._beside_notes(beats, noted))
        reading = Reading(beats, counted, began)
        return evidence(reading, drawn, noted, self.config, self.settings.meters)

    def _beside_notes(self, beats: Sequence[Beat], noted: Noted) -> tuple[Floats, Floats]:
        """Times of beats as the network over sound tells them, put where notes are, and these; in seconds."""
        times = np.array([beat.time / self.rate for beat in beats])
        return times - LATE_FRAMES / self.config.frames_per_second, self._struck(noted)

    def _struck(self, noted: Noted) -> Floats:
        """Rows of onset in seconds, pitch and velocity."""
        return noted.struck / (self.config.frames_per_second, 1, 1)

    def _in_bars(self, beats: tuple[Beat, ...], began: NDArray[np.float32]) -> tuple[Beat, ...]:
        if not beats:
            return beats
        times = np.array([beat.time / self.rate for beat in beats])
        logits = self.hints.began(began, times, max(self.settings.meters))
        return place_bars(beats, logits, self.settings)

    def _bar_logits(self, beats: Sequence[Beat], found: Frames) -> NDArray[np.float32]:
        """Logit of each beat that it begins a bar, `(beats,)`."""
        assert self.bars is not None
        if not beats:
            return np.zeros(0, np.float32)
        frames = beat_frames(beats, self.config)
        logits = hear_bars(self.bars, found.seen, frames)
        if found.noted is None:
            return logits
        if self.metre is None:
            said = near(found.noted.downbeat, frames)
        else:
            said = hear_metre(self.metre[0], *self._beside_notes(beats, found.noted))
        biased: NDArray[np.float32] = logits + self.settings.noted_bars * (
            said - self.settings.noted_bars_bias
        )
        return biased

    def hear(self, audio: NDArray[np.float32], notes: Sequence[Note] = ()) -> Frames:
        """What the network thinks of audio `(samples,)` and of its notes, times in samples at `rate`."""
        with torch.inference_mode():
            return self.beside(self.frames(self._hear(torch.from_numpy(audio)[None])), notes)

    def beside(self, found: Frames, notes: Sequence[Note]) -> Frames:
        """The same with what the notes say, times in samples at `rate`."""
        if self.struck is None:
            return found
        return replace(found, noted=hear_notes(*self.struck, notes, len(found.beat), self.config))

    def frames(self, powers: Tensor) -> Frames:
        """What the network thinks of band powers `(1, frames, bands)`, window by window."""
        with torch.inference_mode():
            seen = features(levelled(powers), self.config)
            parts = [
                {task: logits[0, keep] for task, logits in self.network(piece).items()}
                for piece, keep in _windows(seen, self.network.config.scale**2, self.config.frames_per_second)
            ]
        joined = {task: torch.cat([part[task] for part in parts]).double().numpy() for task in parts[0]}
        return Frames(seen[0].numpy(), joined[Task.BEAT], joined[Task.DOWNBEAT], joined[Task.DYNAMICS])


def _windows(seen: Tensor, grid: int, rate: float) -> list[tuple[Tensor, slice]]:
    """Overlapping windows that begin on the slow grid, and the frames of each that count.

    Short input is completed with silence.
    """
    total = seen.shape[1]
    size, hop = int(_WINDOW_S * rate) // grid * grid, int(_HOP_S * rate) // grid * grid
    edge = (size - hop) // 2
    begins = list(range(0, max(total - edge, 1), hop))
    found = []
    for begin in begins:
        piece = seen[:, begin : begin + size]
        missing = max(-piece.shape[1] % grid, 4 * grid - piece.shape[1])
        if missing:
            piece = torch.nn.functional.pad(piece, (0, 0, 0, missing))
        first = 0 if begin == 0 else edge
        last = total - begin if begin == begins[-1] else edge + hop
        found.append((piece, slice(first, last)))
    return found


def _joined(pieces: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    while len(pieces) > 1 and pieces[-1].shape[1] >= pieces[-2].shape[1]:
        pieces = (*pieces[:-2], torch.cat(pieces[-2:], 1))
    return pieces
