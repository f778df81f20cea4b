"""Printed dynamics of a score: markings and hairpins, carried to the beats of a performance.

Repeats are written out, once all of them and once none, and the alignment of the performance's notes
tells which of the two was played. Positions are in beats of the notated denominator, as the
alignments of (n)ASAP count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from inference.training.beats import BeatTable

CLASSES = {
    **dict.fromkeys(("ppppp", "pppp", "ppp", "pp"), 1),
    "p": 2,
    **dict.fromkeys(("mp", "mf"), 3),
    "f": 4,
    **dict.fromkeys(("ff", "fff", "ffff", "fffff"), 5),
    "fp": 2,
}
"""Printed markings as classes of dynamics; what accents single notes is none of them."""
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
FEWEST = 3
"""Markings below which a score tells too little."""
COVERED = 0.7
"""Part of the aligned notes that a score must have at their places to be theirs."""
_NEAR = 1.5
"""Beats after the end of a hairpin within which a marking says where it led."""


@dataclass(frozen=True)
class Measure:
    """One measure: its length, its notes `(beat, pitch)`, markings `(beat, class)`, and hairpin ends.

    `hairpins` are `(beat, +1 or -1)` at the end of each; `ending` are the times on which it is played.
    """

    length: float
    notes: tuple[tuple[float, int], ...]
    markings: tuple[tuple[float, int], ...]
    hairpins: tuple[tuple[float, int], ...]
    forward: bool = False
    backward: bool = False
    ending: tuple[int, ...] = ()
    pickup: bool = False


@dataclass(frozen=True)
class Unfolded:
    """A score as it is played, from its first full measure at beat 0: notes, markings, hairpin ends."""

    notes: frozenset[tuple[float, int]]
    markings: tuple[tuple[float, int], ...]
    hairpins: tuple[tuple[float, int], ...]


def read_score(path: Path) -> tuple[Measure, ...]:
    """Measures of a compressed MusicXML file.

    Raises:
        OSError: no such file.
        ValueError: it is damaged, or holds no measures.
    """
    try:
        with ZipFile(path) as file:
            names = [n for n in file.namelist() if n.endswith((".xml", ".musicxml")) and "META-INF" not in n]
            root = fromstring(file.read(names[0]))
    except (BadZipFile, IndexError, KeyError, ParseError) as error:
        raise ValueError(f"{path} is no compressed MusicXML: {error}") from error
    parts = [_Part(part).measures() for part in root.iter("part")]
    if not parts or not parts[0]:
        raise ValueError(f"{path} has no measures")
    return tuple(_together(same) for same in zip(*parts, strict=False))


def unfold(measures: Sequence[Measure], repeat: bool) -> Unfolded:
    """The measures one after the other, with repeats or without."""
    now = -measures[0].length if measures[0].pickup else 0.0
    notes, markings, hairpins = [], [], []
    for index in _order(measures, repeat):
        measure = measures[index]
        notes += [(round(now + at, 2), pitch) for at, pitch in measure.notes]
        markings += [(now + at, value) for at, value in measure.markings]
        hairpins += [(now + at, way) for at, way in measure.hairpins]
        now += measure.length
    return Unfolded(frozenset(notes), tuple(sorted(markings)), tuple(sorted(hairpins)))


def printed_dynamics(beats: BeatTable, score: Sequence[Measure], alignment: Path) -> BeatTable | None:
    """The beats with the class that holds at each, 0 before the first marking.

    A marking holds until the next; a hairpin that leads to no marking moves the class by one at its end.

    Args:
        beats: of a performance.
        score: of `read_score`.
        alignment: the `.aligned.npz` of the performance.

    Returns:
        None if the score has too few markings, or is not what was played.
    """
    with np.load(alignment) as file:
        place = file["score_onset"].astype(np.float64)
        time = file["onset_tick"] * float(file["seconds_per_tick"])
        pitch = file["pitch"].astype(int)
    played = set(zip(np.round(place, 2).tolist(), pitch.tolist(), strict=True))
    both = [unfold(score, repeat) for repeat in (True, False)]
    shares = [len(played & one.notes) / max(len(played), 1) for one in both]
    best = both[int(np.argmax(shares))]
    if max(shares) < COVERED or len(best.markings) < FEWEST:
        return None
    classes = _held(best, _score_beats(beats.time, time, place))
    return replace(beats, dynamics=classes)


def _held(score: Unfolded, at: NDArray[np.float64]) -> NDArray[np.int64]:
    marked = np.array([beat for beat, _ in score.markings])
    changes = [(beat, value, True) for beat, value in score.markings]
    for beat, way in score.hairpins:
        following = marked[np.searchsorted(marked, beat - 0.5) :]
        if not len(following) or following[0] > beat + _NEAR:
            changes.append((beat, way, False))
    classes, now, index = np.zeros(len(at), np.int64), 0, 0
    changes.sort()
    for row in np.argsort(at, kind="stable"):
        while index < len(changes) and changes[index][0] <= at[row] + 0.13:
            _, value, absolute = changes[index]
            now = value if absolute else int(np.clip(now + value, 1, 5)) if now else 0
            index += 1
        classes[row] = now
    return classes


def _score_beats(
    times: NDArray[np.float64], played: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Place in the score at each time, from the middle of the notes that share a place."""
    places, which = np.unique(place, return_inverse=True)
    order = np.lexsort((played, which))
    first = np.searchsorted(which[order], np.arange(len(places)), "left")
    last = np.searchsorted(which[order], np.arange(len(places)), "right")
    seconds = played[order][(first + last) // 2]
    rising = np.maximum.accumulate(seconds)
    keep = np.append(True, np.diff(rising) > 1e-6)
    found: NDArray[np.float64] = np.interp(times + 0.02, rising[keep], places[keep])
    return found


def _order(measures: Sequence[Measure], repeat: bool) -> list[int]:
    """Indices of the measures in the order in which they are played."""
    order, begin, index, times = list[int](), 0, 0, 1
    lasts = {ending: max(m.ending) for m in measures for ending in [m.ending] if ending}
    final = max(lasts.values(), default=1)
    if not repeat:
        return [i for i, m in enumerate(measures) if not m.ending or final in m.ending]
    while index < len(measures) and len(order) < 20 * len(measures):
        measure = measures[index]
        if measure.forward and begin != index:
            begin, times = index, 1
        if measure.ending and times not in measure.ending:
            index += 1
            continue
        order.append(index)
        if measure.backward and times == 1:
            times, index = 2, begin
            continue
        if measure.backward or (measure.ending and _leaves(measures, index)):
            begin, times = index + 1, 1
        index += 1
    return order


def _leaves(measures: Sequence[Measure], index: int) -> bool:
    """Whether an ending that is not repeated stops after this measure."""
    return index + 1 == len(measures) or measures[index + 1].ending != measures[index].ending


def _together(measures: Sequence[Measure]) -> Measure:
    """The same measure of several parts."""
    first = measures[0]
    return replace(
        first,
        length=max(m.length for m in measures),
        notes=tuple(sorted({note for m in measures for note in m.notes})),
        markings=_louder([mark for m in measures for mark in m.markings]),
        hairpins=tuple(sorted({pin for m in measures for pin in m.hairpins})),
        pickup=all(m.pickup for m in measures),
    )


def _louder(markings: Sequence[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """One marking per place: where hands differ, the louder one is heard."""
    loudest: dict[float, int] = {}
    for beat, value in markings:
        loudest[beat] = max(value, loudest.get(beat, 0))
    return tuple(sorted(loudest.items()))


class _Part:
    """Reads the measures of one part in order, with what carries over from one to the next."""

    def __init__(self, part: Element) -> None:
        self._part = part
        self._divisions, self._beats, self._unit = 1.0, 4.0, 4.0
        self._wedges: dict[str, int] = {}
        self._ending: tuple[int, ...] = ()
        self._notes: list[tuple[float, int]] = []
        self._markings: list[tuple[float, int]] = []
        self._hairpins: list[tuple[float, int]] = []

    def measures(self) -> list[Measure]:
        """All measures."""
        return [self._measure(element, index) for index, element in enumerate(self._part.iter("measure"))]

    def _measure(self, element: Element, index: int) -> Measure:
        self._notes, self._markings, self._hairpins = [], [], []
        now = longest = chord = 0.0
        forward = backward = closes = False
        for child in element:
            if child.tag == "attributes":
                self._attributes(child)
            elif child.tag in ("backup", "forward"):
                now += (1 if child.tag == "forward" else -1) * float(child.findtext("duration", "0"))
            elif child.tag == "note":
                begin = chord if child.find("chord") is not None else now
                self._note(child, self._in_beats(begin))
                if child.find("chord") is None:
                    chord = now
                    now += float(child.findtext("duration", "0")) if child.find("grace") is None else 0.0
            elif child.tag == "direction":
                self._direction(child, self._in_beats(now + float(child.findtext("offset", "0"))))
            elif child.tag == "barline":
                repeat, ending = child.find("repeat"), child.find("ending")
                forward |= repeat is not None and repeat.get("direction") == "forward"
                backward |= repeat is not None and repeat.get("direction") == "backward"
                closes |= self._ends(ending)
            longest = max(longest, now)
        found = Measure(
            self._in_beats(longest),
            tuple(self._notes),
            _louder(self._markings),
            tuple(self._hairpins),
            forward,
            backward,
            self._ending,
            index == 0 and self._in_beats(longest) < self._beats - 0.01,
        )
        if closes:
            self._ending = ()
        return found

    def _in_beats(self, divisions: float) -> float:
        return round(divisions / self._divisions * self._unit / 4, 4)

    def _attributes(self, element: Element) -> None:
        self._divisions = float(element.findtext("divisions", str(self._divisions)))
        beats, unit = element.findtext("time/beats"), element.findtext("time/beat-type")
        if beats and unit:
            self._beats, self._unit = float(sum(map(int, beats.split("+")))), float(unit)

    def _note(self, element: Element, beat: float) -> None:
        pitch = element.find("pitch")
        if pitch is not None:
            alter = round(float(pitch.findtext("alter", "0")))
            octave = int(pitch.findtext("octave", "4"))
            self._notes.append((beat, 12 * (octave + 1) + STEPS[pitch.findtext("step", "C")] + alter))
        for dynamics in element.iterfind("notations/dynamics"):
            self._mark(dynamics, beat)

    def _direction(self, element: Element, beat: float) -> None:
        for dynamics in element.iterfind("direction-type/dynamics"):
            self._mark(dynamics, beat)
        for wedge in element.iterfind("direction-type/wedge"):
            number, kind = wedge.get("number", "1"), wedge.get("type")
            if kind in ("crescendo", "diminuendo"):
                self._wedges[number] = 1 if kind == "crescendo" else -1
            elif kind == "stop" and number in self._wedges:
                self._hairpins.append((beat, self._wedges.pop(number)))

    def _mark(self, dynamics: Element, beat: float) -> None:
        for mark in dynamics:
            if mark.tag in CLASSES:
                self._markings.append((beat, CLASSES[mark.tag]))

    def _ends(self, ending: Element | None) -> bool:
        """Whether an ending closes with this measure; one that begins is kept."""
        if ending is None:
            return False
        if ending.get("type") == "start":
            numbers = [
                part for part in ending.get("number", "1").replace(" ", "").split(",") if part.isdigit()
            ]
            self._ending = tuple(map(int, numbers)) or (1,)
            return False
        return True
