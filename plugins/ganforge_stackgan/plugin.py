"""StackGAN (arXiv:1612.03242): images from text, in two stages."""

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
from ganforge_stackgan.sizes import SMALLEST

LEAST = 2 * SMALLEST - 1  # px a side, so that there is at least one stage


@options
class TextEncoderOptions:
    width: int = option(128, at_least=1, help="numbers for each token")
    layers: int = option(2, at_least=0, help="convolutions over neighbouring tokens")


@options
class StageOneOptions:
    width: int = option(
        192, at_least=2, help="channels three stages inside the smallest map, which has 8 times it"
    )


@options
class StageTwoOptions:
    width: int = option(192, at_least=2, help="channels at the image's own size; inside 4 times it")
    blocks: int = option(4, at_least=1, help="residual blocks on image and condition together")
    output: Literal["image", "difference"] = option(
        "image", help="what is learnt: the image, or its difference from the enlarged smaller one"
    )


@options
class DiscriminatorOptions:
    width: int = option(96, at_least=1, help="channels after the first stage; then x 2 each")
    condition: int = option(128, at_least=1, help="numbers that the condition is reduced to")
    norm: Literal["batch", "spectral", "none"] = option(
        "batch", help="BatchNorm, convolutions with spectral normalisation, or nothing"
    )


@options
class MatchingOptions:
    form: Literal["cross-entropy", "hinge"] = option(
        "cross-entropy", help="binary cross-entropy with -log D for G, or the hinge loss"
    )


def check_encoder(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    if len(sources) != 1 or not isinstance(sources[0], TextSpec):
        raise Impossible(f"text-encoder reads one text, not {_listed(sources)}")
    if not isinstance(target, VectorSpec):
        raise Impossible(
            f"text-encoder makes vectors, not {target}: give it a domain of its own, such as "
            "`[domains.embedding]` with `vector = 128`"
        )


def check_stage_one(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    _check_image(target, "stackgan-1 makes")
    noise, conditions, images = _parted(sources, "stackgan-1")
    if images:
        raise Impossible(f"stackgan-1 reads no image such as {images[0]}; stackgan-2 does")
    if len(noise) < 2 or not conditions:
        raise Impossible(
            "stackgan-1 reads noise, the noise of its conditioning augmentation, and a vector, as "
            f'in `from = ["noise", "wobble", "generators.text"]`, not {_listed(sources)}'
        )
    _check_wobble(noise[-1], "stackgan-1")


def check_stage_two(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    _check_image(target, "stackgan-2 makes")
    noise, conditions, images = _parted(sources, "stackgan-2")
    if len(noise) != 1 or not conditions or len(images) != 1:
        raise Impossible(
            "stackgan-2 reads the noise of its conditioning augmentation, a vector and an image, "
            'as in `from = ["wobble", "generators.text", "generators.stage1"]`, not '
            f"{_listed(sources)}"
        )
    _check_wobble(noise[-1], "stackgan-2")
    _check_image(images[0], "stackgan-2 reads")
    if images[0].height > target.height or images[0].width > target.width:
        raise Impossible(f"stackgan-2 makes no smaller images: {target} from {images[0]}")
    if options.output == "difference" and images[0].channels != target.channels:
        raise Impossible(
            f"a difference of {target} from {images[0]} needs as many channels in both",
            key="output",
        )


def check_discriminator(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    _check_image(judged, "stackgan judges")
    if not given:
        raise Impossible('stackgan judges images under a condition: `given = "embedding"`')
    for spec in given:
        if isinstance(spec, TextSpec | ImageSpec):
            raise Impossible(
                f"stackgan is given vectors or labels, not {spec}"
                + ("; a text-encoder makes them" if isinstance(spec, TextSpec) else "")
            )


def _parted(
    sources: tuple[Spec, ...], name: str
) -> tuple[list[NoiseSpec], list[Spec], list[ImageSpec]]:
    """Noise, conditions and images among a generator's sources."""
    for spec in sources:
        if isinstance(spec, TextSpec):
            raise Impossible(f"{name} reads vectors, not {spec}: a text-encoder makes them")
    noise = [spec for spec in sources if isinstance(spec, NoiseSpec)]
    images = [spec for spec in sources if isinstance(spec, ImageSpec)]
    conditions = [spec for spec in sources if not isinstance(spec, NoiseSpec | ImageSpec)]
    return noise, conditions, images


def _check_wobble(noise: NoiseSpec, name: str) -> None:
    if noise.distribution != "normal":
        raise Impossible(
            f"the last noise of {name} is that of its conditioning augmentation, which is normal, "
            f"not {noise.distribution}"
        )


def _check_image(spec: Spec, does: str) -> None:
    if not isinstance(spec, ImageSpec):
        raise Impossible(f"{does} images, not {spec}")
    if min(spec.height, spec.width) < LEAST:
        raise Impossible(f"{does} images of at least {LEAST} x {LEAST} px, not {spec}")


def _listed(specs: tuple[Spec, ...]) -> str:
    return ", ".join(map(str, specs))


@hookimpl
def ganforge_components() -> list[Component]:
    paper = "arXiv:1612.03242"
    return [
        Component(
            "generator",
            "text-encoder",
            "ganforge_stackgan.text_encoder:TextEncoder",
            TextEncoderOptions,
            summary="Text to a vector: convolutions over tokens, pooled; learns with what reads it",
            check=check_encoder,
        ),
        Component(
            "generator",
            "stackgan-1",
            "ganforge_stackgan.generators:StageOne",
            StageOneOptions,
            summary="Noise and an augmented condition to an image, as StackGAN's first stage",
            paper=paper,
            check=check_stage_one,
            offers=("posterior",),
        ),
        Component(
            "generator",
            "stackgan-2",
            "ganforge_stackgan.generators:StageTwo",
            StageTwoOptions,
            summary="A small image and its condition to a larger image, as StackGAN's second stage",
            paper=paper,
            check=check_stage_two,
            offers=("posterior",),
        ),
        Component(
            "discriminator",
            "stackgan",
            "ganforge_stackgan.discriminator:StackganDiscriminator",
            DiscriminatorOptions,
            summary="Strided convolutions joined with a tiled condition, down to one score",
            paper=paper,
            check=check_discriminator,
            offers=("features",),
        ),
        Component(
            "loss",
            "matching",
            "ganforge_stackgan.losses:Matching",
            MatchingOptions,
            summary="Real data with a wrong condition counts as fake, half and half with fakes",
            paper=paper,
            needs={
                "discriminator": ("real_scores", "fake_scores", "mismatched_scores"),
                "generator": ("fake_scores",),
            },
        ),
        Component(
            "loss",
            "kl-divergence",
            "ganforge_stackgan.losses:KlDivergence",
            summary="Keeps a generator's distribution over its code near N(0, I)",
            paper=paper,
            needs={"generator": ("fake_posterior",)},
        ),
    ]
