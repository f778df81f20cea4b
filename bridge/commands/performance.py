"""Commands for performances: perform, and those for who trains and measures them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS
from bridge.commands.options import FILE, FOLDER, F, json_option, threads_option, use_threads
from bridge.commands.training import check_training
from bridge.errors import InputError, UsageError

if TYPE_CHECKING:
    from bridge.studio.generate import GenerateReport
    from bridge.studio.perform import PerformReport

FACTOR = click.FloatRange(0, 3)
BRANCHES = ("pianist", "composer", "prior", "joint")


class BarLength(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A meter such as `3/4` or `6/8`, as whole quarters per bar."""

    name = "3/4"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Quarters per bar, 1 to 7."""
        if isinstance(value, int):
            return value
        over, _, under = str(value).partition("/")
        if not over.isdigit() or under not in ("1", "2", "4", "8", "16"):
            self.fail(f"{value!r} is no meter; give 3/4 for example", param, ctx)
        quarters, rest = divmod(4 * int(over), int(under))
        if rest or not 1 <= quarters <= 7:
            self.fail(f"bars of {value} cannot be written, only such of 1 to 7 quarters", param, ctx)
        return quarters


def playing_options(function: F) -> F:
    """What becomes of a MIDI file that was made, and by which weights it is."""
    for option in (
        json_option,
        threads_option,
        click.option("--weights", metavar="NAME|FILE", help="Weights.  [default: the shipped ones]"),
        click.option("--piano", default="built-in", metavar="NAME|FILE", help="What --render plays it on."),
        click.option("--render", "audio", type=FILE, help="Also play it: a .wav, .flac or .ogg file."),
        click.option("--score", "notation", type=FILE, help="Also write its score: a .musicxml file."),
    ):
        function = option(function)
    return function


@click.command(context_settings=SETTINGS)
@click.argument("score", type=FILE)
@click.option("out", "-o", "--out", type=FILE, required=True, help="The MIDI file.")
@click.option("--style", metavar="NAME", help="One of the learned styles; a wrong name lists them.")
@click.option("--like", type=FILE, help="Take the style of this MIDI performance.")
@click.option("--like-score", type=FILE, help="What --like plays.  [default: SCORE]")
@click.option("--rubato", type=FACTOR, default=1.0, help="Of tempo and timing; 0 keeps strict time.")
@click.option("--dynamics", type=FACTOR, default=1.0, help="Of how far velocities spread; 0 is level.")
@click.option("--articulation", type=FACTOR, default=1.0, help="Of lengths; 0 plays them as notated.")
@click.option("--pedal/--no-pedal", default=True, help="Whether to use the sustain pedal.")
@click.option("--grid", is_flag=True, help="Keep one tempo, and be off it by a little only.")
@click.option("--tempo", type=click.FloatRange(20, 400), help="Quarters per minute.  [default: the score's]")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, help="Above 0, no two seeds alike.")
@click.option("--seed", type=int, default=0, help="Of what --temperature draws.")
@playing_options
def perform(
    score: Path,
    out: Path,
    style: str | None,
    like: Path | None,
    like_score: Path | None,
    rubato: float,
    dynamics: float,
    articulation: float,
    pedal: bool,
    grid: bool,
    tempo: float | None,
    temperature: float,
    seed: int,
    notation: Path | None,
    audio: Path | None,
    piano: str,
    weights: str | None,
    threads: int,
    json_output: bool,
) -> None:
    """Play SCORE, a MIDI or MusicXML file, as a pianist would: every note once, with bars and beats kept.

    The file's tempo map follows the performance, so that a DAW shows the score's bars. The score's
    tempo is kept on the whole, if it has one; printed dynamics are obeyed.

    Example: dawbridge perform sonata.musicxml -o sonata.mid --rubato 1.2 --render sonata.wav
    """
    from bridge.studio.perform import PerformOptions
    from bridge.studio.perform import perform as perform_file
    from inference.performance import load

    check_midi(out)
    check_notation(notation)
    check_audio(audio, out, piano)
    use_threads(threads)
    options = PerformOptions(
        style,
        like,
        like_score,
        rubato,
        dynamics,
        articulation,
        pedal,
        grid,
        tempo,
        seed,
        temperature,
    )
    with output.progress(score.name) as report:
        done = perform_file(
            score,
            out,
            load(weights),
            options,
            lambda step, of: report(score.name, step, of),
            notation,
        )
    for warning in done.warnings:
        output.talk(f"{score.name}: {warning}")
    told = f"{done.notes} notes, {done.seconds:.1f} s at {done.tempo:.0f} beats per minute"
    _finish(done, told, notation, audio, piano, json_output)


@click.command(context_settings=SETTINGS)
@click.option("out", "-o", "--out", type=FILE, required=True, help="The MIDI file.")
@click.option("--bars", type=click.IntRange(1, 1_000), default=32, help="How many to write.")
@click.option("--seed", type=int, default=0, help="The same seed gives the same file.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.97, help="How bold.")
@click.option("--key", metavar="KEY", help="To keep to: C, F#, Bbm, ...  [default: whatever comes]")
@click.option("--meter", type=BarLength(), help="Such as 3/4.  [default: the prompt's, or 4/4]")
@click.option("--tempo", type=click.FloatRange(20, 400), help="Quarters per minute.")
@click.option("--prompt", type=FILE, help="A score to go on from: MIDI or MusicXML.")
@playing_options
def generate(
    out: Path,
    bars: int,
    seed: int,
    temperature: float,
    key: str | None,
    meter: int | None,
    tempo: float | None,
    prompt: Path | None,
    notation: Path | None,
    audio: Path | None,
    piano: str,
    weights: str | None,
    threads: int,
    json_output: bool,
) -> None:
    """Write a new piece for the piano and play it; the file's bars and beats follow the performance.

    Example: dawbridge generate -o new.mid --bars 16 --key Am --seed 7 --render new.wav
    """
    from bridge.studio.generate import GenerateOptions
    from bridge.studio.generate import generate as generate_file
    from inference.performance import load, load_writer

    check_midi(out)
    check_notation(notation)
    check_audio(audio, out, piano)
    use_threads(threads)
    options = GenerateOptions(bars, seed, temperature, key, meter, tempo, prompt)
    with output.progress(out.name) as report:
        done = generate_file(
            out,
            load_writer(weights),
            load(weights),
            options,
            lambda bar, of: report(out.name, bar, of),
            notation,
        )
    for warning in done.warnings:
        output.talk(f"{prompt}: {warning}")
    told = f"{done.notes} notes in {done.bars} bars, {done.seconds:.1f} s"
    _finish(done, told, notation, audio, piano, json_output)


def check_midi(out: Path) -> None:
    """Refuse a name that is no MIDI file's."""
    if out.suffix.lower() not in (".mid", ".midi"):
        raise UsageError(f"{out.name} is no name for a MIDI file", remedy="Call it .mid")


def check_notation(notation: Path | None) -> None:
    """Refuse, before any work, a score that could not be written at its end."""
    from bridge.studio.scores import check_score_name

    if notation is not None:
        check_score_name(notation)


def check_audio(audio: Path | None, midi: Path, piano: str) -> None:
    """Refuse, before any work, audio that could not be written at its end."""
    from bridge.studio.render import render_preset

    if audio is not None:
        render_preset(piano)
        if audio.suffix.lower() not in (".wav", ".flac", ".ogg"):
            raise UsageError(f"{audio.name} has no known audio ending", remedy="Call it .wav, .flac or .ogg")
    for path in (midi, audio):
        if path is not None and path.is_dir():
            raise UsageError(f"{path} is a folder", remedy="Give the name of a file")


def _finish(
    done: PerformReport | GenerateReport,
    told: str,
    notation: Path | None,
    audio: Path | None,
    piano: str,
    json_output: bool,
) -> None:
    """Say what was made, and play it if that was asked for."""
    if not json_output:
        output.data(str(done.path))
        if notation is not None:
            output.data(str(notation))
    output.talk(f"{told}, done in {done.elapsed_s:.1f} s")
    if audio is not None:
        render_beside(done.path, audio, piano, quiet=json_output)
    if json_output:
        output.as_json({**asdict(done), "score": notation, "audio": audio})


def render_beside(midi: Path, audio: Path, piano: str, *, quiet: bool = False) -> None:
    """Render a MIDI file at a usual loudness, and say so."""
    from bridge.studio.loudness import render_loud

    with output.progress(audio.name) as report:
        done = render_loud(
            midi, audio, piano=piano, progress=lambda seconds, total: report(audio.name, seconds, total)
        )
    if not quiet:
        output.data(str(done.path))
    output.talk(
        f"{done.seconds:.1f} s of audio, {done.loudness:.1f} LUFS, {done.real_time_factor:.0f} x real time"
    )


@click.command("performance", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder with aligned scores and performances.")
@click.option("--work", type=FOLDER, required=True, help="Folder of the run; one that exists is resumed.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=60.0, help="Time to train.")
@click.option("--branch", type=click.Choice(BRANCHES), default="pianist", help="What to train.")
@click.option("--config", default="light", metavar="NAME", help="Which network.")
@click.option("--start", metavar="NAME|FILE", help="Weights to begin from.  [default: chance]")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At its highest.")
@click.option("--batch", type=click.IntRange(1, 256), default=4, help="Windows per step.")
@click.option("--seed", type=int, default=1, help="Of everything that is drawn by chance.")
def train_performance(
    data: Path,
    work: Path,
    minutes: float,
    branch: str,
    config: str,
    start: str | None,
    learning_rate: float | None,
    batch: int,
    seed: int,
) -> None:
    """Train a branch of the performance system for --minutes; a run that was stopped goes on.

    The Pianist learns to perform scores, the Composer to write them, the prior to go on with what the
    Composer of --start would write; `joint` trains the first two at once. Each run trains one of these
    in a folder of its own; export-performance puts them together.

    Example: dawbridge train performance --data data --work run --branch pianist --minutes 60
    """
    from inference.performance.config import CONFIGS
    from inference.performance.train import PerformanceRun, run

    check_training(config, CONFIGS, data, start)
    settings = PerformanceRun(data, work, branch=branch, config=config, seed=seed, batch=batch, start=start)
    loop = replace(settings.loop, minutes=minutes)
    if learning_rate is not None:
        loop = replace(loop, learning_rate=learning_rate)
    try:
        run(replace(settings, loop=loop))
    except FileNotFoundError as error:
        raise InputError("there is nothing to learn from", why=str(error)) from error
    except ValueError as error:
        raise UsageError(
            "training cannot begin from these weights", why=str(error), remedy="Give their --config"
        ) from error
    output.data(str(work / "checkpoint.pt"))


@click.command("export-performance", context_settings=SETTINGS)
@click.argument("pianist", metavar="FOLDER|NAME|FILE")
@click.option("--composer", type=FOLDER, help="Folder of the run that trained the Composer, if another.")
@click.option("out", "-o", "--out", type=FILE, required=True, help="The weights: a .safetensors file.")
@click.option("--config", default="light", metavar="NAME", help="Which network was trained.")
def export_performance(pianist: str, composer: Path | None, out: Path, config: str) -> None:
    """Average the weights of the run that trained the Pianist, name styles, and store them.

    Instead of the folder of a run, the Pianist may be that of weights: then its styles and gains are
    kept, and --composer gives the rest.

    Example: dawbridge train export-performance run --composer other -o my.safetensors
    """
    from bridge.commands.training import check_export
    from inference.performance.config import CONFIGS
    from inference.performance.export import export, graft
    from inference.weights import WeightsError

    folder = Path(pianist)
    if composer is not None:
        check_export(config, CONFIGS, composer, out, "performance")
    if composer is None or folder.is_dir():
        check_export(config, CONFIGS, folder, out, "performance")
    use_threads(1)
    try:
        if composer is None or folder.is_dir():
            output.talk(export(folder, composer, out, config, output.talk))
        else:
            output.talk(graft(pianist, composer, out, config))
    except WeightsError as error:
        raise UsageError(f"there is no Pianist {pianist!r}", why=str(error)) from error
    except RuntimeError as error:
        raise InputError(
            f"what was trained is no network {config!r}",
            why=str(error).splitlines()[0],
            remedy="Name the network of the run with --config",
        ) from error
    output.data(str(out))


@click.command("ablate-performance", context_settings=SETTINGS)
@click.option("--data", type=FOLDER, required=True, help="Folder with scores and performances.")
@click.option("--work", type=FOLDER, required=True, help="Folder of the runs; what it holds is kept.")
@click.option(
    "--steps", type=click.IntRange(1), default=1_200, show_default=True, help="To train each branch."
)
@click.option(
    "--samples", type=click.IntRange(1), default=100, show_default=True, help="Pieces that each writes."
)
@json_option
def ablate_performance(data: Path, work: Path, steps: int, samples: int, json_output: bool) -> None:
    """Train variants of the performance networks equally long and print how each plays and writes.

    A Compound Word transformer is one of them. What was interrupted goes on.

    Example: dawbridge train ablate-performance --data data --work ablations
    """
    from bridge.commands.training import print_variants
    from inference.performance.ablate import ablate, table

    print_variants(data, lambda: ablate(data, work, steps, samples, output.talk), table, json_output)


def evaluate_performance(
    data: Path,
    weights: str | None,
    sets: tuple[str, ...],
    samples: int | None,
    out: Path | None,
    json_output: bool,
) -> None:
    """Print how the performance system compares with people, see `inference.performance.evaluate`."""
    measures = _measures(samples)
    for name in sets:
        if name not in measures:
            raise UsageError(f"there is no set {name!r}", remedy=f"There are: {', '.join(measures)}")
    use_threads(1)
    results: dict[str, object] = {}
    for name in sets or ("perform",):
        measure, table = measures[name]
        try:
            rows = measure(data, out, weights, lambda line: output.talk(f"performance: {line}"))
        except FileNotFoundError as error:
            raise InputError(
                "there are no scores to play", why=str(error), remedy="Give their folder with --data"
            ) from error
        results[name] = [asdict(row) for row in rows]
        if not json_output:
            output.data(f"{name}\n\n{table(rows)}\n")
    if json_output:
        output.as_json(results)


def _measures(samples: int | None) -> dict[str, tuple[Callable[..., list[Any]], Callable[[list[Any]], str]]]:
    """What can be measured, and as what table it is printed."""
    from bridge import loop
    from inference.performance import corpus, evaluate, evaluate_generated, form, load, load_writer

    def closed(_: Path, __: Path | None, weights: str | None, tell: Callable[[str], None]) -> list[loop.Loop]:
        return loop.close(load_writer(weights), load(weights), progress=tell)

    def generated(
        data: Path, out: Path | None, weights: str | None, tell: Callable[[str], None]
    ) -> list[evaluate_generated.Generated]:
        return evaluate_generated.run(data, out, weights, tell, samples or evaluate_generated.SAMPLES)

    def counted(data: Path, *_: Any) -> list[form.Chain]:
        return form.count_sheets(corpus.sheets(data))

    return {
        "perform": (evaluate.run, evaluate.table),
        "round-trip": (evaluate.round_trips, evaluate.round_trip_table),
        "generate": (generated, evaluate_generated.report),
        "form": (counted, form.table),
        "loop": (closed, loop.table),
    }
