"""What commands print: data to stdout, talk to stderr, progress only on a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.errors import BridgeError

quiet = False
"""Set once, by the group's -q: no talk."""


def data(text: str) -> None:
    """A line of the result."""
    click.echo(text)


def talk(text: str) -> None:
    """A line beside the result; silent with -q."""
    if not quiet:
        click.echo(text, err=True)


def as_json(value: Any) -> None:
    """The result for programs: one JSON document, finite numbers only."""
    click.echo(json.dumps(_finite(value), indent=2, default=str))


def trouble(error: BridgeError) -> None:
    """What happened, why, and what to do."""
    click.secho(f"Error: {error.what}", fg="red", err=True)
    for label, text in (("why", error.why), ("do", error.remedy)):
        if text:
            click.echo(f"  {label}: {text}", err=True)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need, the first row on top."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def progress(label: str) -> Iterator[Callable[[str, float, float | None], None]]:
    """Yields `report(text, done, total)`; draws a bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _text, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
