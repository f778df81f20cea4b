"""Beats from notes beside the sound: what they say, how fast they are counted, and what is made of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pedalboard.io import AudioFile

from bridge import cli
from inference.events import Beat, Events, Note
from inference.follow import FollowingTranscriber
from inference.pipeline import Stream, advance
from inference.rhythm import evaluate_live
from inference.rhythm.config import FUSED
from inference.rhythm.counting import CUES, CountingNetwork, hear_tempo, tempo_cues
from inference.rhythm.decode import DecodeSettings, decode
from inference.rhythm.evaluate_live import clocked, follow, listen
from inference.rhythm.follower import Follower
from inference.rhythm.listener import Frames, RhythmListener
from inference.rhythm.material import pieces
from inference.rhythm.network import RhythmNetwork
from inference.rhythm.noted import FEWEST, hear_notes
from inference.rhythm.pointer import PointerSettings
from inference.rhythm.struck import LIVE, WHOLE, StruckNetwork
from inference.rhythm.tempi import TEMPI, interval_shares, tempo_place
from inference.rhythm.train_counting import collect, fit
from inference.training.beats import BeatTable
from inference.training.notes import NoteTable
from tests.fakes import ClickTranscriber, clicks

torch.set_num_threads(1)
FRONT = FUSED.front_end


def network(config=WHOLE, depth=6):
    torch.manual_seed(0)
    return StruckNetwork(replace(config, channels=16, depth=depth, again=())).eval()


def counting():
    torch.manual_seed(1)
    return CountingNetwork(8, 2).eval()


def notes_every(seconds, until, pitch=60):
    times = np.arange(0.5, until, seconds)
    return [Note(round(t * FRONT.rate), round((t + 0.1) * FRONT.rate), pitch, 0.5) for t in times]


def test_a_long_recording_says_the_same_as_its_windows():
    notes = notes_every(0.37, 260)
    found = hear_notes(network(), counting(), notes, 13_000, FRONT)
    assert found.beat.shape == found.downbeat.shape == (13_000,) and found.tempo.shape == (13_000, TEMPI)
    whole = hear_notes(network(), counting(), notes, 14_500, FRONT)
    assert np.abs(found.beat[:12_900] - whole.beat[:12_900]).max() < 1e-4
    assert (found.tempo <= 0).all() and (found.tempo.max(1) == 0).all()


def test_too_few_notes_say_nothing():
    assert hear_notes(network(), counting(), notes_every(1.0, FEWEST - 0.9), 500, FRONT) is None
    assert hear_notes(network(), counting(), notes_every(1.0, FEWEST + 1), 500, FRONT) is not None


def test_the_answer_is_late_by_as_much_as_that_of_the_sound():
    """The network over notes is put where the network over sound has its maxima."""
    plain = network()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
        plain.enter.weight[0, 60 - 21], plain.leave.weight[0, 0] = 1.0, 1.0
        plain.norm.weight.fill_(1.0)
    found = hear_notes(plain, counting(), notes_every(1.0, 20), 1_000, FRONT)
    peaks = np.flatnonzero(found.beat > 0.9 * found.beat.max())
    assert set((peaks - 25) % 50) <= {1, 2}


def test_tempi_have_places():
    assert tempo_place(np.array([2.0, 1.0, 0.25])).tolist() == [0, 8, 24]
    shares = interval_shares(101, 50.0)
    assert shares.shape == (TEMPI, 101) and np.allclose(shares.sum(0), 1)
    assert shares[16, 25] == pytest.approx(1) and shares[0, 100] == pytest.approx(1)


@pytest.mark.parametrize("bpm, other", [(100, 200), (200, 100)])
def test_the_tempo_decides_where_beats_leave_it_open(bpm, other):
    beat = np.full(2_000, -3.0)
    beat[15::15] = 1.5
    cost = np.full((2_000, TEMPI), -4.0, np.float32)
    cost[:, round(float(tempo_place(np.array([60 / bpm]))[0]))] = 0.0
    settings = DecodeSettings(meters=(1,), downbeat_weight=0.0, unusual=0.0)
    found = decode(beat, beat, settings, FRONT, cost)
    interval = np.median(np.diff([one.time for one in found])) / FRONT.rate
    assert interval == pytest.approx(60 / bpm, abs=0.02) and interval != pytest.approx(60 / other, abs=0.1)


def performance(interval, seed):
    """Bass on the beat, twice as many notes above it."""
    random = np.random.default_rng(seed)
    beats = np.arange(1.0, 90.0, interval)
    onset = np.sort(np.concatenate([beats, beats + interval / 2]))
    pitch = np.where(np.isin(onset, beats), 40, 70) + random.integers(0, 5, len(onset))
    onset = onset.astype(np.float32)
    notes = NoteTable(onset, onset + 0.2, onset + 0.2, pitch, np.full(len(onset), 0.5, np.float32))
    return notes, BeatTable(beats, np.arange(len(beats)) % 4 == 0, np.zeros(len(beats), np.int64))


def test_counting_is_learned():
    tempi = np.exp(np.linspace(np.log(0.35), np.log(1.1), 12))
    examples = collect([performance(t, i) for i, t in enumerate(tempi)], 6)
    assert len(examples) > 60 and examples[0][0].shape == (CUES,)
    found = fit(examples, steps=250)
    fresh = collect([performance(t, 50 + i) for i, t in enumerate(tempi)], 1, seed=9)
    off = [abs(hear_tempo(found, cues).argmax() - place) for cues, place in fresh]
    assert np.median(off) <= 1.5, "of places, eight to the octave"
    assert hear_tempo(found, fresh[0][0]).sum() == pytest.approx(1)


def test_cues_of_nothing_are_numbers():
    none = np.zeros(0, np.int64)
    assert np.isfinite(tempo_cues(none, none, np.zeros(0), 100)).all()


class Told(ClickTranscriber):
    """Remembers what it is told."""

    def told(self, state, notes):
        self.notes = notes
        return state


def test_a_stream_tells_notes_in_its_transcribers_time():
    transcriber = Told()
    stream = Stream(transcriber, 48_000, 1, origin=4_800)
    stream.tell([Note(52_800, 57_600, 60, 0.5)])
    assert [(note.onset, note.offset) for note in transcriber.notes] == [
        (transcriber.rate, transcriber.rate * 11 // 10)
    ]
    with pytest.raises(ValueError, match="listens to no notes"):
        Stream(ClickTranscriber(), 48_000, 1).tell([])


def test_a_listener_takes_the_notes_into_account():
    torch.manual_seed(0)
    listener = RhythmListener(RhythmNetwork(FUSED), struck=(network(), counting()))
    audio = torch.rand(1, FRONT.rate) * 0.1
    _, (state,) = listener.step(audio, [listener.start()])
    notes = notes_every(0.05, 1)
    assert listener.told(state, notes).notes == tuple(notes) and state.notes == ()
    assert isinstance(listener.finish(listener.told(state, notes)), Events)
    heard = listener.hear(audio[0].numpy(), notes)
    assert heard.noted is not None and listener.hear(audio[0].numpy()).noted is None
    part = heard.part(10, 30)
    assert isinstance(part, Frames) and len(part.beat) == len(part.noted.beat) == 20


def test_replayed_notes_are_followed_as_in_one_stream():
    follower = Follower(network(LIVE), PointerSettings(certain=0.0, bias=0.0), 16_000)
    audio = clicks(range(8_000, 16_000 * 12, 7_000), 16_000 * 12)[0]
    found, core = follow(follower, listen(ClickTranscriber(), audio))
    stream, told = Stream(FollowingTranscriber(ClickTranscriber(), follower), 16_000, 1), []
    stream.push(audio[None])
    told += [*advance([stream])[0].beats, *stream.finish().beats]
    assert [beat for beat, _ in found] == told and len(told) > 5
    assert 0 < core < 1


@pytest.fixture
def data(tmp_path):
    """A recording of tones on its beats, where measurements look for it."""
    folder = tmp_path / "maps" / "software" / "validation"
    folder.mkdir(parents=True)
    times = np.arange(0.5, 15, 0.5)
    audio = np.zeros(16 * 16_000, np.float32)
    for index, time in enumerate(times):
        t = np.arange(8_000) / 16_000
        tone = sum(np.sin(2 * np.pi * 220 * (1 + index % 3) * k * t) / k for k in range(1, 6))
        begin = round(time * 16_000)
        audio[begin : begin + 8_000] += (0.2 * np.exp(-6 * t) * tone).astype(np.float32)
    soundfile(folder / "take.wav", audio)
    rows = [f"{time:.3f}\t{time:.3f}\t{'b' if i % 4 else 'db'}" for i, time in enumerate(times)]
    (folder / "take.beats.tsv").write_text("\n".join(rows))
    return tmp_path


def soundfile(path, audio):
    with AudioFile(str(path), "w", 16_000, 1) as file:
        file.write(audio[None])


def test_each_time_of_telling_has_its_scores(data):
    found = evaluate_live.run(data, told=(-100.0, 240.0), chunk_ms=100)
    assert list(found) == [-100.0, 240.0]
    (early,), (late,) = (sets["software-validation"] for sets in found.values())
    assert early.reference == late.reference == 29 and 0 < late.core < 0.5
    assert not early.told_ms >= late.told_ms
    assert evaluate_live.latency_table(found, "software-validation").count("\n") == 3


def test_a_clock_is_measured_by_its_whole_beats():
    told = [(Beat(8_000 * k, k % 4, 4, 1.0), 0.5 * k + 0.2) for k in range(20)]
    assert clocked(told) == pytest.approx(0.5 * np.arange(4, 20))
    assert clocked(told[:3]).size == 0


def test_what_is_measured_must_be_there(data, tmp_path):
    (piece,) = pieces(data)
    assert piece.name == "take" and len(piece.beats) == 29 and len(piece.load()) == 16 * 16_000
    with pytest.raises(FileNotFoundError, match="no SoundFont"):
        list(pieces(data, soundfont=tmp_path / "none.sf2"))
    with pytest.raises(FileNotFoundError, match="no recordings"):
        list(pieces(data, ["disklavier-dev"]))


@pytest.mark.parametrize(
    "wrong", [["--latencies"], ["--live", "--latencies", "--beats-ms", "10"], ["--plot"], ["--set", "x"]]
)
def test_options_that_do_not_go_together_are_refused(data, wrong):
    assert cli.run(["evaluate", "rhythm", "--data", str(data), *wrong]) == 2
