"""Commands for the live side: serve, listen, status."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS
from bridge.commands.options import (
    FILE,
    FOLDER,
    channels_option,
    json_option,
    preset_option,
    threads_option,
    use_threads,
    with_latency,
)
from bridge.errors import UsageError

if TYPE_CHECKING:
    from bridge.listening import Heard
    from bridge.presets import Preset
    from bridge.studio.audio import AudioSource
    from bridge.wire.connection import Connection
    from bridge.wire.protocol import SessionReport
    from inference.events import Beat, Events

INTERRUPTED = 130
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@click.command(context_settings=SETTINGS)
@preset_option("live")
@click.option("--listen", "address", default="tcp://127.0.0.1:*", metavar="ENDPOINT", help="Where to listen.")
@click.option("--allow", type=FILE, help="File of public keys that may connect; needed beyond this machine.")
@click.option("--takes", type=FOLDER, help="Write a MIDI file of each pass of a host's transport here.")
@click.option("--play", type=FILE, help="Play this MIDI file along the host's transport instead of hearing.")
@click.option("--once", is_flag=True, help="End when the last plug-in has left.")
@click.option("--max-sessions", type=click.IntRange(1, 32), default=32, help="Plug-ins served at a time.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Threads that share the plug-ins among them.  [default: one per core, at most 4]",
)
@threads_option
@json_option
def serve(
    presets: tuple[str, ...],
    address: str,
    allow: Path | None,
    takes: Path | None,
    play: Path | None,
    once: bool,
    max_sessions: int,
    workers: int | None,
    threads: int,
    json_output: bool,
) -> None:
    """Run the sidecar that plug-ins talk to, until Ctrl-C.

    Plug-ins find it by a file that only you can read. It listens on this machine alone unless --listen
    and --allow say otherwise.

    With --takes nothing that was played is lost: from each start of the transport to its stop (or a
    loop's end) a MIDI file is kept, which lies on the project's grid if it is put at its beginning.

    With --play the plug-in's MIDI out plays a file, such as one that perform or generate wrote: its beats
    lie on the beats of the project and follow its tempo, stops, jumps and loops.

    Example: dawbridge serve --preset live --preset grand-piano --takes ~/Music/takes
    """
    from bridge.sidecar.server import serve as run
    from bridge.sidecar.settings import ServeSettings

    names = with_latency(presets, "live")
    settings = ServeSettings(
        listen=address,
        allow=allow,
        takes=takes,
        play=play,
        presets=tuple(names),
        once=once,
        max_sessions=max_sessions,
        workers=workers,
        threads=threads,
    )
    output.talk("Loading ...")
    run(settings, lambda connection: _print_ready(connection, names, json_output))
    output.talk("Stopped.")


def _print_ready(connection: Connection, names: list[str], json_output: bool) -> None:
    from bridge.doctor import device

    ready = {"endpoint": connection.endpoint, "device": device(), "presets": names, "pid": connection.pid}
    if json_output:
        output.data(json.dumps(ready))
    else:
        output.data(f"endpoint  {connection.endpoint}")
        output.data(f"device    {ready['device']}")
        output.data(f"presets   {', '.join(names)}")
        output.talk("Ready. Stop with Ctrl-C.")
    sys.stdout.flush()


@click.command(context_settings=SETTINGS)
@click.argument("audio", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@preset_option("live")
@channels_option
@click.option("--rate", type=int, default=44_100, help="Hz of raw audio.")
@click.option("--raw-channels", type=click.IntRange(1, 8), default=2, help="Channels in raw audio.")
@click.option(
    "sample_format", "--format", type=click.Choice(["s16le", "f32le"]), default="s16le", help="Raw samples."
)
@click.option("--fast", is_flag=True, help="As fast as it goes instead of real time.")
@click.option("--private", is_flag=True, help="Start an own sidecar even if one runs.")
@click.option("--midi-port", metavar="NAME", help="Also play the notes on a virtual MIDI port.")
@click.option(
    "--beat-notes",
    type=click.IntRange(2, 16),
    metavar="CHANNEL",
    help="Play each beat as a note on this channel of the port.",
)
@click.option("--midi-clock", is_flag=True, help="Send MIDI clock on the port: others follow who plays.")
@click.option("--midi", type=FILE, help="Also write the notes to a MIDI file.")
@threads_option
@json_option
def listen(
    audio: Path,
    presets: tuple[str, ...],
    channels: tuple[int, ...] | None,
    rate: int,
    raw_channels: int,
    sample_format: str,
    fast: bool,
    private: bool,
    midi_port: str | None,
    beat_notes: int | None,
    midi_clock: bool,
    midi: Path | None,
    threads: int,
    json_output: bool,
) -> int:
    """Play AUDIO through the live path, and print notes as they come; - is raw audio from stdin.

    With --preset rhythm beats are printed too, and --midi-clock makes a sequencer, drum machine or DAW
    that listens to the port run at the tempo that is played: it starts where a bar begins, after four even
    beats, and stops when they stay away.

    It uses the sidecar that runs, or one of its own. The notes are those of bounce with the same preset.
    Ctrl-C ends the audio; notes heard until then are kept.

    Example: arecord -f cd -t raw | dawbridge listen - --midi-port piano
    """
    from bridge import listening
    from bridge.presets import load

    names = with_latency(presets, "live")
    preset = load(names)
    instrument = preset.instrument
    _check_beats(preset, midi_port, beat_notes, midi_clock, fast)
    use_threads(threads)
    source = _source(audio, channels, rate, raw_channels, sample_format)
    with ExitStack() as stack:
        port = clock = None
        if midi_port is not None:
            from bridge.midi_clock import MidiClock
            from bridge.midi_port import open_port

            if instrument.beat_notes is not None:  # the sidecar sends them already
                beat_notes = None
            port = stack.enter_context(open_port(midi_port, instrument, source.rate, beat_notes))
            clock = stack.enter_context(MidiClock(port, source.rate)) if midi_clock else None
        connection, own = stack.enter_context(listening.sidecar(names, private=private))
        output.talk(f"{'Own' if own else 'Running'} sidecar at {connection.endpoint}")
        heard = listening.listen(
            source,
            names,
            connection,
            fast=fast,
            on_events=lambda events: _print_events(events, source.rate, json_output),
            port=port,
            clock=clock,
            name=source.name[-60:],
        )
    for warning in source.warnings:
        output.talk(warning)
    if midi is not None:
        from bridge.midi import write_midi

        notes, controls, lanes = heard.notes, heard.controls, heard.lanes
        write_midi(midi, notes, controls, heard.rate, lanes=lanes, instrument=instrument, name=audio.stem)
    _say(heard)
    return INTERRUPTED if heard.interrupted else 0


def _check_beats(preset: Preset, port: str | None, notes: int | None, clock: bool, fast: bool) -> None:
    option = "--midi-clock" if clock else "--beat-notes"
    if not clock and notes is None:
        return
    if port is None:
        raise UsageError(f"{option} has no port to send to", remedy="Add --midi-port NAME")
    if (system := preset.system.name) != "rhythm":
        raise UsageError(f"{option} needs beats", why=f"{system} hears none", remedy="Add --preset rhythm")
    if notes == preset.instrument.channel:
        raise UsageError(
            f"--beat-notes {notes} is the channel of the notes that are played", remedy="Give beats another"
        )
    if clock and fast:
        raise UsageError("--midi-clock runs in real time", remedy="Leave --fast out")


def _say(heard: Heard) -> None:
    late = f", by {heard.worst_late_ms:.0f} ms at most" if heard.late else ""
    output.talk(
        f"{len(heard.notes)} notes in {heard.samples / heard.rate:.1f} s; "
        f"latency {1000 * heard.latency / heard.rate:.0f} ms; {heard.late} late{late}; "
        f"{heard.dropped} blocks dropped"
    )


def _source(
    audio: Path, channels: tuple[int, ...] | None, rate: int, raw_channels: int, sample_format: str
) -> AudioSource:
    from typing import BinaryIO, cast

    from bridge.listening import Trickle
    from bridge.studio.audio import open_audio, open_raw

    if str(audio) != "-":
        return open_audio(audio, channels)
    stream = cast(BinaryIO, Trickle(sys.stdin.buffer))
    kind: Any = sample_format
    return open_raw(stream, rate, raw_channels, kind, pick=channels, name="standard input")


def _print_events(events: Events, rate: int, json_output: bool) -> None:
    from inference.events import NoteOn

    for note in events.notes:
        on = isinstance(note, NoteOn)
        name = f"{PITCHES[note.pitch % 12]}{note.pitch // 12 - 1}"
        velocity = max(1, round(127 * note.velocity)) if on else round(127 * note.velocity)
        if json_output:
            line = {
                "type": "on" if on else "off",
                "time_s": round(note.time / rate, 6),
                "sample": note.time,
                "pitch": note.pitch,
                "velocity": velocity,
                "note": note.note,
            }
            output.data(json.dumps(line))
        elif on:
            output.data(f"{note.time / rate:9.3f} s  {name:<4} velocity {velocity}")
    for beat in events.beats:
        _print_beat(beat, rate, json_output)
    if events.notes or events.beats:
        sys.stdout.flush()


def _print_beat(beat: Beat, rate: int, json_output: bool) -> None:
    if json_output:
        line = {
            "type": "beat",
            "time_s": round(beat.time / rate, 6),
            "sample": beat.time,
            "position": beat.position,
            "of": beat.of,
            "confidence": round(beat.confidence, 3),
        }
        output.data(json.dumps(line))
    else:
        output.data(f"{beat.time / rate:9.3f} s  beat {beat.position + 1} of {beat.of}")


@click.command(context_settings=SETTINGS)
@json_option
def status(json_output: bool) -> None:
    """Ask the running sidecar how it fares: one line for each plug-in.

    Example: dawbridge status
    """
    import msgspec

    from bridge.wire.client import status as ask

    report = ask()
    if json_output:
        output.as_json(msgspec.to_builtins(report))
        return
    output.data(
        f"{report.software}, process {report.pid}, up {report.uptime_s:.0f} s, "
        f"load {100 * report.load:.0f} %, {len(report.sessions)} sessions, {report.refused} refused"
    )
    if report.sessions:
        head = [
            "track",
            "name",
            "rate",
            "presets",
            "notes",
            "late",
            "dropped",
            "compute p50/p99",
            "queue p50/p99",
        ]
        output.table([head, *[_session(session) for session in report.sessions]])


def _session(session: SessionReport) -> list[str]:
    return [
        session.track or "-",
        session.name or "-",
        str(session.rate),
        "+".join(session.presets),
        str(session.notes),
        str(session.late),
        str(session.dropped),
        "/".join(f"{us / 1000:.1f}" for us in session.compute_us) + " ms",
        "/".join(f"{us / 1000:.1f}" for us in session.queue_us) + " ms",
    ]
