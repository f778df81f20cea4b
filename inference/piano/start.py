"""Begin a training from weights that another shape of the network was trained to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from inference.layers import FrequencyFilm, FrequencyTable
from inference.piano.acoustic import HarmonicHead
from inference.piano.network import PianoNetwork

_GATHERED = "note_acoustic.head.gathered.weight"

_RENAMED = {"pitch": "notes.marks", "note_head.": "heads.0.keys.", "pedal_head.": "heads.0.pedal."}
"""What tensors of the first two releases were called."""

FIRST_HARMONICS = (-12, 0, 12, 19, 24, 28, 31, 34, 36)
"""What the light network of the first release looked at."""


def begin_from(network: PianoNetwork, trained: Mapping[str, Tensor]) -> None:
    """Copy what fits into `network`, in place; at first it hears as the trained one did.

    FiLM perceptrons become tables; harmonics that the first release did not look at start at zero;
    heads of further delays start as the main one, or from chance if they have hindsight; what keys
    tell each other adds nothing at first.

    Args:
        network: freshly made.
        trained: tensors by name.

    Raises:
        ValueError: a tensor of the network has no counterpart.
    """
    found = dict(trained)
    for old, new in _RENAMED.items():
        found.update({new + key.removeprefix(old): found[key] for key in trained if key.startswith(old)})
    for name, module in network.named_modules():
        if isinstance(module, FrequencyTable):
            found.update(_tables(name, module, found))
    head = network.note_acoustic.head
    if isinstance(head, HarmonicHead):
        found[_GATHERED] = _widened(found[_GATHERED], head)
    found = _heads(network, found) | found
    exchange = {name: value for name, value in network.state_dict().items() if name.startswith("exchange.")}
    found = exchange | found
    for name, tensor in network.state_dict().items():
        if name not in found or found[name].shape != tensor.shape:
            raise ValueError(f"the weights to start from have no {name} of shape {tuple(tensor.shape)}")
    network.load_state_dict({name: found[name] for name in network.state_dict()})


def _heads(network: PianoNetwork, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Heads that were not trained: as the main one where that fits, else as they are."""
    if not network.config.joint:
        return {}
    main = {
        key.removeprefix("heads.0."): value for key, value in trained.items() if key.startswith("heads.0.")
    }
    heads = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("heads."):
            part = main.get(name.split(".", 2)[2])
            heads[name] = part if part is not None and part.shape == tensor.shape else tensor
    return heads


def _tables(name: str, table: FrequencyTable, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    own = {key.removeprefix(prefix): value for key, value in trained.items() if key.startswith(prefix)}
    if "scale" in own:
        return {}
    bins, channels = table.scale.shape
    film = FrequencyFilm(channels, bins)
    film.load_state_dict(own)
    with torch.no_grad():
        scale, shift = film.tables()
    return {f"{name}.scale": scale, f"{name}.shift": shift}


def _widened(weight: Tensor, head: HarmonicHead) -> Tensor:
    if weight.shape[1] != len(FIRST_HARMONICS) * head.query.out_features:
        return weight
    parts = dict(zip(FIRST_HARMONICS, weight.chunk(len(FIRST_HARMONICS), 1), strict=True))
    nothing = torch.zeros_like(parts[0])
    return torch.cat([parts.get(offset, nothing) for offset in head.gather.plan[0]], 1)
