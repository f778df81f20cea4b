"""Presets are found, merged and checked, and a mistake is met with its remedy."""

import msgspec
import pytest

from bridge import presets
from bridge.errors import PresetError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DAWBRIDGE_PRESETS", str(tmp_path))
    for name in presets.LAYERS.values():
        (tmp_path / name).mkdir()
    return tmp_path


def test_every_shipped_preset_loads(folder):
    files = presets.listing()
    assert {file.name for file in files} >= {"live", "balanced", "offline", "piano", "grand-piano"}
    for file in files:
        assert presets.load([file.name]).name == file.name
        assert not file.user


def test_live_is_one_hop_and_offline_has_no_budget(folder):
    live, offline = presets.load().latency, presets.load(["offline"]).latency
    assert (live.chunk_ms, live.budget_ms, live.alignment) == (20, 20, "aligned")
    assert offline.chunk_ms == 2000 and offline.budget_ms is None


def test_several_names_choose_several_layers(folder):
    preset = presets.load(["offline", "electric-piano"])
    assert preset.name == "offline+electric-piano"
    assert preset.instrument.pedal == "raw" and preset.latency.chunk_ms == 2000


def test_two_presets_of_one_layer_are_refused(folder):
    with pytest.raises(PresetError, match="live and offline are both latency presets"):
        presets.load(["live", "offline"])


def test_a_users_file_wins_and_adds(folder):
    (folder / "latency" / "live.toml").write_text("chunk_ms = 40\n")
    (folder / "instruments" / "toy.toml").write_text("channel = 5\n")
    assert presets.load().latency.chunk_ms == 40
    assert presets.load(["toy"]).instrument.channel == 5
    assert presets.find("toy").user and presets.path("toy") == folder / "instruments" / "toy.toml"
    assert presets.show("live") == "chunk_ms = 40\n"


def test_a_name_of_two_layers_must_be_told_apart(folder):
    (folder / "instruments" / "live.toml").write_text("channel = 5\n")
    with pytest.raises(PresetError, match="latency/live or instrument/live"):
        presets.load(["live"])
    assert presets.load(["latency/live"]).instrument.channel == 1
    assert presets.load(["instruments/live"]).instrument.channel == 5
    assert presets.load([]).latency.chunk_ms == 20


@pytest.mark.parametrize(
    "name, near", [("offlin", "offline"), ("grandpiano", "grand-piano"), ("Live", "live")]
)
def test_unknown_names_meet_a_suggestion(folder, name, near):
    with pytest.raises(PresetError, match=f"Did you mean {near}"):
        presets.load([name])


@pytest.mark.parametrize(
    "layer, text, message",
    [
        ("latency", "chunkms = 20", "unknown key 'chunkms'. Did you mean chunk_ms"),
        ("latency", "chunk_ms = -1", "chunk_ms"),
        ("latency", "when_late = 'wait'", "when_late"),
        ("latency", "chunk_ms = [", "cannot be read"),
        ("systems", "sensitivity = 2", "sensitivity"),
        ("systems", "sensitivity = nan", "sensitivity"),
        ("instruments", "channel = 0", "channel"),
        ("instruments", "channel = 17", "channel"),
        ("instruments", "velocity = { curv = 'soft' }", "'velocity.curv'. Did you mean curve"),
        ("instruments", "render = { soundfond = 'x' }", "'render.soundfond'. Did you mean soundfont"),
        ("instruments", "lanes = { sustian = 64 }", "'lanes.sustian'. Did you mean sustain"),
        ("instruments", "lanes = { sustain = 128 }", "lanes"),
        ("instruments", "key_range = [108, 21]", "key_range runs from 108 to 21"),
        ("instruments", "velocity = { min = 90, max = 10 }", "velocity runs from 90 to 10"),
        ("instruments", "velocity = { min = 0 }", "velocity"),
        ("instruments", "render = { plugin = 'a', soundfont = 'b' }", "both a plugin and a soundfont"),
        ("instruments", "render = { level_db = nan }", "level_db"),
        ("instruments", "beat_notes = 1", "beat_notes"),
        ("instruments", "channel = 10\nbeat_notes = 10", "both 10"),
    ],
)
def test_mistakes_name_file_and_key(folder, layer, text, message):
    file = folder / layer / "mine.toml"
    file.write_text(text)
    with pytest.raises(PresetError) as caught:
        presets.load(["mine"])
    assert message in str(caught.value) and str(file) in str(caught.value)
    assert caught.value.remedy and caught.value.exit_code == 2


def test_files_that_are_not_text_are_refused(folder):
    (folder / "latency" / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match="cannot be read"):
        presets.load(["mine"])


def test_files_beside_a_preset_become_absolute(folder):
    (folder / "instruments" / "mine.sf2").write_bytes(b"")
    (folder / "instruments" / "mine.toml").write_text("render = { soundfont = 'mine.sf2', room = 'hall' }")
    render = presets.load(["mine"]).instrument.render
    assert render.soundfont == str((folder / "instruments" / "mine.sf2").resolve())
    assert render.room == "hall"


def test_a_preset_survives_being_stored(folder):
    preset = presets.load(["balanced", "upright-piano"])
    assert msgspec.json.decode(msgspec.json.encode(preset), type=presets.Preset) == preset


def test_presets_in_a_wheel_are_found(folder, tmp_path, monkeypatch):
    package = tmp_path / "installed" / "bridge"
    (package / "presets_data").mkdir(parents=True)
    monkeypatch.setattr(presets.resources, "files", lambda name: package)
    assert presets.shipped_folder() == package / "presets_data"


def test_the_preset_opens_its_system(folder, monkeypatch):
    asked = []
    monkeypatch.setattr("inference.pipeline.open_transcriber", lambda *a, **k: asked.append((a, k)) or "t")
    assert presets.load(["electric-piano"]).transcriber() == "t"
    assert asked == [
        (("piano", None), {"pedal": "raw", "sensitivity": 0.5, "decision_ms": None, "early_ms": None})
    ]


def test_a_preset_by_value_is_the_preset():
    preset = presets.load(["accurate", "electric-piano"])
    again = presets.by_value(presets.contents(preset))
    assert (again.system, again.latency) == (preset.system, preset.latency)
    assert again.instrument == msgspec.structs.replace(preset.instrument, render=None)
    for file in presets.listing():
        text = presets.contents(presets.load([f"{file.layer}/{file.name}"]))
        assert len(text) < 2_048, "far below what the protocol carries"
        assert presets.contents(presets.by_value(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"system": 1}', "cannot be read"),
        ("[" * 5_000, "cannot be read"),
        ('{"sound": {}}', "unknown layer 'sound'"),
        ('{"system": {"nam": "piano"}}', "unknown key 'system.nam'"),
        ('{"latency": {"chunk_ms": -1}}', "latency is not valid"),
        ('{"instrument": {"key_range": [90, 20]}}', "key_range runs from 90 to 20"),
        ('{"instrument": {"velocity": {"curv": "soft"}}}', "unknown key 'instrument.velocity.curv'"),
        ('{"instrument": {"render": {"soundfont": "/etc/passwd"}}}', "unknown key 'instrument.render'"),
    ],
)
def test_a_preset_by_value_that_means_nothing_here_is_refused_in_plain_words(text, words):
    with pytest.raises(PresetError) as error:
        presets.by_value(text)
    assert words in str(error.value) and error.value.remedy


def test_a_preset_says_when_beats_are_told(folder, monkeypatch):
    asked = []
    monkeypatch.setattr("inference.pipeline.open_transcriber", lambda *a, **k: asked.append(k))
    path = folder / "systems" / "ahead.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('name = "rhythm"\nbeats_ms = -50\n')
    presets.load(["ahead"]).transcriber()
    assert asked[0]["beats_ms"] == -50.0
    path.write_text('name = "rhythm"\nbeats_ms = -5000\n')
    with pytest.raises(PresetError, match="not valid"):
        presets.load(["ahead"])
