"""Zero-centred gradient penalties at real data and at fakes (arXiv:1801.04406)."""

from ganforge.plugin import Component, hookimpl


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "r1",
            "ganforge_r1.losses:R1",
            summary="Keeps D flat at real data; weight: gamma; not with BatchNorm in D",
            paper="arXiv:1801.04406",
            needs={"discriminator": ("real_gradient",)},
        ),
        Component(
            "loss",
            "r2",
            "ganforge_r1.losses:R2",
            summary="Keeps D flat at fakes; weight: gamma; not with BatchNorm in D",
            paper="arXiv:1801.04406",
            needs={"discriminator": ("fake_gradient",)},
        ),
    ]
