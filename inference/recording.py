"""A module's step without Python in between: recorded once, replayed for any batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

Recording = Callable[..., tuple[Tensor, ...]]


def record(module: nn.Module, *example: Tensor) -> Recording:
    """What `module` does in evaluation mode, its weights as they are now.

    Args:
        module: takes tensors and gives a tuple of them; its branches ask for their shapes only.
        example: inputs to record it with; sizes that none of its branches asks for may be others
            later, such as the batch, if it is more than one here.
    """
    module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # Deprecated in favour of torch.compile, which needs a C++ compiler on the user's machine;
        # and the branches it warns of ask for shapes that stay as they are here.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        module(*example)  # what depends on weights alone is computed here, not recorded
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        # Without looking its weights up; what would change results by rounding is left alone.
        recording: Recording = torch.jit.freeze(traced, optimize_numerics=False)
        for _ in range(3):  # its first calls are slow: they profile
            recording(*example)
    return recording
