"""The command line. Heavy modules are imported inside the commands, so that help is there at once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bridge.commands import output
from bridge.commands.group import SETTINGS, LateGroup
from bridge.errors import BridgeError, EngineError
from bridge.logs import start_logging, stop_logging

log = logging.getLogger(__name__)

COMMANDS = {
    "demo": ("bridge.commands.files:demo", "Hear a short performance, or a file: MIDI and a picture."),
    "bounce": ("bridge.commands.files:bounce", "Turn recordings into MIDI files."),
    "render": ("bridge.commands.files:render", "Play a MIDI file through a piano and a room."),
    "generate": ("bridge.commands.performance:generate", "Write and play a new piece, as a MIDI file."),
    "perform": ("bridge.commands.performance:perform", "Play a score expressively, as a MIDI file."),
    "serve": ("bridge.commands.live:serve", "Run the sidecar that plug-ins talk to."),
    "listen": ("bridge.commands.live:listen", "Play a file or raw audio through the live path."),
    "status": ("bridge.commands.live:status", "Ask the running sidecar how it fares."),
    "plugin": ("bridge.commands.plugin:plugin", "Build and install the plug-in for your DAW."),
    "presets": ("bridge.commands.about:presets", "List presets, show one, or say where it is."),
    "systems": ("bridge.commands.about:systems", "List the systems that hear, and their weights."),
    "doctor": ("bridge.commands.about:doctor", "Check everything that dawbridge needs."),
    "bench": ("bridge.commands.about:bench", "Measure speed, latency and memory on this machine."),
    "evaluate": ("bridge.commands.training:evaluate", "Score a system on recordings with known notes."),
    "train": ("bridge.commands.training:train", "Train a system, or export what was trained."),
}
BROKEN_PIPE, INTERRUPTED, UNEXPECTED = 141, 130, 70


@click.group(
    cls=LateGroup,
    late=COMMANDS,
    context_settings={**SETTINGS, "auto_envvar_prefix": "DAWBRIDGE"},
    epilog="Any option can come from the environment: DAWBRIDGE_BOUNCE_PRESET=balanced. "
    "A flag wins over the environment, the environment over a preset.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
@click.option("-q", "--quiet", is_flag=True, help="Only results and errors.")
@click.version_option(package_name="dawbridge", prog_name="dawbridge")
@click.pass_context
def cli(ctx: click.Context, verbose: int, quiet: bool) -> None:
    """Lets a DAW hear: piano audio to MIDI, live or from files, and MIDI through pianos.

    Example: dawbridge bounce take.wav -o midi
    """
    output.quiet = quiet
    ctx.obj = start_logging(ctx.invoked_subcommand or "dawbridge", -1 if quiet else verbose)
    log.info("dawbridge %s", " ".join(sys.argv[1:]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; every way that it can end becomes an exit code."""
    try:
        code = cli.main(list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click makes SystemExit of the former
        _let_go_of_stdout()
        return BROKEN_PIPE
    except Exception as error:
        return _failed(error)
    finally:
        stop_logging()


def _failed(error: Exception) -> int:
    known = error if isinstance(error, BridgeError) else _known(error)
    if known is not None:
        log.debug("the error came from here", exc_info=error)
        output.trouble(known)
        return known.exit_code
    log.debug("unexpected", exc_info=error)
    path = _log_file()
    if path is not None:
        import traceback

        with path.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    output.trouble(
        BridgeError(
            f"something unexpected happened: {type(error).__name__}: {error}",
            remedy=f"Report it with {path}" if path else "Report it with the output of: dawbridge -vv ...",
        )
    )
    return UNEXPECTED


def _known(error: Exception) -> BridgeError | None:
    """Errors of the pure side, which knows no `BridgeError`, as such."""
    if type(error).__name__ == "WeightsError":
        return EngineError(str(error), remedy="See what there is with: dawbridge systems")
    if isinstance(error, MemoryError):
        return EngineError("memory ran out", remedy="Close other programs, or take a shorter file")
    if isinstance(error, ModuleNotFoundError) and error.name in ("matplotlib", "mir_eval", "numba"):
        return EngineError(
            f"this needs {error.name}",
            why="it is not installed",
            remedy="Install it with: pip install 'dawbridge[train]'",
        )
    return None


def _log_file() -> Path | None:
    for handler in logging.getLogger().handlers:
        if handler.get_name() == "dawbridge" and isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename)
    return None


def _let_go_of_stdout() -> None:
    """Nobody reads any more; what Python flushes at its end goes nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        return
    finally:
        os.close(nowhere)


if __name__ == "__main__":
    main()
