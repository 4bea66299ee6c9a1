"""The first GAN (arXiv:1406.2661): networks of dense layers, and both of its objectives."""

from typing import Any, Literal

from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    NoiseSpec,
    Spec,
    TextSpec,
    VectorSpec,
    hookimpl,
    option,
    options,
)


@options
class MlpGeneratorOptions:
    hidden: list[int] = option([256, 512, 1024], at_least=1, help="widths of the hidden layers")
    norm: Literal["batch", "none", "weight"] = option(
        "batch",
        help="BatchNorm after each hidden layer, nothing, or layers with normalised weights",
    )


@options
class MlpDiscriminatorOptions:
    hidden: list[int] = option([512, 256], at_least=1, help="widths of the hidden layers")
    dropout: float = option(
        0.5, at_least=0, below=1, help="share of each hidden layer that is dropped"
    )
    norm: Literal["none", "weight", "spectral"] = option(
        "none", help="layers as they are, or with weight or spectral normalisation"
    )


@options
class CrossEntropyOptions:
    smooth: float = option(
        0.0, at_least=0, below=1, help="real is labelled 1 minus this (one-sided label smoothing)"
    )


def check_generator(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    _check_hidden(options)
    if not isinstance(target, ImageSpec | VectorSpec | NoiseSpec):
        raise Impossible(f"mlp makes images and vectors, not {target}")
    _refuse_text(sources)


def check_discriminator(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    _check_hidden(options)
    _refuse_text((judged, *given))


def _check_hidden(options: Any) -> None:
    if not options.hidden:
        raise Impossible("mlp needs at least one hidden layer, such as [256]", key="hidden")


def _refuse_text(specs: tuple[Spec, ...]) -> None:
    for spec in specs:
        if isinstance(spec, TextSpec):
            raise Impossible(f"mlp reads numbers, not {spec}: turn text into vectors first")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "generator",
            "mlp",
            "ganforge_vanilla.mlp:MlpGenerator",
            MlpGeneratorOptions,
            summary="Dense layers with BatchNorm, from vectors to images or vectors of any size",
            paper="arXiv:1406.2661",
            check=check_generator,
        ),
        Component(
            "discriminator",
            "mlp",
            "ganforge_vanilla.mlp:MlpDiscriminator",
            MlpDiscriminatorOptions,
            summary="Dense layers with dropout, over data of any size",
            paper="arXiv:1406.2661",
            check=check_discriminator,
            offers=("features",),
        ),
        Component(
            "loss",
            "minimax",
            "ganforge_vanilla.losses:Minimax",
            CrossEntropyOptions,
            summary="Binary cross-entropy; G minimises log(1 - D(G(z)))",
            paper="arXiv:1406.2661",
            needs={"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)},
        ),
        Component(
            "loss",
            "non-saturating",
            "ganforge_vanilla.losses:NonSaturating",
            CrossEntropyOptions,
            summary="Binary cross-entropy; G maximises log D(G(z))",
            paper="arXiv:1406.2661",
            needs={"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)},
        ),
        Component(
            "loss",
            "max-magnitude",
            "ganforge_vanilla.losses:MaxMagnitude",
            CrossEntropyOptions,
            summary="Binary cross-entropy; G takes the larger of both objectives' magnitudes",
            needs={"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)},
        ),
    ]
