"""Begin a training from weights of the same network, or of a smaller one that it grew from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from inference.layers import FrequencyTable, PitchwiseLstm
from inference.piano.acoustic import HarmonicHead
from inference.piano.exchange import Exchange
from inference.piano.network import PianoNetwork

QUIET = 0.1
"""How loud a residual block speaks that was not there before."""


def begin_from(network: PianoNetwork, trained: Mapping[str, Tensor]) -> None:
    """Copy what there is into `network`, in place; at first it hears nearly as the trained one did.

    What became wider keeps what it was made with for its new outputs, and its old outputs do not
    listen to new inputs. Residual blocks behind the last one begin quietly, heads of further delays as
    the main one or from chance if they have hindsight; what keys tell each other adds nothing at first.

    Args:
        network: freshly made.
        trained: tensors by name.

    Raises:
        ValueError: a tensor of the network has no counterpart.
    """
    own = network.state_dict()
    layouts = _layouts(network)
    last = f"note_acoustic.blocks.{len(network.note_acoustic.blocks) - 1}."
    found = {**_new(own, trained, last), **trained}
    begun = {}
    for name, tensor in own.items():
        given = found.get(name)
        grown = None if given is None else _grown(tensor, given, layouts.get(name, Layout()))
        if grown is None:
            raise ValueError(f"the weights to start from have no {name} of shape {tuple(tensor.shape)}")
        begun[name] = grown
    network.load_state_dict(begun)


class Layout(NamedTuple):
    """What the axes of a tensor are: outputs and inputs, if nothing else is said.

    `vectors` laid end to end are its inputs, each of which may be wider now, with some more `behind`
    that are as many as they were. The outputs of `gates` stay. A `table` has no inputs.
    """

    vectors: int = 1
    behind: int = 0
    gates: bool = False
    table: bool = False


def _layouts(network: PianoNetwork) -> dict[str, Layout]:
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, HarmonicHead):
            found[f"{name}.gathered.weight"] = Layout(vectors=len(module.gather.plan[0]))
        elif isinstance(module, Exchange):
            found[f"{name}.listen.weight"] = Layout(vectors=len(module.gather.plan[0]))
        elif isinstance(module, FrequencyTable):
            found |= dict.fromkeys((f"{name}.scale", f"{name}.shift"), Layout(table=True))
        elif isinstance(module, PitchwiseLstm):
            behind = 0 if module.marks is None else module.marks.shape[1]
            found |= {f"{name}.{own}": Layout(1, behind, gates=True) for own, _ in module.named_parameters()}
    return found


def _new(own: Mapping[str, Tensor], trained: Mapping[str, Tensor], last: str) -> dict[str, Tensor]:
    """What may be missing in the trained one, as it is to begin; `last` is its last residual block."""
    found = {}
    main = {
        key.removeprefix("heads.0."): value for key, value in trained.items() if key.startswith("heads.0.")
    }
    for name, tensor in own.items():
        if name.startswith("exchange."):
            found[name] = tensor
        elif name.startswith("heads."):
            part = main.get(name.split(".", 2)[2])
            found[name] = part if part is not None and part.shape == tensor.shape else tensor
        elif name.startswith(last):
            found[name] = tensor * QUIET if name.endswith(("norm.weight", "norm.bias")) else tensor
    return found


def _grown(tensor: Tensor, given: Tensor, layout: Layout) -> Tensor | None:
    """`given` in its place in `tensor`, as the network was made; None if it does not fit."""
    if tensor.shape == given.shape:
        return given
    if tensor.ndim != given.ndim or any(a < b for a, b in zip(tensor.shape, given.shape, strict=True)):
        return None
    if layout.gates and len(tensor) != len(given):
        return None
    grown, rows = tensor.clone(), len(given)
    if tensor.ndim == 1 or layout.table:
        grown[tuple(slice(size) for size in given.shape)] = given
        return grown
    (old, rest), (new, _) = (
        divmod(weight.shape[1] - layout.behind, layout.vectors) for weight in (given, tensor)
    )
    if rest:
        return None
    places = (torch.arange(layout.vectors)[:, None] * new + torch.arange(old)).flatten()
    places = torch.cat([places, torch.arange(tensor.shape[1] - layout.behind, tensor.shape[1])])
    grown[:rows] = 0
    grown[:rows].index_copy_(1, places, given)
    return grown
