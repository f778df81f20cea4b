"""Keys, and the notes that belong to them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 11)
"""Harmonic: with the leading note."""


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


def scale(tonic: int, minor: bool) -> frozenset[int]:
    """Pitch classes of a key."""
    return frozenset((tonic + step) % 12 for step in (MINOR if minor else MAJOR))


MAJOR_WEIGHTS = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_WEIGHTS = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each step of the chromatic scale fits a key (probe tones of Krumhansl and Kessler, 1982)."""


def find(weights: NDArray[np.number]) -> tuple[int, bool]:
    """Tonic and whether it is minor, of the key that pitch classes (12,) of such weights suggest."""
    fits = [
        (float(np.corrcoef(np.roll(profile, tonic), weights + 1e-9 * np.arange(12))[0, 1]), tonic, minor)
        for minor, profile in ((False, MAJOR_WEIGHTS), (True, MINOR_WEIGHTS))
        for tonic in range(12)
    ]
    _, tonic, minor = max(fits)
    return tonic, minor
