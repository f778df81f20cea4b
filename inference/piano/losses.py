"""What the piano networks are trained to do: losses, and the context that a teacher gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.piano.config import LOWEST, PITCHES, STATE_WEIGHTS, NoteState, Output, PianoConfig
from inference.piano.mix import Batch
from inference.piano.network import Context, PianoNetwork

_STRAY = (0.47, 0.05, 0.05, 0.40, 0.03)
"""How likely a wrong previous state is each of the five, in training (arXiv 2404.06818)."""


@dataclass(frozen=True)
class LossConfig:
    """Relative weights. Velocity must be scaled up a lot, or it learns nothing beside the states."""

    velocity: float = 240.0
    low: float = 2.0
    """Weight of the lowest keys' states; falls to 1 over the octave below middle C."""
    chunk_level: float = 0.25
    shift: float = 1.0
    key: float = 0.3
    pedal: float = 0.15
    other_delays: float = 0.2
    """Weight of what is decided after each delay but the main one."""
    at_once: int = 2
    """How many of these are looked at in a step, drawn anew each time; they then stand for all."""


def joint_loss(
    network: nn.Module, batch: Batch, config: LossConfig, random: torch.Generator | None = None
) -> Mapping[str, Tensor]:
    """Losses of a joint network on one batch: named ones of its main delay, the total over all.

    `random` draws the delays that are looked at besides, and disturbs contexts, of networks that
    have them; without it, every delay is looked at.
    """
    assert isinstance(network, PianoNetwork)
    context = _context(batch, network.config, random) if network.context is not None else None
    delays, hop = network.config.delays, network.config.hop
    others = list(range(1, len(delays)))
    if random is not None:
        others = (torch.randperm(len(others), generator=random)[: config.at_once] + 1).tolist()
    output, *rest = network.decisions(batch.features, [0, *others], context)
    main = _head_loss(output, batch, config)
    total = main["total"]
    weight = config.other_delays * (len(delays) - 1)
    for head, told in zip(others, rest, strict=True):
        frames = (delays[head] - delays[0]) // hop
        if abs(frames) < told.shape[1]:
            total = total + weight / len(others) * _head_loss(*_moved(told, batch, frames), config)["total"]
    return main | {"total": total / (1 + weight)}


def _moved(output: Tensor, batch: Batch, frames: int) -> tuple[Tensor, Batch]:
    """An output that is `frames` later than the batch's labels, and the labels that belong to it."""
    end = output.shape[1]
    heard = slice(max(frames, 0), end + min(frames, 0))
    told = slice(max(-frames, 0), end + min(-frames, 0))
    labels = {name: getattr(batch, name)[:, told] for name in Batch._fields if name != "features"}
    return output[:, heard], batch._replace(**labels)


def _head_loss(output: Tensor, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    output, frames = output.float(), output.shape[1]
    states = batch.state.long()
    weight = torch.tensor(STATE_WEIGHTS, device=states.device)
    logits = output[..., : len(NoteState)].reshape(-1, len(NoteState))
    surprise = F.cross_entropy(logits, states.reshape(-1), weight=weight, reduction="none")
    keys = torch.arange(LOWEST, LOWEST + PITCHES, device=states.device)
    low = 1 + (config.low - 1) * ((60 - keys) / 12).clamp(0, 1)
    state = (surprise.view(-1, PITCHES) * low).sum() / (len(output) * frames)
    struck = _struck(states).float()
    velocity = _velocity_loss(output[..., Output.VELOCITY], batch.velocity, struck, config.chunk_level)
    shift = ((output[..., Output.SHIFT] - batch.shift).abs() * struck).sum() / struck.sum().clamp(min=1)
    key = _known(output[..., Output.KEY], batch.key)
    pedal = _known(output[:, :, 0, Output.PEDAL], batch.pedal)
    total = (
        state + config.velocity * velocity + config.shift * shift + config.key * key + config.pedal * pedal
    )
    return {"total": total, "state": state, "velocity": velocity, "shift": shift, "key": key, "pedal": pedal}


def _velocity_loss(estimate: Tensor, truth: Tensor, struck: Tensor, level: float) -> Tensor:
    """Variance of the error within each chunk plus a part of its squared mean.

    How loud a recording is as a whole says little about how hard it was played, so an error that
    all notes of a chunk share counts for less.
    """
    error = (estimate - truth) * struck
    count = struck.sum((1, 2))
    safe = count.clamp(min=1)
    mean = error.sum((1, 2)) / safe
    each = (error.square().sum((1, 2)) / safe - (1 - level) * mean.square()) * (count > 1)
    return (each * count).sum() / count.sum().clamp(min=1)


def _known(logits: Tensor, truth: Tensor) -> Tensor:
    known = ~truth.isnan()
    each = F.binary_cross_entropy_with_logits(logits, truth.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def recursive_loss(network: nn.Module, batch: Batch, random: torch.Generator) -> Mapping[str, Tensor]:
    """Losses of a network with recursive context, as published: focal loss plus onset velocities."""
    assert isinstance(network, PianoNetwork)
    states = batch.state.long()
    output = network.teacher_forced(batch.features, _context(batch, network.config, random))
    logits = output[..., : len(NoteState)].reshape(-1, len(NoteState))
    surprise = F.cross_entropy(logits, states.reshape(-1), reduction="none")
    state = ((1 - torch.exp(-surprise)).square() * surprise).mean()
    error = output[..., len(NoteState)] - batch.velocity
    velocity = (error.square() * _struck(states)).mean()
    return {"total": state + velocity, "state": state, "velocity": velocity}


def _context(batch: Batch, config: PianoConfig, random: torch.Generator | None) -> Context:
    states = batch.state.long()
    return disturbed(teacher_context(states, batch.velocity, config), states, random)


def teacher_context(states: Tensor, velocity: Tensor, config: PianoConfig) -> Context:
    """The context that a network without fault would have given itself: all `(batch, frames, 88)`."""
    active = (states == NoteState.ONSET) | (states == NoteState.SUSTAIN) | (states == NoteState.REONSET)
    frame = torch.arange(states.shape[1], device=states.device)[None, :, None].expand_as(states)
    last = torch.where(_struck(states), frame, -1).cummax(1).values
    seconds = (frame - last + (last >= 0)) * (config.hop / config.rate)
    duration = (seconds / config.longest_duration_s).clamp(max=1) * active
    values = (states.float(), duration.float(), velocity * active)
    return Context(*(torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1) for v in values))


def disturbed(context: Context, states: Tensor, random: torch.Generator | None = None) -> Context:
    """Teach the network to doubt itself: stray states near notes, durations and velocities off."""
    shape, device = context.state.shape, states.device

    def chance() -> Tensor:
        return torch.rand(shape, generator=random).to(device)  # the same on every device

    sounds = (states != NoteState.OFF).float().permute(0, 2, 1)
    near = F.max_pool1d(sounds, 7, 1, 3).permute(0, 2, 1) > 0
    stray = torch.multinomial(torch.tensor(_STRAY), states.numel(), True, generator=random).view(shape)
    hit = near & (chance() < 0.1)
    state = torch.where(hit, stray.float().to(device), context.state)

    def scaled(values: Tensor) -> Tensor:
        factor = 0.8 + 0.4 * chance()
        return torch.where(chance() < 0.3, values * factor, values)

    return Context(state, scaled(context.duration).clamp(max=1), scaled(context.velocity))


def _struck(states: Tensor) -> Tensor:
    return (states == NoteState.ONSET) | (states == NoteState.REONSET)
