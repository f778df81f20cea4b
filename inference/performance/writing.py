"""Several pieces while they are written together, one word of each at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.performance import grids, keys, words
from inference.performance.context import Setting, Surroundings, Trail, bar_of, left_class
from inference.performance.grammar import Grammar
from inference.performance.network import Xmvae
from inference.performance.orthogonal import Choose, Memory
from inference.performance.recorded import RecordedDecoder
from inference.performance.returning import Returning
from inference.performance.score import Floats, Score, ended, make_score
from inference.performance.wishes import Wishes

TONICS = {False: 0, True: 9}
"""Everything is written in C major or A minor, and then moved."""
LOWEST, HIGHEST, SPREAD = 32.0, 90.0, 5.0
"""Where the lowest and highest notes of 32 bars lie, and by how much: the middles of asap/train."""
WORD_TEMPERATURE = 0.7
"""Where words follow from codes, what chance these leave is taken with more caution."""
PITCH, PITCH_TEMPERATURE = 2, 1.3
"""Pitches are drawn more boldly than the rest: else range and steps stay below those of `asap/train`."""


class Heard(NamedTuple):
    """A prompt as the networks hear it: `tokens` (steps, 4) in the common key, `score` as it was."""

    tokens: NDArray[np.int64]
    score: Score
    shift: int
    mode: int


class Writing:
    """Pieces that are written together, a step of each at a time."""

    def __init__(
        self,
        network: Xmvae,
        decoder: RecordedDecoder,
        prior: RecordedDecoder | None,
        wishes: Sequence[Wishes],
        heard: Heard | None,
    ) -> None:
        self.network, self.wishes, self.heard = network, wishes, heard
        self.random = [np.random.default_rng(one.seed) for one in wishes]
        own = [self._key(one, random) for one, random in zip(wishes, self.random, strict=True)]
        self.shifts = [shift for shift, _ in own]
        begun = 0 if heard is None else int((heard.tokens[:, 0] == words.BAR).sum())
        self.trails = [Trail(begun + one.bars, network.writing.lags) for one in wishes]
        self.grammars = [
            Grammar(one.meter, _compass(shift, mode if one.key else 0, None if heard else random))
            for one, (shift, mode), random in zip(wishes, own, self.random, strict=True)
        ]
        rows = [
            (one.meter, mode, one.idiom, int(heard is None))
            for one, (_, mode) in zip(wishes, own, strict=True)
        ]
        self.about = network.composer.context.about(Setting(*torch.tensor(rows).unbind(1)))
        self.decoder = decoder
        self.state: Memory = decoder.start(len(wishes))
        self.before: Tensor | None = None
        self.begun = begun
        given = self._given()
        by_bar = network.writing.bar_codes
        self.plan = self._plan(prior, given) if by_bar and prior is not None else None
        self.codes = None if by_bar or prior is None else _Codes(prior, self.about)
        # Networks that hear earlier bars bring them back by themselves.
        self.forms = [None if by_bar else Returning(random) for random in self.random]
        if heard is not None:
            for step, token in enumerate(torch.from_numpy(heard.tokens)):
                self._hidden(given[step] if self.codes and given else None)
                self._follow(token.expand(len(wishes), -1))
            for grammar in self.grammars:
                grammar.go_on_at(_next_bar(heard.score, grammar.meter))

    @property
    def bars(self) -> int:
        """Bars that all have written."""
        return min(min(g.bars - 1, w.bars) for g, w in zip(self.grammars, self.wishes, strict=True))

    @property
    def done(self) -> bool:
        return all(g.bars > w.bars for g, w in zip(self.grammars, self.wishes, strict=True))

    def step(self) -> None:
        """One more word for each."""
        hidden = self._hidden()
        tokens = self.decoder.tell(hidden, self._choose)
        self._follow(tokens)
        for row, (form, grammar) in enumerate(zip(self.forms, self.grammars, strict=True)):
            if form is not None:
                before = None if self.codes is None else self.codes.before
                codes = None if before is None else before[row]
                form.add(tokens[row].tolist(), codes, grammar)

    def scores(self) -> list[Score]:
        """What was written."""
        rows = zip(self.wishes, self.grammars, self.shifts, strict=True)
        return [_score(one, grammar, shift, self.heard) for one, grammar, shift in rows]

    def _key(self, wishes: Wishes, random: np.random.Generator) -> tuple[int, int]:
        """Semitones from the common key to the piece's, and its mode."""
        if self.heard is not None:
            return -self.heard.shift, self.heard.mode
        tonic, minor = wishes.key or (int(random.integers(12)), bool(random.random() < 0.35))
        return (6 + tonic - TONICS[minor]) % 12 - 6, 2 if minor else 1

    def _given(self) -> list[Tensor]:
        """Codes (batch, groups) of the prompt, for each of its bars or steps."""
        if self.heard is None or self.network.prior is None:
            return []
        tokens = torch.from_numpy(self.heard.tokens)[None]
        beat = ((tokens[..., 0] == words.BAR) | (tokens[..., 0] == words.BEAT)).cumsum(1)
        bars = torch.from_numpy(bar_of(self.heard.tokens))[None]
        found = self.network.composer.encode(tokens, beat, bars).codes
        return list(found.expand(len(self.wishes), -1, -1).unbind(1))

    def _plan(self, prior: RecordedDecoder, given: list[Tensor]) -> Tensor:
        """(batch, bars, width) what the decoder is told of each bar, those of a prompt first."""
        composer = self.network.composer
        state, codes = prior.start(len(self.wishes)), list(given)
        for bar in range(self.begun + max(one.bars for one in self.wishes) + 1):
            left = torch.tensor([left_class(self.begun + one.bars - bar) for one in self.wishes])
            about = self.about + composer.context.at_bar(left)
            hidden, state = prior.step(about, codes[bar - 1] if bar else None, state)
            if bar >= len(given):
                codes.append(prior.tell(hidden, self._draw))
        return composer.memory(torch.stack(codes, 1))

    def _hidden(self, given: Tensor | None = None) -> Tensor:
        """(batch, width) what is known before the next word, with codes of a step that are given or drawn."""
        composer = self.network.composer
        if self.codes is not None:
            again = [form.codes if form is not None else None for form in self.forms]
            memory = composer.memory(self.codes.next(given, again, self._draw)[:, None])[:, 0]
        else:
            memory = self._around()
        hidden: Tensor
        hidden, self.state = self.decoder.step(memory, self.before, self.state)
        return hidden

    def _around(self) -> Tensor:
        """(batch, width) what is known but for the words: bars to come, bars that were, the plan."""
        told = [trail.next() for trail in self.trails]
        echoes, place, left, classes = zip(*told, strict=True)
        around = Surroundings(
            torch.tensor(echoes),
            torch.tensor(place),
            torch.tensor(left),
            torch.tensor(classes, dtype=torch.float32),
        )
        memory: Tensor = self.about + self.network.composer.context(around)
        if self.plan is not None:
            bar = torch.tensor([max(trail.bar, 0) for trail in self.trails])
            memory = memory + self.plan[torch.arange(len(bar)), bar.clamp(max=self.plan.shape[1] - 1)]
        return memory

    def _follow(self, tokens: Tensor) -> None:
        self.before = tokens
        for trail, token in zip(self.trails, tokens.tolist(), strict=True):
            trail.add(token)

    def _choose(self, index: int, logits: Tensor) -> Tensor:
        may = torch.stack([grammar.allowed(index) for grammar in self.grammars])
        logits = logits.masked_fill(~may, -torch.inf)
        if self.codes is not None:
            logits = logits / WORD_TEMPERATURE
        elif index == PITCH:
            logits = logits / PITCH_TEMPERATURE
        tokens = self._draw(index, logits)
        for row, (form, grammar) in enumerate(zip(self.forms, self.grammars, strict=True)):
            if form is not None and form.token is not None:
                tokens[row] = form.token[index]
            grammar.take(index, int(tokens[row]))
        return tokens

    def _draw(self, _: int, logits: Tensor) -> Tensor:
        chance = torch.tensor([random.random() for random in self.random], dtype=torch.float64)
        temperature = torch.tensor([[one.temperature] for one in self.wishes], dtype=torch.float64)
        nucleus = torch.tensor([[one.nucleus] for one in self.wishes], dtype=torch.float64)
        return drawn(logits, temperature, nucleus, chance)


class _Codes:
    """Codes of steps, each after those before it."""

    def __init__(self, prior: RecordedDecoder, about: Tensor) -> None:
        self.prior, self.about = prior, about
        self.state = prior.start(len(about))
        self.before: Tensor | None = None

    def next(self, given: Tensor | None, again: list[Tensor | None], draw: Choose) -> Tensor:
        """(batch, groups) of the next step: given, or of a word that comes again, or drawn."""
        hidden, self.state = self.prior.step(self.about, self.before, self.state)
        codes = self.prior.tell(hidden, draw) if given is None else given
        for row, one in enumerate(again):
            if one is not None:
                codes[row] = one
        self.before = codes
        return codes


def drawn(logits: Tensor, temperature: Tensor, nucleus: Tensor, chance: Tensor) -> Tensor:
    """(batch,) tokens from logits (batch, size), the likeliest at temperature 0.

    Args:
        logits: minus infinity is never drawn.
        temperature: (batch, 1).
        nucleus: (batch, 1) share of probability to draw from.
        chance: (batch,) from 0 to 1.
    """
    share, order = (logits.double() / temperature.clamp(min=1e-4)).softmax(-1).sort(-1, descending=True)
    share = torch.where(share.cumsum(-1) - share < nucleus, share, 0.0)
    total = share.cumsum(-1)
    place = (total < chance[:, None] * total[:, -1:]).sum(-1, keepdim=True)
    return order.gather(-1, place)[:, 0]


def _compass(shift: int, mode: int, random: np.random.Generator | None) -> NDArray[np.bool_]:
    """Keys (88,) that lie in a compass once they are moved, and in the mode's scale if there is one.

    Args:
        shift: semitones by which the piece will be moved.
        mode: 1 for major, 2 for minor, 0 for no scale.
        random: draws the compass; None: the whole piano.
    """
    pitch = np.arange(grids.PITCHES) + grids.LOWEST_PITCH
    low, high = float(pitch[0]), float(pitch[-1])
    if random is not None:
        low, high = max(low, random.normal(LOWEST, SPREAD)), min(high, random.normal(HIGHEST, SPREAD))
    there = (pitch + shift >= low) & (pitch + shift <= high)
    return there & np.isin(pitch % 12, list(keys.scale(TONICS[mode == 2], mode == 2))) if mode else there


def _next_bar(score: Score, meter: int) -> float:
    """Where the bar after a score begins."""
    last = float(score.onset[-1])
    start = float(score.bars[score.bars <= last + 1e-6][-1])
    return start + meter * float(np.ceil((last + 1e-3 - start) / meter))


def _score(wishes: Wishes, grammar: Grammar, shift: int, heard: Heard | None) -> Score:
    kept = [row for row in grammar.notes if row[0] < grammar.starts[0] + wishes.bars * wishes.meter - 1e-6]
    table: Floats = np.array(kept, np.float64).reshape(-1, 3)
    onset, pitch = table[:, 0], table[:, 2].astype(np.int64) + shift
    end = grammar.starts[0] + wishes.bars * wishes.meter
    duration = np.minimum(np.minimum(table[:, 1], wishes.meter), end - onset)
    duration = ended(onset, duration, pitch)
    bars = np.array(grammar.starts[: wishes.bars], np.float64)
    prompt = None if heard is None else heard.score
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
