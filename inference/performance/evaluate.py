"""Measures performances of scores against those of people who played the same."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.performance import load, parameters, playing, rules, words
from inference.performance.example import USUAL_BEAT_S, scaled, seconds_per_beat
from inference.performance.pairs import Piece, Played, pieces
from inference.performance.score import Performance, Score

ASPECTS = ("velocity", "tempo", "articulation")
"""Pearson correlations over the notes: velocity, log inter-onset ratio, log articulation."""
FEWEST_PEOPLE = 3
TRAINED = Path("asap/train")
FOLDER = Path("asap/validation")

Player = Callable[[Score], Performance]


@dataclass(frozen=True)
class Likeness:
    """How a performance of a piece correlates with that of the nearest person, for each aspect."""

    piece: str
    player: str
    people: int
    velocity: float
    tempo: float
    articulation: float


def run(
    data: Path,
    out: Path | None = None,
    weights: str | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Likeness]:
    """Compare all players with people on the validation pieces that at least three people played.

    Args:
        data: folder with `asap/validation`.
        out: gets `likeness.csv`, `likeness.json`, `likeness.md`; nothing is written if None.
        weights: name or path; default the shipped ones.
        progress: called with each piece's name.

    Raises:
        FileNotFoundError: the validation pieces are not there.
    """
    found: list[Likeness] = []
    players = all_players(weights)
    for piece in pieces(data / FOLDER):
        if len(piece.played) >= FEWEST_PEOPLE:
            progress(piece.name)
            found += compare(piece, players)
    if out is not None:
        _write(found, out)
    return found


def all_players(weights: str | None = None) -> dict[str, Player]:
    """The network with and without printed marks, and performances by rule."""
    performer = load(weights)
    return {
        "network": performer.perform,
        "network without marks": lambda score: performer.perform(score.unmarked()),
        "by rule": rules.by_rule,
        "deadpan": rules.deadpan,
    }


def compare(piece: Piece, players: Mapping[str, Player]) -> list[Likeness]:
    """All players on one piece, and people among themselves."""
    rows = []
    for name, play in players.items():
        whole = play(piece.score)
        own = [(piece.score.select(p.notes), whole.select(p.notes)) for p in piece.played]
        rows.append(
            _nearest(
                piece.name,
                name,
                [likeness(s, a, p.performance) for (s, a), p in zip(own, piece.played, strict=True)],
            )
        )
    people = []
    for index, one in enumerate(piece.played):
        others = [other for place, other in enumerate(piece.played) if place != index]
        people.append(_nearest(piece.name, "people", [_between(piece.score, one, other) for other in others]))
    means = {a: float(np.mean([getattr(row, a) for row in people])) for a in ASPECTS}
    return [*rows, Likeness(piece.name, "people", len(piece.played), **means)]


def likeness(score: Score, a: Performance, b: Performance) -> tuple[float, float, float]:
    """Correlations of two performances of the same notes in velocity, tempo and articulation."""
    x, y = parameters.measure(score, a), parameters.measure(score, b)
    return (
        correlation(x.velocity, y.velocity),
        correlation(np.log2(x.beat_period), np.log2(y.beat_period)),
        correlation(x.articulation, y.articulation),
    )


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's r; 0 where one of them never changes."""
    if len(a) < 2 or np.ptp(a) < 1e-6 or np.ptp(b) < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def mean(rows: Iterable[Likeness], player: str, aspect: str) -> float:
    """Over the pieces."""
    return float(np.mean([getattr(row, aspect) for row in rows if row.player == player]))


def table(rows: list[Likeness]) -> str:
    """Means over pieces as a Markdown table, and what part of the people's that is."""
    names = list(dict.fromkeys(row.player for row in rows))
    lines = ["| player | velocity r | tempo r | articulation r | of people's |", "|---|---|---|---|---|"]
    ceiling = [mean(rows, "people", aspect) for aspect in ASPECTS]
    for name in names:
        values = [mean(rows, name, aspect) for aspect in ASPECTS]
        parts = ", ".join(f"{100 * v / c:.0f} %" for v, c in zip(values, ceiling, strict=True))
        lines.append(f"| {name} | {' | '.join(f'{v:.3f}' for v in values)} | {parts} |")
    pieces_ = len({row.piece for row in rows})
    return "\n".join([*lines, "", f"{pieces_} pieces, {_people(rows)} performances by people"])


@dataclass(frozen=True)
class RoundTrip:
    """Onset errors in ms of one performance that became numbers or words, and notes again."""

    performance: str
    notes: int
    exact_max: float
    rounded_median: float
    rounded_p99: float


def round_trips(
    data: Path,
    out: Path | None = None,
    weights: str | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[RoundTrip]:
    """Measure the words on all training performances; see `RoundTrip`."""
    rows = []
    for piece in pieces(data / TRAINED):
        progress(piece.name)
        rows += [_round_trip(f"{piece.name}/{one.name}", piece.score, one) for one in piece.played]
    return rows


def _round_trip(name: str, whole: Score, one: Played) -> RoundTrip:
    score, played = whole.select(one.notes), one.performance
    exact = parameters.realise(score, parameters.measure(score, played))
    spelled = words.spell(score)
    factor = USUAL_BEAT_S / seconds_per_beat(score, played)  # as the networks hear it
    told, numbers = playing.spell(spelled, score, scaled(played, factor))
    places = told.tokens.astype(np.float64) - 1
    places[spelled.note < 0] = 0
    back = scaled(playing.unspell(spelled, score, places, numbers.start), 1 / factor)
    error = 1000 * np.abs(back.onset - played.onset)
    return RoundTrip(
        name,
        len(score),
        float(1000 * np.abs(exact.onset - played.onset).max()),
        float(np.median(error)),
        float(np.percentile(error, 99)),
    )


def round_trip_table(rows: list[RoundTrip]) -> str:
    """The worst and the middle of all performances."""
    columns = np.array([(r.exact_max, r.rounded_median, r.rounded_p99) for r in rows])
    middle, worst = np.median(columns, 0), columns.max(0)
    lines = [
        "| onset error, ms | exact, largest | in words, median | in words, 99th percentile |",
        "|---|---|---|---|",
    ]
    for name, values in (("median performance", middle), ("worst performance", worst)):
        lines.append(f"| {name} | {values[0]:.2g} | {values[1]:.2f} | {values[2]:.1f} |")
    return "\n".join([*lines, "", f"{len(rows)} performances, {sum(r.notes for r in rows)} notes"])


def _people(rows: list[Likeness]) -> int:
    return sum(row.people for row in rows if row.player == "people")


def _between(score: Score, one: Played, other: Played) -> tuple[float, float, float]:
    shared, a, b = np.intersect1d(one.notes, other.notes, return_indices=True)
    return likeness(score.select(shared), one.performance.select(a), other.performance.select(b))


def _nearest(piece: str, player: str, found: list[tuple[float, float, float]]) -> Likeness:
    best = np.max(np.array(found), 0)
    return Likeness(piece, player, len(found), *(float(value) for value in best))


def _write(rows: list[Likeness], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "likeness.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    with (out / "likeness.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (out / "likeness.md").write_text(table(rows) + "\n")
