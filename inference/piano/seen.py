"""What the decoder sees of the network's output."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.piano.config import STATE_WEIGHTS, NoteState, Output, PianoConfig

CHANNELS = 6
"""Of each frame and key: onset, active, velocity, shift, key, pedal."""
VELOCITY = 2
"""Which of them is the velocity."""


def seen(output: Tensor, config: PianoConfig) -> Tensor:
    """Network output `(batch, frames, 88, outputs)` as the decoder sees it, `(batch, frames, 6, 88)`.

    Twice as many outputs, of two heads, become twice as many channels.
    """
    if output.shape[-1] == config.outputs:
        return _channels(output, config)
    return torch.cat([_channels(head, config) for head in torch.split(output, config.outputs, -1)], 2)


def _channels(output: Tensor, config: PianoConfig) -> Tensor:
    # With the states on an axis of their own, the softmax goes over all keys at once.
    channels = output.movedim(-1, 2).contiguous()
    logits = channels.narrow(2, 0, len(NoteState))
    if config.joint:  # only these are trained with weighted states
        logits = logits - torch.tensor(STATE_WEIGHTS, device=logits.device).log()[:, None]
    states = torch.softmax(logits, 2)
    onset = states.select(2, NoteState.ONSET) + states.select(2, NoteState.REONSET)
    active = onset + states.select(2, NoteState.SUSTAIN)
    velocity = channels.select(2, Output.VELOCITY)
    if config.joint:
        shift = channels.select(2, Output.SHIFT)
        key, pedal = torch.sigmoid(channels.narrow(2, Output.KEY, 2)).unbind(2)
    else:  # the published networks tell onsets to the frame, and sounding ends alone
        shift, key, pedal = torch.zeros_like(onset), active, torch.zeros_like(onset)
    return torch.stack([onset, active, velocity, shift, key, pedal], 2)
