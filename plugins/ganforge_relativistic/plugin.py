"""The relativistic objective (arXiv:1807.00734), as R3GAN pairs it (arXiv:2501.05416)."""

from typing import Literal

from ganforge.plugin import Component, hookimpl, option, options


@options
class RelativisticOptions:
    against: Literal["pair", "mean"] = option(
        "pair", help="what a score is compared with: the other kind's in its row, or their mean"
    )


@hookimpl
def ganforge_components() -> list[Component]:
    scores = ("real_scores", "fake_scores")
    return [
        Component(
            "loss",
            "relativistic",
            "ganforge_relativistic.losses:Relativistic",
            RelativisticOptions,
            summary="D scores real above fake, G fake above real; R3GAN adds r1 and r2",
            paper="arXiv:1807.00734",
            needs={"discriminator": scores, "generator": scores},
        )
    ]
