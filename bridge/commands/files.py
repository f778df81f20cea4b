"""Commands for files: demo, bounce, render."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS
from bridge.commands.options import (
    ANY_PATH,
    AUTO,
    FILE,
    FOLDER,
    Hearing,
    channels_option,
    chosen_preset,
    hearing_options,
    json_option,
    preset_option,
    rhythm_options,
    threads_option,
    use_threads,
)
from bridge.errors import UsageError

if TYPE_CHECKING:
    from bridge.studio.bounce import BounceOptions, BounceReport, FileResult


@click.command(context_settings=SETTINGS)
@click.argument("audio", type=FILE, required=False)
@click.option("out", "-o", "--out", type=FOLDER, default="dawbridge-demo", help="Folder of what is written.")
@preset_option("offline")
@hearing_options
@threads_option
@json_option
def demo(
    audio: Path | None,
    out: Path,
    presets: tuple[str, ...],
    hearing: Hearing,
    threads: int,
    json_output: bool,
) -> int:
    """Do the main job once: audio to a MIDI file and a piano-roll picture.

    Without AUDIO a short performance is rendered through the built-in piano first, and what was heard
    is compared with what was played.

    Example: dawbridge demo
    """
    from importlib.util import find_spec

    from bridge.studio.bounce import BounceOptions

    use_threads(threads)
    preset = chosen_preset(presets, "offline", hearing)
    picture = find_spec("matplotlib") is not None
    if not picture:
        output.talk("No picture: matplotlib is not installed. Get it with: pip install 'dawbridge[plot]'")
    if audio is not None:
        options = BounceOptions(preset, picture=picture, find_tuning=hearing.tuning == AUTO)
        return _bounce((audio,), out, options, json_output)
    from bridge.tour import tour

    output.talk("Rendering a performance through the built-in piano, and listening to it ...")
    result = tour(out, preset, picture=picture)
    if json_output:
        output.as_json(result.as_dict())
        return 0
    for path in result.files:
        output.data(str(path))
    output.talk(result.summary())
    return 0


@click.command(context_settings=SETTINGS)
@click.argument("audio", type=ANY_PATH, nargs=-1, required=True)
@click.option(
    "out",
    "-o",
    "--out",
    type=ANY_PATH,
    metavar="FOLDER|FILE.mid",
    help="Folder for the MIDI files, or one file.  [default: beside each file]",
)
@preset_option("offline")
@hearing_options
@rhythm_options
@channels_option
@click.option("--picture", is_flag=True, help="Also draw a piano roll beside each MIDI file.")
@click.option("--skip-existing", is_flag=True, help="Leave files alone whose outputs exist.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@threads_option
@json_option
def bounce(
    audio: tuple[Path, ...],
    out: Path | None,
    presets: tuple[str, ...],
    hearing: Hearing,
    tempo_map: bool,
    one_tempo: bool,
    beats: bool,
    dynamics: bool,
    beat_notes: int | None,
    meters: tuple[int, ...],
    tempo: tuple[float, float] | None,
    first_downbeat: float | None,
    taps: Path | None,
    channels: tuple[int, ...] | None,
    picture: bool,
    skip_existing: bool,
    dry_run: bool,
    threads: int,
    json_output: bool,
) -> int:
    """Turn recordings into MIDI files: AUDIO are files, or folders of files.

    Reads wav, flac, mp3, ogg, aiff and what else the system can decode, at any rate, mono or stereo. A
    file that cannot be read is reported at the end, and the others are done.

    With --tempo-map every heard beat is a quarter of the file, bars begin where they were heard, and
    no note moves. --taps and the other hints help where the music leaves its beats open.

    Example: dawbridge bounce takes/ -o midi --tempo-map --picture
    """
    from bridge.studio.bounce import BounceOptions
    from bridge.studio.rhythm import RhythmOptions, read_taps

    if tempo_map and one_tempo:
        raise UsageError("--tempo-map and --one-tempo exclude each other", remedy="Give one of them")
    hinted = bool(meters or tempo or taps) or first_downbeat is not None
    wanted = tempo_map or one_tempo or beats or dynamics or beat_notes is not None
    if hinted and not wanted:
        raise UsageError(
            "--meter, --tempo, --first-downbeat and --taps help to hear beats", remedy="Give --tempo-map too"
        )
    mode: Literal["heard", "one"] | None = "heard" if tempo_map else "one" if one_tempo else None
    tapped = read_taps(taps) if taps else ()
    known = (meters or None, tempo, first_downbeat, tapped)
    rhythm = RhythmOptions(mode, beats, dynamics, beat_notes, *known) if wanted else None
    use_threads(threads)
    preset = chosen_preset(presets, "offline", hearing)
    options = BounceOptions(preset, channels, skip_existing, dry_run, picture, rhythm, hearing.tuning == AUTO)
    return _bounce(audio, out, options, json_output)


def _bounce(audio: tuple[Path, ...], out: Path | None, options: BounceOptions, json_output: bool) -> int:
    from bridge.studio.bounce import Progress
    from bridge.studio.bounce import bounce as bounce_files

    with output.progress("bounce") as report:

        def follow(now: Progress) -> None:
            report(f"{now.source.name} ({now.index + 1}/{now.count})", now.seconds, now.total)

        def tell(result: FileResult) -> None:
            if not json_output:
                _print_result(result)

        results = bounce_files(list(audio), out, options, follow, tell)
    if json_output:
        output.as_json(results.as_dict())
    else:
        _summary(results)
    return results.exit_code


def _print_result(result: FileResult) -> None:
    for warning in result.warnings:
        output.talk(f"{result.source.name}: {warning}")
    if result.status == "failed":
        click.secho(f"{result.source}: {result.error}", fg="red", err=True)
        return
    for path in result.outputs:
        output.data(str(path))
    if result.status == "done":
        output.talk(
            f"{result.source.name}: {result.notes} notes in {result.seconds:.1f} s of audio, "
            f"{result.real_time_factor:.0f} x real time"
        )
    else:
        output.talk(f"{result.source.name}: {result.status}")


def _summary(report: BounceReport) -> None:
    if len(report.results) < 2:
        return
    counts = {
        status: sum(result.status == status for result in report.results)
        for status in ("done", "skipped", "planned", "failed")
    }
    notes = sum(result.notes for result in report.results)
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    output.talk(f"{len(report.results)} files: {', '.join(parts)}; {notes} notes")


@click.command(context_settings=SETTINGS)
@click.argument("midi", type=FILE)
@click.option("out", "-o", "--out", type=FILE, required=True, help="The audio file: .wav, .flac or .ogg.")
@click.option(
    "--piano",
    default="built-in",
    metavar="NAME|FILE",
    help="built-in, a .sf2 or .vst3 file, or an instrument preset.",
)
@click.option(
    "--room", metavar="NAME|FILE", help="A room, an impulse response, or none.  [default: the piano's]"
)
@click.option(
    "--level", "level_db", type=float, help="Gain in dB before the limiter.  [default: the piano's]"
)
@click.option("--rate", type=click.IntRange(8_000, 192_000), default=44_100, help="Hz.")
@click.option(
    "--tail", "tail_s", type=click.FloatRange(0, 120), help="Seconds after the end.  [default: until silent]"
)
@json_option
def render(
    midi: Path,
    out: Path,
    piano: str,
    room: str | None,
    level_db: float | None,
    rate: int,
    tail_s: float | None,
    json_output: bool,
) -> None:
    """Play the file MIDI through a piano and a room, faster than real time.

    Example: dawbridge render take.mid -o take.wav --piano grand-piano --room hall
    """
    from bridge.studio.render import render as render_file

    with output.progress(midi.name) as report:
        done = render_file(
            midi,
            out,
            piano=piano,
            room=room,
            level_db=level_db,
            rate=rate,
            tail_s=tail_s,
            progress=lambda seconds, total: report(midi.name, seconds, total),
        )
    for warning in done.warnings:
        output.talk(f"{midi.name}: {warning}")
    if json_output:
        output.as_json(
            {
                "path": str(done.path),
                "seconds": done.seconds,
                "tail_s": done.tail_s,
                "notes": done.notes,
                "peak_db": done.peak_db,
                "elapsed_s": done.elapsed_s,
                "real_time_factor": done.real_time_factor,
                "warnings": list(done.warnings),
            }
        )
        return
    output.data(str(done.path))
    output.talk(
        f"{done.notes} notes, {done.seconds:.1f} s with {done.tail_s:.1f} s of tail, "
        f"peak {done.peak_db:.1f} dB, {done.real_time_factor:.0f} x real time"
    )
