"""The hinge loss (arXiv:1705.02894)."""

from ganforge.plugin import Component, hookimpl, option, options


@options
class HingeOptions:
    margin: float = option(1.0, above=0, help="score beyond which D has nothing more to gain")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "hinge",
            "ganforge_hinge.losses:Hinge",
            HingeOptions,
            summary="D pushes scores out of a margin and no further; G raises its own",
            paper="arXiv:1705.02894",
            needs={"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)},
        )
    ]
