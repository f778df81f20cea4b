"""From what the network thinks of each frame to beats that belong together.

A path of beats is the best explanation of the whole recording: each beat earns what the network
thinks of its frame, a tempo that jumps costs, and so does a bar that does not fill. The search is the
exact one over all beat times, tempi, meters and bar positions (a semi-Markov bar pointer): rubato
costs little, and a pause may be longer than any beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.events import Beat
from inference.rhythm.config import FrontEndConfig
from inference.rhythm.tempi import interval_shares

Floats = NDArray[np.float64] | NDArray[np.float32]
_NEVER = -1e9


@dataclass(frozen=True)
class DecodeSettings:
    """What the path may do, and what it costs.

    Args:
        slowest_bpm: and `fastest_bpm`: the range of tempi.
        meters: beats per bar that may occur.
        beat_bias: logit that a frame must exceed to earn anything.
        beat_limit: largest absolute value of what one beat earns.
        downbeat_bias: logit above which a beat rather begins a bar.
        downbeat_weight: of the bar against the beat.
        jump: cost of the squared logarithm of two successive intervals' ratio.
        usual_bpm: tempo that costs nothing, and `unusual` what the squared octaves away from it cost.
        noted_bias: `beat_bias` where notes are known.
        noted_beats: weight of what notes say of beats, beside what the sound says; so
            `noted_bars` of bars, and `noted_tempo` of the tempo, which then need not be usual.
        noted_bars_bias: logit above which notes rather begin a bar.
        meter_change: cost of another meter from one bar to the next.
        pause: cost of going on elsewhere, in another tempo, after any time.
        certain: mean confidence below which a stretch of beats is no music to count along with.
        shortest: beats below which a stretch is left out.
    """

    slowest_bpm: float = 30.0
    fastest_bpm: float = 280.0
    meters: tuple[int, ...] = (2, 3, 4)
    beat_bias: float = 0.0
    beat_limit: float = 5.0
    downbeat_bias: float = 0.0
    downbeat_weight: float = 0.6
    jump: float = 30.0
    usual_bpm: float = 110.0
    unusual: float = 0.3
    noted_bias: float = -1.0
    noted_beats: float = 1.0
    noted_bars: float = 1.5
    noted_bars_bias: float = -1.5
    noted_tempo: float = 1.0
    meter_change: float = 6.0
    pause: float = 8.0
    certain: float = 0.4
    shortest: int = 6


class Places(NamedTuple):
    """The bar positions of all meters laid end to end."""

    position: NDArray[np.int64]
    of: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


class _Steps(NamedTuple):
    """How the best path came to each candidate, `(candidates, ..., slots)`, see `_best_path`."""

    slot: NDArray[np.int8]
    meter: NDArray[np.int8]
    earlier: NDArray[np.int64]


def decode(
    beat: Floats,
    downbeat: Floats,
    settings: DecodeSettings,
    config: FrontEndConfig,
    tempo: Floats | None = None,
) -> tuple[Beat, ...]:
    """Beats of a whole recording, times in samples at `config.rate`.

    Args:
        beat: logit per frame, `(frames,)`.
        downbeat: likewise.
        settings: see `DecodeSettings`.
        config: gives the frame rate.
        tempo: what each tempo costs, `(frames, TEMPI)`, 0 or less.
    """
    if len(beat) < 2:
        return ()
    places = bar_places(settings.meters)
    frames = candidates(beat)
    earned = np.clip(beat[frames] - settings.beat_bias, -settings.beat_limit, settings.beat_limit)
    earned = earned[:, None] + _bar_scores(downbeat, places, settings)[frames]
    told = None if tempo is None else settings.noted_tempo * tempo[frames]
    path = _best_path(frames, earned, places, settings, config, told)
    found = [
        Beat(_time(beat, frame, config), int(places.position[k]), int(places.of[k]), _confidence(beat, frame))
        for frame, k in path
    ]
    return _believable(_rising(found), settings, config)


def bar_places(meters: tuple[int, ...]) -> Places:
    """Positions 0 .. m - 1 of each meter m, and where each meter begins and ends among them."""
    position = np.concatenate([np.arange(m) for m in meters])
    of = np.concatenate([np.full(m, m) for m in meters])
    last = np.cumsum(meters) - 1
    return Places(position, of, last - np.array(meters) + 1, last)


def pick_peaks(logits: Floats, reach: int = 3, threshold: float = 0.0) -> NDArray[np.int64]:
    """Frames that are the largest within `reach` frames and above the threshold; neighbours are one."""
    if not len(logits):
        return np.zeros(0, np.int64)
    padded = np.pad(logits, reach, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)
    peaks = np.flatnonzero((logits == around) & (logits > threshold))
    if not len(peaks):
        return peaks
    groups = np.split(peaks, np.flatnonzero(np.diff(peaks) > 1) + 1)
    return np.array([round(float(group.mean())) for group in groups], np.int64)


def candidates(beat: Floats) -> NDArray[np.int64]:
    """Frames on which a beat may lie: the largest of five, however small."""
    padded = np.pad(beat, 2, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, 5)
    # Of equal ones the first; where nothing is heard at all, every third frame.
    first = around.argmax(1) == 2
    flat = (around.max(1) == beat) & (np.arange(len(beat)) % 3 == 0)
    return np.flatnonzero(first | flat)


def _bar_scores(downbeat: Floats, places: Places, settings: DecodeSettings) -> Floats:
    """What a beat earns for its place in the bar, `(frames, places)`."""
    beside = np.pad(downbeat, 2, constant_values=_NEVER)
    best = np.lib.stride_tricks.sliding_window_view(beside, 5).max(1) - settings.downbeat_bias
    sign = np.where(places.position == 0, 1.0, -1.0)
    log_odds = best[:, None] * sign
    scores: Floats = settings.downbeat_weight * (np.log(2) - np.logaddexp(0, -np.clip(log_odds, -6, 6)))
    return scores


def _best_path(
    frames: NDArray[np.int64],
    earned: Floats,
    places: Places,
    settings: DecodeSettings,
    config: FrontEndConfig,
    tempo: Floats | None = None,
) -> list[tuple[int, int]]:
    """`(frame, place)` of each beat of the best path through candidates at `frames`.

    A state is a candidate, its place in the bar, and a slot: the beat before it was the slot-th
    candidate before, or (the last slot) there was none. `earned` is per candidate and place,
    `tempo` per candidate and tempo.
    """
    shortest = 60 * config.frames_per_second / settings.fastest_bpm
    longest = max(60 * config.frames_per_second / settings.slowest_bpm, shortest + 1) + 0.5
    reach = int((np.arange(len(frames)) - np.searchsorted(frames, frames - longest)).max()) or 1
    first, count = frames[0] - 10 * int(longest) - reach, len(places.of)
    padded = np.concatenate([first + np.arange(reach), frames])
    score = np.full((len(padded), count, reach + 1), _NEVER, np.float32)
    logs = np.zeros((len(padded), reach + 1))  # of the interval that each slot stands for
    steps = _Steps(
        np.zeros((len(padded), count, reach), np.int8),
        np.zeros((len(padded), len(places.first), reach), np.int8),
        np.full(len(padded), -1, np.int64),
    )
    change = -settings.meter_change * (1 - np.eye(len(places.first)))
    usual = np.log(60 * config.frames_per_second / settings.usual_bpm)
    likely = None if tempo is None else tempo @ interval_shares(int(longest) + 1, config.frames_per_second)
    best, best_at, ended = 0.0, -1, reach
    for now in range(reach, len(padded)):
        while padded[ended] < padded[now] - longest:
            if (value := float(score[ended].max()) - settings.pause) > best:
                best, best_at = value, ended
            ended += 1
        before = now - 1 - np.arange(reach)
        interval = padded[now] - padded[before]
        log = np.log(interval)
        odd = settings.unusual * ((log - usual) / np.log(2)) ** 2
        if likely is not None:
            odd -= likely[now - reach, np.minimum(interval, int(longest))]
        odd[(interval < shortest - 0.5) | (interval > longest)] = -_NEVER
        ratio = log[:, None] - logs[before]
        ratio[:, reach] = 0
        cost = (settings.jump * ratio**2 + odd[:, None]).astype(np.float32)
        options = score[before] - cost[:, None]  # (slot now, place before, slot before)
        chosen = options.argmax(2)
        reached = np.take_along_axis(options, chosen[..., None], 2)[..., 0].T  # (place before, slot now)
        _enter(score[now], steps, now, reached, chosen.T.astype(np.int8), change, places)
        score[now, :, reach] = best
        score[now] += earned[now - reach][:, None]
        logs[now, :reach] = log
        steps.earlier[now] = best_at
    return [(int(padded[at]), place) for at, place in _trace(score, steps, places)]


def _enter(
    score: Floats,
    steps: _Steps,
    now: int,
    value: Floats,
    chosen: NDArray[np.int8],
    change: Floats,
    places: Places,
) -> None:
    """Move each path one place on in its bar; a full bar begins one of any meter."""
    ends = value[places.last][None] + change[:, :, None]  # (meter now, meter before, slot now)
    meter = ends.argmax(1)
    reach = value.shape[1]
    score[1:, :reach], steps.slot[now, 1:] = value[:-1], chosen[:-1]
    score[places.first, :reach] = np.take_along_axis(ends, meter[:, None], 1)[:, 0]
    steps.slot[now, places.first] = chosen[places.last[meter], np.arange(reach)]
    steps.meter[now] = meter


def _trace(score: Floats, steps: _Steps, places: Places) -> list[tuple[int, int]]:
    """Candidate and place of each beat, from the best end backwards."""
    path: list[tuple[int, int]] = []
    at = int(score.reshape(len(score), -1).max(1).argmax())
    if score[at].max() <= 0:
        return path
    place, slot = (int(i) for i in np.unravel_index(int(score[at].argmax()), score.shape[1:]))
    while True:
        path.append((at, place))
        if slot == score.shape[2] - 1:
            at = int(steps.earlier[at])
            if at < 0:
                return path[::-1]
            place, slot = (int(i) for i in np.unravel_index(int(score[at].argmax()), score.shape[1:]))
            continue
        previous = int(steps.slot[at, place, slot])
        if places.position[place] == 0:
            meter = int(np.flatnonzero(places.first == place)[0])
            place = int(places.last[steps.meter[at, meter, slot]])
        else:
            place -= 1
        at, slot = at - 1 - slot, previous


def _time(beat: Floats, frame: int, config: FrontEndConfig) -> int:
    """Sample of the maximum near a frame, between frames by a parabola."""
    low = max(frame - 2, 0)
    at = low + int(beat[low : frame + 3].argmax())
    shift = 0.0
    if 0 < at < len(beat) - 1:
        left, middle, right = beat[at - 1], beat[at], beat[at + 1]
        bend = left - 2 * middle + right
        if bend < 0:
            shift = float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
    return max(0, round((at + shift) * config.hop - config.early))


def _confidence(beat: Floats, frame: int) -> float:
    near = float(beat[max(frame - 2, 0) : frame + 3].max())
    return float(1 / (1 + np.exp(-near)))


def _rising(beats: list[Beat]) -> list[Beat]:
    return [b for a, b in zip([None, *beats], beats, strict=False) if a is None or b.time > a.time]


def _believable(beats: list[Beat], settings: DecodeSettings, config: FrontEndConfig) -> tuple[Beat, ...]:
    """Beats in stretches (between pauses) that are long and sure enough."""
    gap = 60 / settings.slowest_bpm * config.rate * 1.1
    stretches: list[list[Beat]] = []
    for beat in beats:
        if stretches and beat.time - stretches[-1][-1].time <= gap:
            stretches[-1].append(beat)
        else:
            stretches.append([beat])
    kept = [
        s
        for s in stretches
        if len(s) >= settings.shortest and sum(b.confidence for b in s) / len(s) >= settings.certain
    ]
    return tuple(beat for stretch in kept for beat in stretch)
