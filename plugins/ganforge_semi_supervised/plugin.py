"""Semi-supervised GANs (arXiv:1606.01583, arXiv:1606.03498): D is a classifier."""

from collections.abc import Mapping
from typing import Any, Literal

from ganforge.plugin import (
    Component,
    Impossible,
    LabelSpec,
    Spec,
    TextSpec,
    hookimpl,
    option,
    options,
)


@options
class NoisyMlpOptions:
    hidden: list[int] = option(
        [1000, 500, 250, 250, 250], at_least=1, help="widths of the hidden layers"
    )
    input_noise: float = option(
        0.3, at_least=0, help="deviation of the noise on the data, in units of [-1, 1]"
    )
    noise: float = option(0.5, at_least=0, help="deviation of the noise on each hidden layer")
    norm: Literal["weight", "none"] = option("weight", help="weight normalisation, or none")
    head: Literal["score", "classes", "classes-and-fake"] = option(
        "classes",
        help="what it returns: one score, or a logit for each class, and perhaps for fakes",
    )


@options
class OdenaOptions:
    generator: Literal["class", "real"] = option(
        "class", help="G wants the class that it was asked for, or any class but fake"
    )


@options
class ClassifierAccuracyOptions:
    count: int = option(10_000, at_least=1, help="held-out items, or as many as there are")


LABELLED = ("labelled_class_scores", "labelled_labels")


def odena_needs(options: Any) -> Mapping[str, tuple[str, ...]]:
    beside = ("fake_labels",) if options.generator == "class" else ()
    return {
        "discriminator": (*LABELLED, "fake_class_scores"),
        "generator": ("fake_class_scores", *beside),
    }


def check_noisy_mlp(
    options: Any, judged: Spec, given: tuple[Spec, ...], labels: LabelSpec | None
) -> None:
    if not options.hidden:
        raise Impossible("noisy-mlp needs at least one hidden layer, such as [500]", key="hidden")
    for spec in (judged, *given):
        if isinstance(spec, TextSpec):
            raise Impossible(f"noisy-mlp reads numbers, not {spec}: turn text into vectors first")
    if options.head != "score" and labels is None:
        raise Impossible(
            f'head = "{options.head}" needs data with labels; head = "score" needs none',
            key="head",
        )


def noisy_mlp_offers(options: Any) -> tuple[str, ...]:
    return ("features",) if options.head == "score" else ("features", "class_scores")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "discriminator",
            "noisy-mlp",
            "ganforge_semi_supervised.networks:NoisyMlp",
            NoisyMlpOptions,
            summary="Dense layers, Gaussian noise before each; a classifier of data of any size",
            paper="arXiv:1606.03498",
            check=check_noisy_mlp,
            offers=noisy_mlp_offers,
        ),
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
        Component(
            "metric",
            "classifier-accuracy",
            "ganforge_semi_supervised.accuracy:ClassifierAccuracy",
            ClassifierAccuracyOptions,
            summary="Share of held-out data whose class the run's own classifier finds",
        ),
    ]
