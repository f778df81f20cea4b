"""Pictures: the piano roll of a performance, with its velocities, pedal, and a reference beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bridge.errors import EngineError
from bridge.files import replacing
from bridge.studio.report_rhythm import draw_rhythm
from inference.events import Beat, Control, Controller, LanePoint, Note

HIT_S = 0.05
"""An estimated note hits a reference note of the same pitch whose onset is this near."""
BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
INK, PAPER, GRID, KEY_SHADE, PEDAL = "#1f2430", "#ffffff", "#e3e6eb", "#f3f4f7", "#8fa3bf"
HIT, MISS, EXTRA = "#2f7d5b", "#c2410c", "#6d4aa8"
INCHES_PER_S, WIDTH, HEIGHT = 0.45, (8.0, 40.0), 5.2


@dataclass(frozen=True, slots=True)
class Match:
    """Notes that agree with a reference, reference notes that are missing, and notes too many."""

    hits: tuple[Note, ...]
    misses: tuple[Note, ...]
    extras: tuple[Note, ...]


def match(estimate: Sequence[Note], reference: Sequence[Note], rate: int) -> Match:
    """Pair each reference note with the nearest free estimated note of its pitch within `HIT_S`.

    It is meant for pictures; scores come from mir_eval.
    """
    free: dict[int, list[Note]] = {}
    for note in estimate:
        free.setdefault(note.pitch, []).append(note)
    hits, misses = [], []
    for note in sorted(reference, key=lambda n: n.onset):
        near = [n for n in free.get(note.pitch, []) if abs(n.onset - note.onset) <= HIT_S * rate]
        if near:
            best = min(near, key=lambda n: abs(n.onset - note.onset))
            free[note.pitch].remove(best)
            hits.append(best)
        else:
            misses.append(note)
    return Match(tuple(hits), tuple(misses), tuple(note for notes in free.values() for note in notes))


def piano_roll(
    path: str | Path,
    notes: Sequence[Note],
    rate: int,
    *,
    controls: Sequence[Control] = (),
    reference: Sequence[Note] | None = None,
    beats: Sequence[Beat] = (),
    lanes: Sequence[LanePoint] = (),
    title: str = "",
) -> Path:
    """Draw notes over time as a PNG, with a lane of velocities and, if there is one, of the pedal.

    Where beats were heard, bars are lines and numbers, beats are ticks, and a lane below has the tempo
    and the dynamics.

    Args:
        path: the picture.
        notes: what was heard, in samples at `rate`; coloured by velocity, or by hit, miss and extra
            if there is a reference.
        rate: samples per second of all times.
        controls: pedals; the sustain pedal is drawn.
        reference: what was played, if known.
        beats: as they were heard.
        lanes: the dynamics lane is drawn.
        title: above the picture.
    """
    path = Path(path)
    figure, roll, lane, below = _figure(notes, reference, rate, rhythm=len(beats) > 1)
    shown = [*notes, *(reference or ())]
    _keyboard(roll, shown)
    if reference is None:
        _by_velocity(figure, roll, lane, notes, rate)
    else:
        _by_match(roll, lane, match(notes, reference, rate), rate)
    _pedal(lane, controls, _end(shown, rate), rate)
    if below is not None:
        draw_rhythm(roll, below, beats, lanes, rate)
    _finish(roll, lane, shown, rate, title, below)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=160, facecolor=PAPER)
    return path


def _figure(
    notes: Sequence[Note], reference: Sequence[Note] | None, rate: int, *, rhythm: bool
) -> tuple[Any, Any, Any, Any]:
    # A Figure of its own, not pyplot: no display, no global state, nothing to close.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineError(
            "pictures need matplotlib",
            why="it is not installed",
            remedy="Install it with: pip install 'dawbridge[plot]'",
        ) from error
    seconds = _end([*notes, *(reference or ())], rate)
    width = min(max(seconds * INCHES_PER_S, WIDTH[0]), WIDTH[1])
    figure = Figure(figsize=(width, HEIGHT + 1.2 * rhythm), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 + rhythm, 1, sharex=True, height_ratios=(4, 1, 1)[: 2 + rhythm])
    return figure, axes[0], axes[1], axes[2] if rhythm else None


def _keyboard(roll: Any, notes: Sequence[Note]) -> None:
    """Shade the black keys and name the octaves over the range that is used."""
    pitches = [note.pitch for note in notes] or [60]
    low, high = max(0, min(pitches) - 2), min(127, max(pitches) + 2)
    while high - low < 24:
        low, high = max(0, low - 1), min(127, high + 1)
    for pitch in range(low, high + 1):
        if pitch % 12 in BLACK_KEYS:
            roll.axhspan(pitch - 0.5, pitch + 0.5, color=KEY_SHADE, lw=0, zorder=0)
    octaves = [pitch for pitch in range(low, high + 1) if pitch % 12 == 0]
    roll.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    roll.set_ylim(low - 0.5, high + 0.5)


def _by_velocity(figure: Any, roll: Any, lane: Any, notes: Sequence[Note], rate: int) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    # The palest end of the map would vanish on paper.
    shades = LinearSegmentedColormap.from_list(
        "velocity", colormaps["magma_r"]([0.18 + 0.74 * i / 15 for i in range(16)])
    )
    scale = Normalize(1, 127)
    colors = [shades(scale(127 * note.velocity)) for note in notes]
    _bars(roll, notes, rate, colors)
    _stems(lane, notes, rate, colors)
    bar = figure.colorbar(ScalarMappable(scale, shades), ax=[roll, lane], pad=0.01, aspect=40, fraction=0.02)
    bar.set_label("velocity", color=INK)
    bar.set_ticks([1, 32, 64, 96, 127])
    bar.outline.set_visible(False)


def _by_match(roll: Any, lane: Any, found: Match, rate: int) -> None:
    groups = (("hit", found.hits, HIT), ("extra", found.extras, EXTRA))
    for _, notes, color in groups:
        _bars(roll, notes, rate, [color] * len(notes))
        _stems(lane, notes, rate, [color] * len(notes))
    # Hollow, so that a miss and an extra on the same key can both be seen, and told apart in grey.
    _bars(roll, found.misses, rate, ["none"] * len(found.misses), edge=MISS)
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=f"{len(notes)} {name}") for name, notes, color in groups]
    handles.insert(1, Patch(facecolor="none", edgecolor=MISS, label=f"{len(found.misses)} missed"))
    roll.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.2
    )


def _bars(roll: Any, notes: Sequence[Note], rate: int, colors: Sequence[Any], edge: str = PAPER) -> None:
    from matplotlib.collections import PolyCollection

    corners = []
    for note in notes:
        left, right, y = note.onset / rate, note.offset / rate, note.pitch
        corners.append([(left, y - 0.4), (right, y - 0.4), (right, y + 0.4), (left, y + 0.4)])
    edges = [edge] * len(notes)
    roll.add_collection(
        PolyCollection(
            corners, facecolors=colors, edgecolors=edges, linewidths=0.5 if edge == PAPER else 1.1, zorder=3
        )
    )


def _stems(lane: Any, notes: Sequence[Note], rate: int, colors: Sequence[Any]) -> None:
    times, heights = [note.onset / rate for note in notes], [127 * note.velocity for note in notes]
    lane.vlines(times, 0, heights, colors=colors, lw=1.3, zorder=3)
    lane.scatter(times, heights, c=colors, s=9, lw=0, zorder=4)


def _pedal(lane: Any, controls: Sequence[Control], end: float, rate: int) -> None:
    """The sustain pedal as a shade behind the velocities."""
    points = [(c.time / rate, 127 * c.value) for c in controls if c.controller == Controller.SUSTAIN]
    if not points:
        return
    steps = [(0.0, 0.0), *sorted(points, key=lambda point: point[0]), (end, 0.0)]
    for (left, height), (right, _) in pairwise(steps):
        if height > 0:
            lane.fill_between([left, right], 0, height, color=PEDAL, alpha=0.3, lw=0, zorder=1)
    lane.text(1, 1.02, "shaded: pedal", transform=lane.transAxes, ha="right", color=PEDAL, fontsize=8)


def _finish(roll: Any, lane: Any, notes: Sequence[Note], rate: int, title: str, below: Any = None) -> None:
    roll.set_title(title, loc="left", color=INK, fontsize=12)
    lane.set_ylim(0, 132)
    lane.set_yticks([0, 64, 127])
    lane.set_ylabel("velocity", color=INK)
    (lane if below is None else below).set_xlabel("seconds", color=INK)
    lane.set_xlim(0, _end(notes, rate))
    for axes in (roll, lane) if below is None else (roll, lane, below):
        axes.grid(axis="x", color=GRID, lw=0.7, zorder=0)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, length=3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(GRID)


def _end(notes: Sequence[Note], rate: int) -> float:
    return max((note.offset for note in notes), default=rate) / rate * 1.01
