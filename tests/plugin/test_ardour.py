"""Ardour: the plug-in on an audio track, its MIDI recorded on a MIDI track, and an export."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import mido
import numpy as np
import pytest
from pedalboard.io import AudioFile

from tests.plugin import native

RATE = 48_000
SCRIPTS = Path(__file__).parent / "ardour"
SUPERCLOCK = 282_240_000
"""Ardour counts time in parts of a second this fine."""


class Studio:
    """A session of Ardour with one recording on its audio track."""

    def __init__(self, folder: Path, audio: np.ndarray, rate: int = RATE) -> None:
        for program in ("ardour7-lua", "ardour7-export"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed here; install ardour")
        bundles = folder / "lv2"  # nothing else may lie beside the bundle
        bundles.mkdir(parents=True)
        (bundles / "dawbridge.lv2").symlink_to(native.built("lv2"))
        self.folder, self.rate = folder / "take", rate
        # Ardour writes settings into the home of whoever runs it.
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "LV2_PATH": f"{bundles}:/usr/lib/lv2",
        }
        self.lua("build.lua")
        self._put(audio)

    def lua(self, script: str, *words: object) -> str:
        return self.run("ardour7-lua", SCRIPTS / script, self.folder, "take", self.rate, *words)

    def run(self, *words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words], env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 and "Error:" not in done.stderr, (done.stdout[-800:], done.stderr[-800:])
        return done.stdout

    def _put(self, audio: np.ndarray) -> None:
        """Lay `(2, samples)` on the audio track, from the beginning: scripts cannot import files."""
        for channel, side in enumerate("LR"):
            path = self.folder / "interchange" / "take" / "audiofiles" / f"audio-{side}.wav"
            with AudioFile(str(path), "w", self.rate, 1, bit_depth=32) as file:
                file.write(audio[channel : channel + 1])
        sources = "".join(
            f'<Source name="audio-{side}.wav" type="audio" id="{9000 + channel}" channel="0" flags=""/>'
            for channel, side in enumerate("LR")
        )
        end = f"a{audio.shape[1] * SUPERCLOCK // self.rate}"
        whole = f'<Location id="9200" name="session" start="a0" end="{end}" flags="IsSessionRange"/>'
        region = (
            f'<Region name="audio" id="9100" type="audio" channels="2" start="a0" length="{end}@a0"'
            ' source-0="9000" source-1="9001" master-source-0="9000" master-source-1="9001"'
            ' opaque="1" fade-in-active="0" fade-out-active="0" first-edit="nothing"/>'
        )
        path = self.folder / "take.ardour"
        text = path.read_text().replace("<Sources/>", f"<Sources>{sources}</Sources>")
        text = text.replace("<Locations/>", f"<Locations>{whole}</Locations>")
        text, count = re.subn(r'(<Playlist [^>]*name="Piano"[^>]*)/>', rf"\1>{region}</Playlist>", text)
        assert count == 1, "Ardour's sessions look different from what this test expects"
        path.write_text(text)

    def recorded(self) -> list[tuple[int, int, int]]:
        """Sample, pitch and velocity of each note-on that the MIDI track recorded."""
        (path,) = (self.folder / "interchange" / "take" / "midifiles").iterdir()
        found, seconds = [], 0.0
        for message in mido.MidiFile(path):
            seconds += message.time
            if message.type == "note_on" and message.velocity:
                found.append((round(seconds * self.rate), message.note, message.velocity))
        return found


def test_recorded_midi_lies_on_its_sound_to_the_sample_and_the_take_on_the_grid(tmp_path):
    with native.sidecar("tests.plugin.serving", "takes", tmp_path / "takes"):
        studio = Studio(tmp_path, native.clicks(4))
        latency = int(re.search(r"latency\s+(\d+)", studio.lua("record.lua", 4))[1])
    assert latency > 1_000, "Ardour was told no latency"
    times = [at for at, *_ in studio.recorded()]
    expected = range(24_000, 4 * RATE, 12_000)
    assert abs(len(times) - len(expected)) <= 1, times  # the last lies where the recording ends
    late = [at for at in times[: len(expected)] if at not in expected]
    assert len(late) <= 3, f"not at the clicks: {late}"  # a busy machine may be late now and then
    ticks = [onsets for path in (tmp_path / "takes").iterdir() if (onsets := ticks_of(path))]
    beats = [at * 2 / RATE for at in expected]  # Ardour's sessions begin at 120
    assert any(onsets[: len(beats)] == pytest.approx(beats, abs=2e-3) for onsets in ticks), ticks


def ticks_of(path: Path) -> list[float]:
    """Quarters of the note-ons of a file."""
    file, quarters, tick = mido.MidiFile(path), [], 0
    for message in mido.merge_tracks(file.tracks):
        tick += message.time
        if message.type == "note_on":
            quarters.append(tick / file.ticks_per_beat)
    return quarters


def test_an_export_holds_the_sound_unchanged_in_its_place(tmp_path):
    audio = np.random.default_rng(5).uniform(-0.5, 0.5, (2, 2 * RATE)).astype(np.float32)
    with native.sidecar("tests.plugin.serving"):
        studio = Studio(tmp_path, audio)
        studio.run("ardour7-export", "-b", "float", "-o", tmp_path / "out.wav", studio.folder, "take")
    with AudioFile(str(tmp_path / "out.wav")) as file:
        exported = file.read(file.frames)
    length = min(exported.shape[1], audio.shape[1])
    assert length > RATE
    assert np.array_equal(exported[:, :length], audio[:, :length])
