"""Options that several commands share, and the preset they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bridge.presets import Preset

F = TypeVar("F", bound=Callable[..., Any])

AUTO = "auto"
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
ANY_PATH = click.Path(path_type=Path)


def preset_option(default: str) -> Callable[[F], F]:
    """`--preset NAME`, repeatable."""
    return click.option(
        "presets",
        "--preset",
        multiple=True,
        metavar="NAME",
        help=f"A system, latency or instrument preset; repeatable.  [default: {default}]",
    )


class TuningChoice(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """The frequency of A4, or `auto`."""

    name = "HZ|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Hz, 380 to 500, or `auto`."""
        if value == AUTO:
            return AUTO
        return click.FloatRange(380, 500).convert(value, param, ctx)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What overrides the preset of what hears; None leaves it as it is."""

    pedal: str | None = None
    sensitivity: float | None = None
    tuning: float | str | None = None
    weights: str | None = None
    device: str | None = None


def hearing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--pedal`, `--sensitivity`, `--tuning`, `--weights` and `--device`, given as one `hearing`."""

    def function(*args: Any, **options: Any) -> Any:
        heard = {part.name: options.pop(part.name) for part in fields(Hearing)}
        return command(*args, hearing=Hearing(**heard), **options)

    update_wrapper(function, command)
    for option in (
        click.option(
            "--device", metavar="NAME", help="Where the network runs: cpu, cuda.  [default: the preset's]"
        ),
        click.option(
            "--tuning",
            type=TuningChoice(),
            help="Where the piano's A4 lies, or auto.  [default: the preset's]",
        ),
        click.option("--weights", metavar="NAME|FILE", help="Weights of the system instead of its own."),
        click.option(
            "--sensitivity",
            type=click.FloatRange(0, 1),
            help="0 reports only certain notes, 1 doubtful ones too.  [default: the preset's]",
        ),
        click.option(
            "--pedal",
            type=click.Choice(["extended", "raw"]),
            help="Notes as long as they sound, or keys and pedal apart.  [default: the preset's]",
        ),
    ):
        function = option(function)
    return function


json_option = click.option("--json", "json_output", is_flag=True, help="Print JSON for programs.")
threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Threads of the network; more help little, and hurt on a busy machine.",
)


class Channels(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Channels counted from 1, such as `1,2`."""

    name = "1,2"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers between the commas."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not 1 <= len(numbers) <= 2 or min(numbers) < 1 or len(set(numbers)) < len(numbers):
            self.fail(f"{value!r} does not name one or two channels; give 1 or 1,2 for example", param, ctx)
        return numbers


class Meter(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A meter such as `3/4`, as beats per bar: those of 6/8, 9/8 and 12/8 are dotted quarters."""

    name = "3/4"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Beats per bar."""
        if isinstance(value, int):
            return value
        over, _, under = str(value).partition("/")
        if not over.isdigit() or under not in ("1", "2", "4", "8", "16") or not 1 <= int(over) <= 12:
            self.fail(f"{value!r} is no meter; give 3/4 for example", param, ctx)
        compound = under in ("8", "16") and int(over) > 3 and int(over) % 3 == 0
        return int(over) // 3 if compound else int(over)


class TempoRange(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Beats per minute, `72`, or from the slowest to the fastest, `60-90`."""

    name = "60-90"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Slowest and fastest; a single number allows a fifth more or less."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = [float(part) for part in str(value).split("-")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            numbers = [numbers[0] / 1.2, numbers[0] * 1.2]
        if len(numbers) != 2 or not 20 <= numbers[0] <= numbers[1] <= 400:
            self.fail(f"{value!r} is no range of tempi from 20 to 400; give 60-90 for example", param, ctx)
        return numbers[0], numbers[1]


def rhythm_options(function: F) -> F:
    """What to make of the beats, and what is known of them."""
    for option in (
        click.option(
            "--taps",
            type=FILE,
            help="Hint: a text file of beats as they were tapped, a time in seconds a line.",
        ),
        click.option(
            "--first-downbeat",
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="Hint: where the first bar begins.",
        ),
        click.option("--tempo", type=TempoRange(), help="Hint: the tempo, or its range.  [default: 30-280]"),
        click.option(
            "meters", "--meter", type=Meter(), multiple=True, help="Hint: a meter that occurs; repeatable."
        ),
        click.option(
            "--beat-notes",
            type=click.IntRange(1, 16),
            metavar="CHANNEL",
            help="Write each beat as a note on a track of its own; 10 is the drums.",
        ),
        click.option(
            "--dynamics",
            is_flag=True,
            help="Write dynamics: a CC 11 curve, pp..ff and swells as markers.",
        ),
        click.option("--beats", is_flag=True, help="Also write beats and dynamics as JSON beside each file."),
        click.option("--one-tempo", is_flag=True, help="As --tempo-map, but one tempo throughout."),
        click.option(
            "--tempo-map", is_flag=True, help="Hear the beats, and lay the notes on them: tempo and bars."
        ),
    ):
        function = option(function)
    return function


channels_option = click.option(
    "--channels", type=Channels(), help="Channels of the file to hear, counted from 1.  [default: all]"
)


def with_latency(names: Sequence[str], default: str) -> list[str]:
    """`names`, and the latency preset `default` if none of them is one."""
    from bridge.presets import find

    named = any(find(name).layer == "latency" for name in names)
    return list(names) if named else [*names, default]


def chosen_preset(names: Sequence[str], default: str, hearing: Hearing) -> Preset:
    """The presets merged; what the user chose beside them wins."""
    from msgspec.structs import replace

    from bridge.presets import load

    preset = load(with_latency(names, default))
    chosen = {
        "sensitivity": hearing.sensitivity,
        "tuning_hz": None if hearing.tuning == AUTO else hearing.tuning,
        "weights": hearing.weights,
        "device": hearing.device,
    }
    system = {name: value for name, value in chosen.items() if value is not None}
    instrument = {} if hearing.pedal is None else {"pedal": hearing.pedal}
    return replace(
        preset,
        system=replace(preset.system, **system),
        instrument=replace(preset.instrument, **instrument),
    )


def use_threads(count: int) -> None:
    """Let torch use `count` threads."""
    import torch

    torch.set_num_threads(count)
