"""Writes the graphs of `inference.piano.frame` anew, once the light network is another.

    python -m inference.piano.write_graphs

It needs `onnxscript`; a test says when it is due.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inference import weights
from inference.piano.acoustic import fold_norms
from inference.piano.config import LIGHT
from inference.piano.frame import graph_name
from inference.piano.frame_net import FrameNet
from inference.piano.network import PianoNetwork
from inference.streaming import leaves

WRITTEN = ((1440, None), (2080, 1120))
"""Delays of the head, and of one that decides sooner: those of `live` and `eager`; `tight` is as `live`."""


def write(network: PianoNetwork, path: Path) -> None:
    """Write the graph of a light network in evaluation mode, its norms folded; weights are left out."""
    import onnx

    frame = FrameNet(network).eval()
    # Three rows, a number that is no other size; and no tensor twice, which would be taken for one input.
    like = network.init_state(3)._replace(front_end=(), touch=())
    state = [leaf.clone() for leaf in leaves(like)]
    features = torch.zeros(3, 1, network.front_end.bins, network.front_end.channels)
    batch = {0: torch.export.Dim("batch", min=1)}
    with torch.no_grad():
        program: Any = torch.onnx.export(
            frame,
            (features, *state),
            dynamo=True,
            optimize=False,  # or weights would lose their names
            verbose=False,
            input_names=["features", *(f"before{leaf}" for leaf in range(len(state)))],
            output_names=["seen", *(f"after{leaf}" for leaf in range(len(state)))],
            dynamic_shapes={"features": batch, "carried": tuple(batch for _ in state)},
        )
    model, known = program.model_proto, frame.state_dict()
    for value in model.graph.initializer:
        if value.name in known:
            value.ClearField("raw_data")
            value.data_location = onnx.TensorProto.EXTERNAL
            value.external_data.add(key="location", value="weights")
    # Where in the source each operation comes from.
    for part in (model, *model.graph.node, *model.graph.value_info):
        part.ClearField("metadata_props")
    path.write_bytes(model.SerializeToString())


def light(delay: int, sooner: int | None = None) -> PianoNetwork:
    """A light network that decides after these delays, as `write` wants it."""
    network = PianoNetwork(LIGHT).eval()
    fold_norms(network)
    network.chosen = LIGHT.delays.index(delay)
    network.sooner = None if sooner is None else LIGHT.delays.index(sooner)
    return network


if __name__ == "__main__":
    for delays in WRITTEN:
        network = light(*delays)
        path = weights.FOLDER / f"{graph_name(network)}.onnx"
        write(network, path)
        weights.record(path)
