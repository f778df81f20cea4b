"""Perform: every note once, on the score's bars, marks obeyed, nothing half-written."""

import itertools
import json
from dataclasses import replace
from fractions import Fraction

import mido
import numpy as np
import pytest
import torch

from bridge import cli
from bridge.errors import EngineError, InputError, MidiError, UsageError
from bridge.midi import read_midi, write_midi
from bridge.studio.perform import PerformOptions, meters, perform, tempo_map, write_performance
from bridge.studio.scores import RATE, read_score
from inference import weights
from inference.clock import TempoMap
from inference.events import Note
from inference.performance import matching, notation
from inference.performance.config import CONFIGS
from inference.performance.manners import Manner, obey
from inference.performance.network import Xmvae
from inference.performance.perform import Choices, Performer
from inference.performance.score import Performance
from tests.contract.scores import a_performance, a_score
from tests.contract.test_performance_network import SMALL


@pytest.fixture(scope="module")
def performer():
    torch.manual_seed(5)
    network = Xmvae(SMALL)
    with torch.no_grad():  # decided enough that styles and seeds show
        network.pianist.inject.weight.mul_(6)
        for head in network.pianist.decoder.heads:
            head.weight.mul_(3)
    styles = {"wild": torch.randn(24).double().numpy() * 3}
    return Performer(network, styles, Manner())


def write_score(path, score, tempo=96):
    notes = [
        Note(round(o * RATE / 2), round((o + max(d, 0.05)) * RATE / 2) - 1000, int(p), 0.5)
        for o, d, p in zip(score.onset, score.duration, score.pitch, strict=True)
    ]
    file = path.with_name("half.mid")
    write_midi(file, notes, rate=RATE, meters=meters(score))  # at 120 a quarter lasts half a second
    midi = mido.MidiFile(file)
    for track in midi.tracks:
        for message in track:
            if message.type == "set_tempo":
                message.tempo = mido.bpm2tempo(tempo)
    midi.save(path)
    return path


@pytest.fixture
def score_file(tmp_path):
    return write_score(tmp_path / "score.mid", a_score(bars=8, meter=3))


def keys(path):
    return sorted(note.pitch for note in read_midi(path).notes)


def test_every_note_is_played_once_and_bars_stay(score_file, tmp_path, performer):
    report = perform(score_file, tmp_path / "out.mid", performer)
    score = read_score(score_file).score
    assert report.notes == len(score) and keys(tmp_path / "out.mid") == keys(score_file)
    again = read_score(tmp_path / "out.mid").score
    assert again.meter == (3, 4) and np.allclose(again.bars[:8], np.arange(8) * 3.0)
    # What was written on the third bar is still about there, though it sounds at another time.
    off = np.sort(again.onset) - np.sort(score.onset)
    assert np.median(np.abs(off)) < 0.12


def test_the_scores_tempo_is_kept_on_the_whole(score_file, tmp_path, performer):
    assert perform(score_file, tmp_path / "a.mid", performer).tempo == pytest.approx(96, rel=0.05)
    faster = PerformOptions(tempo=150)
    assert perform(score_file, tmp_path / "b.mid", performer, faster).tempo == pytest.approx(150, rel=0.05)


def test_files_say_when_it_was_played(tmp_path):
    score = a_score(bars=10)
    played = a_performance(score)
    write_performance(tmp_path / "a.mid", score, played)
    notes = read_midi(tmp_path / "a.mid", RATE).notes
    want = sorted(zip(played.onset, score.pitch, strict=True))
    got = sorted((note.onset / RATE, note.pitch) for note in notes)
    assert np.abs(np.array(got)[:, 0] - np.array(want)[:, 0]).max() < 0.002
    assert len({piece.us_per_beat for piece in tempo_map(score, played).pieces}) > 20


def test_nothing_sounds_before_the_file(tmp_path):
    score = a_score(bars=4)
    played = a_performance(score)
    early = replace(played, onset=played.onset - played.onset.min() - 0.3)
    write_performance(tmp_path / "a.mid", score, early)
    notes = read_midi(tmp_path / "a.mid", RATE).notes
    onsets = np.sort([note.onset / RATE for note in notes])
    assert onsets[0] == pytest.approx(0, abs=1e-3)
    assert np.allclose(onsets, np.sort(early.onset) + 0.3, atol=0.002)


def test_printed_dynamics_are_obeyed(performer):
    score = a_score(bars=16)
    for seed in range(3):
        played = performer.perform(score, Choices(temperature=1.0, seed=seed))
        soft, loud = (played.velocity[score.level == level].mean() for level in (3, 6))
        assert loud > soft + 10


def test_obeying_leaves_alone_what_obeys():
    score = a_score(bars=16)
    obedient = np.where(score.level == 6, 90.0, 50.0) + np.arange(len(score)) % 3
    assert obey(score, obedient) == pytest.approx(obedient)
    rebel = np.where(score.level == 6, 50.0, 90.0) + np.arange(len(score)) % 3
    tamed = obey(score, rebel)
    assert tamed[score.level == 6].mean() > tamed[score.level == 3].mean() + 10
    assert tamed.mean() == pytest.approx(rebel.mean())


def test_without_any_expression_it_is_the_score(performer):
    score = replace(a_score(bars=6), tempo=120.0).unmarked()
    played = performer.perform(score, Choices(manner=Manner(0, 0, 0)))
    assert played.onset == pytest.approx((score.onset - score.onset[0]) / 2, abs=1e-6)
    assert np.ptp(played.velocity) < 1e-6
    plain = np.flatnonzero((score.duration > 0.1) & (np.bincount(score.pitch)[score.pitch] == 1))
    assert played.duration[plain] == pytest.approx(score.duration[plain] / 2, abs=0.02)


def test_sliders_scale_what_they_name(performer):
    score = replace(a_score(bars=12).unmarked(), tempo=100.0)
    plain = performer.perform(score)
    level = performer.perform(score, Choices(manner=Manner(dynamics=0.5)))
    assert level.velocity.std() == pytest.approx(plain.velocity.std() / 2, rel=0.1)
    assert level.onset == pytest.approx(plain.onset)
    strict = performer.perform(score, Choices(manner=Manner(rubato=0)))
    assert np.abs(strict.onset - (score.onset - score.onset[0]) * 0.6).max() < 1e-6


def test_hands_can_play_it(performer):
    score = a_score(bars=20)
    played = performer.perform(score, Choices(temperature=1.0, seed=4))
    assert (played.duration > 0.014).all() and (played.onset > -0.5).all()
    assert ((played.velocity >= 10) & (played.velocity <= 120)).all()
    for pitch in np.unique(score.pitch):
        which = score.pitch == pitch
        order = np.argsort(played.onset[which])
        end = (played.onset + played.duration)[which][order]
        assert (end[:-1] <= played.onset[which][order][1:] + 0.016).all()


def test_seeds_repeat_and_differ(score_file, tmp_path, performer):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = PerformOptions(temperature=1.0, seed=seed)
        perform(score_file, tmp_path / f"{name}.mid", performer, options)
    a, b, c = ((tmp_path / f"{name}.mid").read_bytes() for name in "abc")
    assert a == b and a != c


def test_styles_matter_and_unknown_ones_are_refused(score_file, tmp_path, performer):
    perform(score_file, tmp_path / "a.mid", performer)
    perform(score_file, tmp_path / "b.mid", performer, PerformOptions(style="wild"))
    assert (tmp_path / "a.mid").read_bytes() != (tmp_path / "b.mid").read_bytes()
    with pytest.raises(UsageError, match="wild"):
        perform(score_file, tmp_path / "c.mid", performer, PerformOptions(style="mild"))
    assert not (tmp_path / "c.mid").exists()


def test_the_style_of_an_example(score_file, tmp_path, performer):
    score = read_score(score_file).score
    write_performance(tmp_path / "like.mid", score, a_performance(score))
    options = PerformOptions(like=tmp_path / "like.mid")
    perform(score_file, tmp_path / "a.mid", performer, options)
    perform(score_file, tmp_path / "b.mid", performer)
    assert (tmp_path / "a.mid").read_bytes() != (tmp_path / "b.mid").read_bytes()
    other = write_score(tmp_path / "other.mid", a_score(bars=8, seed=9))
    with pytest.raises(InputError, match="does not play that score"):
        perform(other, tmp_path / "c.mid", performer, options)
    perform(other, tmp_path / "d.mid", performer, replace(options, like_score=score_file))
    assert keys(tmp_path / "d.mid") == keys(other)


def test_matching_finds_the_notes_of_a_score():
    score = a_score(bars=12)
    played = a_performance(score)
    kept = np.random.default_rng(2).random(len(score)) > 0.05
    onset = np.append(played.onset[kept], [3.01, 5.02])
    pitch = np.append(score.pitch[kept], [21, 108])
    rows, sources = matching.match(score, onset, pitch)
    want = np.flatnonzero(kept)
    right = (want[sources[sources < len(want)]] == rows[sources < len(want)]).sum()
    assert right > 0.95 * len(want) and len(set(sources)) == len(sources)


def test_on_the_grid_the_tempo_stands_still(score_file, tmp_path, performer):
    perform(score_file, tmp_path / "a.mid", performer, PerformOptions(grid=True))
    content = read_midi(tmp_path / "a.mid", RATE)
    assert [piece.us_per_beat for piece in content.tempo.pieces] == [625_000]
    score = read_score(score_file).score
    want = np.sort(score.onset) * 0.625
    off = np.sort([note.onset / RATE for note in content.notes]) - want
    assert np.abs(off).max() < 0.1 and np.abs(off).max() > 0.001


def test_meters_are_told_apart():
    score = replace(a_score(bars=6, meter=3), meter=(6, 8))
    assert meters(score) == [(0, 6, 8)]
    odd = replace(score, bars=np.array([0, 0.5, 3.5, 6.5]))
    assert meters(odd) == [(0, 1, 8), (Fraction(1, 2), 6, 8)]


MUSICXML = """<?xml version="1.0"?>
<score-partwise version="3.1"><part-list><score-part id="P1"><part-name>p</part-name></score-part></part-list>
<part id="P1">{measures}</part></score-partwise>"""


def musicxml(path, marks=("p", "ff")):
    def measure(number, mark):
        head = "<attributes><divisions>2</divisions><time><beats>3</beats><beat-type>4</beat-type></time>"
        head += "<clef><sign>G</sign><line>2</line></clef></attributes>" if number == 1 else ""
        head = head if number == 1 else ""
        notes = "".join(
            f"<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>2</duration>"
            f"<voice>1</voice><type>quarter</type>{sign}</note>"
            for step, sign in zip(
                "CEG",
                ("", "<notations><articulations><staccato/></articulations></notations>", ""),
                strict=True,
            )
        )
        direction = f"<direction><direction-type><dynamics><{mark}/></dynamics></direction-type></direction>"
        return f'<measure number="{number}">{head}{direction}{notes}</measure>'

    measures = "".join(measure(index + 1, mark) for index, mark in enumerate(marks))
    path.write_text(MUSICXML.format(measures=measures))
    return path


def test_musicxml_is_read_with_its_marks(tmp_path, performer):
    score = read_score(musicxml(tmp_path / "a.musicxml")).score
    assert score.onset.tolist() == [0, 1, 2, 3, 4, 5] and score.pitch.tolist() == [60, 64, 67] * 2
    assert score.bars.tolist() == [0, 3] and score.meter == (3, 4)
    assert score.level.tolist() == [3, 3, 3, 7, 7, 7] and score.sign.tolist() == [0, 1, 0] * 2
    perform(tmp_path / "a.musicxml", tmp_path / "a.mid", performer)
    notes = read_midi(tmp_path / "a.mid").notes
    assert np.mean([n.velocity for n in notes[3:]]) > np.mean([n.velocity for n in notes[:3]])


def test_notation_software_fetches_nothing():
    import sys

    notation.partitura()
    assert sys.modules.get("fluidsynth", object) is not None
    assert not sys.modules["partitura.utils.fluidsynth"].HAS_FLUIDSYNTH


def test_without_partitura_midi_still_works(tmp_path, performer, score_file, monkeypatch):
    def missing():
        raise ModuleNotFoundError("partitura")

    monkeypatch.setattr(notation, "partitura", missing)
    with pytest.raises(EngineError, match=r"dawbridge\[notation\]"):
        read_score(musicxml(tmp_path / "a.musicxml"))
    perform(score_file, tmp_path / "out.mid", performer)


def test_midi_scores_lose_drums_and_doubles(tmp_path):
    notes = [Note(0, RATE // 2, 60, 0.5), Note(0, RATE // 2, 60, 0.5, 1), Note(0, RATE, 36, 0.5, 9)]
    write_midi(tmp_path / "a.mid", notes, rate=RATE)
    read = read_score(tmp_path / "a.mid")
    assert read.score.pitch.tolist() == [60] and "twice" in read.warnings[0]
    write_midi(tmp_path / "drums.mid", notes[2:], rate=RATE)
    with pytest.raises(MidiError, match="only drums"):
        read_score(tmp_path / "drums.mid")


def test_a_performance_is_not_taken_for_a_score_silently(tmp_path):
    score = a_score(bars=8)
    write_performance(tmp_path / "a.mid", score, a_performance(score), period=0.5)
    assert any("not a score" in line for line in read_score(tmp_path / "a.mid").warnings)


def test_a_tempo_map_in_the_score_is_read_in_quarters(tmp_path):
    tempo = TempoMap([(0, 400_000), (2, 900_000), (5, 300_000)])
    at = [round(float(tempo.seconds(quarter)) * RATE) for quarter in range(8)]
    notes = [Note(a, b - 5_000, 60, 0.5) for a, b in itertools.pairwise(at)]
    write_midi(tmp_path / "a.mid", notes, rate=RATE, tempo=tempo)
    score = read_score(tmp_path / "a.mid").score
    assert score.onset == pytest.approx(np.arange(7), abs=1e-3) and score.tempo == pytest.approx(150)
    assert score.duration == pytest.approx(np.ones(7))


def test_a_score_of_ten_thousand_bars(tmp_path, performer):
    count = 10_000
    notes = [Note(i * 4 * RATE // 2, i * 4 * RATE // 2 + RATE, 60 + i % 12, 0.5) for i in range(count)]
    write_midi(tmp_path / "long.mid", notes, rate=RATE)
    score = read_score(tmp_path / "long.mid").score
    assert len(score) == count and len(score.bars) == count
    played = performer.perform(score, Choices(history=False))
    assert len(played.onset) == count and (np.diff(played.onset) > 0).all()


@pytest.fixture
def own_weights(tmp_path, performer, monkeypatch):
    config = performer.network.config
    monkeypatch.setitem(CONFIGS, config.name, config)
    path = tmp_path / "own.safetensors"
    tensors = dict(performer.network.state_dict())
    tensors["style.wild"] = torch.from_numpy(performer.styles["wild"]).float()
    weights.write(path, tensors, {"config": config.name, "rubato": "1.5"})
    return path


def test_the_command(score_file, tmp_path, own_weights, capsys):
    arguments = ["perform", str(score_file), "-o", "out.mid", "--style", "wild", "--json"]
    assert cli.run([*arguments, "--weights", str(own_weights)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["notes"] == len(read_score(score_file).score) and told["tempo"] == pytest.approx(96, rel=0.05)
    assert keys(tmp_path / "out.mid") == keys(score_file)


@pytest.mark.slow
def test_the_command_renders_at_a_usual_loudness(score_file, tmp_path, own_weights, capsys):
    arguments = ["perform", str(score_file), "-o", "out.mid", "--render", "out.wav"]
    assert cli.run([*arguments, "--weights", str(own_weights)]) == 0
    from bridge.studio.loudness import loudness

    assert loudness(tmp_path / "out.wav") == pytest.approx(-18, abs=1)


@pytest.mark.parametrize(
    "content, code",
    [(b"", 3), (b"MThd nonsense", 3), (None, 3)],
    ids=["empty", "damaged", "missing"],
)
@pytest.mark.parametrize("suffix", [".mid", ".musicxml", ".mxl"])
def test_bad_scores_are_refused_and_nothing_is_written(content, code, suffix, tmp_path, own_weights, capsys):
    path = tmp_path / f"bad{suffix}"
    if content is not None:
        path.write_bytes(content)
    assert cli.run(["perform", str(path), "-o", "out.mid", "--weights", str(own_weights)]) == code
    assert path.name in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "out.txt"],
        ["-o", "out.mid", "--render", "out.mp3"],
        ["-o", "out.mid", "--render", "out.wav", "--piano", "kazoo"],
        ["-o", "out.mid", "--style", "nobody"],
        ["-o", "out.mid", "--like-score", "x.mid"],
        ["-o", "out.mid", "--tempo", "3"],
    ],
)
def test_bad_wishes_are_refused_and_nothing_is_written(arguments, score_file, tmp_path, own_weights):
    assert cli.run(["perform", str(score_file), *arguments, "--weights", str(own_weights)]) == 2
    assert not list(tmp_path.glob("out*"))


def test_a_performance_of_one_note(tmp_path, performer):
    write_midi(tmp_path / "one.mid", [Note(0, RATE // 2, 60, 0.5)], rate=RATE)
    perform(tmp_path / "one.mid", tmp_path / "out.mid", performer)
    assert keys(tmp_path / "out.mid") == [60]
    assert isinstance(performer.perform(read_score(tmp_path / "one.mid").score), Performance)
