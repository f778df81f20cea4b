"""Transcribers for tests: exact, deterministic, and honest about their latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from inference.events import Control, Controller, Events, Lane, LanePoint, NoteOff, NoteOn


@dataclass(frozen=True, slots=True)
class ClickState:
    """What a `ClickTranscriber` remembers of one stream."""

    heard: int = 0  # samples
    tail: tuple[float, float] = (0.0, 0.0)  # the two latest samples
    undecided: tuple[tuple[int, float], ...] = ()  # clicks not yet reported: (time, height)
    last_click: int | None = None
    sounding: NoteOn | None = None
    pedal: bool = False
    notes: int = 0  # ids given so far
    reported: int = 0  # everything before it is reported


@dataclass
class ClickTranscriber:
    """Hears clicks: a note-on at the exact sample of each, reported when `latency` more were heard.

    A click is a local maximum of at least `threshold`. An upward click strikes `pitch` (rising by one
    with each note while `scale` > 1) and is released `hold` samples later, or by the next strike. A
    downward click moves the sustain pedal down, the next one up. `lanes` adds one dynamics point per hop.

    `calls` records the `(batch, samples)` of every step.
    """

    rate: int = 16_000
    hop: int = 160
    latency: int = 320
    hold: int = 1_600
    pitch: int = 60
    scale: int = 1
    threshold: float = 0.1
    refractory: int = 32
    lanes: bool = False
    calls: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.latency >= 1, "a local maximum is known one sample later"

    def start(self) -> ClickState:
        return ClickState()

    def step(self, audio: Tensor, states: Sequence[ClickState]) -> tuple[list[Events], list[ClickState]]:
        assert audio.ndim == 2 and len(audio) == len(states), "one row per state"
        assert audio.shape[1] > 0 and audio.shape[1] % self.hop == 0, "audio comes in multiples of hop"
        assert audio.dtype == torch.float32 and bool(torch.isfinite(audio).all())
        self.calls.append((audio.shape[0], audio.shape[1]))
        both = [self._hear(row.numpy(), state) for row, state in zip(audio, states, strict=True)]
        return [events for events, _ in both], [state for _, state in both]

    def finish(self, state: ClickState) -> Events:
        events, state = self._report(state, state.heard, ())
        notes, controls = list(events.notes), list(events.controls)
        if state.sounding is not None:
            notes.append(_off(state.sounding, state.heard))
        if state.pedal:
            controls.append(Control(state.heard, Controller.SUSTAIN, 0.0))
        return Events(state.heard, tuple(notes), tuple(controls))

    def _hear(self, samples: np.ndarray, state: ClickState) -> tuple[Events, ClickState]:
        x = np.concatenate([np.array(state.tail, np.float32), samples])
        first = state.heard - 1  # time of x[1], the first sample that now has both neighbours
        height = np.abs(x)
        peaks = (height[1:-1] >= self.threshold) & (height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])
        clicks, last = list(state.undecided), state.last_click
        for index in np.flatnonzero(peaks):
            time = first + int(index)
            if last is None or time - last > self.refractory:
                clicks.append((time, float(x[index + 1])))
                last = time
        state = replace(
            state,
            heard=state.heard + len(samples),
            tail=(float(x[-2]), float(x[-1])),
            undecided=tuple(clicks),
            last_click=last,
        )
        return self._report(state, state.heard - self.latency, self._lane_points(samples, state.heard))

    def _report(
        self, state: ClickState, until: int, lanes: tuple[LanePoint, ...]
    ) -> tuple[Events, ClickState]:
        """Everything before `until`, in order of time."""
        until = max(until, state.reported)
        notes: list[NoteOn | NoteOff] = []
        controls: list[Control] = []
        sounding, pedal, count = state.sounding, state.pedal, state.notes
        for time, height in [c for c in state.undecided if c[0] < until]:
            if height < 0:
                pedal = not pedal
                controls.append(Control(time, Controller.SUSTAIN, min(1.0, -height) if pedal else 0.0))
                continue
            if sounding is not None:
                notes.append(_off(sounding, min(time, sounding.time + self.hold)))
            sounding = NoteOn(time, self.pitch + count % self.scale, min(1.0, height), count)
            count += 1
            notes.append(sounding)
        if sounding is not None and sounding.time + self.hold < until:
            notes.append(_off(sounding, sounding.time + self.hold))
            sounding = None
        left = tuple(c for c in state.undecided if c[0] >= until)
        state = replace(state, undecided=left, sounding=sounding, pedal=pedal, notes=count, reported=until)
        return Events(until, tuple(notes), tuple(controls), lanes), state

    def _lane_points(self, samples: np.ndarray, heard: int) -> tuple[LanePoint, ...]:
        if not self.lanes:
            return ()
        peaks = np.abs(samples.reshape(-1, self.hop)).max(axis=1)
        start = heard - len(samples) + self.hop
        return tuple(
            LanePoint(start + i * self.hop, Lane.DYNAMICS, min(1.0, float(peak)))
            for i, peak in enumerate(peaks)
        )


def _off(on: NoteOn, time: int) -> NoteOff:
    return NoteOff(time, on.pitch, 0.5, on.note, on.channel)


def clicks(
    times: Sequence[int],
    length: int,
    rate: int = 16_000,
    channels: int = 1,
    *,
    height: float = 1.0,
    width_ms: float = 0.25,
) -> np.ndarray:
    """Audio `(channels, length)` float32 with a smooth click at each of `times` (samples at `rate`).

    The clicks are Gaussian pulses of standard deviation `width_ms`: narrow enough to have one clear
    maximum, band-limited enough for a resampler to leave their height and place alone.
    """
    audio = np.zeros(length, np.float64)
    width = width_ms * rate / 1000
    reach = int(np.ceil(6 * width))
    for time in times:
        near = np.arange(max(0, time - reach), min(length, time + reach + 1))
        audio[near] += height * np.exp(-0.5 * ((near - time) / width) ** 2)
    return np.tile(audio.astype(np.float32), (channels, 1))
