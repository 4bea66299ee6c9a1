"""ACGAN (arXiv:1610.09585): a classifier as a second head of any discriminator."""

from collections.abc import Mapping
from typing import Any

from ganforge.plugin import Component, hookimpl, option, options


@options
class AuxiliaryClassifierOptions:
    fakes: bool = option(True, help="the head learns from fakes too; false: from real data alone")
    pool: bool = option(False, help="the head reads the mean of each feature map, not the maps")


def needs(options: Any) -> Mapping[str, tuple[str, ...]]:
    fake = ("fake_features", "fake_labels")
    return {
        "discriminator": ("labelled_features", "labelled_labels", *(fake if options.fakes else ())),
        "generator": fake,
    }


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "auxiliary-classifier",
            "ganforge_auxiliary_classifier.losses:AuxiliaryClassifier",
            AuxiliaryClassifierOptions,
            summary="A class head on D's features; G must make the class that it was asked for",
            paper="arXiv:1610.09585",
            needs=needs,
        )
    ]
