"""From probabilities per frame to notes: one state machine per key, one frame of look-ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from inference.events import Control, Controller, Events, NoteOff, NoteOn
from inference.piano.recent import Recent
from inference.piano.verdict import CANDIDATE, evidence, probability

Array = NDArray[np.float32]
_SILENT = -1
SURE = 0.9
"""An onset this probable is a note, though it may not sound on."""
_LONG = 50
"""Frames after which a note is a held one."""
_SOUNDS = 0.5
"""How probably a key must sound in the frame after an onset that is not sure."""
AGAIN = 3
"""Frames within which no key is struck again, as no piano repeats so fast: it is one doubtful onset."""
_DOUBT = 0.05
"""How far beyond its threshold the pedal must be to move: so it moves about as often as it was pressed."""
_REMEMBERED = 6
"""Frames in which signs of an onset are sought once a key is found sounding."""


@dataclass(frozen=True)
class DecodeSettings:
    """Where a probability becomes an event, and where frames lie in time.

    A frame's onset is sought `delay` samples before the frame's end, give or take half a hop.
    """

    hop: int
    delay: int
    lowest: int = 21
    onset: float = 0.4
    offset: float = 0.5
    held: float = 0.25
    """What `offset` becomes within 50 frames: a key that has sounded so long is rarely let go of unheard,
    while the room sounds on after a short note."""
    key: float = 0.4
    pedal: float = 0.35
    late: float = 1.0
    """How surely a key must sound to begin a note whose onset was too faint; 1: never."""
    faint: float = 0.1
    """How much of an onset such a note needs: the sum of its probability over the last frames."""
    passage: float = 0.0
    """How much of the mean velocity of late is added to each: what a network says lies too near the middle,
    the mean of many notes is surer, and a passage is soft or loud as a whole."""
    verdict: tuple[float, ...] = ()
    """Weights by which peaks are judged, if any (see `inference.piano.verdict`); then `onset` is how
    probable it must be that a peak is a note."""
    raw: bool = False
    """Notes end when the key comes up, and the pedal is an event of its own; else notes end when
    their sound does."""

    def with_sensitivity(self, sensitivity: float) -> DecodeSettings:
        """More (1) or fewer (0) notes than the calibrated 0.5: moves the onset threshold."""
        logit = math.log(self.onset / (1 - self.onset)) - 4 * (sensitivity - 0.5)
        return replace(self, onset=1 / (1 + math.exp(-logit)))


@dataclass(frozen=True)
class Frame:
    """One frame's view of the keys: each array `(pitches,)`."""

    onset: Array
    active: Array
    velocity: Array
    shift: Array
    key: Array
    pedal: float

    @staticmethod
    def silent(pitches: int) -> Frame:
        """Nothing is heard."""
        zeros = np.zeros(pitches, np.float32)
        return Frame(zeros, zeros, zeros, zeros, zeros, 0.0)


@dataclass(frozen=True)
class DecodeState:
    """What decoding carries: the frame that still waits for its successor, and what sounds.

    `voice` is the note id that sounds per key, or -1; `since` is the frame of the key's last event;
    `recent` are the last frames that were decided, `touch` how hard keys were struck.
    """

    index: int
    waiting: Frame | None
    voice: NDArray[np.int64]
    next_voice: int
    pedal: bool
    since: NDArray[np.int64]
    recent: tuple[Frame, ...] = ()
    touch: Recent = field(default_factory=Recent)

    @staticmethod
    def initial(pitches: int) -> DecodeState:
        """Nothing heard, nothing sounds."""
        return DecodeState(-1, None, np.full(pitches, _SILENT), 0, False, np.full(pitches, -2))


def decode(frames: list[Frame], state: DecodeState, settings: DecodeSettings) -> tuple[Events, DecodeState]:
    """Decide all frames but the newest, which waits for its successor.

    Times are samples of the stream at the network's rate.
    """
    notes: list[NoteOn | NoteOff] = []
    controls: list[Control] = []
    for frame in frames:
        recent = state.recent
        if state.waiting is not None:
            recent = (*recent[1 - _REMEMBERED :], state.waiting)
            state = _decide(state, frame, settings, notes, controls)
        state = replace(state, index=state.index + 1, waiting=frame, recent=recent)
    until = max(0, state.index * settings.hop + settings.hop // 2 - settings.delay)
    return Events(until, tuple(notes), tuple(controls)), state


def strikes(before: Frame, frame: Frame, after: Frame, index: int, settings: DecodeSettings) -> list[NoteOn]:
    """The onsets of frame `index` alone, whatever sounded before: without ids, as loud as each is alone."""
    place = (index + 1) * settings.hop - settings.delay
    return [
        _on(int(key), onset_time(place, frame, int(key), settings), (before, frame, after), 0, settings)
        for key in np.flatnonzero(_struck(before, frame, after, settings))
    ]


def finish(state: DecodeState, settings: DecodeSettings) -> Events:
    """Decide the waiting frame, then end all that sounds and lift the pedal."""
    notes: list[NoteOn | NoteOff] = []
    controls: list[Control] = []
    if state.waiting is not None:
        state = _decide(state, Frame.silent(len(state.voice)), settings, notes, controls)
    end = max(0, (state.index + 1) * settings.hop + settings.hop // 2 - settings.delay)
    for key in np.flatnonzero(state.voice != _SILENT):
        notes.append(_off(int(key), end, state.voice, settings))
    if state.pedal:
        controls.append(Control(end, Controller.SUSTAIN, 0.0))
    return Events(end, tuple(notes), tuple(controls))


def _decide(
    state: DecodeState,
    after: Frame,
    settings: DecodeSettings,
    notes: list[NoteOn | NoteOff],
    controls: list[Control],
) -> DecodeState:
    frame = state.waiting
    assert frame is not None
    before = state.recent[-1] if state.recent else Frame.silent(len(state.voice))
    place = (state.index + 1) * settings.hop - settings.delay
    now = max(0, place)
    voiced, passed = state.voice != _SILENT, state.index - state.since
    again = voiced & (passed < AGAIN)
    struck, certain = _judged(state, (before, frame, after), again, settings)
    age = np.minimum(passed / _LONG, 1)
    gone = frame.active < settings.offset + age * (settings.held - settings.offset)
    sounds = frame.active > settings.late
    if settings.raw:
        gone |= frame.key < settings.key
        sounds &= frame.key >= settings.key
        pedal = (before.pedal + frame.pedal + after.pedal) / 3
        state = _follow_pedal(state, pedal, now, settings, controls)
    ended, overheard = (voiced & gone) > struck, sounds > (voiced | struck)
    if not np.count_nonzero(struck | ended | overheard):  # most frames
        return state
    voice, number, since = state.voice.copy(), state.next_voice, state.since.copy()
    found: list[NoteOn | NoteOff] = [
        _off(int(key), _end_time(place, before, frame, int(key), settings), voice, settings)
        for key in np.flatnonzero(ended)
    ]
    voice[ended], since[ended] = _SILENT, state.index
    begun: list[NoteOn] = []
    for key in np.flatnonzero(struck):
        time = onset_time(place, frame, int(key), settings)
        if voice[key] != _SILENT:
            found.append(_off(int(key), time, voice, settings))
        note = _on(int(key), time, (before, frame, after), number + len(begun), settings)
        begun.append(note if certain is None else replace(note, confidence=float(certain[key])))
    for key in np.flatnonzero(overheard):
        late = _overheard(state, after, int(key), number + len(begun), settings)
        if late is not None:
            begun.append(late)
    for note in begun:
        voice[note.pitch - settings.lowest], since[note.pitch - settings.lowest] = note.note, state.index
    touch = state.touch.after(begun, state.index) if begun else state.touch
    found.extend(touch.judge(note, settings.passage) for note in begun)
    notes.extend(sorted(found, key=lambda event: event.time))
    return replace(state, voice=voice, next_voice=number + len(begun), since=since, touch=touch)


def _judged(
    state: DecodeState,
    frames: tuple[Frame, Frame, Frame],
    not_again: NDArray[np.bool_],
    settings: DecodeSettings,
) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Which keys are struck in the middle frame, and how surely, if the settings bring a verdict."""
    if not settings.verdict:
        return _struck(*frames, settings) > not_again, None  # a > b: a, and not b
    peaks = peaks_of(*frames, CANDIDATE) > not_again
    if not np.count_nonzero(peaks):
        return peaks, None
    earlier = state.recent[-2] if len(state.recent) > 1 else Frame.silent(len(peaks))
    keys = np.flatnonzero(peaks)
    certain = np.zeros(len(peaks))
    certain[keys] = probability(evidence((earlier, *frames), keys), settings.verdict)
    return certain > settings.onset, certain


def _overheard(
    state: DecodeState, after: Frame, key: int, number: int, settings: DecodeSettings
) -> NoteOn | None:
    """A key that surely sounds though no onset was sure: a note from where the onset was likeliest.

    Low and soft notes are often known only when they have sounded for a while.
    """
    assert state.waiting is not None
    frames = [*state.recent, state.waiting]
    frames = frames[max(0, len(frames) - (state.index - int(state.since[key]) - 1)) :]
    signs = [float(frame.onset[key]) for frame in frames]
    if not frames or sum(signs) + float(after.onset[key]) <= settings.faint:
        return None
    likeliest = int(np.argmax(signs))
    back = len(frames) - 1 - likeliest
    place = (state.index + 1) * settings.hop - settings.delay
    time = onset_time(place - back * settings.hop, frames[likeliest], key, settings)
    earliest = max(0, place - settings.hop // 2)  # what was promised to be final stays so
    return _on(key, max(time, earliest), (*frames, after), number, settings)


def onset_time(place: int, frame: Frame, key: int, settings: DecodeSettings) -> int:
    """Sample at which a key was struck in a frame that is about `place`."""
    return max(0, place + round(float(np.clip(frame.shift[key], -0.5, 0.5)) * settings.hop))


def _on(key: int, time: int, frames: Sequence[Frame], number: int, settings: DecodeSettings) -> NoteOn:
    """A note that began in one of `frames`: its velocity is their mean, by how likely each is the one."""
    weights = [float(frame.onset[key]) for frame in frames]
    certainty = sum(weights)
    mean = sum(weight * float(frame.velocity[key]) for weight, frame in zip(weights, frames, strict=True))
    velocity = min(1.0, max(1 / 127, mean / max(certainty, 1e-6)))
    return NoteOn(time, settings.lowest + key, velocity, number, confidence=min(1.0, certainty))


def peaks_of(before: Frame, frame: Frame, after: Frame, threshold: float) -> NDArray[np.bool_]:
    """Where the probability of an onset peaks, if it and its larger neighbour add up to enough."""
    now = frame.onset
    peaks = now > threshold / 2
    if not np.count_nonzero(peaks):
        return peaks
    beside = np.maximum(before.onset, after.onset)
    peaks &= (now >= before.onset) & (now > after.onset) & (now + beside > threshold)
    return peaks


def _struck(before: Frame, frame: Frame, after: Frame, settings: DecodeSettings) -> NDArray[np.bool_]:
    """Peaks that are sure, or sound on: an overtone flares up with a loud note and is gone."""
    peaks = peaks_of(before, frame, after, settings.onset)
    if not np.count_nonzero(peaks):
        return peaks
    sure = before.onset + frame.onset + after.onset > SURE
    peaks &= sure | (after.active > _SOUNDS)
    return peaks


def _end_time(place: int, before: Frame, frame: Frame, key: int, settings: DecodeSettings) -> int:
    """Sample at which a key ceased to sound that was found gone in a frame about `place`.

    Where its probability crosses one half, whatever threshold told that it does: on a line from frame to
    frame, and less than half a hop from `place`, so that it lies after the onset and before the next one.
    """
    was, now = (min(f.active[key], f.key[key]) if settings.raw else f.active[key] for f in (before, frame))
    past = (float(was) - 0.5) / max(float(was - now), 1e-6) - 0.5
    most = settings.hop // 2 - 1
    return max(0, place + round(min(max(past * settings.hop, -most), most)))


def _off(key: int, time: int, voice: NDArray[np.int64], settings: DecodeSettings) -> NoteOff:
    return NoteOff(time, settings.lowest + key, 0.5, int(voice[key]))


def _follow_pedal(
    state: DecodeState, probability: float, now: int, settings: DecodeSettings, controls: list[Control]
) -> DecodeState:
    # A margin around the threshold, so that a doubtful pedal does not flutter.
    threshold = settings.pedal + (-_DOUBT if state.pedal else _DOUBT)
    down = probability > threshold
    if down == state.pedal:
        return state
    controls.append(Control(now, Controller.SUSTAIN, float(down)))
    return replace(state, pedal=down)
