"""Presets: find, read, merge and check them.

A preset is made of three layers, merged in the order system, latency, instrument. Each layer is
one TOML file; a user's file wins over a shipped one of the same name.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import platformdirs

from bridge.errors import PresetError

if TYPE_CHECKING:
    from inference.streaming import Transcriber

LAYERS = {"system": "systems", "latency": "latency", "instrument": "instruments"}
"""Layer -> folder, in merging order."""
DEFAULTS = {"system": "piano", "latency": "live", "instrument": "grand-piano"}
LANES = ("velocity", "dynamics", "sustain", "sostenuto", "soft")
"""Curves that can be sent as MIDI controllers."""
DEFAULT_LANES = {"dynamics": 11, "sustain": 64, "sostenuto": 66, "soft": 67}

PROJECT = "the project's preset"
CHOOSE_AGAIN = "Choose a preset again in the plug-in"

Midi = Annotated[int, msgspec.Meta(ge=0, le=127)]
Velocity = Annotated[int, msgspec.Meta(ge=1, le=127)]


class SystemPreset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which system hears, with which weights; `sensitivity` 0..1 trades misses for false notes.

    `tuning_hz` is the frequency of A4 of the instrument that is heard; `beats_ms` when beats are told, after
    they sound or, negative, before; `device` where the network runs.
    """

    name: str = "piano"
    weights: str | None = None
    sensitivity: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    tuning_hz: Annotated[float, msgspec.Meta(ge=380, le=500)] = 440.0
    beats_ms: Annotated[float, msgspec.Meta(ge=-1_000, le=2_000)] | None = None
    device: Annotated[str, msgspec.Meta(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"


class LatencyPreset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a step may wait and last; no `budget_ms` means that nobody waits.

    `decision_ms` is how long after a sound the system may decide about it, before chunk and budget;
    with `early_ms`, what is sure by then is told by then, and taken back if the decision is another.
    """

    alignment: Literal["aligned", "immediate"] = "aligned"
    chunk_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 20.0
    budget_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] | None = None
    when_late: Literal["emit", "drop"] = "emit"
    decision_ms: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None
    early_ms: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None


class VelocityCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How loudness becomes MIDI velocity: shape and range."""

    curve: Literal["linear", "soft", "hard"] = "linear"
    min: Velocity = 1
    max: Velocity = 127


class RenderPreset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The piano that plays MIDI: a VST3 `plugin` with its `state`, or a `soundfont` and `program`.

    `room` is a named room or an impulse response file, `tail_s` the longest tail in seconds.
    """

    plugin: str | None = None
    state: str | None = None
    soundfont: str | None = None
    program: Midi = 0
    room: str | None = None
    level_db: Annotated[float, msgspec.Meta(ge=-60, le=24)] = 0.0
    tail_s: Annotated[float, msgspec.Meta(ge=0, le=120)] | None = None


class InstrumentPreset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How notes become MIDI for one instrument; `channel` is 1..16 as shown to people.

    Live, beats that are heard are notes too on channel `beat_notes`, if there is one.
    """

    channel: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    key_range: tuple[Midi, Midi] = (21, 108)
    velocity: VelocityCurve = VelocityCurve()
    lanes: dict[str, Midi] = msgspec.field(default_factory=lambda: dict(DEFAULT_LANES))
    pedal: Literal["extended", "raw"] = "extended"
    beat_notes: Annotated[int, msgspec.Meta(ge=2, le=16)] | None = None
    render: RenderPreset | None = None


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A complete preset; `name` joins the names of the layers that were asked for."""

    name: str = "live"
    system: SystemPreset = SystemPreset()
    latency: LatencyPreset = LatencyPreset()
    instrument: InstrumentPreset = InstrumentPreset()

    def transcriber(self) -> Transcriber[Any]:
        """The system of this preset, with its weights loaded."""
        from inference.pipeline import open_transcriber

        beats_ms, device = self.system.beats_ms, self.system.device
        return open_transcriber(
            self.system.name,
            self.system.weights,
            pedal=self.instrument.pedal,
            sensitivity=self.system.sensitivity,
            decision_ms=self.latency.decision_ms,
            early_ms=self.latency.early_ms,
            **({} if beats_ms is None else {"beats_ms": beats_ms}),
            **({} if device == "cpu" else {"device": device}),
        )


STRUCTS: dict[str, type[msgspec.Struct]] = {
    "system": SystemPreset,
    "latency": LatencyPreset,
    "instrument": InstrumentPreset,
}


@dataclass(frozen=True, slots=True)
class PresetFile:
    """One layer on disk; `user` tells a user's own file from a shipped one."""

    layer: str
    name: str
    path: Path
    user: bool


def load(names: Sequence[str] = ("live",)) -> Preset:
    """Merge the named layers over the default ones.

    Args:
        names: layer names such as `"offline"`, or `"latency/offline"` where a name alone is
            not clear; at most one of each layer.
    """
    chosen = {layer: find(f"{layer}/{name}") for layer, name in DEFAULTS.items()}
    asked: dict[str, str] = {}
    for name in names:
        file = find(name)
        if file.layer in asked:
            raise PresetError(
                f"{asked[file.layer]} and {name} are both {file.layer} presets",
                remedy=f"Give one {file.layer} preset",
            )
        asked[file.layer] = name
        chosen[file.layer] = file
    layers: dict[str, Any] = {layer: read(chosen[layer]) for layer in LAYERS}
    return Preset(name="+".join(names) or DEFAULTS["latency"], **layers)


def contents(preset: Preset) -> str:
    """What hears and how it becomes MIDI, by value, as JSON; `by_value` reads it.

    Without `render`, which names files of this machine and changes nothing that is heard.
    """
    instrument = msgspec.structs.replace(preset.instrument, render=None)
    layers = {"system": preset.system, "latency": preset.latency, "instrument": instrument}
    return msgspec.json.encode(layers).decode()


def by_value(text: str, name: str = PROJECT) -> Preset:
    """The preset that `contents` gave, perhaps elsewhere and long ago.

    Raises:
        PresetError: a key or value of it means nothing here.
    """
    try:
        data = msgspec.json.decode(text, type=dict[str, dict[str, Any]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PresetError(f"{name} cannot be read", why=str(error), remedy=CHOOSE_AGAIN) from error
    for layer in data:
        if layer not in LAYERS:
            raise PresetError(f"{name} has an unknown layer {layer!r}", remedy=CHOOSE_AGAIN)
    layers: dict[str, Any] = {layer: _checked(data.get(layer, {}), layer, name) for layer in LAYERS}
    return Preset(name=name, **layers)


def _checked(data: dict[str, Any], layer: str, name: str) -> msgspec.Struct:
    struct = STRUCTS[layer]
    _check_keys(data, struct, name, f"{layer}.")
    try:
        value = msgspec.convert(data, struct)
    except msgspec.ValidationError as error:
        raise PresetError(f"{name}: its {layer} is not valid", why=str(error), remedy=CHOOSE_AGAIN) from error
    if not isinstance(value, InstrumentPreset):
        return value
    if value.render is not None:
        raise PresetError(f"{name} has an unknown key 'instrument.render'", remedy=CHOOSE_AGAIN)
    return _check_instrument(value, name)


def read(file: PresetFile) -> msgspec.Struct:
    """Read and check one layer."""
    try:
        data = tomllib.loads(file.path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PresetError(
            f"preset {file.path} cannot be read", why=str(error), remedy="Correct the file or delete it"
        ) from error
    struct = STRUCTS[file.layer]
    _check_keys(data, struct, f"preset {file.path}")
    try:
        layer = msgspec.convert(data, struct)
    except msgspec.ValidationError as error:
        raise PresetError(
            f"preset {file.path} is not valid", why=str(error), remedy="Correct that value"
        ) from error
    if not isinstance(layer, InstrumentPreset):
        return layer
    layer = _check_instrument(layer, f"preset {file.path}")
    render = layer.render
    return msgspec.structs.replace(layer, render=render and _resolve(render, file.path.parent))


def find(name: str) -> PresetFile:
    """The layer called `name` or `layer/name`."""
    files = listing()
    layer, _, bare = name.rpartition("/")
    found = [f for f in files if f.name == bare and layer in ("", f.layer, LAYERS[f.layer])]
    if len(found) == 1:
        return found[0]
    if found:
        choices = " or ".join(f"{f.layer}/{f.name}" for f in found)
        raise PresetError(f"preset {name} is not clear", remedy=f"Say {choices}")
    known = [f.name for f in files] + [f"{f.layer}/{f.name}" for f in files]
    raise PresetError(
        f"there is no preset {name!r}",
        remedy=suggest(name, known) or "See the known ones with: dawbridge presets list",
    )


def listing() -> list[PresetFile]:
    """All presets, in layer order and by name; a user's file hides a shipped one."""
    found: dict[tuple[str, str], PresetFile] = {}
    for root, user in ((shipped_folder(), False), (user_folder(), True)):
        for layer, folder in LAYERS.items():
            for path in sorted((root / folder).glob("*.toml")):
                found[layer, path.stem] = PresetFile(layer, path.stem, path, user)
    order = list(LAYERS)
    return sorted(found.values(), key=lambda file: (order.index(file.layer), file.name))


def show(name: str) -> str:
    """The text of one layer's file."""
    return find(name).path.read_text(encoding="utf-8")


def path(name: str) -> Path:
    """The file of one layer."""
    return find(name).path


def user_folder() -> Path:
    """Where a user's own presets live; `DAWBRIDGE_PRESETS` overrides."""
    override = os.environ.get("DAWBRIDGE_PRESETS")
    return Path(override) if override else Path(platformdirs.user_config_dir("dawbridge")) / "presets"


def shipped_folder() -> Path:
    """The presets that come with dawbridge: inside the wheel, or beside the source."""
    packaged = Path(str(resources.files("bridge"))) / "presets_data"
    return packaged if packaged.is_dir() else packaged.parents[1] / "presets"


def suggest(word: str, known: Sequence[str]) -> str:
    """`Did you mean ...?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def _check_keys(data: dict[str, Any], struct: type[msgspec.Struct], what: str, prefix: str = "") -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in data.items():
        if key not in fields:
            raise PresetError(
                f"{what} has an unknown key {prefix + key!r}",
                remedy=suggest(key, list(fields)) or f"Known keys: {', '.join(fields)}",
            )
        for inner in _structs_in(fields[key]):
            if isinstance(value, dict):
                _check_keys(value, inner, what, f"{prefix}{key}.")


def _structs_in(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in getattr(kind, "__args__", ()):
        yield from _structs_in(inner)


def _check_instrument(preset: InstrumentPreset, what: str) -> InstrumentPreset:
    for lane in preset.lanes:
        if lane not in LANES:
            raise PresetError(
                f"{what} has an unknown key 'lanes.{lane}'",
                remedy=suggest(lane, LANES) or f"Known lanes: {', '.join(LANES)}",
            )
    for low, high, key in (
        (*preset.key_range, "key_range"),
        (preset.velocity.min, preset.velocity.max, "velocity"),
    ):
        if low > high:
            raise PresetError(f"{what}: {key} runs from {low} to {high}", remedy="Swap the two")
    if preset.beat_notes == preset.channel:
        raise PresetError(
            f"{what}: beat_notes and channel are both {preset.channel}", remedy="Give beats another channel"
        )
    if preset.render and preset.render.plugin and preset.render.soundfont:
        raise PresetError(f"{what}: render names both a plugin and a soundfont", remedy="Keep one of them")
    return preset


def _resolve(render: RenderPreset, folder: Path) -> RenderPreset:
    """Make file names beside the preset absolute; other names stay as they are."""
    changes = {}
    for key in ("plugin", "state", "soundfont", "room"):
        value = getattr(render, key)
        if value and (folder / value).exists():
            changes[key] = str((folder / value).resolve())
    return msgspec.structs.replace(render, **changes) if changes else render
