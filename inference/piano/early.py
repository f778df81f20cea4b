"""Notes told early: a head that decides soon speaks first, the main one confirms or takes back.

What the early head is sure of is told at once. The main head, which knows more, decides a little
later as ever: a note that it finds too is not told again, one that it does not find ends there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from inference.events import Events, NoteOff, NoteOn, merge
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish, strikes

ONSET = 0.3
"""How sure the early head must be: chosen on `software-validation`."""
SAME_S = 0.06
"""The main head finds the same note at most so much later; otherwise it is another."""


@dataclass(frozen=True)
class EarlyState:
    """What both decoders carry.

    `before` and `waiting` are the early head's last frames, `told` are the unconfirmed notes by
    pitch, `voices` the confirmed ones by the main decoder's number. Outside, numbers of its own
    voices are even, and those of notes that were told early odd. `last` are times of pitches' last
    events that no later one may come before: a note told early may end later than it was decided.
    """

    main: DecodeState
    index: int
    before: Frame
    waiting: Frame
    told: dict[int, NoteOn]
    voices: dict[int, NoteOn]
    number: int
    last: dict[int, int]

    @staticmethod
    def initial(pitches: int) -> EarlyState:
        """Nothing heard, nothing sounds."""
        silent = Frame.silent(pitches)
        return EarlyState(DecodeState.initial(pitches), -1, silent, silent, {}, {}, 0, {})


@dataclass(frozen=True)
class EarlyDecoder:
    """Decodes the frames of two heads.

    Args:
        main: settings of the head that has the last word.
        early: settings of the one that speaks first; of its thresholds only that of onsets counts.
        rate: samples per second.
    """

    main: DecodeSettings
    early: DecodeSettings
    rate: int

    def decode(
        self, frames: Sequence[Frame], sooner: Sequence[Frame], state: EarlyState
    ) -> tuple[Events, EarlyState]:
        """Decide all frames but the newest, which wait for their successors; see `decode.decode`."""
        parts = []
        for frame, soon in zip(frames, sooner, strict=True):
            events, main = decode([frame], state.main, self.main)
            state = replace(state, main=main)
            events, state = self._confirm(events, state)
            early, state = self._listen(soon, state)
            parts.append(replace(events, notes=(*events.notes, *early)))
        return (merge(parts) if parts else Events(0)), state

    def finish(self, state: EarlyState) -> Events:
        """Decide the waiting frame, then end all that sounds and lift the pedal."""
        events, state = self._confirm(finish(state.main, self.main), state)
        return replace(events, notes=(*events.notes, *_taken_back(state.told.values(), events.final_until)))

    def _confirm(self, events: Events, state: EarlyState) -> tuple[Events, EarlyState]:
        """The main decoder's events in words that fit what was told."""
        told, voices = dict(state.told), dict(state.voices)
        notes: list[NoteOn | NoteOff] = []
        last = dict(state.last)
        for event in events.notes:
            time = max(event.time, last.get(event.pitch, 0))
            if isinstance(event, NoteOff):
                confirmed = voices.pop(event.note, None)
                if confirmed is not None:
                    time = max(time, confirmed.time + 1)
                number = 2 * event.note if confirmed is None else confirmed.note
                notes.append(replace(event, time=time, note=number))
                last[event.pitch] = time
                continue
            early = told.pop(event.pitch, None)
            if early is not None and event.time <= early.time + SAME_S * self.rate:
                voices[event.note] = early
                continue
            if early is not None:
                notes.extend(_taken_back([early], event.time))
            notes.append(replace(event, time=time, note=2 * event.note))
            last[event.pitch] = time
        due = [on for on in told.values() if on.time + SAME_S * self.rate < events.final_until]
        for on in due:
            del told[on.pitch]
        notes.extend(_taken_back(due, events.final_until))
        last = {pitch: time for pitch, time in last.items() if time > events.final_until}
        return replace(events, notes=tuple(notes)), replace(state, told=told, voices=voices, last=last)

    def _listen(self, newest: Frame, state: EarlyState) -> tuple[list[NoteOn], EarlyState]:
        """Notes that the early head is sure of, of keys that do not sound."""
        found: list[NoteOn] = []
        if state.index >= 0:
            silent = state.main.voice < 0
            struck = strikes(state.before, state.waiting, newest, state.index, self.early)
            touch = state.main.touch.after(struck, state.index)
            for on in (touch.judge(note, self.main.passage) for note in struck):
                if silent[on.pitch - self.early.lowest] and on.pitch not in state.told:
                    found.append(replace(on, note=2 * (state.number + len(found)) + 1))
        told = {**state.told, **{on.pitch: on for on in found}} if found else state.told
        state = replace(
            state,
            index=state.index + 1,
            before=state.waiting,
            waiting=newest,
            told=told,
            number=state.number + len(found),
        )
        return found, state


def _taken_back(notes: Iterable[NoteOn], time: int) -> list[NoteOff]:
    return [NoteOff(max(time, on.time + 1), on.pitch, 0.5, on.note) for on in notes]
