"""Keys: which one a score is in, and how far it is to another."""

from __future__ import annotations

import re

import numpy as np

from inference.performance.parameters import notated
from inference.performance.score import Floats, Score

NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
"""How well each pitch class fits a key, from the tonic up (Krumhansl and Kessler 1982)."""


def parse(name: str) -> tuple[int, bool]:
    """Tonic as a pitch class, and whether it is minor: `C`, `F#`, `Bbm`, `c minor`.

    Raises:
        ValueError: no key.
    """
    found = re.fullmatch(r"\s*([A-Ga-g])(#|b|♯|♭)?\s*(m|min|minor|maj|major)?\s*", name)
    if found is None:
        raise ValueError(f"{name!r} is no key")
    letter, sign, mode = found.groups()
    shift = {None: 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[sign]
    minor = mode.startswith("mi") or mode == "m" if mode else letter.islower()
    return (NATURAL[letter.upper()] + shift) % 12, minor


def weights(score: Score) -> Floats:
    """(12,) how long each pitch class sounds."""
    return np.bincount(score.pitch % 12, np.minimum(notated(score), 4), 12).astype(np.float64)


def shift_to(score: Score, tonic: int, minor: bool) -> int:
    """Semitones, -6 to 5, by which a score comes nearest to a key."""
    heard, profile = weights(score), MINOR if minor else MAJOR
    fits = [np.corrcoef(np.roll(heard, shift), np.roll(profile, tonic))[0, 1] for shift in range(12)]
    best = int(np.argmax(np.nan_to_num(fits)))
    return best if best < 6 else best - 12
