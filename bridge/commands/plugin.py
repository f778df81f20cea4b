"""Commands for the plug-in that sits in a DAW: build, install, where."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS, LateGroup
from bridge.commands.options import json_option
from bridge.errors import UsageError

HERE = "bridge.commands.plugin:"
PLUGIN = {
    "build": (f"{HERE}build", "Build the plug-in from its sources."),
    "install": (f"{HERE}install", "Put the built plug-in where your DAW looks."),
    "bench": (f"{HERE}bench", "What the plug-in costs, and how soon it speaks."),
    "where": (f"{HERE}where", "The paths of the built plug-ins."),
}
FORMATS = ("vst3", "clap", "lv2")

format_option = click.option(
    "formats", "--format", type=click.Choice(FORMATS), multiple=True, help="Only this format; again for more."
)


@click.group(cls=LateGroup, late=PLUGIN, context_settings=SETTINGS)
def plugin() -> None:
    """Build and install the plug-in that lets a DAW hear: VST3, CLAP, LV2.

    Example: dawbridge plugin build
    """


@click.command(context_settings=SETTINGS)
@format_option
@click.option("--jobs", type=click.IntRange(1, 64), help="Compilers at a time; all processors if not given.")
@click.option(
    "--target",
    type=click.Choice(["linux", "windows"]),
    default="linux",
    show_default=True,
    help="Where it is to run.",
)
def build(formats: tuple[str, ...], jobs: int | None, target: str) -> None:
    """Build the plug-in. It needs a compiler and a few Debian packages, which it names.

    For Windows it is built here too, as VST3 and CLAP; copy them to where your DAW looks there.

    Example: dawbridge plugin build --format vst3
    """
    from bridge.plugin import build as linux
    from bridge.plugin import windows

    if target == "windows" and "lv2" in formats:
        raise UsageError("there is no LV2 for Windows", remedy="Give --format vst3 or --format clap")
    room = windows if target == "windows" else linux
    for path in room.build(formats or room.FORMATS, jobs=jobs, say=output.talk):
        output.data(str(path))


@click.command(context_settings=SETTINGS)
@format_option
@click.option(
    "folder", "--to", type=click.Path(file_okay=False, path_type=Path), help="Instead of your home folder."
)
def install(formats: tuple[str, ...], folder: Path | None) -> None:
    """Copy the built plug-in to where your DAW looks: ~/.vst3, ~/.clap, ~/.lv2.

    Example: dawbridge plugin install --format clap
    """
    from bridge.plugin.places import built
    from bridge.plugin.places import install as run

    for path in run(formats or tuple(built()) or FORMATS, folder):
        output.data(str(path))


@click.command(context_settings=SETTINGS)
@json_option
def where(json_output: bool) -> int:
    """Print the path of each built plug-in, one a line; exit code 1 if there is none.

    Example: dawbridge plugin where
    """
    from bridge.plugin.places import built

    there = built()
    if json_output:
        output.as_json({name: str(path) for name, path in there.items()})
    else:
        for path in there.values():
            output.data(str(path))
    if not there:
        output.talk("Nothing is built yet. Run: dawbridge plugin build")
    return int(not there)


@click.command(context_settings=SETTINGS)
@click.option("--seconds", type=click.FloatRange(2, 600), default=20.0, help="Of each measurement.")
@json_option
def bench(seconds: float, json_output: bool) -> int:
    """Measure the plug-in in a host without a screen: its cost, its delay, its speed offline.

    Needs a compiler and what `plugin build` left behind. Other work on the machine makes all of it worse.
    The exit code is 1 if something that is promised was not reached.

    Example: dawbridge plugin bench --seconds 60
    """
    from bridge.plugin.bench import run

    measures = run(seconds, lambda name: output.talk(f"measuring {name} ..."))
    if json_output:
        output.as_json({m.name: {"value": m.value, "unit": m.unit, "target": m.target} for m in measures})
    else:
        output.table([["measure", "value", "target"], *[measure.row for measure in measures]])
    return int(not all(measure.reached for measure in measures))
