"""The piano networks as data: published PAR, published PARcompact, and our light one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from inference.features import LogFrequencyConfig, MelConfig

LOWEST, PITCHES = 21, 88
"""MIDI pitch of the lowest key of a piano, and the number of keys."""


class NoteState(IntEnum):
    """What a key's sound does in one frame (class ids of arXiv 2404.06818)."""

    OFF = 0
    OFFSET = 1
    ONSET = 2
    SUSTAIN = 3
    REONSET = 4


STATE_WEIGHTS = (1.0, 1.25, 1.5, 1.0, 1.5)
"""Weights of the five states in the training loss; decoding divides them out again."""


class Output(IntEnum):
    """Channels of the network's output behind the five state logits."""

    VELOCITY = 5
    """0..1 of MIDI 127, meant at onsets."""
    SHIFT = 6
    """Onset within its frame, in hops, -0.5..0.5."""
    KEY = 7
    """Logit: the key itself is down (not only the pedal)."""
    PEDAL = 8
    """Logit: the sustain pedal is down; the same for all pitches."""


class Head(StrEnum):
    """How an acoustic net gets from bins to pitches."""

    FULL = "full"
    COMPACT = "compact"
    HARMONIC = "harmonic"


@dataclass(frozen=True)
class BlockConfig:
    """One convolution block of the published networks: two 3-bin convolutions and a pooling."""

    channels: int = 48
    time_widths: tuple[int, int] = (3, 3)
    pool: int = 1


@dataclass(frozen=True)
class HarmonicConfig:
    """The light trunk: thirds of semitones to semitones, then a look at each pitch's harmonics."""

    first_channels: int = 24
    channels: int = 48
    residual_blocks: int = 2
    gather_channels: int = 20
    global_channels: int = 16
    tables: bool = True
    """FiLM from a table per bin rather than from perceptrons of its position."""
    harmonics: tuple[int, ...] = (-24, -19, -12, 0, 12, 19, 24, 28, 31, 34, 36, 38, 40, 43)
    """Semitones at which each pitch is looked at: notes it may be an overtone of, and its own overtones."""


@dataclass(frozen=True)
class ExchangeConfig:
    """What keys tell each other after the sequence net."""

    keys: tuple[int, ...] = (-36, -31, -28, -24, -19, -12, -7, -5, -2, -1, 1, 2, 5, 7, 12, 19, 24)
    """Semitones to the keys that each listens to."""
    said: int = 12
    width: int = 48


@dataclass(frozen=True)
class PianoConfig:
    """Everything that shapes a piano network; the defaults are those of the published PAR."""

    name: str = "par"
    front_end: MelConfig | LogFrequencyConfig = field(default_factory=MelConfig)
    head: Head = Head.FULL
    blocks: tuple[BlockConfig, ...] = (BlockConfig(pool=2), BlockConfig(pool=2), BlockConfig())
    harmonic: HarmonicConfig = field(default_factory=HarmonicConfig)
    film: bool = True
    features: int = 48
    hidden: int = 48
    layers: int = 2
    global_units: int = 0
    """Units of one LSTM that hears all pitches at once; 0: a small one, shared by the pitches."""
    context: bool = True
    longest_duration_s: float = 10.0
    joint: bool = False
    """One net for notes, velocity, sub-frame onset, key and pedal, instead of two separate ones."""
    pitch_embedding: int = 0
    exchange: ExchangeConfig | None = None
    delay: int = 2048
    """Samples from an onset to the end of the frame that sees it best."""
    other_delays: tuple[int, ...] = ()
    """More delays, each with a head of its own; they differ from `delay` by whole hops."""

    def __post_init__(self) -> None:
        if self.joint and not isinstance(self.front_end, LogFrequencyConfig):
            raise ValueError("a joint network needs a front end that follows the level")
        if any((other - self.delay) % self.hop for other in self.other_delays):
            raise ValueError(f"delays must differ by hops of {self.hop}: {self.delays}")
        if self.context and self.other_delays:
            raise ValueError("recursive context is of one delay's decisions; leave out other_delays")

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return self.front_end.hop

    @property
    def rate(self) -> int:
        """Sample rate in Hz."""
        return self.front_end.rate

    @property
    def lookahead(self) -> int:
        """Frames by which the convolutions look ahead."""
        if self.head is Head.HARMONIC:
            return 0
        return sum((width - 1) // 2 for block in self.blocks for width in block.time_widths)

    @property
    def delays(self) -> tuple[int, ...]:
        """Delay of each head in samples, the main one first."""
        return (self.delay, *self.other_delays)

    @property
    def label_delay(self) -> int:
        """Samples from an onset to the end of the frame whose output tells of it."""
        return self.delay + self.lookahead * self.hop

    @property
    def outputs(self) -> int:
        """Output channels per pitch and frame."""
        return len(NoteState) + (len(Output) if self.joint else 1)


PAR = PianoConfig()
PAR_COMPACT = PianoConfig(name="par-compact", head=Head.COMPACT)
LIGHT = PianoConfig(
    name="light",
    front_end=LogFrequencyConfig(),
    head=Head.HARMONIC,
    harmonic=HarmonicConfig(channels=64, residual_blocks=3),
    features=64,
    hidden=64,
    layers=1,
    context=False,
    joint=True,
    pitch_embedding=8,
    exchange=ExchangeConfig(said=16, width=64),
    delay=1440,
    other_delays=(160, 480, 1120, 2080, 4640),
)
PLAIN = replace(LIGHT, name="light-plain", other_delays=())
"""The light one with its main delay only, to be measured against:"""
ABLATIONS = (
    PLAIN,
    replace(PLAIN, name="light-no-film", film=False),
    replace(PLAIN, name="light-no-exchange", exchange=None),
    replace(PLAIN, name="light-global-lstm", global_units=256, exchange=None),
    replace(PLAIN, name="light-context", context=True),
)
CONFIGS = {config.name: config for config in (PAR, PAR_COMPACT, LIGHT, *ABLATIONS)}
