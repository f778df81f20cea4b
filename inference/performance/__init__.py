"""Expressive performance: scores in, performances out (XMVAE, arXiv 2507.01582)."""

from __future__ import annotations

from inference import weights as files
from inference.performance.compose import Writer
from inference.performance.config import CONFIGS
from inference.performance.manners import Manner
from inference.performance.network import Xmvae
from inference.performance.perform import Performer

DEFAULT_WEIGHTS = "performance"
STYLE = "style."
"""Prefix of the tensors that are styles with names."""


def network(weights: str | None = None) -> Xmvae:
    """Open trained weights as the network alone.

    Raises:
        WeightsError: no such weights, or a damaged file.
    """
    return _open(files.read(weights or DEFAULT_WEIGHTS))


def load_writer(weights: str | None = None) -> Writer:
    """Open trained weights as a writer of scores; see `load`."""
    return Writer(network(weights))


def load(weights: str | None = None) -> Performer:
    """Open trained weights as a performer of scores.

    Args:
        weights: name of shipped weights or path of a safetensors file.

    Raises:
        WeightsError: no such weights, or a damaged file.
    """
    stored = files.read(weights or DEFAULT_WEIGHTS)
    styles = {
        name.removeprefix(STYLE): value.double().numpy()
        for name, value in stored.tensors.items()
        if name.startswith(STYLE)
    }
    gains = Manner(
        *(float(stored.metadata.get(name, "1")) for name in ("rubato", "dynamics", "articulation"))
    )
    return Performer(_open(stored), styles, gains)


def _open(stored: files.Stored) -> Xmvae:
    made = Xmvae(CONFIGS[stored.metadata["config"]])
    made.load_state_dict({n: v for n, v in stored.tensors.items() if not n.startswith(STYLE)})
    return made.eval()
