"""Wasserstein GAN (arXiv:1701.07875) with gradient penalty (arXiv:1704.00028)."""

from typing import Literal

from ganforge.plugin import Component, hookimpl, option, options


@options
class WassersteinOptions:
    drift: float = option(
        0.0, at_least=0, help="holds D's scores near 0 by this times D(x)^2; usual: 0.001"
    )


@options
class GradientPenaltyOptions:
    target: float = option(1.0, at_least=0, help="length that D's gradient is held at")
    sides: Literal["two", "one"] = option(
        "two", help="whether gradients shorter than the target are penalised too, or longer only"
    )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "wasserstein",
            "ganforge_wgan.losses:Wasserstein",
            WassersteinOptions,
            summary="Difference of mean scores; needs gradient-penalty or spectral norm",
            paper="arXiv:1701.07875",
            needs={"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)},
        ),
        Component(
            "loss",
            "gradient-penalty",
            "ganforge_wgan.losses:GradientPenalty",
            GradientPenaltyOptions,
            summary="Holds D's gradient between real and fake at length 1; weight 10, no "
            "BatchNorm in D",
            paper="arXiv:1704.00028",
            needs={"discriminator": ("mixed_gradient",)},
        ),
    ]
