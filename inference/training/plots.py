"""Pictures of training and of errors (needs matplotlib, extra `plot`)."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
import numpy as np

from inference.training import scores as scoring
from inference.training.evaluate import Report
from inference.training.scores import Table

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_INK, _ACCENT, _SOFT = "#263238", "#00838f", "#b0bec5"


def learning_curve(table: Path, picture: Path) -> None:
    """Every loss of a `curve.csv` over the hours of audio heard, one small chart each."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [n for n in rows[0] if n not in {"minutes", "step", "hours_seen"}]
    hours = np.array([float(row["hours_seen"]) for row in rows])
    figure, axes = plt.subplots(2, -(-len(names) // 2), figsize=(11, 5.2), constrained_layout=True)
    for axis, name in zip(axes.flat, names, strict=False):
        values = np.array([float(row[name]) for row in rows])
        axis.plot(hours, values, color=_SOFT, lw=1)
        axis.plot(hours, _smoothed(values), color=_ACCENT, lw=1.8)
        axis.set_title(name, color=_INK, fontsize=10)
        axis.set_ylim(values[len(values) // 20 :].min() * 0.9, np.percentile(values, 97) * 1.05)
        _clean(axis)
    for axis in axes[-1]:
        axis.set_xlabel("hours of audio heard")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _smoothed(values: Table, width: int = 9) -> Table:
    width = min(width, len(values))
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.ones(width) / width, "same")[width // 2 : width // 2 + len(values)]


def errors(report: Report, name: str, picture: Path) -> None:
    """Where one set's errors lie: recall by register and velocity, timing, velocity, lengths."""
    rows = report.scores[name]
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), constrained_layout=True)
    figure.suptitle(f"{name}: onset F1 {scoring.mean(rows, 'onset'):.3f}", color=_INK)
    _recalls(axes[0, 0], "MIDI pitch", scoring.recall_by(rows, "by_register"), scoring.REGISTERS)
    _recalls(axes[0, 1], "velocity", scoring.recall_by(rows, "by_velocity"), scoring.VELOCITIES)
    pairs = [scoring.matched(*report.notes[row.name]) for row in rows]
    truth, found = (np.concatenate([pair[i] for pair in pairs]) for i in range(2))
    axes[0, 2].barh([row.name for row in rows][::-1], [row.onset for row in rows][::-1], color=_ACCENT)
    axes[0, 2].set(title="onset F1 per recording", xlim=(0, 1))
    axes[1, 0].hist((found[:, 0] - truth[:, 0]) * 1000, np.arange(-50, 52, 2), color=_ACCENT)
    axes[1, 0].set(title="onset error", xlabel="ms")
    axes[1, 1].scatter(truth[:, 3], found[:, 3], s=2, alpha=0.15, color=_ACCENT)
    axes[1, 1].set(title="velocity", xlabel="played", ylabel="heard", xlim=(0, 127), ylim=(0, 127))
    lengths = [pair[:, 1] - pair[:, 0] for pair in (truth, found)]
    axes[1, 2].scatter(lengths[0], lengths[1], s=2, alpha=0.15, color=_ACCENT)
    axes[1, 2].set(title="length", xlabel="sounded (s)", ylabel="heard (s)", xscale="log", yscale="log")
    axes[1, 2].set(xlim=(0.03, 20), ylim=(0.03, 20))
    for axis in axes.flat:
        _clean(axis)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _recalls(axis: plt.Axes, title: str, values: list[float], ranges: tuple[tuple[int, int], ...]) -> None:
    labels = [f"{low}-{high - 1}" for low, high in ranges]
    bars = axis.bar(labels, values, color=_ACCENT)
    axis.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=8, color=_INK)
    axis.set(title=f"recall by {title}", ylim=(0, 1.08))
    axis.tick_params(axis="x", labelsize=8)


def _clean(axis: plt.Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=_INK, labelsize=8)
    axis.title.set_color(_INK)
    axis.title.set_fontsize(10)
