"""Games of texts: a generator that writes word by word, and a discriminator that reads along."""

from typing import Any, Literal

from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    Spec,
    TextSpec,
    hookimpl,
    option,
    options,
)


@options
class Seq2SeqOptions:
    width: int = option(128, at_least=2, help="numbers per word and state; even")
    dropout: float = option(0.0, at_least=0, below=1, help="dropout of what was read")
    choice: Literal["straight-through", "plain"] = option(
        "straight-through",
        help="pass a gradient through drawn words by Gumbel-softmax, or none (for reinforce)",
    )
    temperature: float = option(
        1.0, above=0, help="of the softmax whose gradient is passed; words are drawn at 1 anyway"
    )


@options
class SequencePairsOptions:
    width: int = option(128, at_least=2, help="numbers per word and state; even")
    dropout: float = option(0.0, at_least=0, below=1, help="dropout of what was read")


@options
class ReinforceOptions:
    reward: Literal["probability", "score"] = option(
        "probability", help="reward of a text: D's sigmoid(score), or the score itself"
    )
    credit: Literal["words", "text"] = option(
        "words", help="reward of a word: how it changed D's score, or that of the whole text"
    )
    momentum: float = option(
        0.9, at_least=0, below=1, help="of the moving mean that is the baseline"
    )


def check_generator(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    _check_width(options)
    if not isinstance(target, TextSpec):
        raise Impossible(f"seq2seq writes texts, not {target}")
    _refuse_images("seq2seq", sources)


def check_discriminator(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    _check_width(options)
    if not isinstance(judged, TextSpec):
        raise Impossible(f"sequence-pairs judges texts, not {judged}")
    _refuse_images("sequence-pairs", given)


def _check_width(options: Any) -> None:
    if options.width % 2:
        raise Impossible(
            f"the width must be even, half for each direction of reading, not {options.width}",
            key="width",
        )


def _refuse_images(name: str, conditions: tuple[Spec, ...]) -> None:
    for spec in conditions:
        if isinstance(spec, ImageSpec):
            raise Impossible(f"{name} reads texts, labels, noise and vectors, not {spec}")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "generator",
            "seq2seq",
            "ganforge_sequence.generator:Seq2Seq",
            Seq2SeqOptions,
            summary="GRU encoder-decoder with attention and noise: writes a text word by word",
            paper="arXiv:1508.04025",
            check=check_generator,
            offers=("log_probs",),
        ),
        Component(
            "discriminator",
            "sequence-pairs",
            "ganforge_sequence.discriminator:SequencePairs",
            SequencePairsOptions,
            summary="Scores each beginning of a text under its conditions",
            paper="arXiv:1609.05473",
            check=check_discriminator,
            offers=("features",),
        ),
        Component(
            "loss",
            "likelihood",
            "ganforge_sequence.losses:Likelihood",
            summary="G gives the true text a high probability, word by word (teacher forcing)",
            needs={"generator": ("real_log_probs",)},
        ),
        Component(
            "loss",
            "reinforce",
            "ganforge_sequence.losses:Reinforce",
            ReinforceOptions,
            summary="G draws more often what D rewards more than usual (policy gradient, baseline)",
            paper="arXiv:1609.05473",
            needs={"generator": ("fake_log_probs", "fake_scores")},
        ),
    ]
