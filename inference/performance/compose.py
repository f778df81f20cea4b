"""Writes scores: codes or a plan out of the prior, and words, each after those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from inference.performance import pages, words
from inference.performance.config import METERS
from inference.performance.network import Xmvae
from inference.performance.recorded import RecordedDecoder
from inference.performance.score import Score
from inference.performance.wishes import Wishes
from inference.performance.writing import Heard, Writing

PROMPT_SHARE = 0.6
"""Of the steps that the networks look back over, at most this much is prompt."""
Progress = Callable[[int, int], None]
"""Bars done, and of how many."""


class Writer:
    """A trained Composer with its prior. It holds no note for longer than a bar."""

    def __init__(self, network: Xmvae) -> None:
        self.network = network.eval()
        self.decoder = RecordedDecoder(network.composer.decoder)
        self.prior = None if network.prior is None else RecordedDecoder(network.prior)

    def write(
        self, wishes: Wishes, prompt: Score | None = None, progress: Progress = lambda done, of: None
    ) -> Score:
        """Write `wishes.bars` bars; after a prompt, that begins the score and whose bars are not counted.

        Raises:
            ValueError: a meter that no network was trained on.
        """
        (score,) = self.write_many([wishes], prompt, progress)
        return score

    @torch.inference_mode()
    def write_many(
        self,
        wishes: Sequence[Wishes],
        prompt: Score | None = None,
        progress: Progress = lambda done, of: None,
    ) -> list[Score]:
        """Several scores at once, which takes less time than one after the other; see `write`."""
        for one in wishes:
            if not 1 <= one.meter < METERS:
                raise ValueError(f"{one.meter} quarters per bar; there can be 1 to {METERS - 1}")
        heard = self._hear(prompt) if prompt is not None else None
        batch = Writing(self.network, self.decoder, self.prior, wishes, heard)
        while not batch.done:
            batch.step()
            progress(batch.bars, max(one.bars for one in wishes))
        return batch.scores()

    def _hear(self, prompt: Score) -> Heard:
        """The last bars of a prompt, filled up to a whole bar."""
        spelled = words.spell(prompt).tokens
        beats = int(pages.meter(spelled) or prompt.meter[0] * 4 / prompt.meter[1])
        last = np.flatnonzero(spelled[:, 0] == words.BAR)[-1]
        there = int((spelled[last:, 0] != words.NOTE).sum())
        missing = np.zeros((max(0, beats - there), 4), np.int64)
        missing[:, 0] = words.BEAT
        tokens = np.concatenate([spelled, missing])
        starts = np.flatnonzero(tokens[:, 0] == words.BAR)
        room = round(PROMPT_SHARE * self.network.writing.steps)
        first = starts[min(int(np.searchsorted(starts, len(tokens) - room)), len(starts) - 1)]
        tokens = tokens[first:][-room:]
        shift, mode = pages.to_common_key(tokens)
        return Heard(pages.transposed(tokens, shift), prompt, shift, mode)
