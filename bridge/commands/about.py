"""Commands about the installation: presets, systems, doctor, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS, LateGroup
from bridge.commands.options import FILE, json_option

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
HERE = "bridge.commands.about:"
PRESETS = {
    "list": (f"{HERE}preset_list", "All presets, yours and the shipped ones."),
    "show": (f"{HERE}preset_show", "The text of a preset."),
    "path": (f"{HERE}preset_path", "The file of a preset, or the folder for your own."),
}


@click.group(cls=LateGroup, late=PRESETS, invoke_without_command=True, context_settings=SETTINGS)
@click.pass_context
def presets(ctx: click.Context) -> None:
    """List presets, show one, or say where it is.

    Example: dawbridge presets show live
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(preset_list, json_output=False)


@click.command("list", context_settings=SETTINGS)
@json_option
def preset_list(json_output: bool) -> None:
    """List all presets, yours and the shipped ones.

    Example: dawbridge presets list
    """
    from bridge.presets import listing

    files = listing()
    if json_output:
        output.as_json(
            [{"layer": f.layer, "name": f.name, "path": str(f.path), "user": f.user} for f in files]
        )
        return
    rows = [[file.layer, file.name, "yours" if file.user else "shipped"] for file in files]
    output.table([["layer", "name", "from"], *rows])


@click.command("show", context_settings=SETTINGS)
@click.argument("name")
def preset_show(name: str) -> None:
    """Print the text of the preset NAME.

    Example: dawbridge presets show grand-piano
    """
    from bridge.presets import show

    output.data(show(name).rstrip())


@click.command("path", context_settings=SETTINGS)
@click.argument("name", required=False)
def preset_path(name: str | None) -> None:
    """Print the file of the preset NAME; without NAME the folder for your own.

    Example: dawbridge presets path live
    """
    from bridge.presets import path, user_folder

    output.data(str(path(name) if name else user_folder()))


@click.command(context_settings=SETTINGS)
@json_option
def systems(json_output: bool) -> None:
    """List the systems that hear, what they promise, and the weights there are.

    Example: dawbridge systems
    """
    from bridge.presets import listing, load
    from inference import weights

    rows = []
    for file in listing():
        if file.layer == "system":
            transcriber = load([f"system/{file.name}"]).transcriber()
            rows.append(
                {
                    "name": file.name,
                    "rate": transcriber.rate,
                    "hop_ms": 1000 * transcriber.hop / transcriber.rate,
                    "latency_ms": 1000 * transcriber.latency / transcriber.rate,
                    "decisions_ms": getattr(transcriber, "decisions_ms", []),
                }
            )
    stored = [
        {"name": name, "sha256": item.sha256, "parameters": sum(t.numel() for t in item.tensors.values())}
        for name in weights.names()
        for item in [weights.read(name)]
    ]
    if json_output:
        output.as_json({"systems": rows, "weights": stored})
        return
    head = [["system", "rate", "hop", "latency of the network", "can decide after"]]
    output.table(head + [_system_row(row) for row in rows])
    output.data("")
    listed = [[str(s["name"]), str(s["parameters"]), str(s["sha256"])[:16]] for s in stored]
    output.table([["weights", "numbers", "SHA-256"], *listed])


def _system_row(row: dict[str, Any]) -> list[str]:
    choices = ", ".join(f"{ms:g}" for ms in row["decisions_ms"])
    return [
        row["name"],
        f"{row['rate']} Hz",
        f"{row['hop_ms']:.0f} ms",
        f"{row['latency_ms']:.0f} ms",
        f"{choices} ms" if choices else "",
    ]


@click.command(context_settings=SETTINGS)
@json_option
def doctor(json_output: bool) -> int:
    """Check everything that dawbridge needs; exit code 1 if anything fails.

    Example: dawbridge doctor
    """
    from bridge.doctor import as_json, examine, timed

    findings = []
    for finding, seconds in timed(examine()):
        findings.append((finding, seconds))
        if not json_output:
            mark = click.style(f"{finding.verdict:<5}", fg=COLORS[finding.verdict])
            output.data(f"{mark} {finding.name}: {finding.found}")
            if finding.remedy:
                output.data(f"      do: {finding.remedy}")
    if json_output:
        output.as_json(as_json(findings))
    return int(any(finding.verdict == "fail" for finding, _ in findings))


@click.command(context_settings=SETTINGS)
@click.option("--quick", is_flag=True, help="Shorter, for a first look.")
@click.option("--baseline", type=FILE, help="Compare with a stored run; exit code 1 if anything is worse.")
@click.option("--save", "save_to", type=FILE, help="Store this run.")
@click.option("--plot", "plot_to", type=FILE, help="Draw histograms of the step times (PNG).")
@json_option
def bench(
    quick: bool, baseline: Path | None, save_to: Path | None, plot_to: Path | None, json_output: bool
) -> int:
    """Measure speed, latency and memory on this machine.

    Example: dawbridge bench --save before.json
    """
    from bridge import bench as benchmarks

    before = benchmarks.read_baseline(baseline) if baseline else {}
    result = benchmarks.run(quick, lambda name: output.talk(f"measuring {name} ..."))
    if save_to:
        benchmarks.save(result, save_to)
    if plot_to:
        benchmarks.plot(result, plot_to)
    worse = [m.name for m in result.measures if m.name in before and m.worse_than(before[m.name])]
    if json_output:
        output.as_json({**result.as_dict(), "worse": worse})
    else:
        earlier = {name: f"{value:.3g}" for name, value in before.items()}
        rows = [[*measure.row, earlier.get(measure.name, "")] for measure in result.measures]
        output.table([["measure", "value", "target", "before"], *rows])
        output.talk(", ".join(f"{key} {value}" for key, value in result.machine.items()))
    for name in worse:
        output.talk(f"worse than before: {name}")
    return int(bool(worse))
