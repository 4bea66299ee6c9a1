"""How near samples are to real images: FID and its relatives, in the features of a network."""

from pathlib import Path
from typing import Any, Literal

from ganforge.plugin import Component, Impossible, hookimpl, option, options


@options
class FidelityOptions:
    count: int = option(10_000, at_least=10, help="samples, and real images to compare them with")
    seed: int = option(0, at_least=0, help="seed of the first sample; the others follow")
    extractor: Literal["auto", "inception", "judge", "untrained"] = option(
        "auto",
        help="network whose features are compared; auto: inception where `weights` names its file, "
        "else a judge of the run's labelled data, else an untrained network",
    )
    weights: Path | None = option(
        None, help="Inception's weights, a .safetensors file; docs/metrics.md says how to get it"
    )
    against: Literal["held-out", "training"] = option(
        "held-out", help="the real images that samples are compared with"
    )


def check(options: Any) -> None:
    """Refuse what does not go together."""
    if options.extractor == "inception" and options.weights is None:
        raise Impossible(
            'extractor = "inception" needs `weights`, a .safetensors file; docs/metrics.md says '
            "how to get it",
            key="extractor",
        )
    if options.weights is None:
        return
    if options.extractor in ("judge", "untrained"):
        raise Impossible(
            f'`weights` are Inception\'s: leave them out with extractor = "{options.extractor}"',
            key="weights",
        )
    if options.weights.suffix != ".safetensors":
        raise Impossible(
            f"{options.weights.name} is not a .safetensors file; docs/metrics.md says how one is "
            "made",
            key="weights",
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "metric",
            "fidelity",
            "ganforge_fidelity.metric:Fidelity",
            FidelityOptions,
            summary="FID, KID, inception score, precision, recall, density, coverage, or their "
            "like in other features",
            paper="arXiv:1706.08500",
            check=check,
        )
    ]
