"""A short performance to try dawbridge with: Bach, Prelude in C (BWV 846), the first bars.

The notes are in the public domain; rubato, dynamics and pedal are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path

from bridge.midi import MidiSummary, write_midi
from bridge.presets import InstrumentPreset, VelocityCurve
from inference.clock import samples
from inference.events import Control, Controller, Note

TITLE = "Bach: Prelude in C, BWV 846 (opening)"
BARS = (
    (60, 64, 67, 72, 76),
    (60, 62, 69, 74, 77),
    (59, 62, 67, 74, 77),
    (60, 64, 67, 72, 76),
)
"""Each bar's broken chord, bass first."""
LAST = (48, 60, 64, 67, 72)
ORDER = (0, 1, 2, 3, 4, 2, 3, 4)
"""Which chord tone each sixteenth plays; twice a bar."""
SIXTEENTH_S = 0.245
LEAD_IN_S = 0.25


@dataclass(frozen=True, slots=True)
class Performance:
    """Notes and pedals in samples at `rate`."""

    rate: int
    notes: tuple[Note, ...]
    controls: tuple[Control, ...]


def prelude(rate: int = 44_100) -> Performance:
    """About 20 seconds: four bars and a rolled closing chord."""
    notes: list[Note] = []
    controls: list[Control] = []
    steps = len(ORDER) * 2
    total = steps * len(BARS)
    clock = LEAD_IN_S
    for bar, chord in enumerate(BARS):
        controls += _pedal(clock, rate)
        for step in range(steps):
            tone = ORDER[step % len(ORDER)]
            length = SIXTEENTH_S * _stretch(bar * steps + step, total)
            held = length * (8 - step % 8) if tone < 2 and step % 8 < 2 else length * 0.92
            velocity = _loudness(bar * steps + step, total, tone)
            notes.append(_note(clock, held, chord[tone], velocity, rate))
            clock += length
    controls += _pedal(clock, rate)
    for index, pitch in enumerate(LAST):
        notes.append(_note(clock + 0.06 * index, 2.6 - 0.06 * index, pitch, 0.36 + 0.03 * (index == 4), rate))
    controls.append(Control(samples(clock + 3.4, rate), Controller.SUSTAIN, 0.0))
    return Performance(rate, tuple(notes), tuple(controls))


def write_demo(path: str | Path) -> MidiSummary:
    """Write the performance as a MIDI file, with its pedal."""
    played = prelude()
    instrument = InstrumentPreset(pedal="raw", velocity=VelocityCurve())
    return write_midi(path, played.notes, played.controls, played.rate, instrument=instrument, name=TITLE)


def _stretch(step: int, total: int) -> float:
    """Rubato: a breath at each bar, and a slowing towards the end."""
    breath = 1 + 0.05 * cos(2 * pi * (step % 16) / 16)
    ending = max(0.0, (step - (total - 12)) / 12)
    return breath * (1 + 0.55 * ending**2)


def _loudness(step: int, total: int, tone: int) -> float:
    """One long arch; the bass speaks, the top of each figure sings, the middle stays back."""
    arch = 0.38 + 0.22 * sin(pi * step / total)
    accent = {0: 0.07, 1: 0.0, 4: 0.05}.get(tone, -0.04)
    return round(127 * (arch + accent)) / 127


def _pedal(clock: float, rate: int) -> list[Control]:
    """A syncopated change: up as the bar begins, down just after."""
    up = Control(samples(clock, rate), Controller.SUSTAIN, 0.0)
    return [up, Control(samples(clock + 0.09, rate), Controller.SUSTAIN, 1.0)]


def _note(onset: float, length: float, pitch: int, velocity: float, rate: int) -> Note:
    return Note(samples(onset, rate), samples(onset + length, rate), pitch, velocity)
