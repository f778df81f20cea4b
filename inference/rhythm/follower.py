"""Beats, tempo and dynamics from notes as they are heard, live.

What it listens to is what the piano system tells; so it costs little, and is late by what that is late,
unless it tells beats before they sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.events import Beat, Events, Lane, LanePoint, NoteOff, NoteOn
from inference.rhythm.counting import (
    FEWEST,
    FRAMES_PER_SECOND,
    CountingNetwork,
    hear_tempo,
    tempo_costs,
    tempo_cues,
)
from inference.rhythm.metre import MetreNetwork, beat_features, seen_at
from inference.rhythm.pointer import (
    PointerSettings,
    PointerState,
    Told,
    any_place,
    around,
    begin,
    likely,
    move,
    next_place,
    place_of,
)
from inference.rhythm.struck import QuickStep, Rows, StruckNetwork, struck_frames

Floats = NDArray[np.float64]
_RECENT = 130
"""Frames whose logits are remembered: more than the slowest beat."""
EARLY_FRAMES = 0.5
"""By which the network, which may be three frames off, answers too early on performances."""
_NEAR_S = 0.05
"""A beat lies on the notes that are this near to where it was expected."""
_PLACED_S, _BEAT_S = 1.0, 2.5
"""How long notes are remembered: to place a beat on them, and to hear all of the slowest one."""
_COUNT_FRAMES, _COUNTED_FRAMES = 200, 6_000
"""How often it is asked how fast the notes are counted, and how far back these are looked at."""
_WINDOW_FRAMES = 25
_WINDOWS = 240
"""The dynamics lane has a point every half second, ranked among the last two minutes."""
_RANKS, _VALUES = (0.0, 0.1, 0.35, 0.65, 0.9, 1.0), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Ranks of loudness that part pp, p, mf, f and ff, which are fifths of the lane."""


@dataclass(frozen=True)
class Struck:
    """A note on the way to its frame."""

    frame: int
    time: int
    pitch: int
    velocity: float


class FollowerState(NamedTuple):
    """What is carried from step to step; never changed in place.

    Args:
        network: of the network over struck notes.
        pointer: where in the beat.
        frames: that the network has seen.
        waiting: notes whose frames are still to come.
        near: notes of the last seconds.
        counted: notes by which the tempo is counted.
        likely: how likely they make each tempo, see `pointer.likely`.
        recent: logits of the last frames, `(frames, 2)`.
        last: time of the last beat told, in samples.
        bar: how likely the last beat has each place in the bar.
        metre: of the network over beats, none if there is none.
        beats: seconds of the last beats that it heard.
        loud: loudness of the last windows.
    """

    network: tuple[Rows, ...]
    pointer: PointerState
    frames: int
    waiting: tuple[Struck, ...]
    near: tuple[Struck, ...]
    counted: tuple[Struck, ...]
    likely: Floats | None
    recent: Floats
    last: int
    bar: Floats
    metre: tuple[Tensor, ...]
    beats: tuple[float, ...]
    loud: tuple[float, ...]


class Follower:
    """Follows the notes of one piano; times are samples at `rate`.

    Args:
        network: a causal one.
        settings: see `PointerSettings`.
        rate: of the notes' times; a multiple of the network's frame rate.
        counting: tells how fast notes are counted; None: their beats alone tell.
        metre: tells which beats begin bars; None: the network over notes tells.
    """

    def __init__(
        self,
        network: StruckNetwork,
        settings: PointerSettings,
        rate: int,
        counting: CountingNetwork | None = None,
        metre: MetreNetwork | None = None,
    ) -> None:
        config = network.config
        if not config.causal:
            raise ValueError(f"{config.name} hears the future; take a causal network to follow with")
        if rate % config.frames_per_second:
            raise ValueError(f"{rate} Hz is no multiple of {config.frames_per_second} frames a second")
        if counting is not None and config.frames_per_second != FRAMES_PER_SECOND:
            raise ValueError(f"tempi are counted at {FRAMES_PER_SECOND} frames a second")
        self.behind, self.settings, self.rate = network.latency, settings, rate
        self._network, self._counting, self._metre = QuickStep(network), counting, metre
        self.fps, self.hop = config.frames_per_second, rate // config.frames_per_second

    @property
    def usual(self) -> int:
        """Samples from most beats until they are told, once their notes are known; may be negative.

        Half a frame is what notes wait for their frame to be over.
        """
        frames = self.behind + self.settings.wait - EARLY_FRAMES
        return round(frames * self.hop) + self.hop // 2

    @property
    def late(self) -> int:
        """The same for the latest beats: those that were understood late, and moved to earlier notes."""
        return self.usual + self.settings.late * self.hop + round(_NEAR_S * self.rate)

    def start(self) -> FollowerState:
        """Before the first note."""
        return FollowerState(
            self._network.start(),
            begin(self.settings, self.fps),
            *(0, (), (), (), None, np.zeros((0, 2)), -(10**9)),
            any_place(self.settings),
            () if self._metre is None else (self._metre.init_state(1),),
            *((), ()),
        )

    def step(
        self, state: FollowerState, notes: Sequence[NoteOn | NoteOff], until: int
    ) -> tuple[Events, FollowerState]:
        """Take the notes that are new; all notes before `until` are known now.

        Returns:
            Beats and points of the lanes `tempo` and `dynamics`, and the state after them.
        """
        struck = [
            Struck((note.time + self.hop // 2) // self.hop, note.time, note.pitch, note.velocity)
            for note in notes
            if isinstance(note, NoteOn)
        ]
        state = state._replace(waiting=(*state.waiting, *struck))
        count = max(0, (until - self.hop // 2) // self.hop + 1 - state.frames)
        if not count:
            return Events(max(0, until)), state
        logits, state = self._think(state, count)
        beats: list[Beat] = []
        lanes: list[LanePoint] = []
        for row in logits:
            frame = state.pointer.frame
            recent = np.concatenate([state.recent[1 - _RECENT :], row[None]])
            if self._counting is not None and frame and frame % _COUNT_FRAMES == 0:
                state = self._count(self._counting, state, frame)
            pointer, told = move(state.pointer, float(row[0]), recent, self.settings, self.fps, state.likely)
            state = state._replace(pointer=pointer, recent=recent)
            if told is not None:
                state = self._tell(state, told, beats, lanes)
            if frame % _WINDOW_FRAMES == _WINDOW_FRAMES - 1:
                state = self._weigh(state, frame, lanes)
        return Events(max(0, until), lanes=tuple(lanes), beats=tuple(beats)), state

    def finish(self, state: FollowerState) -> Events:
        """What the last notes still tell."""
        rest = (state.frames + self.behind + max(self.settings.wait, 0) + 1) * self.hop
        end = state.frames * self.hop
        last, _ = self.step(state, (), rest)
        return replace(last, beats=tuple(beat for beat in last.beats if beat.time <= end))

    def _think(self, state: FollowerState, count: int) -> tuple[Floats, FollowerState]:
        """Logits of the frames that are decided with `count` more, those before the first left out."""
        end = state.frames + count
        now = [note for note in state.waiting if note.frame < end]
        frames = struck_frames(
            np.array([max(note.frame - state.frames, 0) for note in now], np.int64),
            np.array([note.pitch for note in now], np.int64),
            np.array([note.velocity for note in now], np.float32),
            count,
        )
        found, network = self._network.step(frames, state.network)
        first = max(0, self.behind - state.frames)
        reach = (_PLACED_S if self._metre is None else _BEAT_S) * self.fps
        near = tuple(note for note in (*state.near, *now) if note.frame > state.frames - reach)
        return found[first:].astype(np.float64), state._replace(
            network=network,
            frames=end,
            waiting=tuple(note for note in state.waiting if note.frame >= end),
            near=near,
            counted=(*state.counted, *now) if self._counting is not None and now else state.counted,
        )

    def _count(self, counting: CountingNetwork, state: FollowerState, frame: int) -> FollowerState:
        """Ask how fast the notes before `frame` are counted."""
        begin = max(0, frame - _COUNTED_FRAMES)
        kept = tuple(note for note in state.counted if note.frame >= begin)
        notes = sorted((n.frame - begin, n.pitch, n.velocity) for n in kept if n.frame < frame)
        if len(notes) < FEWEST:
            return state._replace(counted=kept)
        at, pitch, velocity = np.array(notes, np.float64).T
        cues = tempo_cues(at.astype(np.int64), pitch.astype(np.int64), velocity, frame - begin)
        costs = tempo_costs(hear_tempo(counting, cues))
        return state._replace(counted=kept, likely=likely(costs, self.settings, self.fps))

    def _tell(
        self, state: FollowerState, told: Told, beats: list[Beat], lanes: list[LanePoint]
    ) -> FollowerState:
        ahead = told.frame != told.heard
        state = self._place(state, told.heard)
        bar = next_place(state.bar, None, self.settings) if ahead else state.bar
        time = self._placed(round((told.frame + EARLY_FRAMES) * self.hop), state.near)
        if time <= state.last or not told.certain:
            return state
        interval, expected = time - state.last, told.length * self.hop
        if not 0.6 < interval / expected < 1.6:
            interval = round(expected)
        beats.append(Beat(time, *place_of(bar, self.settings), told.confidence))
        lanes.append(LanePoint(time, Lane.TEMPO, 60 * self.rate / interval))
        return state._replace(last=time)

    def _place(self, state: FollowerState, heard: int) -> FollowerState:
        """The beat of frame `heard` has its place in the bar."""
        near = around(state.recent, state.pointer.frame - 1 - heard)
        odds = None
        if len(near):
            odds = self.settings.downbeat_weight * (float(near[:, 1].max()) - self.settings.downbeat_bias)
        if self._metre is None:
            return state._replace(bar=next_place(state.bar, odds, self.settings))
        time = self._placed(round((heard + EARLY_FRAMES) * self.hop), state.near) / self.rate
        beats = (*state.beats[-2:], time)
        if len(beats) == 3 and beats[0] < beats[1] < time:
            known = state.pointer.frame - 1 + self.behind  # more may be, if much came at once
            notes = [n for n in state.near if n.frame <= known]
            onset = np.array([n.time / self.rate for n in notes])
            pitch = np.array([n.pitch for n in notes], np.int64)
            velocity = np.array([n.velocity for n in notes], np.float32)
            seen = beat_features(onset, pitch, velocity, np.array(beats))
            with torch.inference_mode():
                x = torch.from_numpy(seen_at(seen)[None, -1:])
                logits, after = self._metre.step(x, state.metre[0])
            state = state._replace(metre=(after,))
            odds = (odds or 0.0) + self.settings.noted_bars * float(logits[0, 0])
        return state._replace(bar=next_place(state.bar, odds, self.settings), beats=beats)

    def _placed(self, time: int, near: Sequence[Struck]) -> int:
        """The middle of the notes around a beat, the louder ones before the others."""
        reach = _NEAR_S * self.rate
        around = [(note.time, note.velocity) for note in near if abs(note.time - time) <= reach]
        if not around:
            return max(0, time)
        times, weights = np.array(around, np.float64).T
        return max(0, round(float((times * weights).sum() / weights.sum())))

    def _weigh(self, state: FollowerState, frame: int, lanes: list[LanePoint]) -> FollowerState:
        """Close a window of the dynamics lane."""
        window = [n.velocity for n in state.near if frame - _WINDOW_FRAMES < n.frame <= frame]
        if not window:
            return state
        past, mean = state.loud, sum(window) / len(window)
        smooth = mean if not past else 0.5 * mean + 0.5 * past[-1]
        rank = (sum(value < smooth for value in past) + 3) / (len(past) + 6)
        value = float(np.interp(rank, _RANKS, _VALUES))
        lanes.append(LanePoint((frame + 1) * self.hop, Lane.DYNAMICS, value))
        return state._replace(loud=(*past[1 - _WINDOWS :], smooth))
