"""The games in which a network is tried: domains of several shapes, odd and non-square among them.

Which of them a network takes part in is its manifest's to say (`check`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from ganforge.game.error_attribution import raised_by
from ganforge.game.output_checks import discriminator_output
from ganforge.interfaces.components import GeneratorOutput, Network, as_one_hot
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import Component, Impossible
from ganforge.interfaces.specs import (
    AttributeSpec,
    ImageSpec,
    LabelSpec,
    NoiseSpec,
    Spec,
    TextSpec,
    VectorSpec,
)
from ganforge.registry.parameter_names import takes_labels
from ganforge.testing.cases import Failed, NotTried, Subject

LABELS = LabelSpec(3)
NOISE = NoiseSpec(16)
IMAGES = (
    ImageSpec(1, 28, 28),
    ImageSpec(3, 32, 32),
    ImageSpec(3, 33, 47),
    ImageSpec(1, 48, 80),
    ImageSpec(3, 64, 64),
)
_TOKENS: Any = ("", "a", "b", "c")
WORDS = TextSpec(_TOKENS, 5)
OTHERS = (VectorSpec(6), WORDS)
MOST = 4  # situations that one network is tried in

# The usual domains of published networks: those that refuse all others are tried in these.
LARGER = (
    ImageSpec(3, 128, 128),
    ImageSpec(3, 256, 256),
    ImageSpec(1, 64, 64),
    ImageSpec(1, 32, 32),
)
WIDER = (NoiseSpec(100), NoiseSpec(128), NoiseSpec(512), NoiseSpec(100, "uniform"))
CLASSES = LabelSpec(10)
_NAMES: Any = ("smiling", "young", "hat")
ATTRIBUTES = AttributeSpec(_NAMES)


@frozen(eq=False)
class Situation:
    """One game. inputs: the specs of what `forward` is given; a discriminator's first is judged."""

    subject: Subject
    specs: tuple[Spec, ...]
    target: Spec | None  # a generator's
    partners: Mapping[str, nn.Module]

    def __str__(self) -> str:
        """`uniform noise of 16 -> image 3 x 32 x 32`"""
        given = " and ".join(map(str, self.specs))
        return f"{given} -> {self.target}" if self.target else given

    def build(self, seed: int = 0) -> Network:
        """The network with its weights drawn from a seed."""
        torch.manual_seed(seed)
        cls, options = self.subject.cls, self.subject.options
        if self.target is not None:
            network = cls(options, self.specs, self.target, **self.partners)
        else:
            labels = {"labels": LABELS} if takes_labels(cls) else {}
            network = cls(options, self.specs[0], self.specs[1:], **labels, **self.partners)
        assert isinstance(network, Network)
        return network

    def inputs(self, count: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Random items of each domain, [count, *spec.shape]; text that is judged is one-hot."""
        found = [items(spec, count, seed + place) for place, spec in enumerate(self.specs)]
        if self.target is None and isinstance(self.specs[0], TextSpec):
            found[0] = as_one_hot(found[0], self.specs[0])
        return tuple(found)

    def outputs(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """What a network makes or says, by name: data, or scores, class_scores, ..."""
        if self.target is not None:
            made = network(*inputs)
            made = made if isinstance(made, GeneratorOutput) else GeneratorOutput(made)
            return _tensors({"data": made.data, "log_probs": made.log_probs})
        given = {"given": inputs[1:]} if len(inputs) > 1 else {}
        try:
            said = network(inputs[0], **given)
            output = discriminator_output(said, len(inputs[0]), self.subject.component)
        except PluginError as error:
            raise Failed(f"{error} ({self})") from error
        names = ("scores", "class_scores", "features", "reconstruction")
        return _tensors({name: getattr(output, name) for name in names})


def _tensors(named: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {name: value for name, value in named.items() if value is not None}


def items(spec: Spec, count: int, seed: int) -> Tensor:
    """Random items of a domain: images in [-1, 1], class and token numbers, else N(0, 1)."""
    random = torch.Generator().manual_seed(seed)
    if isinstance(spec, LabelSpec):
        return torch.randint(spec.classes, (count,), generator=random)
    if isinstance(spec, TextSpec):
        size = (count, spec.length)
        return torch.randint(len(spec.vocabulary), size, generator=random)
    if isinstance(spec, ImageSpec):
        return torch.rand((count, *spec.shape), generator=random) * 2 - 1
    return torch.randn((count, *spec.shape), generator=random)


def situations(subject: Subject) -> list[Situation]:
    """The games that a network takes part in, by what its manifest says; at most four. A network
    whose manifest has no check takes part where it can be built and called.

    Raises NotTried where its manifest refuses each, and Failed where it breaks in each.
    """
    generates = subject.component.kind == "generator"
    refusals: list[str] = []
    for games in (
        (_generators, _narrow_generators) if generates else (_discriminators, _narrow_judges)
    ):
        found = list(islice(_taken(subject, games(), refusals), MOST))
        if found:
            return found
    if subject.component.check is None:
        raise Failed(
            f"it fails in each of the {len(refusals)} games that it was tried in; in the first: "
            f"{refusals[0]}"
        )
    raise NotTried(
        f"its manifest's check refuses each of the {len(refusals)} games that the kit tries; in "
        f"the first: {refusals[0]}"
    )


def _taken(subject: Subject, games: Iterable[_Game], refusals: list[str]) -> Iterator[Situation]:
    """The games that it takes part in, as they are found; why not in the others is added."""
    for specs, target in games:
        situation = Situation(subject, specs, target, {})
        refusal = _refusal(subject, specs, target)
        if not refusal:
            partners = _partners(subject, target or specs[0])
            situation = Situation(subject, specs, target, partners)
            refusal = _break(situation) if subject.component.check is None else ""
        if refusal:
            refusals.append(f"{situation}: {refusal}")
        else:
            yield situation


def _break(situation: Situation) -> str:
    """What building or calling it raises; "" where it does neither."""
    try:
        with torch.no_grad():
            situation.outputs(situation.build(), situation.inputs(3))
    except Exception as error:  # whatever it is, the plugin's own code said so
        return raised_by(situation.subject.component, error)
    return ""


_Game = tuple[tuple[Spec, ...], Spec | None]


def _narrow_generators() -> Iterator[_Game]:
    """Games of networks that take few shapes only."""
    for image in (*LARGER, *IMAGES):
        for noise in (NOISE, *WIDER):
            yield (noise,), image
            yield (noise, CLASSES), image
            yield (noise, ATTRIBUTES), image
        yield (image,), image


def _narrow_judges() -> Iterator[_Game]:
    for image in (*LARGER, *IMAGES):
        yield (image,), None
        for given in (CLASSES, ATTRIBUTES, image):
            yield (image, given), None


def _generators() -> Iterator[tuple[tuple[Spec, ...], Spec | None]]:
    """(sources, target), the most telling first."""
    for image in IMAGES[2:0:-1]:
        yield (NOISE,), image
        yield (NOISE, LABELS), IMAGES[3] if image is IMAGES[2] else IMAGES[0]
    for image in (IMAGES[3], IMAGES[1], IMAGES[4]):
        yield (image,), image
        yield (image, NOISE), image
    for image in IMAGES:
        yield (NOISE,), image
        yield (LABELS, NOISE), image
    for other in OTHERS:
        yield (NOISE,), other
        yield (other,), other
        yield (other, NOISE), other
        yield (other, NOISE), IMAGES[4]
    yield (WORDS,), VectorSpec(6)
    yield (NOISE, NOISE, VectorSpec(6)), IMAGES[4]
    yield (NOISE, VectorSpec(6), IMAGES[1]), IMAGES[4]


def _discriminators() -> Iterator[tuple[tuple[Spec, ...], None]]:
    """(judged, *given), the most telling first."""
    yield (IMAGES[2],), None
    yield (IMAGES[3], LABELS), None
    yield (IMAGES[1], IMAGES[1]), None
    for image in IMAGES:
        yield (image,), None
        yield (image, VectorSpec(6)), None
    for other in OTHERS:
        yield (other,), None
        yield (other, other), None


def _refusal(subject: Subject, specs: tuple[Spec, ...], target: Spec | None) -> str:
    """Why its manifest does not let it play this game; "" where it does."""
    check = subject.component.check
    if check is None:
        of_text = isinstance(target, TextSpec)
        return "only a network with a check is tried with text" if of_text else ""
    try:
        if target is not None:
            check(subject.options, specs, target)
        else:
            labels = {"labels": LABELS} if takes_labels(check) else {}
            check(subject.options, specs[0], specs[1:], **labels)
    except Impossible as refusal:
        return str(refusal)
    return ""


def _partners(subject: Subject, judged: Spec) -> dict[str, nn.Module]:
    """The networks that options of type `Ref` name. The example gives the component's name there,
    which is built with its defaults."""
    partners: dict[str, nn.Module] = {}
    for field in inspect.signature(subject.component.options).parameters.values():
        if "Ref" not in str(field.annotation):
            continue
        name = getattr(subject.options, field.name)
        if name is None:
            continue
        component: Component = subject.registry.find("discriminator", str(name))
        partner = Subject(component, subject.registry, {})
        partners[field.name] = Situation(partner, (judged,), None, {}).build()
    return partners


def same(one: Any, other: Any) -> bool:
    """Whether two dicts of tensors are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
