"""From a checkpoint of the network over struck notes to shipped weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from inference import weights
from inference.rhythm import COUNTING, DEFAULT_WEIGHTS, FOLLOWED, METRE
from inference.rhythm.metre import TASKS
from inference.rhythm.pointer import PointerSettings
from inference.rhythm.struck import STRUCK, StruckNetwork


def export(
    folder: Path,
    out: Path,
    config: str = "struck-live",
    settings: PointerSettings | None = None,
    beside: str = DEFAULT_WEIGHTS,
) -> str:
    """Write the averaged weights of a run's checkpoint as `out` (safetensors, half precision).

    The networks that tell how fast notes are counted, and which beats begin bars, are those of the rhythm
    weights `beside`, a name or a path. Returns a line that says how long it was trained.
    """
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    tensors = {
        name: value.half().float() if value.is_floating_point() else value
        for name, value in state["average"].items()
    }
    StruckNetwork(STRUCK[config]).load_state_dict(tensors)
    known = weights.read(beside).tensors.items()
    tensors |= {name: value for name, value in known if name.startswith((COUNTING, f"{METRE}{TASKS[0]}."))}
    chosen = asdict(settings or PointerSettings())
    metadata = {
        "config": config,
        **{name: str(chosen[name]) for name in (*FOLLOWED, "wait")},
        "training": json.dumps({**state["config"], **state["progress"]}),
    }
    weights.write(out, tensors, metadata)
    weights.record(out)
    hours = state["progress"]["seen_s"] / 3600
    return f"{hours:.0f} hours of music in {state['progress']['steps']} steps"
