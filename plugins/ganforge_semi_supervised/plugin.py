"""Semi-supervised GANs (arXiv:1606.01583, arXiv:1606.03498): D is a classifier."""

from collections.abc import Mapping
from typing import Any, Literal

from ganforge.plugin import Component, hookimpl, option, options


@options
class OdenaOptions:
    generator: Literal["class", "real"] = option(
        "class", help="G wants the class that it was asked for, or any class but fake"
    )


LABELLED = ("labelled_class_scores", "labelled_labels")


def odena_needs(options: Any) -> Mapping[str, tuple[str, ...]]:
    beside = ("fake_labels",) if options.generator == "class" else ()
    return {
        "discriminator": (*LABELLED, "fake_class_scores"),
        "generator": ("fake_class_scores", *beside),
    }


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "classification",
            "ganforge_semi_supervised.losses:Classification",
            summary="D classifies labelled data; nothing else",
            needs={"discriminator": LABELLED},
        ),
        Component(
            "loss",
            "odena",
            "ganforge_semi_supervised.losses:Odena",
            OdenaOptions,
            summary="D classifies labelled data and fakes, which are a class of their own",
            paper="arXiv:1606.01583",
            needs=odena_needs,
        ),
        Component(
            "loss",
            "salimans",
            "ganforge_semi_supervised.losses:Salimans",
            summary="D classifies labelled data and tells unlabelled data from fakes",
            paper="arXiv:1606.03498",
            needs={
                "discriminator": (*LABELLED, "real_class_scores", "fake_class_scores"),
            },
        ),
    ]
