"""Commands for those who train the rhythm system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS
from bridge.commands.options import FILE, FOLDER, use_threads
from bridge.commands.training import check_export, check_name, check_run, check_training
from bridge.errors import InputError, UsageError


def evaluate_rhythm(
    data: Path,
    weights: str | None,
    sets: tuple[str, ...],
    soundfont: Path | None,
    out: Path | None,
    json_output: bool,
) -> None:
    """Print the scores of the rhythm system, see `inference.rhythm.evaluate`.

    With a SoundFont, those of performances that it plays, and of their printed dynamics.
    """
    from dataclasses import asdict

    from inference.rhythm import evaluate as evaluation
    from inference.rhythm import evaluate_dynamics
    from inference.rhythm.material import SETS

    _check_sets(sets, SETS)
    use_threads(1)
    with _data_or_trouble():
        found = evaluation.run(
            data, out, weights, sets=sets or tuple(SETS), soundfont=soundfont, progress=_talk
        )
        loud = evaluate_dynamics.run(data, soundfont, weights, progress=_talk) if soundfont else []
    if json_output:
        plain = {name: [asdict(score) for score in scores] for name, scores in found.items()}
        output.as_json({**plain, **({"dynamics": [asdict(row) for row in loud]} if loud else {})})
        return
    for name, scores in found.items():
        output.data(f"{name}\n\n{evaluation.table(scores)}\n")
    if loud:
        output.data(f"dynamics\n\n{evaluate_dynamics.table(loud)}\n")


def evaluate_live(
    data: Path,
    weights: str | None,
    sets: tuple[str, ...],
    soundfont: Path | None,
    decision_ms: float | None,
    beats_ms: float | None,
    chunk_ms: float | None,
    latencies: bool,
    json_output: bool,
) -> None:
    """Print the scores of beats that are told live, see `inference.rhythm.evaluate_live`."""
    from dataclasses import asdict

    from inference.rhythm import evaluate_live as evaluation
    from inference.rhythm.material import SETS

    _check_sets(sets, SETS)
    if latencies and beats_ms is not None:
        raise UsageError("--latencies has its own list of times", remedy="Leave out --beats-ms")
    use_threads(1)
    with _data_or_trouble():
        found = evaluation.run(
            data,
            weights,
            told=evaluation.LATENCIES_MS if latencies else (beats_ms,),
            decision_ms=decision_ms,
            chunk_ms=chunk_ms,
            sets=sets or tuple(SETS),
            soundfont=soundfont,
            progress=_talk,
        )
    if json_output:
        plain = {when: {n: [asdict(s) for s in rows] for n, rows in s.items()} for when, s in found.items()}
        output.as_json(plain if latencies else plain[beats_ms])
        return
    for name, scores in next(iter(found.values())).items():
        rows = evaluation.latency_table(found, name) if latencies else evaluation.table(scores)
        output.data(f"{name}\n\n{rows}\n")


def _talk(name: str) -> None:
    output.talk(f"rhythm: {name}")


def _check_sets(sets: Iterable[str], known: Iterable[str]) -> None:
    for name in sets:
        if name not in known:
            raise UsageError(f"there is no set {name!r}", remedy=f"There are: {', '.join(known)}")


@contextmanager
def _data_or_trouble() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            "there are no recordings to score", why=str(error), remedy="Give their folder with --data"
        ) from error
    except ValueError as error:
        raise UsageError("these weights cannot be scored so", why=str(error)) from error


@click.command("rhythm", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder of recordings, performances and pianos.")
@click.option("--work", type=FOLDER, required=True, help="Folder of the run; one that exists is resumed.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=60.0, help="Time to train.")
@click.option(
    "--notes-minutes",
    type=click.FloatRange(min=0),
    default=60.0,
    help="Time to train the network over notes, after that; 0: none.",
)
@click.option("--config", default="fused", metavar="NAME", help="Which network.")
@click.option("--start", metavar="NAME|FILE", help="Weights to begin from.  [default: chance]")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At its highest.")
@click.option("--fresh", type=click.IntRange(1, 4), default=1, help="New excerpts per batch of 4.")
@click.option(
    "--sound-only", is_flag=True, help="Train the network over sound, and none over beats and notes."
)
@click.option("--seed", type=int, default=1, help="Of everything that is drawn by chance.")
def train_rhythm(
    data: Path,
    work: Path,
    minutes: float,
    notes_minutes: float,
    config: str,
    start: str | None,
    learning_rate: float | None,
    fresh: int,
    sound_only: bool,
    seed: int,
) -> None:
    """Train the rhythm system for --minutes; a run that was stopped goes on.

    Example: dawbridge train rhythm --data data --work run --minutes 60
    """
    from inference.rhythm.config import CONFIGS
    from inference.rhythm.train import RhythmRun, run

    check_training(config, CONFIGS, data, start)
    settings = RhythmRun(data, work, config=config, seed=seed, start=start, struck_minutes=notes_minutes)
    if sound_only:
        settings = replace(settings, struck_minutes=0, bar_excerpts=0, marked_per_piece=0)
    loop = replace(settings.loop, minutes=minutes)
    if learning_rate is not None:
        loop = replace(loop, learning_rate=learning_rate)
    run(replace(settings, loop=loop, mix=replace(settings.mix, fresh=fresh)))
    output.data(str(work / "checkpoint.pt"))


@click.command("export-rhythm", context_settings=SETTINGS)
@click.argument("work", type=FOLDER)
@click.option("--data", type=FOLDER, required=True, help="Folder with the validation recordings.")
@click.option("out", "-o", "--out", type=FILE, required=True, help="The weights: a .safetensors file.")
@click.option("--config", default="fused", metavar="NAME", help="Which network was trained.")
@click.option(
    "--beside", metavar="NAME|FILE", help="Weights that give what the run did not train, and settings."
)
def export_rhythm(work: Path, data: Path, out: Path, config: str, beside: str | None) -> None:
    """Average and store the weights of the run in the folder WORK, with the decoder tuned to them.

    Example: dawbridge train export-rhythm run --data data -o my-rhythm.safetensors
    """
    from inference.rhythm.config import CONFIGS
    from inference.rhythm.export import export

    check_export(config, CONFIGS, work, out, "rhythm")
    use_threads(1)
    output.talk(export(work, data, out, config, output.talk, beside))
    output.data(str(out))


@click.command("judge-rhythm", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder of recordings and performances.")
@click.option(
    "soundfonts",
    "--soundfont",
    type=FILE,
    multiple=True,
    required=True,
    help="Plays the performances, each its share; repeatable.",
)
@click.option("--weights", metavar="NAME|FILE", help="Weights to judge with.  [default: the shipped ones]")
@click.option("--pieces", type=click.IntRange(2), default=60, show_default=True, help="How many are heard.")
@click.option("out", "-o", "--out", type=FILE, required=True, help="The weights: a .safetensors file.")
def judge_rhythm(
    data: Path, soundfonts: tuple[Path, ...], weights: str | None, pieces: int, out: Path
) -> None:
    """Write weights of the rhythm system anew, with a judge of readings that is solved on training music.

    Example: dawbridge train judge-rhythm --data data --soundfont FluidR3_GM.sf2 -o my-rhythm.safetensors
    """
    from inference.rhythm.refit_judge import refit
    from inference.weights import WeightsError

    check_name(out)
    use_threads(1)
    try:
        with _data_or_trouble():
            output.talk(refit(data, soundfonts, out, weights, pieces, _talk))
    except WeightsError as error:
        raise UsageError("these weights cannot be judged with", why=str(error)) from error
    output.data(str(out))


@click.command("rhythm-live", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder of performances.")
@click.option("--work", type=FOLDER, required=True, help="Folder of the run; one that exists is resumed.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=30.0, help="Time to train.")
@click.option("--seed", type=int, default=1, help="Of everything that is drawn by chance.")
def train_live(data: Path, work: Path, minutes: float, seed: int) -> None:
    """Train the network that follows beats live, on notes alone, for --minutes; a stopped run goes on.

    Example: dawbridge train rhythm-live --data data --work run --minutes 30
    """
    from inference.rhythm.train_struck import DEFAULT_LOOP, StruckRun, run

    if not (data / "asap" / "train").is_dir():
        raise InputError(
            f"there are no performances in {data}",
            why="asap/train is missing",
            remedy="Give the folder of the data with --data",
        )
    run(StruckRun(data, work, seed=seed, loop=replace(DEFAULT_LOOP, minutes=minutes)))
    output.data(str(work / "checkpoint.pt"))


@click.command("export-rhythm-live", context_settings=SETTINGS)
@click.argument("work", type=FOLDER)
@click.option("out", "-o", "--out", type=FILE, required=True, help="The weights: a .safetensors file.")
def export_live(work: Path, out: Path) -> None:
    """Average and store the weights of the live run in the folder WORK.

    Example: dawbridge train export-rhythm-live run -o my-live.safetensors
    """
    from inference.rhythm.export_struck import export

    check_run(work, out, "rhythm-live")
    output.talk(export(work, out))
    output.data(str(out))
