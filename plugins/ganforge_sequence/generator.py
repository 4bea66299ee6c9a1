"""Sequence to sequence with attention (arXiv:1409.3215, 1508.04025), and noise beside the source.

The choice of each word is discrete. Two ways past that are offered: a gradient as if the choice
were soft (straight-through Gumbel-softmax, arXiv:1611.01144), and the log-probabilities of plain
choices, which REINFORCE needs (arXiv:1609.05473).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Generator, GeneratorOutput, Spec, TextSpec
from ganforge_sequence.reading import Conditions, Memory, Reader, Words, counts

Method = Literal["greedy", "beam", "sample"]


class Seq2Seq(Generator):
    """Conditions -> a text, word by word, drawn from softmax(logits). After its end nothing is
    chosen: tokens there are 0, with probability 1."""

    draws_itself = True

    def __init__(self, options: Any, sources: Sequence[Spec], target: Spec) -> None:
        super().__init__(options, sources, target)
        assert isinstance(target, TextSpec)
        self.length = target.length
        self.conditions = Conditions(sources, options.width)
        self.words = Words(target, options.width)
        texts = any(isinstance(spec, TextSpec) for spec in sources)
        self.reader = Reader(options.width, options.dropout, texts)
        self.logits = nn.Linear(options.width, len(target.vocabulary))

    def forward(self, *sources: Tensor, forced: Tensor | None = None) -> GeneratorOutput:
        """Sources -> one-hot words float [N, length, words], their log-probabilities [N, length].

        forced: tokens int64 [N, length] that are taken in place of drawn ones.
        """
        memory = self.conditions(sources)
        if forced is not None:
            logits = self.logits_of(memory, forced)
            one_hot = F.one_hot(forced, logits.shape[2]).float()
            return GeneratorOutput(one_hot, log_probs=log_probs(logits, forced))
        choices = list(self._choices(memory))
        data = torch.stack([data for data, _ in choices], 1)
        logits = torch.stack([logits for _, logits in choices], 1)
        return GeneratorOutput(data, log_probs=log_probs(logits, data.detach().argmax(2)))

    def logits_of(self, memory: Memory, tokens: Tensor) -> Tensor:
        """Logits of each token given those before it, [N, length, words], all places at once."""
        before = F.pad(tokens[:, :-1], (1, 0))
        known, _ = self.reader(self.words(before), self.reader.start(memory), memory)
        return self.logits(known)

    def _choices(self, memory: Memory) -> Iterator[tuple[Tensor, Tensor]]:
        """(one-hot choice [N, words], logits [N, words]) of each place."""
        state, soft = self.reader.start(memory), self.options.choice == "straight-through"
        rows, words = memory.whole.shape[0], len(self.words.word)
        end = torch.eye(words, device=memory.whole.device)[:1].expand(rows, -1)
        data, ended = end, None
        for place in range(self.length):
            known, state = self.reader(self.words(data[:, None], place), state, memory)
            logits = self.logits(known[:, 0])
            data = chosen(logits, self.options.temperature if soft else None)
            if ended is not None:
                data = torch.where(ended[:, None], end.to(data.dtype), data)
            ended = data.detach()[:, 0] == 1
            yield data, logits

    @torch.no_grad()
    def decode(
        self,
        *sources: Tensor,
        method: Method = "greedy",
        count: int = 1,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Texts as tokens, int64 [N, count, length], for sources [N, ...] each.

        method: "greedy" takes the likeliest word each time, so all texts of an item are the same;
        "beam" gives the `count` texts that a beam search of that width ends with, the likeliest
        first; "sample" draws `count` texts from softmax(logits / temperature), by `generator`.
        """
        memory = self.conditions(sources).repeated(count)
        if method == "beam":
            return self._beam(memory, count)
        state, rows = self.reader.start(memory), memory.whole.shape[0]
        tokens = torch.zeros(rows, 0, dtype=torch.long, device=memory.whole.device)
        for _ in range(self.length):
            logits, state = self._next(tokens, state, memory)
            if method == "greedy":
                word = logits.argmax(1)
            else:
                shares = F.softmax(logits / temperature, 1)
                word = torch.multinomial(shares, 1, generator=generator)[:, 0]
            tokens = torch.cat([tokens, torch.where(ended_in(tokens), 0, word)[:, None]], 1)
        return tokens.unflatten(0, (-1, count))

    def _next(self, tokens: Tensor, state: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Logits [rows, words] of what follows tokens [rows, place], and the state after these."""
        last = tokens[:, -1:] if tokens.shape[1] else tokens.new_zeros(len(tokens), 1)
        known, state = self.reader(self.words(last, tokens.shape[1]), state, memory)
        return self.logits(known[:, 0]), state

    def _beam(self, memory: Memory, width: int) -> Tensor:
        """The `width` likeliest texts that a beam of that width finds; scores are sums of
        log-probabilities, so no length is favoured."""
        rows = memory.whole.shape[0]  # N * width
        state = self.reader.start(memory)
        tokens = torch.zeros(rows, 0, dtype=torch.long, device=memory.whole.device)
        # At first the beams of an item are the same text: all but one are out of the race.
        first = torch.arange(rows, device=tokens.device) % width == 0
        scores = torch.zeros(rows, device=tokens.device).masked_fill(~first, -torch.inf)
        for _ in range(self.length):
            logits, state = self._next(tokens, state, memory)
            steps = F.log_softmax(logits.float(), 1)
            over = ended_in(tokens)
            steps[over] = -torch.inf
            steps[over, 0] = 0
            words = steps.shape[1]
            together = (scores[:, None] + steps).view(-1, width * words)
            best, place = together.topk(width, 1)
            offset = torch.arange(0, rows, width, device=tokens.device)[:, None]
            parent = (offset + place // words).flatten()
            tokens = torch.cat([tokens[parent], (place % words).view(-1, 1)], 1)
            scores, state = best.flatten(), state[:, parent]
        return tokens.unflatten(0, (-1, width))


def chosen(logits: Tensor, temperature: float | None) -> Tensor:
    """Words drawn from softmax(logits) [N, words], one-hot in the forward.

    By the Gumbel-max trick: the largest of logits + g, g ~ Gumbel(0, 1). With a temperature, the
    gradient is that of softmax((logits + g) / temperature) (straight-through, arXiv:1611.01144,
    section 2.2); without, there is none.
    """
    drawn = torch.empty_like(logits).exponential_().clamp_min(torch.finfo(logits.dtype).tiny)
    noisy = logits - drawn.log()
    hard = F.one_hot(noisy.argmax(1), logits.shape[1]).to(logits.dtype)
    if temperature is None:
        return hard
    soft = F.softmax(noisy / temperature, 1)
    return hard + (soft - soft.detach())


def log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of each token, [N, length], 0 behind the end, where nothing is chosen.

    logits: [N, length, words]. tokens: int64 [N, length].
    """
    each = F.log_softmax(logits.float(), 2).gather(2, tokens[..., None])[..., 0]
    return each * counts(tokens)


def ended_in(tokens: Tensor) -> Tensor:
    """Which texts have ended, bool [rows]"""
    return (tokens == 0).any(1)
