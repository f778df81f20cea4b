"""Which of several readings of the same music is meant.

What the best path of beats is depends on what the decoder is told: how much a tempo may jump, how
fast beats may be. So it is asked several times, and each answer is judged as a whole, by what no
path can know while it is sought: whether notes think it counted as meant, how well its bars fill,
what lies between its beats. A judge is a weighted sum, solved on training music.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.events import Beat
from inference.rhythm.bars import beat_frames, near, regular
from inference.rhythm.config import FrontEndConfig
from inference.rhythm.decode import DecodeSettings
from inference.rhythm.noted import Noted
from inference.rhythm.settle import LATE_FRAMES
from inference.rhythm.tempi import TEMPI, tempo_place

TEMPO_RANGES = (45.0, 90.0), (67.0, 134.0), (100.0, 200.0), (150.0, 280.0)
"""Beats per minute between which beats are looked for, besides everywhere."""
LOOSER, EAGERER = 2 / 3, 0.5
"""Of one more reading everywhere: its tempo may jump for less, and each beat earns more."""
EVIDENCE = 17
"""Numbers that tell of a reading; a judge has a weight for each."""
FEWEST = 24
"""Beats below which a reading is not judged."""
_NEAR_FRAMES, _LONGEST_S, _LOUDEST = 3.0, 3.0, 5.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """Beats in bars, times in samples, and what notes say of each, `(beats,)`.

    `counted` are logits that beats are counted as meant, `began` that each begins a bar.
    """

    beats: tuple[Beat, ...]
    counted: NDArray[np.float32]
    began: NDArray[np.float32]


def ways(settings: DecodeSettings) -> list[DecodeSettings]:
    """How beats are looked for, the usual way first; tempi only where `settings` allow them."""
    looser = replace(settings, jump=settings.jump * LOOSER, beat_bias=settings.beat_bias - EAGERER)
    found = [settings, looser]
    for slowest, fastest in TEMPO_RANGES:
        slowest, fastest = max(slowest, settings.slowest_bpm), min(fastest, settings.fastest_bpm)
        narrowed = replace(settings, slowest_bpm=slowest, fastest_bpm=fastest)
        if slowest < fastest and narrowed != settings:
            found.append(narrowed)
    return found


def evidence(
    reading: Reading, beat: Floats, noted: Noted, config: FrontEndConfig, meters: Sequence[int]
) -> Floats:
    """What tells of a reading, `(EVIDENCE,)`.

    In this order: how surely notes think it counted as meant (mean, mean by duration, median, worst fifth);
    how regular bars are, how well those that were found fit, how often their meter changes; how surely
    beats are beats, what lies at half and at a third of them, what all earn in a second; how uneven beats
    are (from one to the next, and in all), how long, how likely their tempo; how many notes are struck on
    beats; how far it is from 120 a minute.

    Args:
        reading: of `FEWEST` beats or more.
        beat: the logit of each frame that it was found by.
        noted: what notes say.
        config: of the frames.
        meters: beats per bar that may occur.
    """
    counted, began = reading.counted, reading.began
    frames = beat_frames(reading.beats, config)
    between = np.diff(frames)
    length = np.diff([one.time for one in reading.beats]) / config.rate
    lasting = np.minimum(np.append(length, length[-1]), _LONGEST_S)
    first = np.array([one.position == 0 for one in reading.beats])
    at_beats = near(beat, frames)
    place = np.clip(np.rint(tempo_place(length)), 0, TEMPI - 1).astype(np.int64)
    middle = np.median(length)
    return np.array(
        [
            counted.mean(),
            (counted * lasting).sum() / lasting.sum(),
            np.median(counted),
            np.percentile(counted, 20),
            regular(began, meters),
            np.clip(np.where(first, began, -began), -4, 4).mean(),
            (np.diff([one.of for one in reading.beats]) != 0).mean(),
            at_beats.mean(),
            near(beat, frames[:-1] + between // 2).mean(),
            near(beat, frames[:-1] + between // 3).mean(),
            (np.clip(at_beats, -_LOUDEST, _LOUDEST) + 1).sum() / len(beat) * config.frames_per_second,
            np.abs(np.diff(np.log(length))).mean(),
            np.log(length).std(),
            np.log(middle),
            noted.tempo[np.clip(frames[:-1], 0, len(beat) - 1), place].mean(),
            _on_beats(noted.struck[:, 0], (frames - LATE_FRAMES).astype(np.float64)),
            abs(np.log(2 * middle)),
        ],
        np.float64,
    )


def _on_beats(struck: Floats, beats: Floats) -> float:
    """Share of notes that are struck on a beat, both in frames."""
    after = np.clip(np.searchsorted(beats, struck), 1, len(beats) - 1)
    away = np.minimum(np.abs(struck - beats[after - 1]), np.abs(struck - beats[after]))
    return float((away < _NEAR_FRAMES).mean())
