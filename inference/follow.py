"""The piano system with the rhythm system beside it: notes, and beats, tempo and dynamics from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from torch import Tensor

from inference import piano, rhythm
from inference.events import Events, merge
from inference.rhythm.follower import Follower, FollowerState
from inference.streaming import Transcriber

_SOONEST = -4
"""Frames before a beat by which it is foretold at least: with fewer left, most would pass untold. Nor is one
told in its own frame, in which whatever looks like a beat would be.
"""


class FollowState(NamedTuple):
    """One stream: of the system that hears notes, and of the one that follows them."""

    heard: Any
    followed: FollowerState


class FollowingTranscriber:
    """Hears what another transcriber hears, and follows it.

    Notes are as late as there; `latency` is that of notes, or of beats if these are later.
    """

    def __init__(self, heard: Transcriber[Any], follower: Follower) -> None:
        self.heard, self.follower = heard, follower
        self.rate, self.hop = heard.rate, heard.hop
        self.latency = heard.latency + max(0, follower.late)

    def start(self) -> FollowState:
        """State of a stream that has heard nothing."""
        return FollowState(self.heard.start(), self.follower.start())

    def step(self, audio: Tensor, states: Sequence[FollowState]) -> tuple[list[Events], list[FollowState]]:
        """Advance several streams at once."""
        found, heard = self.heard.step(audio, [state.heard for state in states])
        events, after = [], []
        for own, state, notes in zip(heard, states, found, strict=True):
            told, followed = self.follower.step(state.followed, notes.notes, notes.final_until)
            events.append(_both(notes, told))
            after.append(FollowState(own, followed))
        return events, after

    def finish(self, state: FollowState) -> Events:
        """What is still undecided."""
        last = self.heard.finish(state.heard)
        told, followed = self.follower.step(state.followed, last.notes, last.final_until)
        return merge([_both(last, told), self.follower.finish(followed)])


def load(
    weights: str | None = None,
    *,
    pedal: Literal["extended", "raw"] = "extended",
    sensitivity: float = 0.5,
    decision_ms: float | None = None,
    early_ms: float | None = None,
    beats_ms: float | None = None,
    device: str = "cpu",
) -> FollowingTranscriber:
    """Open the piano system with the follower beside it.

    Args:
        weights: of the piano system; the follower has its own.
        pedal: see `inference.piano.load`, and so the others.
        sensitivity: 0..1.
        decision_ms: longest time from a sound to the decision about it.
        early_ms: the same for what is told early; the follower takes it as it comes.
        beats_ms: when most beats are told, in milliseconds after they sound; negative: before. The longer,
            the surer. Default: what the follower's weights say, about 240.
        device: of the piano system; what follows it is small.

    Raises:
        WeightsError: no such weights, or a damaged file.
        ValueError: an option out of range.
    """
    heard = piano.load(
        weights,
        pedal=pedal,
        sensitivity=sensitivity,
        decision_ms=decision_ms,
        early_ms=early_ms,
        device=device,
    )
    return FollowingTranscriber(heard, open_follower(heard, beats_ms))


def open_follower(heard: Transcriber[Any], beats_ms: float | None = None) -> Follower:
    """What follows the notes of `heard`, with its own weights; `beats_ms` as in `load`.

    Raises:
        WeightsError: no such weights, or a damaged file.
        ValueError: a time at which beats cannot be told.
    """
    follower = rhythm.load_follower(heard.rate)
    if beats_ms is not None:
        asked = beats_ms / 1000 * heard.rate - heard.latency - heard.hop - follower.usual
        wait = follower.settings.wait + round(asked / follower.hop)
        if _SOONEST < wait < 1:
            wait = 1 if wait > _SOONEST + 1 else _SOONEST
        if not -50 <= wait <= 100:
            raise ValueError(f"beats_ms is {beats_ms:g}; beats can be told from 1 s before to 2 s after")
        follower.settings = replace(follower.settings, wait=wait)
    return follower


def _both(notes: Events, told: Events) -> Events:
    return Events(
        notes.final_until, notes.notes, notes.controls, notes.lanes + told.lanes, notes.beats + told.beats
    )
