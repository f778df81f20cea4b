"""Scores and performances that the tests of the performance system share."""

import numpy as np

from inference.performance.score import Performance, make_score


def a_score(bars=24, seed=0, meter=4):
    """Chords, runs, triplets, a grace note now and then; marked p and f by turns."""
    random = np.random.default_rng(seed)
    notes = []
    for bar in range(bars):
        beat = 0.0
        while beat < meter:
            step = random.choice([0.25, 1 / 3, 0.5, 1.0, 1 / 7])
            count = random.integers(1, 4)
            for pitch in random.choice(np.arange(36, 90), count, replace=False):
                length = 0.0 if random.random() < 0.03 else step * random.choice([1, 1, 2])
                notes.append((bar * meter + beat, length, pitch))
            beat = round((beat + step) * 84) / 84
    table = np.array(notes)
    level = np.where((table[:, 0] // (4 * meter)) % 2 == 0, 3, 6)
    score, _ = make_score(
        table[:, 0], table[:, 1], table[:, 2].astype(int), np.arange(bars) * float(meter), level=level
    )
    return score


def a_performance(score, seed=1):
    """Rubato, broken chords, and a pedal that changes every two beats."""
    random = np.random.default_rng(seed)
    onsets = score.onsets
    tempo = 0.5 * np.exp2(0.3 * np.sin(onsets / 5) + 0.1 * random.standard_normal(len(onsets)))
    times = 2.0 + np.append(0, np.cumsum(tempo[:-1] * np.diff(onsets)))
    onset = times[score.group] + 0.012 * random.standard_normal(len(score))
    length = np.maximum(score.duration, 0.1) * 0.5 * np.exp2(random.normal(-0.4, 0.5, len(score)))
    velocity = np.clip(random.normal(64, 14, len(score)).round(), 1, 127)
    down = np.interp(np.arange(0, onsets[-1], 2.0) + 0.1, onsets, times)
    up = np.interp(np.arange(2, onsets[-1] + 2, 2.0)[: len(down)], onsets, times)
    return Performance(onset, length, velocity, np.stack([down, up], 1))
