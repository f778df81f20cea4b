"""From a training checkpoint to shipped weights: averaged, calibrated on validation, described."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference import weights
from inference.events import NoteCollector, merge
from inference.piano.config import CONFIGS
from inference.piano.decode import DecodeSettings, DecodeState, Frame, decode, finish
from inference.piano.mix import MixConfig
from inference.piano.network import PianoNetwork
from inference.piano.refit_touch import refit_touch
from inference.piano.refit_verdict import refit_verdicts
from inference.piano.start import begin_from
from inference.piano.train import diet
from inference.piano.transcriber import PianoTranscriber, decode_settings
from inference.training import scores
from inference.training.augment import Augment
from inference.training.corpus import RATE, load_rooms, open_recordings, read_audio
from inference.training.evaluate import read_reference
from inference.training.notes import Floats
from inference.training.scores import Table

log = logging.getLogger(__name__)

REFIT_MIX = MixConfig(recorded=0.6, silent=0.0)
REFIT_SEED = 77
VERDICT_EXCERPTS, EXCERPT_S = 240, 30.0
"""Two hours of what training hears."""
ONSETS = (0.15, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
LATE = ((0.7, 0.2), (0.8, 0.05), (0.8, 0.25), (0.9, 0.1), (0.9, 0.25), (1.0, 0.1))
"""Pairs of how surely a key must sound, and how much of an onset it needs."""
NEARLY = 0.001
"""F1 that a higher threshold may cost, or a verdict. A note too much disturbs more than a missing one."""
ENDED = 0.65
"""Of `DecodeSettings`, its `offset`; not searched for. What rooms and dampers of real pianos do to ends is
more than is heard in these recordings, for which a search would choose .5 to .6."""
CALIBRATION_S, CALIBRATION_SEED = 90.0, 78
"""So much of each recording is heard twice: as it is, and as another microphone in a room would."""
PASSAGE = 0.25
"""Of `DecodeSettings`: with it velocities of MAPS and ASAP are right in the mean, and none fit worse."""


@dataclass(frozen=True)
class Calibration:
    """Thresholds of one delay that were best on the validation recordings, with their scores there."""

    onset: float
    late: float
    faint: float
    offset: float
    onset_f1: float
    onset_offset_f1: float
    verdict: tuple[float, ...] = field(default=(), repr=False)

    def thresholds(self) -> dict[str, float | tuple[float, ...]]:
        """What the decoder needs."""
        found = {name: getattr(self, name) for name in ("onset", "late", "faint", "offset", "verdict")}
        return found | {"passage": PASSAGE}

    def applied(self, settings: DecodeSettings) -> DecodeSettings:
        """Settings with these thresholds."""
        return replace(
            settings,
            onset=self.onset,
            late=self.late,
            faint=self.faint,
            offset=self.offset,
            verdict=self.verdict,
        )


def export(
    folder: Path,
    data: Path,
    out: Path,
    config: str = "light",
    processes: int = 2,
    mean_with: Sequence[str] = (),
) -> dict[int, Calibration]:
    """Write the averaged weights of a run's checkpoint as `out` (safetensors, half precision).

    Thresholds are chosen for each delay, on `maps/software/validation` only, with the weights as
    rounded. Returns them by delay in samples. What loudness adds to velocities, and verdicts, are solved
    where the run's data is still there.
    `mean_with` names weights, such as those that the run began from, or folders of other runs: the
    mean of all is written.

    Raises:
        WeightsError: there are no such weights or runs, or they are of another shape.
    """
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")
    network = PianoNetwork(CONFIGS[config])
    begin_from(network, state["average"])
    others = [_alike(network, name) for name in mean_with]
    network.load_state_dict(
        {
            name: sum([other[name] for other in others], value) / (1 + len(others))
            if value.is_floating_point()
            else value
            for name, value in network.state_dict().items()
        }
    )
    known = (folder / "banks.npz").exists()
    if known:
        mix = diet(folder, data, network, REFIT_MIX, REFIT_SEED, modelled=0.0)
        refit_touch(network, open_recordings(folder)[::2])  # three numbers per delay; half is plenty
    else:
        log.warning(
            "what loudness adds to velocities, and verdicts, are not solved: %s holds no data", folder
        )
    tensors = {
        name: value.half().float() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(tensors)
    delays = network.config.delays
    verdicts: list[tuple[float, ...]] = [()] * len(delays)
    if known:
        random = np.random.default_rng(REFIT_SEED)
        verdicts = refit_verdicts(network, (mix.heard(random, EXCERPT_S) for _ in range(VERDICT_EXCERPTS)))
    recordings = sorted((data / "maps" / "software" / "validation").glob("*.ogg"))
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        rooms = load_rooms(data / "rooms")
        which = range(len(delays))
        found = pool.map(calibrate, repeat(network), repeat(recordings), repeat(rooms), which, verdicts)
        calibrations = dict(zip(delays, found, strict=True))
    metadata = {
        "config": config,
        "thresholds": json.dumps({delay: found.thresholds() for delay, found in calibrations.items()}),
        "training": json.dumps({**state["config"], **state["progress"]}),
    }
    weights.write(out, tensors, metadata)
    weights.record(out)
    return calibrations


def _alike(network: PianoNetwork, name: str) -> dict[str, Tensor]:
    """Stored weights of the network's shape, or those of a run."""
    checkpoint = Path(name) / "checkpoint.pt"
    theirs = "another system"
    if checkpoint.is_file():
        tensors: dict[str, Tensor] = torch.load(checkpoint, weights_only=True, map_location="cpu")["average"]
    else:
        stored = weights.read(name)
        tensors, theirs = stored.tensors, stored.metadata.get("config", theirs)
    wanted, given = (
        {key: value.shape for key, value in state.items()} for state in (network.state_dict(), tensors)
    )
    if wanted != given:
        raise weights.WeightsError(f"{Path(name).name} is of {theirs!r}, not of {network.config.name!r}")
    return tensors


def calibrate(
    network: PianoNetwork,
    recordings: Sequence[Path],
    rooms: Sequence[Floats] = (),
    chosen: int = 0,
    verdict: tuple[float, ...] = (),
) -> Calibration:
    """Thresholds of onsets and of late notes by onset F1.

    Args:
        network: what is calibrated.
        recordings: audio with notes beside it.
        rooms: in which they are heard again.
        chosen: which of its delays.
        verdict: what may judge its peaks.
    """
    network.chosen = chosen
    elsewhere, random = Augment(rooms), np.random.default_rng(CALIBRATION_SEED)
    heard = []
    for path in recordings:
        audio = torch.from_numpy(read_audio(path)[: int(CALIBRATION_S * RATE)])
        truth = read_reference(path.parent / f"{path.stem}.notes.tsv")
        truth = truth[truth[:, 0] < len(audio) / RATE]
        heard += [
            (truth, frames_of(network, audio)),
            (truth, frames_of(network, elsewhere(audio[None], random)[0])),
        ]
    return choose(decode_settings(network, verdict=verdict), heard)


def choose(settings: DecodeSettings, heard: Sequence[tuple[Table, list[Frame]]]) -> Calibration:
    """The same, of reference notes and what the decoder sees; `settings` says all but the thresholds."""

    @cache
    def onset_f1(chosen: DecodeSettings) -> float:
        return float(np.mean([scores.onset_f1(r, notes_of(f, chosen)) for r, f in heard]))

    settings = replace(settings, offset=ENDED)
    judged, alone = (
        max((replace(one, onset=onset) for onset in ONSETS), key=onset_f1)
        for one in (settings, replace(settings, verdict=()))
    )
    # A verdict knows more music, in rooms, than is heard here; yet some delays are better off without.
    settings = alone if onset_f1(alone) > onset_f1(judged) + NEARLY else judged
    settings = max((replace(settings, late=late, faint=faint) for late, faint in LATE), key=onset_f1)
    settings = _highest([replace(settings, onset=onset) for onset in ONSETS], onset_f1, NEARLY)
    return Calibration(
        settings.onset,
        settings.late,
        settings.faint,
        settings.offset,
        onset_f1(settings),
        scores.mean([scores.score("", r, notes_of(f, settings)) for r, f in heard], "onset_offset"),
        settings.verdict,
    )


def _highest(
    rising: Sequence[DecodeSettings], score: Callable[[DecodeSettings], float], cost: float
) -> DecodeSettings:
    """The last of settings that score the best, or nearly so."""
    enough = max(map(score, rising)) - cost
    return [settings for settings in rising if score(settings) >= enough][-1]


def frames_of(network: PianoNetwork, audio: Tensor) -> list[Frame]:
    """Everything the decoder sees of a recording, `(samples,)`."""
    transcriber = PianoTranscriber(network, decode_settings(network))
    rest = transcriber.latency + 2 * network.config.hop
    audio = torch.cat([audio, torch.zeros(rest + -(len(audio) + rest) % network.config.hop)])[None]
    return transcriber.frames(audio)


def notes_of(frames: list[Frame], settings: DecodeSettings) -> Table:
    """Frames to notes, as a table for scoring."""
    events, state = decode(frames, DecodeState.initial(len(frames[0].onset)), settings)
    collector = NoteCollector()
    notes = collector.add(merge([events, finish(state, settings)]))
    rows = [(n.onset / RATE, n.offset / RATE, n.pitch, n.velocity * 127) for n in notes]
    return np.array(sorted(rows), np.float64).reshape(-1, 4)


_DESCRIBED = ("onset", "late", "faint", "offset", "onset_f1", "onset_offset_f1")


def describe(calibrations: Mapping[int, Calibration]) -> str:
    """A line per delay, for a person."""
    return "\n".join(
        f"delay {delay}: " + ", ".join(f"{name} {getattr(found, name):.4g}" for name in _DESCRIBED)
        for delay, found in calibrations.items()
    )
