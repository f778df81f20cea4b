"""Where networks run."""

from __future__ import annotations

import re

import torch


def open_device(name: str) -> torch.device:
    """The device that is called `cpu`, `cuda` or `cuda:1`, set to compute in single precision.

    Raises:
        ValueError: no such device, or torch cannot use it here.
    """
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", name):
        raise ValueError(f"device is {name!r}; choose 'cpu', 'cuda' or 'cuda:1'")
    device = torch.device(name)
    if device.type == "cuda":
        there = torch.cuda.device_count()
        if (device.index or 0) >= there:
            raise ValueError(
                f"device is {name!r}, but torch sees {there} GPUs; choose 'cpu', "
                "or install a torch that is made for the GPU and its driver"
            )
        # Convolutions would be of half the precision otherwise, and differ from those of a processor.
        torch.backends.cudnn.allow_tf32 = False
    return device
