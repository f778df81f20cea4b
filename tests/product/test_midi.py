"""MIDI files say what was heard, to the tick, and damaged ones are met with a reason."""

import struct
import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import mido
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import MidiError, OutputError
from bridge.midi import read_midi, separate, write_midi
from bridge.presets import InstrumentPreset, VelocityCurve
from bridge.studio.demo import prelude, write_demo
from bridge.ticks import samples_to_ticks, ticks_to_samples
from bridge.voicing import midi_velocity
from inference.clock import TempoMap, samples
from inference.events import Control, Controller, Lane, LanePoint, Note

RATE = 44_100
GOLDEN = Path(__file__).parents[1] / "golden" / "prelude.mid"
RAW = InstrumentPreset(pedal="raw")


def messages(path):
    """`(tick, message fields)` of a file, without the names in its header."""
    tick, out = 0, []
    for message in mido.merge_tracks(mido.MidiFile(path).tracks):
        tick += message.time
        if message.type not in ("track_name", "text"):
            out.append((tick, {k: v for k, v in message.dict().items() if k != "time"}))
    return out


notes_in = st.builds(
    lambda onset, length, pitch, velocity: Note(onset, onset + length, pitch, velocity / 127),
    st.integers(0, 60 * RATE),
    st.integers(1, 5 * RATE),
    st.integers(21, 108),
    st.integers(1, 127),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(notes_in, min_size=1, max_size=40), st.sampled_from([0, 1]), st.sampled_from([480, 960]))
def test_notes_survive_a_file_within_a_millisecond(tmp_path_factory, notes, kind, ppq):
    path = tmp_path_factory.mktemp("midi") / "x.mid"
    summary = write_midi(path, notes, (), RATE, midi_format=kind, ppq=ppq)
    content = read_midi(path, RATE)
    assert summary.notes == len(content.notes) and not content.warnings
    limit = 0.53 if ppq == 480 else 0.27
    assert_near(content.notes, notes, limit)


def assert_near(found, written, limit_ms):
    """Every note found was written at that time (re-strikes within a tick excepted), and none is lost."""
    for note in found:
        near = [n for n in written if n.pitch == note.pitch and abs(n.onset - note.onset) <= limit_ms * 44.1]
        assert near, note
        assert any(round(127 * n.velocity) == round(127 * note.velocity) for n in near)
    for note in written:
        assert any(n.pitch == note.pitch and abs(n.onset - note.onset) <= limit_ms * 44.1 for n in found)
    for note in separate(written):
        twins = [n for n in written if n.pitch == note.pitch and abs(n.onset - note.onset) < 100]
        if len(twins) == 1:
            (same,) = [
                n for n in found if n.pitch == note.pitch and abs(n.onset - note.onset) <= limit_ms * 44.1
            ]
            # A note lasts a tick at least: the shortest ones end up to a tick and a half late.
            short = note.offset - note.onset < 2 * limit_ms * 44.1
            assert abs(same.offset - note.offset) <= limit_ms * 44.1 * (3 if short else 1)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(notes_in, min_size=1, max_size=10),
    st.dictionaries(st.fractions(0, 200), st.integers(200_000, 2_000_000), max_size=6),
)
def test_any_tempo_map_keeps_the_seconds(tmp_path_factory, notes, changes):
    path = tmp_path_factory.mktemp("midi") / "x.mid"
    tempo = TempoMap(sorted({**changes, Fraction(0): 500_000}.items()))
    write_midi(path, notes, (), RATE, tempo=tempo)
    half_tick_ms = max(us for us in [*changes.values(), 500_000]) / 480 / 2 / 1000
    found = read_midi(path, RATE).notes
    for note in notes:
        distance = min(abs(n.onset - note.onset) for n in found if n.pitch == note.pitch)
        assert distance <= half_tick_ms * 44.1 + 1


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.fractions(0, 50, max_denominator=480), st.integers(100_000, 3_000_000), max_size=5),
    st.lists(st.integers(0, 10_000_000), min_size=1),
    st.sampled_from([96, 480, 960]),
    st.sampled_from([22_050, 44_100, 96_000]),
)
def test_ticks_are_those_of_the_tempo_map(changes, times, ppq, rate):
    tempo = TempoMap(sorted({**changes, Fraction(0): 500_000}.items()))
    to_ticks, to_samples = samples_to_ticks(tempo, rate, ppq), ticks_to_samples(tempo, rate, ppq)
    for time in times:
        assert to_ticks(time) == tempo.tick(Fraction(time, rate), ppq)
        assert to_samples(time) == samples(tempo.seconds(Fraction(time, ppq)), rate)


def test_pretty_midi_reads_the_same_notes(tmp_path):
    write_demo(tmp_path / "x.mid")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (instrument,) = pretty_midi.PrettyMIDI(str(tmp_path / "x.mid")).instruments
    ours = read_midi(tmp_path / "x.mid").notes
    theirs = sorted((n.start, n.pitch, n.velocity) for n in instrument.notes)
    assert len(ours) == len(theirs) == len(prelude().notes)
    for note, (start, pitch, velocity) in zip(ours, theirs, strict=True):
        assert note.pitch == pitch and round(127 * note.velocity) == velocity
        assert abs(note.onset / RATE - start) < 1e-4


def test_the_golden_file_holds_the_same_events(tmp_path):
    write_demo(tmp_path / "x.mid")
    assert messages(tmp_path / "x.mid") == messages(GOLDEN)


def test_the_file_says_who_made_it(tmp_path):
    write_midi(tmp_path / "x.mid", [Note(0, 10, 60, 0.5)], name="Täke 1")
    texts = [m for track in mido.MidiFile(tmp_path / "x.mid", charset="utf-8").tracks for m in track]
    assert any(m.type == "text" and m.text.startswith("dawbridge") for m in texts)
    assert [m.name for m in texts if m.type == "track_name"] == ["Täke 1"] * 2


def test_a_restrike_ends_the_note_before_it(tmp_path):
    write_midi(tmp_path / "x.mid", [Note(0, 90_000, 60, 0.5), Note(44_100, 60_000, 60, 0.9)], (), RATE)
    kinds = [(t, m["type"]) for t, m in messages(tmp_path / "x.mid") if "note" in m]
    assert kinds == [(0, "note_on"), (960, "note_off"), (960, "note_on"), (1306, "note_off")]


def test_notes_that_begin_together_on_one_key_become_one(tmp_path):
    notes = [Note(0, 90_000, 60, 0.2), Note(3, 60_000, 60, 0.9)]
    assert write_midi(tmp_path / "x.mid", notes, (), RATE).notes == 1
    (note,) = read_midi(tmp_path / "x.mid", RATE).notes
    assert round(127 * note.velocity) == 114 and abs(note.offset - 90_000) < 44


def test_even_the_shortest_note_lasts_a_tick(tmp_path):
    write_midi(tmp_path / "x.mid", [Note(5, 6, 60, 0.001)], (), RATE)
    (note,) = read_midi(tmp_path / "x.mid", RATE).notes
    assert note.offset > note.onset and round(127 * note.velocity) == 1


def test_keys_the_instrument_lacks_are_counted_and_left_out(tmp_path):
    notes = [Note(0, 10, 20, 0.5), Note(0, 10, 60, 0.5), Note(0, 10, 109, 0.5)]
    summary = write_midi(tmp_path / "x.mid", notes)
    assert (summary.notes, summary.outside_range) == (1, 2)


def test_channels(tmp_path):
    notes = [Note(0, 10, 60, 0.5), Note(0, 10, 62, 0.5, channel=9)]
    write_midi(tmp_path / "x.mid", notes, instrument=InstrumentPreset(channel=3))
    assert {(n.pitch, n.channel) for n in read_midi(tmp_path / "x.mid").notes} == {(60, 2), (62, 9)}


def test_pedals_are_written_only_when_notes_are_not_extended_by_them(tmp_path):
    pedals = [Control(t, Controller.SUSTAIN, v) for t, v in ((0, 1.0), (5, 1.0), (9_000, 0.0))]
    write_midi(tmp_path / "raw.mid", [Note(0, 10, 60, 0.5)], pedals, RATE, instrument=RAW)
    write_midi(tmp_path / "extended.mid", [Note(0, 10, 60, 0.5)], pedals, RATE)
    changes = read_midi(tmp_path / "raw.mid", RATE).changes
    assert [(c.number, c.value) for c in changes] == [(64, 127), (64, 0)]
    assert [c.value for c in read_midi(tmp_path / "raw.mid", RATE).controls] == [1.0, 0.0]
    assert not read_midi(tmp_path / "extended.mid").changes


def test_lanes_are_thinned_but_come_to_rest_where_they_should(tmp_path):
    points = [LanePoint(i * 44, Lane.DYNAMICS, i / 2000) for i in range(2001)]
    points += [LanePoint(points[-1].time + 44 * i, Lane.DYNAMICS, 1 - (i % 2) / 254) for i in range(100)]
    points += [LanePoint(0, Lane.TEMPO, 120.0)]
    write_midi(tmp_path / "x.mid", [Note(0, 10, 60, 0.5)], (), RATE, lanes=points)
    changes = read_midi(tmp_path / "x.mid", RATE).changes
    assert {c.number for c in changes} == {11}
    assert changes[0].value == 0 and changes[-1].value == 127
    for a, b in pairwise(changes):
        assert b.time - a.time >= 441 - 47 and abs(a.value - b.value) >= 1
    assert 40 < len(changes) < 100


def test_a_fast_move_is_not_lost_to_the_limit(tmp_path):
    points = [LanePoint(0, Lane.DYNAMICS, 0.2), LanePoint(10, Lane.DYNAMICS, 0.9)]
    write_midi(tmp_path / "x.mid", [Note(0, 10, 60, 0.5)], (), RATE, lanes=points)
    assert [c.value for c in read_midi(tmp_path / "x.mid").changes] == [25, 114]


@pytest.mark.parametrize("curve", ["linear", "soft", "hard"])
def test_velocity_curves_rise_and_keep_their_range(curve):
    preset = VelocityCurve(curve=curve, min=10, max=100)
    values = [midi_velocity(v / 127, preset) for v in range(1, 128)]
    assert values == sorted(values) and values[0] == 10 and values[-1] == 100
    assert midi_velocity(0.0, preset) == 10 and midi_velocity(2.0, preset) == 100


def test_the_plain_curve_undoes_division_by_127():
    assert [midi_velocity(v / 127, VelocityCurve()) for v in range(1, 128)] == list(range(1, 128))


def test_hanging_notes_are_ended_with_a_warning(tmp_path):
    track = mido.MidiTrack([mido.Message("note_on", note=n, velocity=9, time=100) for n in (60, 62)])
    mido.MidiFile(tracks=[track, mido.MidiTrack()]).save(tmp_path / "x.mid")
    content = read_midi(tmp_path / "x.mid")
    assert len(content.notes) == 2 and all(n.offset > n.onset for n in content.notes)
    assert content.warnings == ("2 notes never ended; they were ended at the last event",)
    assert max(n.offset for n in content.notes) == content.length


def test_all_notes_off_ends_notes(tmp_path):
    track = mido.MidiTrack(
        [
            mido.Message("note_on", note=60, velocity=9, channel=1),
            mido.Message("control_change", control=123, channel=1, time=480),
            mido.Message("note_on", note=62, velocity=9, time=480),
            mido.Message("note_on", note=62, velocity=0, time=480),
        ]
    )
    mido.MidiFile(tracks=[track]).save(tmp_path / "x.mid")
    content = read_midi(tmp_path / "x.mid", RATE)
    assert [n.offset for n in content.notes] == [22_050, 66_150] and not content.warnings


def header(kind, tracks, division):
    return b"MThd" + struct.pack(">IHHH", 6, kind, tracks, division)


TRACK = b"MTrk" + struct.pack(">I", 12) + b"\x00\x90\x3c\x40\x60\x80\x3c\x40\x00\xff\x2f\x00"


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "not a readable MIDI file"),
        (b"RIFF" + bytes(100), "not a readable MIDI file"),
        (header(1, 1, 480), "not a readable MIDI file"),
        (header(1, 1, 480) + TRACK[:15], "not a readable MIDI file"),
        (header(1, 1, 480) + b"MTrk\xff\xff\xff\xff" + bytes(9), "MIDI file"),
        (header(2, 1, 480) + TRACK, "of format 2"),
        (header(1, 1, 0) + TRACK, "SMPTE"),
        (header(1, 1, 0xE728) + TRACK, "SMPTE"),
        (header(0, 1, 480) + b"MTrk\x00\x00\x00\x04\x00\xff\x2f\x00", "holds no notes"),
        (
            header(0, 1, 1)
            + b"MTrk\x00\x00\x00\x0f\x00\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x40\x00\xff\x2f\x00",
            "longer than 24 hours",
        ),
    ],
)
def test_damaged_files_are_refused_with_a_remedy(tmp_path, data, message):
    (tmp_path / "x.mid").write_bytes(data)
    with pytest.raises(MidiError, match=message) as caught:
        read_midi(tmp_path / "x.mid")
    assert caught.value.remedy and caught.value.exit_code == 3


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "no.mid", tmp_path):
        with pytest.raises(MidiError, match="there is no MIDI file"):
            read_midi(path)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 800), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 900),
)
def test_no_damage_raises_anything_but_a_midi_error(tmp_path_factory, edits, cut):
    data = bytearray(GOLDEN.read_bytes())
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path_factory.mktemp("fuzz") / "x.mid"
    path.write_bytes(data[: len(data) - cut % len(data)] if cut > 450 else data)
    try:
        content = read_midi(path)
    except MidiError as error:
        assert error.remedy
    else:
        assert all(0 <= n.onset < n.offset <= content.length for n in content.notes)


def test_nothing_half_written_is_left(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_midi(tmp_path / "file" / "x.mid", [Note(0, 10, 60, 0.5)])
    (tmp_path / "x.mid").mkdir()
    with pytest.raises(OutputError):
        write_midi(tmp_path / "x.mid", [Note(0, 10, 60, 0.5)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.mid"]
