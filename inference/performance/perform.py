"""Performs scores: the trained Pianist from words to notes in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from inference.performance import parameters, playing, words
from inference.performance.example import example
from inference.performance.manners import Manner, shape, tidy
from inference.performance.network import Xmvae
from inference.performance.playing import FIELDS, PLAYED_SIZES
from inference.performance.recorded import RecordedDecoder
from inference.performance.score import Floats, Performance, Score
from inference.performance.words import Words

Progress = Callable[[int, int], None]
"""Steps done, and of how many."""
FEWEST_STEPS = 2
SHORTEST_OCTAVES, LONGEST_OCTAVES = -4.0, 1.0
"""How much shorter and longer than notated a note may be held, as in the words."""
LIVELINESS = (0.6, 0.8, 0.7, 0.7)
"""How much of the temperature each sub-token takes: a tempo that was drawn badly stays."""


@dataclass(frozen=True)
class Choices:
    """How to perform.

    Args:
        style: (latents,) of the performer; None is the middle of all that were heard.
        temperature: 0 plays what is expected; above, sub-tokens are drawn.
        seed: of what is drawn.
        history: whether each note hears those before it, else all are told at once; None: where
            something is drawn. What is expected came nearer to people without history, and sooner.
        tempo: beats per minute; None: the score's, or else the network's guess.
        pedal: whether to use it.
        manner: how much of everything.
    """

    style: Floats | None = None
    temperature: float = 0.0
    seed: int = 0
    history: bool | None = None
    tempo: float | None = None
    pedal: bool = True
    manner: Manner = field(default_factory=Manner)


class Performer:
    """A trained Pianist.

    Args:
        network: trained.
        styles: latents with names.
        manner: of everything the share that makes it as large as people's.
    """

    def __init__(self, network: Xmvae, styles: Mapping[str, Floats], manner: Manner) -> None:
        self.network = network.eval()
        self.styles, self.manner = dict(styles), manner
        self._recorded: RecordedDecoder | None = None

    @torch.inference_mode()
    def perform(
        self, score: Score, choices: Choices | None = None, progress: Progress = lambda done, of: None
    ) -> Performance:
        """Play a score; its notes keep their order, and none is left out or added.

        Args:
            score: at least one note.
            choices: see `Choices`.
            progress: called now and then.
        """
        choices = choices or Choices()
        spelled = words.spell(score)
        features = self._features(spelled)
        period = 60 / choices.tempo if choices.tempo else self._period(score, features)
        style = torch.zeros(self.network.pianist.inject.in_features)
        if choices.style is not None:
            style = torch.as_tensor(choices.style, dtype=torch.float32)
        memory = self.network.pianist.memory(features, style.expand(len(features), -1))
        places = self._in_time(spelled, score, memory, choices, progress)
        played = playing.unspell(spelled, score, places)
        numbers = parameters.measure(score, played)
        mean = numbers.articulation.mean()
        spread = mean + self.manner.articulation * (numbers.articulation - mean)
        numbers = replace(numbers, articulation=np.clip(spread, SHORTEST_OCTAVES, LONGEST_OCTAVES))
        manner = replace(self.manner, articulation=1.0).times(choices.manner)
        numbers = shape(score, numbers, manner, period)
        whole = parameters.realise(score, numbers)
        times = parameters.clock(score, numbers.beat_period, numbers.start)
        before = parameters.onset_times(score, played)
        pedal = parameters.time_of(
            parameters.beat_of(played.pedal.reshape(-1), score, before), score, times
        ).reshape(-1, 2)
        return tidy(score, replace(whole, pedal=pedal if choices.pedal else pedal[:0]))

    @torch.inference_mode()
    def style_of(self, score: Score, played: Performance) -> Floats:
        """(latents,) what is particular to a performance of a score."""
        one = example("", score, played)
        spelled = words.spell(score)
        features = self._features(spelled)
        values = torch.from_numpy(one.values)
        size = self.network.config.steps
        found = []
        for begin in range(0, max(1, len(values) - size // 2), size // 2):
            cut = slice(begin, begin + size)
            style = self.network.pianist.posterior(features[None, cut], values[None, cut])
            found.append(style.mean[0, 0])
        latents: Floats = torch.stack(found).mean(0).double().numpy()
        return latents

    def _features(self, spelled: Words) -> Tensor:
        """(steps, width) of a score of any length, in windows of which the middles count."""
        tokens, extras = torch.from_numpy(spelled.tokens), torch.from_numpy(spelled.extras)
        beat = torch.from_numpy(spelled.beat)
        return in_windows(
            len(spelled),
            self.network.config.steps,
            lambda cut: self.network.score_features(tokens[None, cut], extras[None, cut], beat[None, cut])[0],
        )

    def _period(self, score: Score, features: Tensor) -> float:
        if score.tempo:
            return 60 / score.tempo
        return float(torch.exp2(self.network.pianist.tempo(features.mean(0))).clamp(0.15, 3.0))

    def _in_time(
        self, spelled: Words, score: Score, memory: Tensor, choices: Choices, progress: Progress
    ) -> Floats:
        chooser = _Chooser(spelled, score, choices)
        decoder = self.network.pianist.decoder
        history = choices.temperature > 0 if choices.history is None else choices.history
        if not history:
            blank = torch.zeros(1, len(spelled), 4, dtype=torch.int64)
            hidden = in_windows(
                len(spelled),
                self.network.config.steps,
                lambda cut: decoder.hidden(memory[None, cut], blank[:, cut], blank[:, cut, 0] > 0)[0],
            )
            chooser.all_at_once(decoder.tell, hidden)
            return chooser.places
        if self._recorded is None:
            self._recorded = RecordedDecoder(decoder)
        steps = self._recorded
        state, before = steps.start(1), None
        for step in range(len(spelled)):
            hidden, state = steps.step(memory[step : step + 1], before, state)
            before = chooser.one(step, steps.tell, hidden)
            if step % 64 == 0:
                progress(step, len(spelled))
        return chooser.places


def in_windows(count: int, size: int, tell: Callable[[slice], Tensor]) -> Tensor:
    """(count, width) of windows that overlap by half; of each the middle is kept.

    Args:
        count: steps.
        size: of a window.
        tell: what is told of a window, (steps, width).
    """
    if count <= size:
        return tell(slice(0, count))
    quarter, parts = size // 4, []
    for begin in range(0, count - 2 * quarter, 2 * quarter):
        cut = slice(begin, min(begin + size, count))
        last = begin + 2 * quarter >= count - 2 * quarter
        keep = slice(0 if begin == 0 else quarter, None if last else 3 * quarter)
        parts.append(tell(cut)[keep])
    return torch.cat(parts)[:count]


class _Chooser:
    """Takes sub-tokens from logits, and keeps where on the grids they lie."""

    def __init__(self, spelled: Words, score: Score, choices: Choices) -> None:
        self.temperature = choices.temperature
        self.random = torch.Generator().manual_seed(choices.seed)
        self.note = torch.from_numpy(spelled.note >= 0)
        first = np.diff(score.group, prepend=-1) > 0
        self.first = torch.ones(len(spelled), dtype=torch.bool)
        self.first[self.note] = torch.from_numpy(first[spelled.note[spelled.note >= 0]])
        # The step that a note shares its beat period with.
        self.leader = torch.cummax(torch.where(self.first, torch.arange(len(spelled)), 0), 0).values
        self._places = torch.zeros(len(spelled), 4, dtype=torch.float64)
        self._tokens = torch.zeros(len(spelled), 4, dtype=torch.int64)

    @property
    def places(self) -> Floats:
        places: Floats = self._places.numpy()
        return places

    def one(self, step: int, tell: Callable[..., Tensor], hidden: Tensor) -> Tensor:
        return tell(hidden, lambda index, logits: self._choose(slice(step, step + 1), index, logits))

    def all_at_once(self, tell: Callable[..., Tensor], hidden: Tensor) -> None:
        tell(hidden, lambda index, logits: self._choose(slice(0, len(hidden)), index, logits))

    def _choose(self, cut: slice, index: int, logits: Tensor) -> Tensor:
        note, size = self.note[cut], FIELDS[index]
        tokens, places = (
            torch.zeros(len(note), dtype=torch.int64),
            torch.zeros(len(note), dtype=torch.float64),
        )
        if note.any():
            bins, exact = self._value(index, logits[note][:, 1 : 1 + size].double())
            tokens[note], places[note] = 1 + bins, exact
        if index < 2 and not note.all():
            ticks = self._moment(logits[~note][:, 1 + size : PLAYED_SIZES[index]].double())
            tokens[~note], places[~note] = 1 + size + ticks, ticks.double()
        self._tokens[cut, index], self._places[cut, index] = tokens, places
        if index == 0:
            leader = self.leader[cut]
            tokens = torch.where(note, self._tokens[leader, 0], tokens)
            self._tokens[cut, 0] = tokens
            self._places[cut, 0] = torch.where(note, self._places[leader, 0], places)
        return tokens

    def _value(self, index: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        grid = torch.arange(logits.shape[1], dtype=torch.float64)
        if not self.temperature:
            place = logits.softmax(-1) @ grid
            return place.round().long(), place
        share = (logits / (self.temperature * LIVELINESS[index])).softmax(-1)
        drawn = torch.multinomial(share, 1, generator=self.random)
        near = share * ((grid - drawn).abs() <= 2)
        return drawn[:, 0], (near @ grid) / near.sum(-1)

    def _moment(self, logits: Tensor) -> Tensor:
        """Tick from 1 at which the pedal moves, or 0."""
        share = logits.softmax(-1)
        if self.temperature:
            return torch.multinomial(share, 1, generator=self.random)[:, 0]
        return torch.where(share[:, 0] > 0.5, 0, 1 + share[:, 1:].argmax(-1))
