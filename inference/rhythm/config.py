"""The rhythm networks as data: the published ones, their ablations, and the fused one that is shipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum


class Task(StrEnum):
    """What the network tells of each frame."""

    DYNAMICS = "dynamics"
    BEAT = "beat"
    DOWNBEAT = "downbeat"
    CHANGE = "change"


class Loudness(IntEnum):
    """Classes of dynamics; `NONE` before the first beat."""

    NONE = 0
    PP = 1
    P = 2
    MF = 3
    F = 4
    FF = 5


class Input(StrEnum):
    """What the network looks at: specific loudness, log-mel, or both."""

    BARK = "bark"
    MEL = "mel"
    FUSED = "fused"


TASKS = (Task.DYNAMICS, Task.BEAT, Task.DOWNBEAT, Task.CHANGE)


@dataclass(frozen=True)
class FrontEndConfig:
    """Spectrum and bands. Frame n is centred on sample `n * hop - early`."""

    rate: int = 22_050
    hop: int = 441
    window: int = 1_024
    input: Input = Input.BARK
    mels: int = 128
    highest_hz: float | None = None
    """Nothing above is heard, so that recordings of any bandwidth look alike; None: everything."""

    @property
    def early(self) -> int:
        """Samples by which the middle of frame n lies before `n * hop`."""
        return self.window // 2 - self.hop

    @property
    def frames_per_second(self) -> float:
        """Frame rate in Hz."""
        return self.rate / self.hop


@dataclass(frozen=True)
class RhythmConfig:
    """Everything that shapes a rhythm network; the defaults are the published multi-task one.

    Args:
        name: what metadata and commands call it.
        front_end: see `FrontEndConfig`.
        mel_channels: of a fused input, what the log-mel bands are projected to.
        scale: frames per step of the middle branch; its square for the slow one.
        tasks: heads, in order.
        experts: 0 leaves the mixture out, and each task has a projection of its own.
        idle_projections: build the projections beside the mixture too, unused, as published.
    """

    name: str = "mtms"
    front_end: FrontEndConfig = FrontEndConfig()
    mel_channels: int = 10
    scale: int = 5
    tasks: tuple[Task, ...] = TASKS
    experts: int = 8
    latent: int = 8
    dropout: float = 0.2
    idle_projections: bool = False

    @property
    def bands(self) -> int:
        """Channels of the encoder's input; all its widths are multiples of it."""
        bark, mels = 22, self.front_end.mels
        return {Input.BARK: bark, Input.MEL: mels, Input.FUSED: bark + self.mel_channels}[
            self.front_end.input
        ]


MTMS = RhythmConfig()
MTMS_AS_RELEASED = replace(MTMS, name="mtms-as-released", idle_projections=True)
LOG_MEL = replace(MTMS, name="log-mel", front_end=FrontEndConfig(input=Input.MEL), idle_projections=True)
NO_MIXTURE = replace(MTMS, name="no-mixture", experts=0)
FUSED = replace(MTMS, name="fused", front_end=FrontEndConfig(input=Input.FUSED, highest_hz=7_600.0))


def single_task(task: Task, scale: int = 3) -> RhythmConfig:
    """The published baseline that has one head; its code pools by 3."""
    return replace(NO_MIXTURE, name=f"single-{task}", tasks=(task,), scale=scale)


CONFIGS = {
    config.name: config
    for config in (
        MTMS,
        MTMS_AS_RELEASED,
        LOG_MEL,
        NO_MIXTURE,
        FUSED,
        *(single_task(task) for task in TASKS),
        *(replace(MTMS, name=f"mtms-s{scale}", scale=scale) for scale in (1, 3, 7, 10)),
    )
}
