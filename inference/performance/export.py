"""From training checkpoints to shipped weights: averaged, with styles that have names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import weights
from inference.performance import STYLE, steps, words
from inference.performance.config import CONFIGS
from inference.performance.losses import SCALES, expectations
from inference.performance.network import Xmvae
from inference.performance.pages import Batch
from inference.performance.windows import Windows

PIANIST, COMPOSER = "pianist.", ("composer.", "prior.")
WINDOWS, TENTH = 600, 10
FEWEST_NOTES = 12
STYLES = {
    "loud": ("loudness", 1),
    "soft": ("loudness", -1),
    "contrasting": ("contrast", 1),
    "even": ("contrast", -1),
    "legato": ("length", 1),
    "detached": ("length", -1),
    "free": ("rubato", 1),
    "strict": ("rubato", -1),
}
"""Names of styles: of which measure they are the highest or the lowest tenth of all windows."""
SHARE = 0.9
"""The spread of expectations is brought to this part of what people's is."""
LARGEST_GAIN = 2.0


def export(
    pianist: Path,
    composer: Path | None,
    out: Path,
    config: str = "light",
    progress: Callable[[str], None] = lambda line: None,
    prepared: Path | None = None,
) -> str:
    """Write the averaged weights of runs as `out` (safetensors, half precision).

    Args:
        pianist: folder of the run that trained the Pianist.
        composer: folder of the run that trained the Composer and the prior; None: the same.
        out: the file.
        config: which network was trained.
        progress: called with a line now and then.
        prepared: folder of the steps that it learned from, if it is not its own.

    Returns:
        A line that says what styles and gains were found.
    """
    tensors = _average(pianist)
    if composer is not None:
        other = _average(composer)
        tensors = {name: value for name, value in tensors.items() if not name.startswith(COMPOSER)}
        tensors |= {name: value for name, value in other.items() if name.startswith(COMPOSER)}
    network = Xmvae(CONFIGS[config])
    network.load_state_dict(tensors)
    network.eval()
    windows = Windows(steps.load((prepared or pianist) / steps.STEPS), 8, network.config.steps, 77)
    progress(f"listening to {WINDOWS} windows for styles")
    latents, measures = _listen(network, windows)
    styles = {f"{STYLE}{name}": _style(latents, measures[of], side) for name, (of, side) in STYLES.items()}
    gains = {
        name: min(max(SHARE * measures[f"{of}"].mean() / measures[f"own_{of}"].mean(), 1.0), LARGEST_GAIN)
        for name, of in (("rubato", "rubato"), ("dynamics", "contrast"), ("articulation", "variety"))
    }
    metadata = {"config": config, **{name: f"{gain:.4f}" for name, gain in gains.items()}}
    weights.write(out, {**tensors, **styles}, metadata)
    weights.record(out)
    return f"styles {', '.join(STYLES)}; gains " + ", ".join(f"{k} {v:.2f}" for k, v in gains.items())


def graft(kept: str, composer: Path, out: Path, config: str) -> str:
    """Write weights whose Composer and prior are of a run, and all else of other weights.

    Args:
        kept: name or path of the weights that give the Pianist, its styles and gains.
        composer: folder of the run.
        out: the file.
        config: which network was trained.

    Returns:
        A line that says what was kept.

    Raises:
        WeightsError: no such weights.
        RuntimeError: what is kept does not fit the network.
    """
    stored = weights.read(kept)
    styles = {name: value for name, value in stored.tensors.items() if name.startswith(STYLE)}
    pianist = {name: value for name, value in stored.tensors.items() if name.startswith(PIANIST)}
    written = {name: value for name, value in _average(composer).items() if name.startswith(COMPOSER)}
    Xmvae(CONFIGS[config]).load_state_dict({**pianist, **written})
    weights.write(out, {**pianist, **written, **styles}, {**stored.metadata, "config": config})
    weights.record(out)
    return f"the Pianist, {len(styles)} styles and gains of {stored.path.name}"


def _average(folder: Path) -> dict[str, Tensor]:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    found: dict[str, Tensor] = state["average"]
    return found


@torch.inference_mode()
def _listen(network: Xmvae, windows: Windows) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Latents (windows, latents) and measures (windows,) of performances, and of the network's own."""
    latents: list[Tensor] = []
    rows: list[dict[str, float]] = []
    for _ in range(WINDOWS // windows.batch):
        batch = windows.draw()
        score = network.score_features(batch.tokens, batch.extras, batch.beat)
        mean = network.pianist.posterior(score, batch.values).mean
        blind = torch.zeros_like(batch.beat, dtype=torch.bool)
        memory = network.pianist.memory(score, torch.zeros_like(mean))
        own = expectations(network.pianist.decoder(memory, batch.played, blind))
        slope, offset = torch.tensor(SCALES, dtype=own.dtype).unbind(1)
        for index in range(windows.batch):
            if int((batch.tokens[index, :, 0] == words.NOTE).sum()) < FEWEST_NOTES:
                continue
            latents.append(mean[index, :1])
            mine = _measures(batch, index, (own * slope + offset)[index].double().numpy())
            rows.append(
                _measures(batch, index, batch.values[index].double().numpy())
                | {f"own_{name}": value for name, value in mine.items()}
            )
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return torch.cat(latents).double().numpy(), table


def _measures(batch: Batch, index: int, values: NDArray[np.float64]) -> dict[str, float]:
    notes = (batch.tokens[index, :, 0] == words.NOTE).numpy()
    beat = batch.beat[index].numpy()[notes]
    tempo, _, velocity, articulation = values[notes].T
    # By beats: what single notes do to the tempo is noise.
    counts = np.maximum(np.bincount(beat - beat[0]), 1)
    by_beat = (np.bincount(beat - beat[0], tempo) / counts)[np.bincount(beat - beat[0]) > 0]
    return {
        "loudness": float(velocity.mean()),
        "contrast": float(velocity.std()),
        "length": float(articulation.mean()),
        "variety": float(articulation.std()),
        "rubato": float(by_beat.std()),
    }


def _style(latents: NDArray[np.float64], measure: NDArray[np.float64], side: int) -> Tensor:
    order = np.argsort(side * measure)[-max(1, len(measure) // TENTH) :]
    return torch.from_numpy(latents[order].mean(0)).float()
