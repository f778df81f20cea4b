"""What the shipped weights hear: played through the built-in piano, at the rates and blocks of hosts."""

import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge.midi import write_midi
from bridge.presets import load
from bridge.studio.render import render
from inference.events import Control, Controller, Note, NoteCollector, NoteOn
from inference.pipeline import Stream, advance, open_transcriber
from inference.training import scores

RATE = 44_100


def played(tmp_path, notes, controls=()):
    """Notes in seconds through the built-in piano, as audio `(channels, samples)`."""
    events = [Note(round(a * RATE), round(b * RATE), p, v / 127) for a, b, p, v in notes]
    write_midi(tmp_path / "in.mid", events, controls, RATE)
    render(tmp_path / "in.mid", tmp_path / "in.wav", rate=RATE)
    with AudioFile(str(tmp_path / "in.wav")) as file:
        return file.read(file.frames)


def heard(audio, block=None, rate=RATE, chunk_ms=None, **options):
    """Finished notes, in order of onset; times in samples at `rate`."""
    stream = Stream(open_transcriber("piano", **options), rate, len(audio), chunk_ms=chunk_ms)
    collector, notes, controls = NoteCollector(), [], []
    size = block or audio.shape[1]
    for start in range(0, audio.shape[1], size):
        stream.push(audio[:, start : start + size])
        (events,) = advance([stream])
        notes += collector.add(events)
        controls += events.controls
    events = stream.finish()
    controls += events.controls
    return sorted(notes + collector.add(events), key=lambda n: (n.onset, n.pitch)), controls


def test_silence_stays_silent():
    assert heard(np.zeros((2, 60 * RATE), np.float32), chunk_ms=1000) == ([], [])


def test_a_single_note_is_one_note_in_time(tmp_path):
    (note,), _ = heard(played(tmp_path, [(1.0, 2.0, 60, 80)]))
    assert note.pitch == 60
    assert abs(note.onset / RATE - 1.0) < 0.015
    assert abs(note.offset / RATE - 2.0) < 0.15
    assert note.confidence > 0.5


@pytest.mark.parametrize("pitch", [33, 48, 60, 72, 88])
def test_the_keyboard_is_heard(tmp_path, pitch):
    found, _ = heard(played(tmp_path, [(0.5 + 0.6 * i, 0.9 + 0.6 * i, pitch, 85) for i in range(4)]))
    right = [n for n in found if n.pitch == pitch]
    # A bare note now and then gets an overtone reported as a note.
    assert len(right) == 4 and len(found) <= 7


def test_quick_repetitions_are_all_heard(tmp_path):
    strokes = [(1 + i / 8, 1 + i / 8 + 0.09, 67, 80) for i in range(16)]
    found, _ = heard(played(tmp_path, strokes))
    assert [n.pitch for n in found].count(67) >= 15


def test_velocity_follows_loudness(tmp_path):
    loudness = [30, 50, 70, 90, 115]
    found, _ = heard(played(tmp_path, [(0.5 + i, 1.2 + i, 64, v) for i, v in enumerate(loudness)]))
    velocities = [n.velocity for n in found if n.pitch == 64]
    assert len(velocities) == len(loudness)
    assert np.corrcoef(velocities, loudness)[0, 1] > 0.9
    assert velocities[-1] - velocities[0] > 0.12  # far less than was played: bare notes lack a reference


def test_a_chord_and_its_rests(tmp_path):
    chord = [48, 55, 64, 72]
    found, _ = heard(played(tmp_path, [(1.0, 2.0, p, 75) for p in chord] + [(3.0, 3.5, 60, 75)]))
    first = [n.pitch for n in found if n.onset < 2 * RATE]
    assert set(chord) <= set(first) and len(first) <= 5


def test_blocks_do_not_matter(tmp_path):
    audio = played(tmp_path, [(0.3 + 0.2 * i, 0.6 + 0.2 * i, 50 + 5 * i, 60 + 8 * i) for i in range(7)])
    live, _ = heard(audio, block=128)
    for block, chunk_ms in ((1000, None), (None, 100), (None, 2000)):
        other, _ = heard(audio, block=block, chunk_ms=chunk_ms)
        assert [(n.onset, n.pitch) for n in other] == [(n.onset, n.pitch) for n in live]
        assert all(abs(a.offset - b.offset) <= 1 for a, b in zip(live, other, strict=True))


def test_notes_come_within_the_promised_latency(tmp_path):
    audio = played(tmp_path, [(0.5 + 0.3 * i, 0.7 + 0.3 * i, 55 + 3 * i, 90) for i in range(8)])
    stream = Stream(open_transcriber("piano"), RATE, 2)
    promised, found = stream.latency.total, 0
    assert 1000 * promised / RATE <= 130
    for start in range(0, audio.shape[1], 64):
        stream.push(audio[:, start : start + 64])
        (events,) = advance([stream])
        for note in events.notes:
            if isinstance(note, NoteOn):
                found += 1
                assert start + 64 - note.time <= promised + 64
    assert found >= 8


def test_raw_notes_end_with_the_key(tmp_path):
    pedal = [
        Control(round(0.9 * RATE), Controller.SUSTAIN, 1.0),
        Control(round(3.5 * RATE), Controller.SUSTAIN, 0.0),
    ]
    audio = played(tmp_path, [(1.0, 1.4, 60, 90), (1.2, 1.6, 64, 90), (1.4, 1.8, 67, 90)], pedal)
    extended, none = heard(audio)
    raw, _ = heard(audio, pedal="raw")
    assert not none
    assert {n.pitch for n in raw} == {n.pitch for n in extended}
    assert sum(n.offset - n.onset for n in raw) <= sum(n.offset - n.onset for n in extended)


def test_a_performance_is_heard(tmp_path):
    random = np.random.default_rng(4)
    notes, free = [], {}
    for onset in np.sort(random.uniform(0.5, 20, 110)):
        pitch, length = int(random.integers(36, 92)), float(random.uniform(0.15, 0.8))
        if onset < free.get(pitch, 0):
            continue
        free[pitch] = onset + length + 0.15
        notes.append((float(onset), float(onset + length), pitch, int(random.integers(40, 110))))
    found, _ = heard(played(tmp_path, notes), chunk_ms=1000)
    estimate = np.array([(n.onset / RATE, n.offset / RATE, n.pitch, n.velocity * 127) for n in found])
    result = scores.score("performance", np.array(notes, np.float64), estimate)
    assert result.onset > 0.93, result
    assert result.velocity_r > 0.45, result
    assert abs(result.lateness_ms) < 10, result


@pytest.mark.parametrize(
    "name, longest_ms", [("tight", 65), ("live", 125), ("balanced", 165), ("accurate", 365)]
)
def test_a_latency_preset_promises_what_it_says(name, longest_ms):
    preset = load([name])
    stream = Stream(preset.transcriber(), 48_000, 2, chunk_ms=preset.latency.chunk_ms)
    assert longest_ms - 25 < stream.latency.total / 48 <= longest_ms
