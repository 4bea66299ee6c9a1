"""The boundary equilibrium game (arXiv:1703.10717, sections 3.3 and 3.4), with the L1 norm.

L(v) = |v - D(v)| for a discriminator D that is an autoencoder. D should reconstruct real images and
not fakes, G wants its fakes reconstructed. k says how much D minds the fakes, and is moved so that
L(G(z)) stays at gamma times L(x).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganforge import Loss


class Began(Loss):
    """Buffers: `k`, 0-d in [0, 1], from 0, and `real`, D's last L(x), by which G's turn moves k."""

    k: Tensor
    real: Tensor

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.register_buffer("k", torch.tensor(0.0))
        self.register_buffer("real", torch.tensor(0.0))

    def discriminator(
        self,
        real_seen: Tensor,
        real_reconstruction: Tensor,
        fake_seen: Tensor,
        fake_reconstruction: Tensor,
    ) -> dict[str, Tensor]:
        """Images [N, ...] -> L(x) and -k L(G(z)), each [N]"""
        return {
            "real": autoencoder_loss(real_seen, real_reconstruction),
            "fake": -self.k * autoencoder_loss(fake_seen, fake_reconstruction),
        }

    def generator(self, fake_seen: Tensor, fake_reconstruction: Tensor) -> Tensor:
        """L(G(z)), [N]"""
        return autoencoder_loss(fake_seen, fake_reconstruction)

    def observe(self, side: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """After G's turn, the step's last: k <- k + lambda_k (gamma L(x) - L(G(z))) in [0, 1].

        Logs the new k and the convergence measure M = L(x) + |gamma L(x) - L(G(z))|
        (section 3.4.1), of D's L(x) and G's L(G(z)) in this step.
        """
        if side == "discriminator":
            self.real = values["real"]
            return {}
        imbalance = self.options.gamma * self.real - values["loss"]
        # New tensors rather than in place: what was logged before must not change with k.
        self.k = (self.k + self.options.lambda_k * imbalance).clamp(0, 1)
        return {"k": self.k, "convergence": self.real + imbalance.abs()}


def autoencoder_loss(seen: Tensor, reconstruction: Tensor) -> Tensor:
    """Images [N, ...] and D of them -> the mean absolute difference of each, [N]"""
    return (seen - reconstruction).abs().flatten(1).mean(1)
