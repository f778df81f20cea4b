"""Bounce: audio files to MIDI files, through the same engine that listens live."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bridge.errors import BridgeError, EngineError, UsageError
from bridge.files import replacing, unwritable
from bridge.midi import write_midi
from bridge.presets import Preset, load
from bridge.studio.audio import AudioSource, open_audio
from bridge.studio.rhythm import (
    RhythmOptions,
    beat_notes,
    markers,
    open_listener,
    spans,
    tempo_grid,
    with_spans,
)
from bridge.studio.targets import Target, find_targets
from bridge.studio.tuning import choose_tuning
from bridge.tempo import beats_as_dict
from inference.clock import PPQ
from inference.events import Beat, Control, LanePoint, Note, NoteCollector

Status = Literal["done", "skipped", "planned", "failed"]
_RHYTHM_CHUNK_MS = 1_000


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a bounce stands: file `index` of `count` (from 0), and how much of it was heard."""

    index: int
    count: int
    source: Path
    seconds: float
    total: float | None


@dataclass(frozen=True, slots=True)
class BounceOptions:
    """How to bounce.

    Args:
        preset: what hears, and how notes become MIDI; None takes the offline preset.
        channels: which channels of the files to hear, counted from 1.
        skip_existing: leave a source alone if all its outputs exist.
        dry_run: only say what would be done.
        picture: also draw a piano roll beside the MIDI file.
        rhythm: hear the beats too, and what to make of them; None: no beats, 120 bpm.
        find_tuning: hear where each recording's A4 lies, instead of what the preset says.
    """

    preset: Preset | None = None
    channels: tuple[int, ...] | None = None
    skip_existing: bool = False
    dry_run: bool = False
    picture: bool = False
    rhythm: RhythmOptions | None = None
    find_tuning: bool = False


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one source file."""

    source: Path
    status: Status
    outputs: tuple[Path, ...] = ()
    seconds: float = 0.0
    notes: int = 0
    elapsed_s: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio per second of work; 0 if nothing was heard."""
        return self.seconds / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "source": str(self.source),
            "status": self.status,
            "outputs": [str(output) for output in self.outputs],
            "seconds": round(self.seconds, 6),
            "notes": self.notes,
            "elapsed_s": round(self.elapsed_s, 3),
            "real_time_factor": round(self.real_time_factor, 2),
            "error": self.error,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class BounceReport:
    """The results of all files, in order."""

    results: tuple[FileResult, ...]

    @property
    def failed(self) -> tuple[FileResult, ...]:
        """The files that could not be bounced."""
        return tuple(result for result in self.results if result.status == "failed")

    @property
    def exit_code(self) -> int:
        """0 if every file went well, else 1."""
        return 1 if self.failed else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"failed": len(self.failed), "files": [result.as_dict() for result in self.results]}


@dataclass(slots=True)
class Heard:
    """Everything that was heard in one source; times are samples at `rate`, in order of onset.

    This is what grows with the length of a source, beside nothing else: about 20 MB an hour if a lane
    has a point every 20 ms.
    """

    rate: int
    samples: int = 0
    notes: list[Note] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    lanes: list[LanePoint] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)


def bounce(
    paths: Sequence[str | Path],
    out: str | Path | None = None,
    options: BounceOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    finished: Callable[[FileResult], None] | None = None,
) -> BounceReport:
    """Turn audio files, and those in folders, into MIDI files.

    A file that cannot be read or written is reported and the next one is taken. Outputs appear
    only when they are complete.

    Args:
        paths: files and folders; folders are searched through all their levels.
        out: folder of the MIDI files, in the shape of the folders, or the MIDI file of the only source;
            None puts each beside its source.
        options: see `BounceOptions`.
        progress: called after every block.
        finished: called after every file.
    """
    options = options or BounceOptions()
    preset = options.preset or load(["offline"])
    targets = find_targets(paths, None if out is None else Path(out))
    if not targets:
        raise UsageError("there is nothing to bounce", remedy="Give audio files, or a folder that has some")
    results = []
    transcriber: Any = None
    listener: Any = None
    for index, target in enumerate(targets):
        outputs = _outputs(target, options)
        result = _without_hearing(target, outputs, options)
        if result is None:
            transcriber = transcriber or open_system(preset)
            listener = listener or (open_listener(options.rhythm) if options.rhythm else None)
            report = _reporter(progress, index, len(targets), target.source)
            result = _bounce_one(target, outputs, transcriber, listener, preset, options, report)
        results.append(result)
        if finished:
            finished(result)
    return BounceReport(tuple(results))


def hear(
    source: AudioSource,
    transcriber: Any,
    chunk_ms: float | None = None,
    report: Callable[[float, float | None], None] | None = None,
    listener: Any = None,
    tuning_hz: float = 440.0,
) -> Heard:
    """Listen to a source from beginning to end, exactly as a live stream does.

    `listener`, if there is one, hears the beats beside it; `tuning_hz` is where the piano's A4 lies.
    """
    from inference.pipeline import Stream, advance

    stream = Stream(transcriber, source.rate, source.channels, chunk_ms=chunk_ms, tuning_hz=tuning_hz)
    rhythm = listener and Stream(listener, source.rate, source.channels, chunk_ms=_RHYTHM_CHUNK_MS)
    heard, collector = Heard(source.rate), NoteCollector()

    def keep(events: Any) -> None:
        heard.notes += collector.add(events)
        heard.controls += events.controls
        heard.lanes += events.lanes

    for block in source.blocks():
        stream.push(block)
        heard.samples += block.shape[1]
        keep(advance([stream])[0])
        if rhythm:
            rhythm.push(block)
            advance([rhythm])
        if report:
            report(heard.samples / source.rate, source.seconds)
    keep(stream.finish())
    heard.notes += collector.close(heard.samples)
    if rhythm:
        rhythm.tell(heard.notes)
        last = rhythm.finish()
        heard.beats += last.beats
        heard.lanes += last.lanes
    heard.notes.sort(key=lambda note: (note.onset, note.pitch))
    return heard


def open_system(preset: Preset) -> Any:
    """The preset's transcriber; whatever keeps it from opening becomes an `EngineError`."""
    try:
        return preset.transcriber()
    except BridgeError:
        raise
    except (ImportError, OSError, ValueError, RuntimeError, AttributeError) as error:
        raise EngineError(
            f"system {preset.system.name!r} cannot be opened",
            why=str(error),
            remedy="Check its weights with: dawbridge doctor",
        ) from error


def _outputs(target: Target, options: BounceOptions) -> tuple[Path, ...]:
    outputs = [target.midi]
    if options.picture:
        outputs.append(target.picture)
    if options.rhythm and options.rhythm.beats:
        outputs.append(target.beats)
    return tuple(outputs)


def _without_hearing(target: Target, outputs: tuple[Path, ...], options: BounceOptions) -> FileResult | None:
    """The result of a source that need not be heard."""
    if options.skip_existing and all(output.exists() for output in outputs):
        return FileResult(target.source, "skipped", outputs)
    if options.dry_run and not target.source.is_file():
        return FileResult(
            target.source, "failed", error=f"there is no audio file {target.source}. Check the path."
        )
    if options.dry_run:
        return FileResult(target.source, "planned", outputs)
    return None


def _bounce_one(
    target: Target,
    outputs: tuple[Path, ...],
    transcriber: Any,
    listener: Any,
    preset: Preset,
    options: BounceOptions,
    report: Callable[[float, float | None], None] | None,
) -> FileResult:
    begin = time.perf_counter()
    try:
        tuning_hz, doubts = choose_tuning(target.source, options.channels, preset, options.find_tuning)
        source = open_audio(target.source, options.channels)
        heard = hear(source, transcriber, preset.latency.chunk_ms, report, listener, tuning_hz)
        warnings = source.warnings + doubts + _write(target, heard, preset, options)
    except BridgeError as error:
        return FileResult(target.source, "failed", error=str(error))
    except OSError as error:
        return FileResult(target.source, "failed", error=str(unwritable(target.midi, error)))
    elapsed = time.perf_counter() - begin
    seconds = heard.samples / heard.rate
    return FileResult(target.source, "done", outputs, seconds, len(heard.notes), elapsed, "", tuple(warnings))


def _write(target: Target, heard: Heard, preset: Preset, options: BounceOptions) -> list[str]:
    rhythm = options.rhythm
    if options.picture:
        from bridge.studio.report import piano_roll

        piano_roll(
            target.picture,
            heard.notes,
            heard.rate,
            controls=heard.controls,
            beats=heard.beats,
            lanes=heard.lanes,
            title=target.source.name,
        )
    if rhythm and rhythm.beats:
        with replacing(target.beats) as part:
            plain = beats_as_dict(
                heard.beats, heard.rate, markers(heard.lanes), heard.lanes, spans(heard.lanes)
            )
            part.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    grid = tempo_grid(heard.beats, heard.rate, rhythm)
    told = bool(rhythm and rhythm.dynamics)
    clicks = rhythm.beat_notes if rhythm else None
    summary = write_midi(
        target.midi,
        heard.notes,
        heard.controls,
        heard.rate,
        lanes=heard.lanes if told or not rhythm else (),
        markers=with_spans(markers(heard.lanes), spans(heard.lanes)) if told else (),
        beats=beat_notes(heard.beats, heard.rate, clicks) if clicks else (),
        instrument=preset.instrument,
        name=target.source.stem,
        tempo=grid.tempo if grid else None,
        meters=grid.meters if grid else (),
        ppq=grid.ppq if grid else PPQ,
    )
    warnings = []
    if rhythm and rhythm.tempo and grid is None:
        warnings.append("no sure beats were heard: the tempo is left at 120 bpm")
    if summary.outside_range:
        low, high = preset.instrument.key_range
        warnings.append(f"{summary.outside_range} notes outside keys {low} to {high} were left out")
    return warnings


def _reporter(
    progress: Callable[[Progress], None] | None, index: int, count: int, source: Path
) -> Callable[[float, float | None], None] | None:
    if progress is None:
        return None
    return lambda seconds, total: progress(Progress(index, count, source, seconds, total))
