"""Generate: as many bars as asked for, playable, the same seed the same bytes."""

from collections import Counter

import numpy as np
import pytest
import torch

from bridge import cli
from bridge.errors import UsageError
from bridge.midi import read_midi
from bridge.studio.generate import GenerateOptions, generate
from bridge.studio.perform import write_performance
from bridge.studio.scores import RATE, read_score
from inference import weights
from inference.performance import keys, returning
from inference.performance.compose import Writer
from inference.performance.config import CONFIGS
from inference.performance.form import Chain, bars_of
from inference.performance.grammar import AGAIN, MOST_AT_ONCE
from inference.performance.manners import Manner
from inference.performance.network import Xmvae
from inference.performance.perform import Performer
from inference.performance.score import ended
from inference.performance.wishes import Wishes
from tests.contract.scores import a_performance, a_score
from tests.contract.test_performance_network import SMALL


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(8)
    return Xmvae(SMALL)


@pytest.fixture(scope="module")
def pair(network):
    return Writer(network), Performer(network, {}, Manner())


@pytest.mark.parametrize("meter", [2, 3, 4, 7])
def test_bars_are_as_many_and_as_long_as_asked_for(pair, meter):
    score = pair[0].write(Wishes(bars=5, meter=meter, seed=meter))
    assert score.bars.tolist() == [meter * bar for bar in range(5)]
    assert (score.onset >= 0).all() and (score.onset + score.duration <= 5 * meter + 1e-9).all()
    assert ((score.pitch >= 21) & (score.pitch <= 108)).all() and (score.duration > 0).all()


def test_hands_are_not_asked_for_too_much(pair):
    score = pair[0].write(Wishes(bars=6, temperature=2.0, nucleus=1.0))
    assert max(Counter(score.group.tolist()).values()) <= MOST_AT_ONCE
    assert len(set(zip(score.group.tolist(), score.pitch.tolist(), strict=True))) == len(score)


def test_the_same_seed_gives_the_same_bytes(pair, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / f"{name}.mid", *pair, GenerateOptions(bars=3, seed=seed))
    a, b, c = ((tmp_path / f"{name}.mid").read_bytes() for name in "abc")
    assert a == b and a != c


def test_the_tempo_is_kept_and_the_file_follows_it(pair, tmp_path):
    report = generate(tmp_path / "a.mid", *pair, GenerateOptions(bars=6, tempo=90))
    content = read_midi(tmp_path / "a.mid", RATE)
    assert len(content.notes) == report.notes
    assert len(content.tempo.pieces) > 3 and content.meters[0][1:] == (4, 4)
    onsets = np.array([note.onset / RATE for note in content.notes])
    beats = np.ptp(read_score(tmp_path / "a.mid").score.onset)
    assert np.ptp(onsets) / beats == pytest.approx(60 / 90, rel=0.1)


def test_a_prompt_begins_the_piece(pair, tmp_path):
    prompt = a_score(bars=4, meter=3).unmarked()
    write_performance(tmp_path / "prompt.mid", prompt, a_performance(prompt))
    heard = read_score(tmp_path / "prompt.mid").score
    options = GenerateOptions(bars=3, prompt=tmp_path / "prompt.mid", tempo=100)
    report = generate(tmp_path / "a.mid", *pair, options)
    assert report.bars == 7
    pitches = Counter(note.pitch for note in read_midi(tmp_path / "a.mid").notes)
    assert not Counter(heard.pitch.tolist()) - pitches and report.notes > len(heard)


def test_the_prompt_is_heard(pair):
    a, b = (a_score(bars=4, seed=seed).unmarked() for seed in (1, 2))
    written = [pair[0].write(Wishes(bars=2, seed=3), prompt).onset[-30:] for prompt in (a, b)]
    assert len(written[0]) != len(written[1]) or not np.allclose(written[0], written[1])


@pytest.mark.parametrize(
    "name, key",
    [("C", (0, False)), ("F#", (6, False)), ("Bbm", (10, True)), ("c minor", (0, True)), ("a", (9, True))],
)
def test_keys_are_understood(name, key):
    assert keys.parse(name) == key


@pytest.mark.parametrize("name", ["H", "C##", "", "major", "K minor"])
def test_impossible_keys_are_refused(name, pair, tmp_path):
    with pytest.raises(UsageError, match="no key"):
        generate(tmp_path / "a.mid", *pair, GenerateOptions(bars=1, key=name))
    assert not list(tmp_path.glob("*.mid*"))


@pytest.mark.parametrize("name", ["D", "Bbm"])
def test_keys_are_kept_to(pair, name):
    inside = keys.scale(*keys.parse(name))
    free = pair[0].write(Wishes(bars=4, seed=2))
    kept = pair[0].write(Wishes(bars=4, seed=2, key=keys.parse(name)))
    assert {int(pitch) % 12 for pitch in kept.pitch} <= inside
    assert not {int(pitch) % 12 for pitch in free.pitch} <= inside


def test_a_piece_is_the_same_in_every_key(pair):
    c, d = (pair[0].write(Wishes(bars=4, seed=2, key=(tonic, False), temperature=0.0)) for tonic in (0, 2))
    # Later on the ends of the keyboard, which lie elsewhere in each key, may make a difference.
    assert np.array_equal(c.onset[:4], d.onset[:4]) and np.array_equal(c.pitch[:4] + 2, d.pitch[:4])


def test_the_key_of_music_is_found():
    for name in ("C", "Eb", "F#", "a", "c#m"):
        tonic, minor = keys.parse(name)
        weights = np.isin(np.arange(12), list(keys.scale(tonic, minor))).astype(float)
        weights[[tonic, (tonic + 7) % 12, (tonic + (3 if minor else 4)) % 12]] += 1
        assert keys.find(weights) == (tonic, minor)


def test_several_at_once_are_like_one_after_the_other(pair):
    wishes = [Wishes(bars=3 + seed, meter=2 + seed, seed=seed, temperature=0.5) for seed in range(3)]
    together = pair[0].write_many(wishes)
    for one, score in zip(wishes, together, strict=True):
        alone = pair[0].write(one)
        assert len(score.bars) == one.bars
        # Rounding may differ with the batch, and choices with it, but not from the first bar on.
        first = alone.onset < alone.bars[1]
        assert np.array_equal(score.onset[: first.sum()], alone.onset[first])


@pytest.mark.parametrize("chain", ["WHOLE", "RHYTHM"])
def test_bars_come_back(pair, monkeypatch, chain):
    always = Chain(1.0, 1.0, (0.0, 1.0))
    monkeypatch.setattr(returning, "WHOLE", Chain(0, 0, (1.0,)))
    monkeypatch.setattr(returning, "RHYTHM", Chain(0, 0, (1.0,)))
    free = pair[0].write(Wishes(bars=12, seed=6))
    monkeypatch.setattr(returning, chain, always)
    score = pair[0].write(Wishes(bars=12, seed=6))
    bars = bars_of(score)
    rhythms = [{place for place, _ in bar} for bar in bars]
    wanted = [(a, b) for a, b in zip(rhythms[:-2], rhythms[2:], strict=True) if len(a) >= 2]
    assert len(wanted) > 3 and all(a == b for a, b in wanted)
    if chain == "WHOLE":
        assert bars[:-2] == bars[2:]
    assert bars_of(free)[4:] != bars[4:]


def test_keys_are_not_struck_faster_than_fingers_can(pair):
    score = pair[0].write(Wishes(bars=8, temperature=2.0, nucleus=1.0, seed=3))
    for pitch in np.unique(score.pitch):
        assert (np.diff(score.onset[score.pitch == pitch]) >= AGAIN - 1e-6).all()
    assert np.allclose(ended(score.onset, score.duration, score.pitch), score.duration)


def test_scales_are_those_of_the_books():
    assert keys.scale(*keys.parse("C")) == {0, 2, 4, 5, 7, 9, 11}
    assert keys.scale(*keys.parse("a")) == {9, 11, 0, 2, 4, 5, 8}


def test_the_command(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CONFIGS, SMALL.name, SMALL)
    weights.write(tmp_path / "own.safetensors", network.state_dict(), {"config": SMALL.name})
    arguments = ["generate", "-o", "new.mid", "--bars", "2", "--weights", "own.safetensors"]
    assert cli.run([*arguments, "--meter", "6/8", "--key", "Am", "--score", "new.musicxml"]) == 0
    assert capsys.readouterr().out.split() == ["new.mid", "new.musicxml"]
    assert len(read_score("new.musicxml").score) == len(read_midi(tmp_path / "new.mid").notes)
    assert read_midi(tmp_path / "new.mid").meters == ((0, 3, 4),)
    for wrong in (["--meter", "3/8"], ["--meter", "x"], ["--bars", "0"], ["--prompt", "nothing.txt"]):
        assert cli.run(["generate", "-o", "bad.mid", *wrong, "--weights", "own.safetensors"]) == 2
    (tmp_path / "empty.mid").write_bytes(b"")
    assert cli.run([*arguments[:2], "bad.mid", "--prompt", "empty.mid", *arguments[-2:]]) == 3
    assert not list(tmp_path.glob("bad*"))
