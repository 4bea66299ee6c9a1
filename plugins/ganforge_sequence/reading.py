"""How both networks read: conditions into a memory, and a text word by word beside that memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Spec, TextSpec, as_vectors


@frozen(eq=False)
class Memory:
    """Conditions as they were read: a state for each token, and one vector of everything."""

    states: Tensor | None  # [N, tokens, width]; None where no condition is a text
    whole: Tensor  # [N, width]

    def repeated(self, times: int) -> Memory:
        """The same with each item as many times in a row."""
        states = None if self.states is None else self.states.repeat_interleave(times, 0)
        return Memory(states, self.whole.repeat_interleave(times, 0))


class Conditions(nn.Module):
    """Reads conditions: texts by a bidirectional GRU each, everything else as one vector."""

    def __init__(self, specs: Sequence[Spec], width: int) -> None:
        super().__init__()
        self.specs = tuple(specs)
        texts = [spec for spec in specs if isinstance(spec, TextSpec)]
        self.words = nn.ModuleList(Words(spec, width) for spec in texts)
        self.readers = nn.ModuleList(
            nn.GRU(width, width // 2, batch_first=True, bidirectional=True) for _ in texts
        )
        others = sum(spec.flat for spec in specs if not isinstance(spec, TextSpec))
        self.whole = nn.Linear(width * len(texts) + others, width)

    def forward(self, values: Sequence[Tensor]) -> Memory:
        """One tensor per spec, texts as tokens or one-hot -> what was read."""
        pairs = list(zip(values, self.specs, strict=True))
        texts = [value for value, spec in pairs if isinstance(spec, TextSpec)]
        states = [
            double_differentiable(reader, words(text))[0]
            for text, words, reader in zip(texts, self.words, self.readers, strict=True)
        ]
        parts = [state.mean(1) for state in states]
        others = [pair for pair in pairs if not isinstance(pair[1], TextSpec)]
        parts += [as_vectors(*zip(*others, strict=True))] if others else []
        return Memory(
            torch.cat(states, 1) if states else None, torch.tanh(self.whole(torch.cat(parts, 1)))
        )


class Words(nn.Module):
    """Embeds a text, and the positions of its words."""

    def __init__(self, spec: TextSpec, width: int) -> None:
        super().__init__()
        self.word = nn.Parameter(torch.randn(len(spec.vocabulary), width) * width**-0.5)
        self.place = nn.Parameter(torch.randn(spec.length, width) * width**-0.5)

    def forward(self, text: Tensor, start: int = 0) -> Tensor:
        """Tokens int64 [N, length] or one-hot float [N, length, words], beginning at place `start`
        -> [N, length, width]"""
        rows = text @ self.word if text.is_floating_point() else self.word[text]
        return rows + self.place[start : start + text.shape[1]]


class Reader(nn.Module):
    """Reads embedded words from left to right, looking at the memory after each (arXiv:1508.04025,
    section 3.1: attention after the recurrent layer, so that known words are read in one go)."""

    def __init__(self, width: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.query = nn.Linear(width, width) if attends else None
        self.join = nn.Linear((2 if attends else 1) * width, width)
        self.dropout = dropout

    def start(self, memory: Memory) -> Tensor:
        """The state before the first word, [1, N, width]"""
        return torch.tanh(self.first(memory.whole))[None]

    def forward(self, words: Tensor, state: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Embedded words [N, length, width] -> what is known after each, [N, length, width], and
        the state after the last."""
        found, state = double_differentiable(self.recurrent, words, state)
        known = found
        if self.query is not None:
            assert memory.states is not None
            seen = F.softmax(self.query(found) @ memory.states.mT * found.shape[2] ** -0.5, 2)
            known = torch.cat([found, seen @ memory.states], 2)
        known = F.dropout(torch.tanh(self.join(known)), self.dropout, self.training)
        return known, state


def double_differentiable(
    recurrent: nn.GRU, words: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """PyTorch's own GRU rather than cuDNN's, which cannot be differentiated twice, as penalties on
    gradients need."""
    with torch.backends.cudnn.flags(enabled=False):
        found: tuple[Tensor, Tensor] = recurrent(words, state)
    return found


def length_of(tokens: Tensor) -> Tensor:
    """Tokens int64 [N, length] -> how many of them are read, the end among them, int64 [N]"""
    written = (tokens != 0).long().cumprod(1).sum(1)
    return (written + 1).clamp(max=tokens.shape[1])


def counts(tokens: Tensor) -> Tensor:
    """Which tokens are choices (words, and the end) rather than what fills up, bool [N, length]"""
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return places < length_of(tokens)[:, None]
