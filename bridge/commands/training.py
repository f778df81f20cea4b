"""Commands for those who train: evaluate, train."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS, LateGroup
from bridge.commands.options import FILE, FOLDER, json_option, use_threads
from bridge.errors import InputError, UsageError

if TYPE_CHECKING:
    from inference.training.lone import LoneScores
    from inference.training.played import PlayedScores
    from inference.training.scores import Scores

HERE = "bridge.commands.training:"
SYSTEM = click.Choice(["piano", "rhythm", "performance"])
TRAIN = {
    "piano": (f"{HERE}train_piano", "Train the piano system; goes on where it was stopped."),
    "export": (f"{HERE}train_export", "Make weights of a training's checkpoint."),
    "ablate": (f"{HERE}train_ablate", "Train and compare variants of the piano network."),
    "rhythm": (
        "bridge.commands.rhythm:train_rhythm",
        "Train the rhythm system; goes on where it was stopped.",
    ),
    "rhythm-live": (
        "bridge.commands.rhythm:train_live",
        "Train the network that follows beats live; goes on where it was stopped.",
    ),
    "export-rhythm-live": (
        "bridge.commands.rhythm:export_live",
        "Make weights of that training's checkpoint.",
    ),
    "export-rhythm": (
        "bridge.commands.rhythm:export_rhythm",
        "Make weights of a rhythm training's checkpoint.",
    ),
    "judge-rhythm": (
        "bridge.commands.rhythm:judge_rhythm",
        "Solve anew how readings of beats are judged.",
    ),
    "performance": (
        "bridge.commands.performance:train_performance",
        "Train the performance system; goes on where it was stopped.",
    ),
    "export-performance": (
        "bridge.commands.performance:export_performance",
        "Make weights of performance trainings' checkpoints.",
    ),
    "ablate-performance": (
        "bridge.commands.performance:ablate_performance",
        "Train and compare variants of the performance networks.",
    ),
}


class Soundfont(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A SoundFont with the bank and program to play: `PATH[:bank:program]`."""

    name = "PATH[:bank:program]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, int, int]:
        """Path, program, bank, in the order that the training takes."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        path, bank, program = text, "0", "0"
        parts = text.rsplit(":", 2)
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            path, bank, program = parts
        if not Path(path).is_file():
            self.fail(f"there is no file {path}", param, ctx)
        return Path(path), int(program), int(bank)


@click.command(context_settings=SETTINGS)
@click.argument("system", type=SYSTEM)
@click.option("--data", type=FOLDER, required=True, help="Folder of recordings with known notes.")
@click.option("--weights", metavar="NAME|FILE", help="Weights to score.  [default: the shipped ones]")
@click.option(
    "sets", "--set", multiple=True, metavar="NAME", help="A set to score; repeatable.  [default: all]"
)
@click.option("--chunk-ms", type=click.FloatRange(1, 60_000), help="Audio per step.  [default: one hop]")
@click.option("--decision-ms", type=click.FloatRange(0, 10_000), help="Longest time to decide about a sound.")
@click.option("out", "-o", "--out", type=FOLDER, help="Folder for tables and scores.")
@click.option("plots", "--plot", is_flag=True, help="Also draw errors, and truth beside estimate.")
@click.option(
    "--robustness", is_flag=True, help="Score disturbed recordings instead: level, noise, room, ..."
)
@click.option(
    "--latencies", is_flag=True, help="Score every latency that the system can promise; rhythm: with --live."
)
@click.option(
    "--soundfont",
    type=FILE,
    help="Score performances played by this SoundFont: the pedal, or beats and dynamics. GeneralUser GS "
    "(Debian: minuet-data) was heard in no training.",
)
@click.option("--lone", is_flag=True, help="With --soundfont: strike its keys one by one instead.")
@click.option("--live", is_flag=True, help="Of rhythm: score beats as they are told live.")
@click.option("--samples", type=click.IntRange(1), help="Of performance, --set generate: how many.")
@click.option(
    "--beats-ms",
    type=click.FloatRange(-1_000, 2_000),
    help="With --live: when beats are told, after they sound.",
)
@json_option
def evaluate(
    system: str,
    data: Path,
    weights: str | None,
    sets: tuple[str, ...],
    chunk_ms: float | None,
    decision_ms: float | None,
    out: Path | None,
    plots: bool,
    robustness: bool,
    latencies: bool,
    soundfont: Path | None,
    lone: bool,
    live: bool,
    samples: int | None,
    beats_ms: float | None,
    json_output: bool,
) -> None:
    """Score SYSTEM on recordings with known notes, through the live path; rhythm on known beats.

    Performance is compared with people who played the same scores.

    Example: dawbridge evaluate piano --data data -o scores --plot
    """
    from dataclasses import asdict

    from inference.training import evaluate as evaluation
    from inference.training import lone as alone
    from inference.training import played

    def talk(name: str) -> None:
        output.talk(f"{system}: {name}")

    if lone and (system != "piano" or soundfont is None):
        raise UsageError("--lone strikes the keys of a piano", remedy="Give --soundfont FILE too, of piano")
    if system == "rhythm":
        from bridge.commands import rhythm

        if plots or robustness:
            raise UsageError("rhythm has no --plot and --robustness", remedy="Leave them out")
        if latencies and not live:
            raise UsageError("a whole recording has no latency", remedy="Add --live")
        if live:
            rhythm.evaluate_live(
                *(data, weights, sets, soundfont, decision_ms, beats_ms, chunk_ms, latencies, json_output)
            )
        else:
            rhythm.evaluate_rhythm(data, weights, sets, soundfont, out, json_output)
        return
    if live or beats_ms is not None:
        raise UsageError("--live and --beats-ms are of rhythm", remedy="Leave them out")
    if system == "performance":
        from bridge.commands.performance import evaluate_performance

        if plots or robustness or latencies or chunk_ms is not None or decision_ms is not None or soundfont:
            raise UsageError(
                "performance takes only --data, --weights, --set, --samples, --out and --json",
                remedy="Leave the others out",
            )
        evaluate_performance(data, weights, sets, samples, out, json_output)
        return
    if plots and out is None:
        raise UsageError("--plot has nowhere to draw", remedy="Give --out FOLDER too")
    for name in sets:
        if name not in evaluation.SETS:
            raise UsageError(f"there is no set {name!r}", remedy=f"There are: {', '.join(evaluation.SETS)}")
    if decision_ms is not None:
        _check_decision(decision_ms, weights)
    use_threads(1)  # steps are short: threads would only wait for each other
    asked = {"--robustness": robustness, "--latencies": latencies, "--soundfont": soundfont}
    special = [flag for flag, value in asked.items() if value]
    if special and (plots or out is not None):
        raise UsageError(f"{special[0]} only prints its table", remedy="Leave out --out and --plot")
    if len(special) > 1:
        raise UsageError(f"{' and '.join(special)} are tables of their own", remedy="Ask for one of them")
    chosen = sets or tuple(evaluation.SETS)
    try:
        if soundfont is not None and lone:
            _print_lone(alone.run(soundfont, weights, chunk_ms=chunk_ms), json_output)
            return
        if soundfont is not None:
            _print_played(played.run(data, soundfont, weights, chunk_ms=chunk_ms, progress=talk), json_output)
            return
        for wanted, measure, table in (
            (robustness, evaluation.robustness, evaluation.robustness_table),
            (latencies, evaluation.latencies, evaluation.latency_table),
        ):
            if wanted:
                found = measure(data, weights, chunk_ms=chunk_ms, sets=chosen, progress=talk)
                _print_tables(found, table, json_output)
                return
        report = evaluation.run(
            data,
            out,
            weights,
            chunk_ms=chunk_ms,
            sets=chosen,
            plot=plots,
            decision_ms=decision_ms,
            progress=talk,
        )
    except FileNotFoundError as error:
        raise InputError(
            "there are no recordings to score", why=str(error), remedy="Give their folder with --data"
        ) from error
    if plots and out is not None:
        _plots(report.notes, out)
    if json_output:
        output.as_json({name: [asdict(score) for score in scores] for name, scores in report.scores.items()})
        return
    for name in report.scores:
        output.data(f"{name}\n\n{report.table(name)}\n\n{report.ranges(name)}")


def _check_decision(decision_ms: float, weights: str | None) -> None:
    from inference.piano import load

    soonest = load(weights).decisions_ms[0]
    if decision_ms < soonest:
        raise UsageError(
            f"the network cannot decide within {decision_ms:g} ms", remedy=f"It needs {soonest:g} at least"
        )


def _print_tables(
    found: dict[str, dict[str, list[Scores]]],
    table: Callable[[dict[str, dict[str, list[Scores]]], str], str],
    json_output: bool,
) -> None:
    from dataclasses import asdict

    if json_output:
        output.as_json({d: {n: [asdict(s) for s in rows] for n, rows in s.items()} for d, s in found.items()})
        return
    for name in next(iter(found.values())):
        output.data(f"{name}\n\n{table(found, name)}\n")


def _print_lone(found: LoneScores, json_output: bool) -> None:
    from dataclasses import asdict

    from inference.training.lone import table

    if json_output:
        output.as_json(asdict(found))
    else:
        output.data(table(found))


def _print_played(found: list[PlayedScores], json_output: bool) -> None:
    from dataclasses import asdict

    from inference.training.played import table

    if json_output:
        output.as_json([asdict(row) for row in found])
    else:
        output.data(table(found))


def _plots(notes: object, out: Path) -> None:
    from typing import cast

    from bridge.studio.report import piano_roll
    from inference.events import Note

    rate = 1_000

    def table(rows: Any) -> list[Note]:
        return [
            Note(
                round(on * rate),
                max(round(off * rate), round(on * rate) + 1),
                int(pitch),
                min(1.0, velocity / 127),
            )
            for on, off, pitch, velocity in rows
        ]

    for name, (reference, estimate) in cast("dict[str, tuple[Any, Any]]", notes).items():
        path = out / f"{name}.png"
        piano_roll(path, table(estimate), rate, reference=table(reference), title=name)
        output.talk(str(path))


@click.group(cls=LateGroup, late=TRAIN, context_settings=SETTINGS)
def train() -> None:
    """Train a system, or make weights of what was trained.

    Example: dawbridge train piano --data data --work run --minutes 60
    """


def check_training(config: str, configs: Collection[str], data: Path, start: str | None) -> None:
    """Refuse what no training can begin with."""
    from inference.weights import WeightsError, read

    _check_config(config, configs)
    if not data.is_dir():
        raise InputError(f"there is no folder {data}", remedy="Give the folder of the training data")
    if start is not None:
        try:
            read(start)
        except WeightsError as error:
            raise UsageError("there is nothing to start from", why=str(error)) from error


def check_export(config: str, configs: Collection[str], work: Path, out: Path, system: str) -> None:
    """Refuse what no weights can be made of."""
    _check_config(config, configs)
    check_run(work, out, system)


def check_run(work: Path, out: Path, system: str) -> None:
    """Refuse a folder without a run, and a name that is not one of weights."""
    if not (work / "checkpoint.pt").is_file():
        raise InputError(
            f"{work} holds no checkpoint", remedy=f"Train first with: dawbridge train {system} --work FOLDER"
        )
    check_name(out)


def check_name(out: Path) -> None:
    """Refuse a name that is not one of weights."""
    if out.suffix != ".safetensors":
        raise UsageError(f"{out.name} is no name for weights", remedy="Call it .safetensors")


def _check_config(config: str, configs: Collection[str]) -> None:
    if config not in configs:
        raise UsageError(f"there is no network {config!r}", remedy=f"There are: {', '.join(configs)}")


@click.command("piano", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder of recordings, performances and pianos.")
@click.option("--work", type=FOLDER, required=True, help="Folder of the run; one that exists is resumed.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=60.0, help="Time to train.")
@click.option("--ranks", type=click.IntRange(1, 64), default=2, help="Processes, one thread each.")
@click.option("--config", default="light", metavar="NAME", help="Which network.")
@click.option("--start", metavar="NAME|FILE", help="Weights to begin from.  [default: chance]")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At its highest.")
@click.option("--velocity-weight", type=click.FloatRange(0), help="How much an error of velocity counts.")
@click.option("--seed", type=int, default=1, help="Of everything that is drawn by chance.")
@click.option(
    "soundfonts", "--soundfont", type=Soundfont(), multiple=True, help="A piano to play; repeatable."
)
@click.option("--device", default="cpu", metavar="NAME", help="cpu, or cuda: a GPU, which has one rank.")
@click.option(
    "--loaders", type=click.IntRange(1, 256), default=1, help="Processes that make batches for each rank."
)
@click.option("--batch", type=click.IntRange(1, 4_096), help="Chunks of 6 s that a step hears.")
def train_piano(
    data: Path,
    work: Path,
    minutes: float,
    ranks: int,
    config: str,
    start: str | None,
    learning_rate: float | None,
    velocity_weight: float | None,
    seed: int,
    soundfonts: tuple[tuple[Path, int, int], ...],
    device: str,
    loaders: int,
    batch: int | None,
) -> None:
    """Train the piano system for --minutes; a run that was stopped goes on.

    On a GPU: --device cuda --ranks 1 --loaders 15 --batch 64, for example, and as many loaders as there are
    cores to spare: each makes about 300 seconds of audio in a second.

    Example: dawbridge train piano --data data --work run --minutes 60 --ranks 2
    """
    from inference.piano.config import CONFIGS
    from inference.piano.losses import LossConfig
    from inference.piano.mix import MixConfig
    from inference.piano.train import PianoRun, run
    from inference.training.loop import LoopConfig

    check_training(config, CONFIGS, data, start)
    loop = LoopConfig(minutes=minutes, ranks=ranks)
    if learning_rate is not None:
        loop = replace(loop, learning_rate=learning_rate)
    loss = LossConfig() if velocity_weight is None else LossConfig(velocity=velocity_weight)
    mix = MixConfig() if batch is None else MixConfig(batch=batch)
    try:
        settings = PianoRun(data, work, config, seed, loop, mix, loss, soundfonts, start=start)
        settings = replace(settings, device=device, loaders=loaders)
    except ValueError as error:
        raise UsageError("it cannot be trained there", why=str(error)) from error
    run(settings)
    if (work / "curve.csv").is_file():
        from inference.training.plots import learning_curve

        learning_curve(work / "curve.csv", work / "curve.png")
        output.data(str(work / "curve.png"))
    output.data(str(work / "checkpoint.pt"))


@click.command("export", context_settings=SETTINGS)
@click.argument("work", type=FOLDER)
@click.option("--data", type=FOLDER, required=True, help="Folder with the validation recordings.")
@click.option("out", "-o", "--out", type=FILE, required=True, help="The weights: a .safetensors file.")
@click.option("--config", default="light", metavar="NAME", help="Which network was trained.")
@click.option(
    "--mean-with",
    metavar="NAME|FILE|FOLDER",
    multiple=True,
    help="Weights, or another run: the mean of all is stored; repeatable.",
)
def train_export(work: Path, data: Path, out: Path, config: str, mean_with: tuple[str, ...]) -> None:
    """Average, calibrate and store the weights of the run in the folder WORK.

    Example: dawbridge train export run --data data -o my-piano.safetensors
    """
    from inference.piano.config import CONFIGS
    from inference.piano.export import describe, export
    from inference.weights import WeightsError

    check_export(config, CONFIGS, work, out, "piano")
    use_threads(1)
    try:
        output.talk(describe(export(work, data, out, config, mean_with=mean_with)))
    except WeightsError as error:
        named = ", ".join(map(repr, mean_with))
        raise UsageError(f"there is no mean with {named}", why=str(error)) from error
    output.data(str(out))


@click.command("ablate", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder of recordings, performances and pianos.")
@click.option("--work", type=FOLDER, required=True, help="Folder of the runs; what it holds is kept.")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="To train each.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Instead, train the light network and PARcompact for so long each.",
)
@json_option
def train_ablate(data: Path, work: Path, steps: int, minutes: float | None, json_output: bool) -> None:
    """Train variants of the piano network on the same batches and print what each scores.

    PARcompact, as published, is given as many minutes as the light network took. What was interrupted
    goes on.

    Example: dawbridge train ablate --data data --work ablations
    """
    from inference.piano.ablate import ablate, compare, table

    def rows() -> list[Any]:
        if minutes is not None:
            return compare(data, work, minutes, output.talk)
        return ablate(data, work, steps, output.talk)

    print_variants(data, rows, table, json_output)


def print_variants(
    data: Path, rows: Callable[[], list[Any]], table: Callable[[list[Any]], str], json_output: bool
) -> None:
    """Train and measure variants on what the folder `data` holds, and print a row for each."""
    from dataclasses import asdict

    if not data.is_dir():
        raise InputError(f"there is no folder {data}", remedy="Give the folder of the training data")
    use_threads(1)
    try:
        found = rows()
    except FileNotFoundError as error:
        raise InputError("there is nothing to learn from", why=str(error)) from error
    if json_output:
        output.as_json([asdict(row) for row in found])
    else:
        output.data(table(found))
