"""Writes scores: codes out of the prior, and words out of codes, one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inference.performance import grids, words
from inference.performance.network import METERS, Xmvae
from inference.performance.score import TICKS, Score, make_score

MOST_IN_BEAT, MOST_AT_ONCE = 24, 8
"""Notes beyond which the next beat, or the next moment, must come."""
STRANGE = -8.0
"""Added to the logits of pitches outside a key."""
PROMPT_SHARE = 0.75
"""Of the window that the networks look back over, at most this much is prompt."""
DECODER_TEMPERATURE = 0.7
"""Words follow from codes; what chance they leave is taken with more caution."""

Progress = Callable[[int, int], None]
"""Bars done, and of how many."""


@dataclass(frozen=True)
class Wishes:
    """What to write.

    Args:
        bars: how many.
        meter: quarters per bar.
        temperature: how boldly codes are drawn.
        nucleus: share of probability that is drawn from; what is least likely is left out.
        seed: of everything drawn.
        tempo: beats per minute, None: the Pianist's choice.
        key: pitch classes to keep to, None: any. Others then come only where nothing else will do.
    """

    bars: int = 32
    meter: int = 4
    temperature: float = 0.9
    nucleus: float = 0.92
    seed: int = 0
    tempo: float | None = None
    key: frozenset[int] | None = None


class Writer:
    """A trained Composer with its prior. It holds no note for longer than a bar."""

    def __init__(self, network: Xmvae) -> None:
        self.network = network.eval()

    @torch.inference_mode()
    def write(
        self, wishes: Wishes, prompt: Score | None = None, progress: Progress = lambda done, of: None
    ) -> Score:
        """Write `wishes.bars` bars; after a prompt, that begins the score and whose bars are not counted.

        Raises:
            ValueError: a meter that no network was trained on.
        """
        if not 1 <= wishes.meter < METERS:
            raise ValueError(f"{wishes.meter} quarters per bar; there can be 1 to {METERS - 1}")
        random = torch.Generator().manual_seed(wishes.seed)
        composer, prior = self.network.composer, self.network.prior
        about = self.network.meter(torch.tensor([wishes.meter]))
        grammar = _Grammar(wishes.meter, wishes.key)
        heard, written = prior.start(1), composer.decoder.start(1)
        codes = before = None
        begun = 0
        if prompt is not None:
            for step_codes, step_tokens in self._prompt(prompt):
                _, heard = prior.step(about, codes, heard)
                _, written = composer.decoder.step(composer.memory(step_codes[None])[0], before, written)
                codes, before = step_codes, step_tokens
            begun = grammar.follow(prompt, wishes.meter)

        def draw(_: int, logits: Tensor) -> Tensor:
            return _drawn(logits, wishes.temperature, wishes.nucleus, random)

        while True:
            hidden, heard = prior.step(about, codes, heard)
            codes = prior.tell(hidden, draw)
            hidden, written = composer.decoder.step(composer.memory(codes[None])[0], before, written)
            grammar.begin()
            before = composer.decoder.tell(
                hidden,
                lambda index, logits: grammar.take(
                    index,
                    _drawn(
                        grammar.mask(index, logits), wishes.temperature * DECODER_TEMPERATURE, 1.0, random
                    ),
                ),
            )
            if grammar.bars > wishes.bars + begun:
                break
            progress(grammar.bars - begun, wishes.bars)
        return self._score(grammar, wishes, prompt)

    def _prompt(self, prompt: Score) -> list[tuple[Tensor, Tensor]]:
        """Codes (1, groups) and tokens (1, 4) of the last steps of a prompt."""
        spelled = words.spell(prompt)
        last = slice(-round(PROMPT_SHARE * self.network.config.steps), None)
        tokens = torch.from_numpy(spelled.tokens[last])[None]
        codes = self.network.composer.encode(tokens, torch.from_numpy(spelled.beat[last])[None]).codes
        return [(codes[:, step], tokens[:, step]) for step in range(tokens.shape[1])]

    def _score(self, grammar: _Grammar, wishes: Wishes, prompt: Score | None) -> Score:
        table = np.array(grammar.notes, np.float64).reshape(-1, 3)
        ends = grammar.end
        onset, pitch = table[:, 0], table[:, 2].astype(np.int64)
        duration = np.minimum(np.minimum(table[:, 1], wishes.meter), ends - onset)
        bars = np.array(grammar.starts[: wishes.bars], np.float64)
        if prompt is not None:
            onset, duration = np.append(prompt.onset, onset), np.append(prompt.duration, duration)
            pitch, bars = np.append(prompt.pitch, pitch), np.append(prompt.bars, bars)
        score, _ = make_score(
            onset,
            duration,
            pitch,
            np.unique(bars),
            tempo=wishes.tempo or (prompt.tempo if prompt is not None else None),
            meter=(wishes.meter, 4),
        )
        return score


class _Grammar:
    """What may follow: bars of one length, positions that rise, and at one position pitches that rise."""

    def __init__(self, meter: int, key: frozenset[int] | None = None) -> None:
        self.meter = meter
        classes = (torch.arange(grids.PITCHES) + grids.LOWEST_PITCH) % 12
        strange = [key is not None and int(one) not in key for one in classes]
        self._bias = torch.where(torch.tensor([False, *strange]), STRANGE, 0.0)
        self.bars = 0
        self.beat = meter - 1
        self.now = -1.0
        self.notes: list[tuple[float, float, float]] = []
        self.starts: list[float] = []
        self._in_beat = self._together = 0
        self._position = self._pitch = 0
        self._said = [0, 0, 0, 0]

    @property
    def end(self) -> float:
        """Where the last bar ends, in beats."""
        return self.now if self.bars and self.beat == 0 else self.now + self.meter - self.beat

    def follow(self, prompt: Score, meter: int) -> int:
        """Go on at the bar after a prompt; how many bars there are by then."""
        last = float(prompt.onset[-1])
        starts = prompt.bars[prompt.bars <= last + 1e-6]
        self.now = float(starts[-1]) + meter * np.ceil((last + 1e-3 - starts[-1]) / meter) - 1
        return self.bars

    def begin(self) -> None:
        """A new step."""
        self._said = [0, 0, 0, 0]

    def mask(self, index: int, logits: Tensor) -> Tensor:
        """Logits (1, size) without what may not be."""
        allowed = torch.zeros(logits.shape[-1], dtype=torch.bool)
        if index == 0:
            full = self.bars == 0 or self._in_beat >= MOST_IN_BEAT or self._last_moment_full()
            allowed[words.NOTE] = not full
            allowed[words.BAR if self.beat == self.meter - 1 else words.BEAT] = True
        elif self._said[0] != words.NOTE:
            allowed[0] = True
        elif index == 1:
            allowed[1 + self._position + self._crowded() :] = True
        elif index == 2:
            here = self._said[1] - 1 == self._position and self._in_beat > 0
            allowed[(self._pitch + 1 if here else 1) :] = True
            logits = logits + self._bias
        else:
            allowed[1:] = True
        return logits.masked_fill(~allowed, -torch.inf)

    def take(self, index: int, token: Tensor) -> Tensor:
        """Remember a sub-token (1,), and after the last the step."""
        self._said[index] = int(token)
        if index == 3:
            self._close()
        return token

    def _close(self) -> None:
        family, position, pitch, duration = self._said
        if family != words.NOTE:
            self.beat = 0 if family == words.BAR else self.beat + 1
            self.now += 1
            self._in_beat = self._together = self._position = self._pitch = 0
            if family == words.BAR:
                self.bars += 1
                self.starts.append(self.now)
            return
        self._together = self._together + 1 if position - 1 == self._position and self._in_beat else 1
        self._in_beat += 1
        self._position, self._pitch = position - 1, pitch
        length = float(grids.DURATIONS[duration - 1]) / TICKS
        self.notes.append((self.now + (position - 1) / TICKS, length, pitch - 1 + grids.LOWEST_PITCH))

    def _crowded(self) -> bool:
        return self._in_beat > 0 and (self._together >= MOST_AT_ONCE or self._pitch >= grids.PITCHES)

    def _last_moment_full(self) -> bool:
        return self._position == TICKS - 1 and self._crowded()


def _drawn(logits: Tensor, temperature: float, nucleus: float, random: torch.Generator) -> Tensor:
    """(1,) a token, from logits (1, size)."""
    if temperature <= 0:
        return logits.argmax(-1)
    share, order = (logits.double() / temperature).softmax(-1).sort(-1, descending=True)
    share = torch.where(share.cumsum(-1) - share < nucleus, share, 0.0)
    return order.gather(-1, torch.multinomial(share, 1, generator=random))[:, 0]
