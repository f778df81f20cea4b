"""Keys, and the notes that belong to them."""

from __future__ import annotations

import re

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
