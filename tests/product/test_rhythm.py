"""Tempo maps from beats: bars on the grid, no note moved, nothing wild; and the commands around them."""

import json

import mido
import numpy as np
import pytest
import torch
from pedalboard.io import AudioFile

from bridge import cli
from bridge.commands.options import Meter, TempoRange
from bridge.midi import read_midi, write_midi
from bridge.presets import Preset
from bridge.studio import bounce as bouncing
from bridge.studio.bounce import BounceOptions, bounce
from bridge.studio.rhythm import RhythmOptions
from bridge.tempo import beats_as_dict, heard_grid, one_tempo
from inference.events import Beat, Events, Note
from inference.pipeline import Stream, advance
from inference.rhythm import load
from inference.rhythm.config import MTMS
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.listener import RhythmListener, _windows
from inference.rhythm.network import RhythmNetwork
from tests.fakes import ClickTranscriber, clicks

RATE = 44_100


def beats(times, of=4, first=0):
    return [Beat(round(t * RATE), (i + first) % of, of, 0.9) for i, t in enumerate(times)]


def rubato(count=200, seed=0, start=0.73):
    random = np.random.default_rng(seed)
    interval = 0.7 * np.exp(0.4 * np.sin(np.arange(count) / 9) + random.normal(0, 0.08, count))
    return start + np.cumsum(interval)


def grid_seconds(grid, count):
    return np.array([float(grid.tempo.seconds(index)) for index in range(count)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("start", [0.0, 0.05, 0.4, 3.3])
def test_every_beat_lies_on_a_quarter(seed, start):
    times = rubato(seed=seed, start=start)
    grid = heard_grid(beats(times), RATE)
    on_grid = grid_seconds(grid, len(times) + 12)
    late = 1 if start < 0.3 else 0  # a first beat without room before it begins with the file
    for time in times[late:]:
        assert np.abs(on_grid - time).min() < 2e-5


@pytest.mark.parametrize("of, first", [(2, 0), (3, 0), (3, 1), (4, 0), (4, 3)])
def test_bars_begin_at_downbeats(of, first):
    heard = beats(rubato(), of, first)
    grid = heard_grid(heard, RATE)
    bars, quarter = [], 0
    changes = dict(grid.meters)
    length = changes[0]
    while quarter < 210:
        length = changes.get(quarter, length)
        bars.append(float(grid.tempo.seconds(quarter)))
        quarter += length
    for beat in heard[1:]:
        if beat.position == 0:
            assert min(abs(bar - beat.time / RATE) for bar in bars) < 2e-5
    assert max(changes.values()) <= of


def notes_by_chance(seconds, count=400, seed=1):
    random = np.random.default_rng(seed)
    onsets = np.sort(random.uniform(0, seconds, count))
    return [Note(int(t * RATE), int((t + 0.3) * RATE), int(random.integers(21, 109)), 0.5) for t in onsets]


@pytest.mark.parametrize("make", [heard_grid, one_tempo])
@pytest.mark.parametrize("scale", [0.36, 1.0, 2.9])
def test_no_note_moves_by_a_millisecond(tmp_path, make, scale):
    """From 240 to 20 beats a minute, with the map and without."""
    times = rubato(120) * scale
    notes = notes_by_chance(times[-1] + 5)
    grid = make(beats(times), RATE)
    write_midi(tmp_path / "map.mid", notes, rate=RATE, tempo=grid.tempo, meters=grid.meters, ppq=grid.ppq)
    write_midi(tmp_path / "plain.mid", notes, rate=RATE)
    with_map, plain = (read_midi(tmp_path / name, 1_000_000).notes for name in ("map.mid", "plain.mid"))
    assert len(with_map) == len(plain) > 300

    def onsets(found):
        return np.array(sorted((n.pitch, n.onset) for n in found))

    assert np.abs(onsets(with_map) - onsets(plain)).max() < 1_000  # microseconds
    truth = np.array(sorted((n.pitch, n.onset * 1_000_000 // RATE) for n in notes))
    if len(truth) == len(with_map):
        assert np.abs(onsets(with_map) - truth).max() < 400


def test_another_reader_agrees(tmp_path):
    times = rubato(60)
    grid = heard_grid(beats(times, 3, 1), RATE)
    note = Note(round(times[30] * RATE), round(times[31] * RATE), 60, 0.5)
    write_midi(tmp_path / "a.mid", [note], rate=RATE, tempo=grid.tempo, meters=grid.meters, ppq=grid.ppq)
    file, now = mido.MidiFile(tmp_path / "a.mid"), 0.0
    for message in file:
        now += message.time
        if message.type == "note_on" and message.velocity:
            assert abs(now - times[30]) < 1e-3
            break
    else:
        pytest.fail("the note is not there")
    ticks = [m for m in mido.merge_tracks(file.tracks) if m.type == "time_signature"]
    assert {m.denominator for m in ticks} == {4} and 3 in {m.numerator for m in ticks}


def test_a_pause_is_filled_with_beats_of_about_the_tempo():
    times = np.concatenate([1 + np.arange(12) * 0.5, 20 + np.arange(12) * 0.5])
    grid = heard_grid(beats(times), RATE)
    tempi = [60e6 / piece.us_per_beat for piece in grid.tempo.pieces]
    assert min(tempi) > 100 and max(tempi) < 150


def test_rubato_makes_no_wild_tempo():
    for start in (0.0, 0.1, 0.34, 0.36, 0.9, 7.0):
        heard = rubato(start=start)
        grid = heard_grid(beats(heard), RATE)
        fastest, slowest = 60 / np.diff(heard).min(), 60 / np.diff(heard).max()
        tempi = [60e6 / piece.us_per_beat for piece in grid.tempo.pieces]
        assert slowest / 2.1 < min(tempi) and max(tempi) < fastest * 1.6


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_beats_make_no_map(count):
    assert heard_grid(beats(rubato()[:count]), RATE) is None
    assert one_tempo(beats(rubato()[:count]), RATE) is None


def test_one_tempo_is_one():
    grid = one_tempo(beats(1 + np.arange(50) * 0.5, 3), RATE)
    assert [piece.us_per_beat for piece in grid.tempo.pieces] == [500_000] and grid.meters == ((0, 3),)


def test_beats_become_plain_values():
    found = beats_as_dict(beats([1, 1.5, 2.0, 2.5]), RATE)
    assert found["tempo_bpm"] == 120 and [beat["time"] for beat in found["beats"]] == [1, 1.5, 2, 2.5]
    assert beats_as_dict([], RATE) == {
        "tempo_bpm": None,
        "confidence": 0.0,
        "beats": [],
        "dynamics": [],
        "swells": [],
    }
    assert len(beats_as_dict(beats([1]), RATE)["beats"]) == 1


@pytest.mark.parametrize(
    "text, expected", [("3/4", 3), ("2/2", 2), ("6/8", 2), ("12/8", 4), ("9/8", 3), ("5/8", 5), ("3/8", 3)]
)
def test_meters_are_read_as_beats(text, expected):
    assert Meter().convert(text, None, None) == expected


def test_a_single_tempo_allows_a_little():
    low, high = TempoRange().convert("100", None, None)
    assert low == pytest.approx(83.3, abs=0.1) and high == pytest.approx(120)
    assert TempoRange().convert("60-90", None, None) == (60, 90)


class Metronome:
    """Claims a beat every `length` samples of its own rate, however long the audio is."""

    rate, hop, latency = 16_000, 160, 160

    def __init__(self, length, count):
        self.length, self.count = length, count

    def start(self):
        return 0

    def step(self, audio, states):
        return [Events(0) for _ in states], [state + audio.shape[1] for state in states]

    def told(self, state, notes):
        self.notes = notes
        return state

    def finish(self, state):
        found = [Beat(self.length * (i + 1), i % 3, 3, 0.9) for i in range(self.count)]
        return Events(state, beats=tuple(beat for beat in found if beat.time < state))


@pytest.fixture
def take(tmp_path, monkeypatch):
    """A recording of clicks, and fakes that hear them as notes and a beat each half second."""
    monkeypatch.setattr(Preset, "transcriber", lambda self: ClickTranscriber())
    asked = []

    def listener(options):
        asked.append(options)
        return Metronome(8_000, 60)

    monkeypatch.setattr(bouncing, "open_listener", listener)
    with AudioFile(str(tmp_path / "take.wav"), "w", 44_100, 1) as file:
        file.write(clicks(range(22_050, 440_000, 22_050), 441_000, 44_100))
    return asked


def meta(path, kind):
    return [m for m in mido.merge_tracks(mido.MidiFile(path).tracks) if m.type == kind]


def test_bounce_lays_notes_on_the_beats(take, tmp_path, capsys):
    arguments = [
        "bounce",
        "take.wav",
        "-o",
        "out",
        "--tempo-map",
        "--beats",
        "--meter",
        "3/4",
        "--tempo",
        "100-140",
    ]
    assert cli.run(arguments) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out.split()
    assert printed == ["out/take.mid", "out/take.beats.json"]
    assert (take[0].meters, take[0].range_bpm) == ((3,), (100, 140))
    file = mido.MidiFile("out/take.mid")
    ticks, now = [], 0
    for message in mido.merge_tracks(file.tracks):
        now += message.time
        if message.type == "note_on" and message.velocity:
            ticks.append(now / file.ticks_per_beat)
    assert ticks[:4] == pytest.approx([1, 2, 3, 4], abs=0.01), "clicks are on the beats"
    assert [(m.numerator, m.denominator) for m in meta("out/take.mid", "time_signature")] == [(1, 4), (3, 4)]
    found = json.loads((tmp_path / "out" / "take.beats.json").read_text())
    assert found["tempo_bpm"] == pytest.approx(120, abs=0.1) and len(found["beats"]) == 19
    assert found["beats"][0] == {"time": 0.5, "position": 0, "of": 3, "bpm": 120.0, "confidence": 0.9}


def test_a_bounce_with_a_tempo_map_sounds_as_one_without(take, tmp_path):
    bounce(["take.wav"], "plain")
    bounce(["take.wav"], "map", BounceOptions(rhythm=RhythmOptions()))
    plain, with_map = (read_midi(tmp_path / name / "take.mid", 1_000_000).notes for name in ("plain", "map"))
    assert len(plain) == len(with_map) == 19
    for a, b in zip(plain, with_map, strict=True):
        assert a.pitch == b.pitch and abs(a.onset - b.onset) < 1_000


def test_a_bounce_tells_its_listener_the_notes(take, monkeypatch):
    listener = Metronome(8_000, 60)
    monkeypatch.setattr(bouncing, "open_listener", lambda options: listener)
    bounce(["take.wav"], "map", BounceOptions(rhythm=RhythmOptions()))
    assert [round(note.onset / listener.rate, 2) for note in listener.notes[:3]] == [0.5, 1.0, 1.5]
    assert len(listener.notes) == 19


def test_without_beats_the_tempo_is_left_alone(take, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bouncing, "open_listener", lambda options: Metronome(8_000, 0))
    assert cli.run(["bounce", "take.wav", "-o", "out", "--tempo-map"]) == 0
    assert "no sure beats" in capsys.readouterr().err
    assert [m.tempo for m in meta("out/take.mid", "set_tempo")] == [500_000]
    assert not meta("out/take.mid", "time_signature")


def test_a_plain_bounce_hears_no_beats(take):
    assert cli.run(["bounce", "take.wav", "-o", "out"]) == 0
    assert not take


@pytest.mark.parametrize(
    "arguments",
    [["--tempo-map", "--one-tempo"], ["--meter", "3/4"], ["--tempo-map", "--meter", "three"]]
    + [["--tempo-map", "--tempo", value] for value in ("fast", "90-60", "5")],
)
def test_hints_that_make_no_sense_are_refused(take, arguments, capsys):
    assert cli.run(["bounce", "take.wav", *arguments]) == 2
    assert "give" in capsys.readouterr().err.lower()


def test_an_existing_beats_file_is_part_of_what_exists(take, tmp_path, capsys):
    arguments = ["bounce", "take.wav", "-o", "out", "--beats", "--skip-existing"]
    assert cli.run(arguments) == 0 and cli.run(arguments) == 0
    assert "skipped" in capsys.readouterr().err
    (tmp_path / "out" / "take.beats.json").unlink()
    assert cli.run(arguments) == 0 and (tmp_path / "out" / "take.beats.json").is_file()


@pytest.mark.parametrize("seconds", [0.001, 0.5, 3.0, 70.0])
@pytest.mark.parametrize("rate", [44_100, 8_000])
def test_silence_of_any_length_has_no_beats(seconds, rate):
    listener = load()
    stream = Stream(listener, rate, 2, chunk_ms=1_000)
    for block in np.array_split(np.zeros((2, max(1, int(rate * seconds))), np.float32), 7, axis=1):
        stream.push(block)
        advance([stream])
    assert stream.finish().beats == ()


def test_a_listener_hears_the_same_in_any_portions():
    torch.manual_seed(0)
    network = RhythmNetwork(MTMS).eval()
    listener = RhythmListener(network, DecodeSettings(certain=0.0, shortest=1, beat_bias=-5.0))
    audio = torch.randn(1, 441 * 50 * 8) * 0.1
    states = [listener.start(), listener.start()]
    for part in torch.split(audio, 441 * 7, 1):
        _, (states[0],) = listener.step(part, [states[0]])
    _, (states[1],) = listener.step(audio, [states[1]])
    in_parts, at_once = (listener.finish(state).beats for state in states)
    assert [(b.time, b.position, b.of) for b in in_parts] == [(b.time, b.position, b.of) for b in at_once]
    assert len(at_once) > 3
    assert len(states[0].powers) < 8, "pieces are joined"


def test_windows_cover_every_frame_once():
    torch.manual_seed(0)
    listener = RhythmListener(RhythmNetwork(MTMS))
    grid, rate = MTMS.scale**2, MTMS.front_end.frames_per_second
    for frames in (1, 24, 100, 2_999, 3_000, 3_001, 5_025, 9_999):
        numbers = torch.arange(1.0, frames + 1)
        windows = _windows(numbers[None, :, None], grid, rate)
        assert torch.equal(torch.cat([piece[0, keep, 0] for piece, keep in windows]), numbers)
        assert all(piece[0, 0, 0] % grid == 1 and piece.shape[1] % grid == 0 for piece, _ in windows)
        found = listener.frames(torch.rand(1, frames, 22) * 1e6)
        assert found.beat.shape == (frames,) and found.dynamics.shape == (frames, 6)
        assert np.isfinite(found.beat).all()
