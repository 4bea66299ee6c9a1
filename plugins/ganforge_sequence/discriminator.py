"""Judges pairs of conditions and a text, after each word of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganforge import Discriminator, DiscriminatorOutput, Spec, TextSpec
from ganforge_sequence.reading import Conditions, Memory, Reader, Words, length_of


class SequencePairs(Discriminator):
    """A score for each beginning of the text under its conditions, [N, length]; behind the text's
    end, the score of all of it. An optimal D's score of a beginning is the log-ratio of how often
    real texts and fakes begin so: the reward of the choices that led there, without roll-outs.

    Features: what is known at the end, [N, width].
    """

    independent_rows = True

    def __init__(self, options: Any, judged: Spec, given: Sequence[Spec] = ()) -> None:
        super().__init__(options, judged, given)
        assert isinstance(judged, TextSpec)
        width = options.width
        self.conditions = Conditions(given, width) if given else None
        self.words = Words(judged, width)
        texts = any(isinstance(spec, TextSpec) for spec in given)
        self.reader = Reader(width, options.dropout, texts)
        self.score = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, data: Tensor, given: tuple[Tensor, ...] | None = None) -> DiscriminatorOutput:
        """Words, one-hot float [N, length, words], and conditions -> scores [N, length]"""
        words = self.words(data)
        if self.conditions is None:
            memory = Memory(None, words.new_zeros(len(words), words.shape[2]))
        else:
            memory = self.conditions(given or ())
        known, _ = self.reader(words, self.reader.start(memory), memory)
        last = length_of(data.detach().argmax(2)) - 1  # [N]
        places = torch.arange(data.shape[1], device=data.device).expand(len(data), -1)
        scores = self.score(known)[..., 0].gather(1, torch.minimum(places, last[:, None]))
        rows = torch.arange(len(data), device=data.device)
        return DiscriminatorOutput(scores=scores, features=known[rows, last])
