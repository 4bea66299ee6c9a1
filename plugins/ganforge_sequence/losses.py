"""What texts are trained by beside the usual adversarial losses: likelihood, and REINFORCE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganforge import GanforgeError, Loss


class Likelihood(Loss):
    """Maximum likelihood, each word given the true ones before it (teacher forcing)."""

    def generator(self, real_log_probs: Tensor) -> Tensor:
        """log p of each token [N, length], 0 behind the end -> -log p of the text, nats [N]"""
        return -real_log_probs.sum(1)


class Reinforce(Loss):
    """The policy gradient of arXiv:1609.05473 (equations 7 and 8) and 1704.06933 (equation 7): the
    log-probability of each choice, times what it was paid less a baseline.

    The pay is D's opinion r of what was written: its probability of being real, sigmoid(score), as
    in the papers, or the score itself, an optimal D's log p_data / p_G. Where D scores each
    beginning, r of the text up to a choice stands for what the papers estimate by rolling texts
    out, and r of the text before it is the baseline, which the choice cannot change; that of the
    first choice is the moving one. Where D has one score, all choices are paid that, less the
    moving baseline.

    Buffer: `baseline`, 0-d, the moving mean of r where the baseline is taken from it.
    """

    baseline: Tensor

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        undecided = 0.5 if options.reward == "probability" else 0.0
        self.register_buffer("baseline", torch.tensor(undecided))

    def generator(self, fake_log_probs: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        """log p of choices [N, length], scores [N] or [N, length] -> the policy's loss [N], and the
        pay that the baseline follows [N], which has no gradient."""
        scores = fake_scores.detach()
        pay = scores.sigmoid() if self.options.reward == "probability" else scores
        if pay.dim() > 1 and pay.shape != fake_log_probs.shape:
            raise GanforgeError(
                f"reinforce reads one score of a text, or one for each of its "
                f"{fake_log_probs.shape[1]} words, not {list(pay.shape[1:])}"
            )
        if pay.dim() > 1 and self.options.credit == "words":
            before = torch.cat([self.baseline.expand(len(pay), 1), pay[:, :-1]], 1)
            paid, first = pay - before, pay[:, 0]
        else:
            first = pay if pay.dim() == 1 else pay[:, -1]
            paid = (first - self.baseline)[:, None]
        return {"policy": -(paid * fake_log_probs).sum(1), "pay": first}

    def observe(self, side: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """After G's turn the baseline moves towards the mean pay."""
        self.baseline = torch.lerp(values["pay"], self.baseline, self.options.momentum)
        return {"baseline": self.baseline}
