"""Differentiable augmentation (arXiv:2006.10738), for training on few images."""

from typing import Any, Literal

from ganforge.plugin import Component, ImageSpec, Impossible, Spec, hookimpl, option, options


@options
class DiffAugmentOptions:
    policy: list[Literal["color", "translation", "cutout"]] = option(
        ["color", "translation", "cutout"],
        help="changes in their order; color leaves [-1, 1] by brightness and contrast",
    )


def views(options: Any, spec: Spec) -> dict[str, Spec]:
    if not isinstance(spec, ImageSpec):
        raise Impossible(f"diff-augment changes images, not {spec}")
    if not options.policy:
        raise Impossible(
            'diff-augment without a policy changes nothing: write `policy = ["color"]`, or '
            "leave it out",
            key="policy",
        )
    return {"plain": spec}


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "augmentor",
            "diff-augment",
            "ganforge_diff_augment.diff_augment:DiffAugment",
            DiffAugmentOptions,
            summary="Colour, translation and cutout for all that D sees; for few images",
            paper="arXiv:2006.10738",
            views=views,
        )
    ]
