"""Rendered notes begin where they should, pedals hold, nothing clips, nothing is cut."""

import sys
import time

import numpy as np
import pytest
from pedalboard.io import AudioFile

from bridge.errors import AudioError, EngineError, MidiError, UsageError
from bridge.midi import read_midi, write_midi
from bridge.presets import InstrumentPreset, RenderPreset
from bridge.studio.demo import prelude, write_demo
from bridge.studio.plugin import PluginPiano, open_plugin
from bridge.studio.render import open_piano, render, render_preset, sound
from bridge.studio.room import Room
from bridge.studio.soundfont import LARGEST_POOL, SoundFontPiano, built_in_soundfont
from inference.clock import PPQ
from inference.events import Control, Controller, Note

RATE = 44_100
RAW = InstrumentPreset(pedal="raw")


def on(pitch, velocity=100):
    return bytes([0x90, pitch, velocity])


def off(pitch):
    return bytes([0x80, pitch, 64])


def piano(rate=RATE):
    return SoundFontPiano(built_in_soundfont(), rate)


def alone(time, pitch, samples):
    """One note from a fresh piano, shifted by hand."""
    sound = piano().play([(0, on(pitch))], samples)
    return np.pad(sound, ((0, 0), (time, 0)))[:, :samples]


def load(path):
    with AudioFile(str(path)) as file:
        return file.read(file.frames)


def level_db(audio):
    return 20 * np.log10(max(np.abs(audio).max(), 1e-9))


def test_notes_begin_on_their_sample_whatever_is_sounding():
    times = [0, 1, 17, 63, 64, 65, 100, 5_000, 5_033, 12_345]
    pitches = range(50, 50 + len(times))
    together = piano().play([(t, on(p)) for t, p in zip(times, pitches, strict=True)], 20_000)
    summed = sum(alone(t, p, 20_000) for t, p in zip(times, pitches, strict=True))
    np.testing.assert_allclose(together, summed, atol=1e-5)
    assert np.abs(together).max() > 0.05


def test_idle_synthesizers_are_put_where_they_are_needed():
    player = piano()
    events = []
    times = [i * 150_011 for i in range(8)]
    for t in times:
        events += [(t, on(60)), (t + 100, off(60))]
    sound = player.play(events, times[-1] + 20_000)
    assert len(player._pool) == 1
    # FluidSynth's very first note differs a little (its filter starts cold), so compare with the second.
    for t in times[2:]:
        np.testing.assert_array_equal(sound[:, t : t + 128], sound[:, times[1] : times[1] + 128])
    assert np.flatnonzero(sound[0, : times[1]])[0] == np.flatnonzero(sound[0, times[1] :])[0] == 1


def test_with_every_synthesizer_busy_notes_are_late_by_less_than_a_piece():
    player = piano()
    player.play([(i, on(40 + i)) for i in range(LARGEST_POOL)], 100)
    before = player.play([], 64 * 4)
    assert len(player._pool) == LARGEST_POOL and before.any()
    synth = player._synth_for(player._now + 40)
    assert 0 <= (synth.origin - (player._now + 40)) % 64 < 64 - LARGEST_POOL + 1


def test_blocks_do_not_matter():
    events = [(10, on(60)), (700, on(64)), (900, off(60)), (1500, bytes([0xB0, 64, 127])), (2222, on(67))]
    whole = piano().play(events, 6_000)
    player, parts, at = piano(), [], 0
    for size in (1, 699, 200, 64, 36, 3_000, 2_000):
        now = [(t - at, m) for t, m in events if at <= t < at + size]
        parts.append(player.play(now, size))
        at += size
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


def test_the_whole_chain_keeps_the_sample(tmp_path):
    # 480 ticks are half a second, so these onsets are exact in the file as well.
    onsets = [22_050 * k for k in (1, 2, 4)]
    write_midi(tmp_path / "x.mid", [Note(t, t + 9_000, 72, 0.9) for t in onsets], (), RATE)
    render(tmp_path / "x.mid", tmp_path / "x.wav", room="room")
    audio = load(tmp_path / "x.wav")
    write_midi(tmp_path / "y.mid", [Note(0, 9_000, 72, 0.9)], (), RATE)
    render(tmp_path / "y.mid", tmp_path / "y.wav", room="room")
    first = load(tmp_path / "y.wav")
    assert not audio[:, : onsets[0] + 1].any()
    np.testing.assert_allclose(audio[:, onsets[0] : onsets[1]], first[:, :22_050], atol=2e-3)
    assert PPQ == 480


def test_the_pedal_holds_and_lets_go(tmp_path):
    notes = [Note(0, 4_410, 48, 0.9)]
    down = [Control(0, Controller.SUSTAIN, 1.0), Control(88_200, Controller.SUSTAIN, 0.0)]
    write_midi(tmp_path / "held.mid", notes, down, RATE, instrument=RAW)
    write_midi(tmp_path / "dry.mid", notes, (), RATE, instrument=RAW)
    for name in ("held", "dry"):
        render(tmp_path / f"{name}.mid", tmp_path / f"{name}.wav", tail_s=4)
    held, dry = load(tmp_path / "held.wav"), load(tmp_path / "dry.wav")
    assert level_db(held[:, 60_000:80_000]) > level_db(dry[:, 60_000:80_000]) + 20
    assert level_db(held[:, 150_000:]) < level_db(held[:, 60_000:80_000]) - 20


def test_a_pedal_left_down_is_lifted_at_the_end(tmp_path):
    write_midi(
        tmp_path / "x.mid",
        [Note(0, 44_100, 36, 0.9)],
        [Control(0, Controller.SUSTAIN, 1.0)],
        RATE,
        instrument=RAW,
    )
    assert render(tmp_path / "x.mid", tmp_path / "x.wav").tail_s < 5


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050])
def test_the_length_is_exact(tmp_path, rate):
    write_midi(tmp_path / "x.mid", [Note(0, RATE, 60, 0.7)], (), RATE)
    report = render(tmp_path / "x.mid", tmp_path / "x.wav", tail_s=1.25, rate=rate, room="hall")
    audio = load(tmp_path / "x.wav")
    assert audio.shape == (2, round(2.25 * rate)) and abs(report.seconds - 2.25) < 1 / rate
    assert np.abs(audio[:, -1]).max() < 1e-3
    none = render(tmp_path / "x.mid", tmp_path / "x.wav", tail_s=0)
    assert load(tmp_path / "x.wav").shape == (2, RATE) and none.tail_s == 0


@pytest.mark.parametrize("room", ["none", "cathedral"])
def test_the_tail_is_not_cut(tmp_path, room):
    write_midi(tmp_path / "x.mid", [Note(0, RATE, 36, 1.0)], (), RATE)
    report = render(tmp_path / "x.mid", tmp_path / "x.wav", room=room)
    audio = load(tmp_path / "x.wav")
    assert level_db(audio[:, -2_000:]) < -60 < level_db(audio[:, -8 * 4_410 : -4_410])
    assert 0.2 < report.tail_s < 30 and audio.shape[1] == round(report.seconds * RATE)


def test_nothing_clips(tmp_path):
    notes = [Note(0, RATE, pitch, 1.0) for pitch in range(30, 90)]
    write_midi(tmp_path / "x.mid", notes, (), RATE)
    report = render(tmp_path / "x.mid", tmp_path / "x.wav", level_db=24.0)
    assert -3 < report.peak_db <= -0.99
    assert abs(level_db(load(tmp_path / "x.wav")) - report.peak_db) < 0.01


def test_louder_notes_and_levels_are_louder(tmp_path):
    peaks = []
    for velocity, level in ((0.3, 0.0), (0.9, 0.0), (0.9, 6.0)):
        write_midi(tmp_path / "x.mid", [Note(0, RATE, 60, velocity)], (), RATE)
        peaks.append(render(tmp_path / "x.mid", tmp_path / "x.wav", level_db=level, tail_s=0).peak_db)
    assert peaks[1] > peaks[0] + 6 and abs(peaks[2] - peaks[1] - 6) < 0.1


def test_rendering_is_much_faster_than_playing(tmp_path):
    once = prelude(RATE)
    notes = [
        Note(n.onset + k * 838_500, n.offset + k * 838_500, n.pitch, n.velocity)
        for k in range(4)
        for n in once.notes
    ]
    write_midi(tmp_path / "x.mid", notes, (), RATE)
    best = 0.0
    for _ in range(3):
        best = max(best, render(tmp_path / "x.mid", tmp_path / "x.wav", room="hall").real_time_factor)
        if best >= 20:
            break
    assert best >= 20


def test_an_impulse_response_is_a_room(tmp_path):
    write_demo(tmp_path / "x.mid")
    decay = np.random.default_rng(0).standard_normal((1, 20_000)) * np.exp(-np.arange(20_000) / 4_000)
    with AudioFile(str(tmp_path / "room.wav"), "w", 48_000, 1) as file:
        file.write((decay / 8).astype(np.float32))
    dry = render(tmp_path / "x.mid", tmp_path / "dry.wav", tail_s=1)
    wet = render(tmp_path / "x.mid", tmp_path / "wet.wav", tail_s=1, room=str(tmp_path / "room.wav"))
    a, b = load(tmp_path / "dry.wav"), load(tmp_path / "wet.wav")
    assert dry.seconds == wet.seconds and a.shape == b.shape and np.abs(a - b).max() > 0.005
    (tmp_path / "bad.wav").write_bytes(b"no")
    with pytest.raises(AudioError, match="impulse response"):
        Room(RATE, str(tmp_path / "bad.wav"))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_formats(tmp_path, kind):
    write_midi(tmp_path / "x.mid", [Note(0, 4_410, 60, 0.7)], (), RATE)
    render(tmp_path / "x.mid", tmp_path / f"x.{kind}", tail_s=0.5)
    assert load(tmp_path / f"x.{kind}").shape[1] == 4_410 + 22_050


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"piano": "grandpiano"}, UsageError, "Did you mean grand-piano"),
        ({"piano": "no.sf2"}, EngineError, "no SoundFont"),
        ({"piano": "no.vst3"}, EngineError, "no plug-in"),
        ({"room": "hal"}, UsageError, "Did you mean hall"),
        ({"level_db": 99.0}, UsageError, "<= 24"),
        ({"level_db": float("nan")}, UsageError, "cannot be rendered"),
        ({"tail_s": -1.0}, UsageError, ">= 0"),
        ({"rate": 1}, UsageError, "between 8000"),
    ],
)
def test_mistakes_are_met_before_anything_is_written(tmp_path, options, error, message):
    write_demo(tmp_path / "x.mid")
    with pytest.raises(error, match=message) as caught:
        render(tmp_path / "x.mid", tmp_path / "out.wav", **options)
    assert caught.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["x.mid"]


def test_other_files_are_refused(tmp_path):
    write_demo(tmp_path / "x.mid")
    with pytest.raises(UsageError, match="Call it"):
        render(tmp_path / "x.mid", tmp_path / "x.mp4")
    (tmp_path / "bad.mid").write_bytes(b"no")
    with pytest.raises(MidiError):
        render(tmp_path / "bad.mid", tmp_path / "x.wav")


@pytest.mark.parametrize("head", [b"RIFF", b"RIFF\xf4\x01\0\0sfbk", b""])
def test_a_broken_soundfont_is_refused_in_silence(tmp_path, capfd, head):
    (tmp_path / "bad.sf2").write_bytes(head + bytes(500))
    with pytest.raises(EngineError, match="cannot be loaded as a SoundFont"):
        SoundFontPiano(tmp_path / "bad.sf2", RATE)
    SoundFontPiano(built_in_soundfont(), RATE).close()
    assert capfd.readouterr().err == ""


def test_without_fluidsynth_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(EngineError, match=r"libfluidsynth3.*brew install fluid-synth"):
        piano()


def test_an_interrupt_leaves_nothing(tmp_path):
    write_demo(tmp_path / "x.mid")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "x.mid", tmp_path / "x.wav", progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mid"]


def test_pianos_by_name(tmp_path):
    assert render_preset("built-in") == RenderPreset(soundfont="built-in")
    assert render_preset("a/B.SF2").soundfont == "a/B.SF2"
    assert render_preset("a/B.vst3").plugin == "a/B.vst3"
    assert render_preset("grand-piano").room == "hall"
    assert open_piano(render_preset("electric-piano"), RATE)._program == 4


class Instrument:
    """Answers as pedalboard's instruments do: an impulse at each note-on, `late` samples late."""

    is_instrument = True

    def __init__(self, late):
        self.reported_latency_samples = self.late = late
        self.waiting, self.now, self.resets = [], 0, 0

    def __call__(self, messages, duration, sample_rate, num_channels, buffer_size, reset):
        self.resets += reset
        samples = round(duration * sample_rate)
        self.waiting += [self.now + round(t * sample_rate) + self.late for m, t in messages if m[0] == 0x90]
        out = np.zeros((num_channels, samples), np.float32)
        for at in self.waiting:
            if 0 <= at - self.now < samples:
                out[:, at - self.now] = 1
        self.now += samples
        return out


@pytest.mark.parametrize("late", [0, 7, 300, 30_000])
def test_a_plugins_own_latency_is_taken_away(tmp_path, late):
    times = [3_675 * k for k in (0, 1, 2, 6, 7, 18)]  # whole ticks
    write_midi(tmp_path / "x.mid", [Note(t, t + 3_675, 60, 0.5) for t in times], (), RATE)
    content = read_midi(tmp_path / "x.mid", RATE)
    for tail in (0.5, None):
        instrument = Instrument(late)
        audio = np.concatenate(list(sound(content, PluginPiano(instrument, RATE), Room(RATE), tail)), axis=1)
        assert np.flatnonzero(audio[0] > 0.1).tolist() == times and instrument.resets == 1
        assert tail is None or audio.shape[1] == content.length + 22_050


def test_a_plugin_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.vst3").write_bytes(b"no")
    begin = time.perf_counter()
    with pytest.raises(EngineError, match="cannot be loaded") as caught:
        open_plugin(tmp_path / "x.vst3")
    assert "built-in" in caught.value.remedy and time.perf_counter() - begin < 10
