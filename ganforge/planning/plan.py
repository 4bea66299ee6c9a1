"""A plan: what a recipe means once every name is found, every option typed, every spec known.

Light. `compose.py` makes plans and refuses what cannot work; `game.py` builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from ganforge.interfaces import addresses
from ganforge.interfaces.manifest import Component, DataDescription, ImageOptions, Resample
from ganforge.interfaces.settings import InitSettings, TrainSettings
from ganforge.interfaces.specs import ImageSpec, LabelSpec, Spec
from ganforge.interfaces.vocabulary import split
from ganforge.planning import graph

Side = Literal["discriminator", "generator"]
SIDES: tuple[Side, ...] = ("discriminator", "generator")


@frozen
class Part:
    """One component in its role: its name in the recipe, the component, its typed options."""

    name: str
    component: Component
    options: Any


@frozen
class DataPlan(Part):
    """The dataset, and what it yields."""

    image: ImageOptions
    description: DataDescription


@frozen(kw_only=True)
class DomainPlan:
    """A kind of data in the game.

    origin: "data" (rows of the dataset), "drawn" (noise), "derived" (`of`, `resized` and perhaps
    seen as the `view` of an augmentor), or "made" (only generators make it). resample: how images
    of the data, and those derived from them, come to another size.
    """

    name: str
    spec: Spec
    origin: Literal["data", "drawn", "derived", "made"]
    of: str = ""
    resized: ImageSpec | None = None
    view: Part | None = None
    resample: Resample = "smooth"


@frozen
class Chosen:
    """An optimizer or a schedule: its name and its options (settings.py)."""

    use: str
    options: Any


@frozen(kw_only=True)
class NetworkSettings:
    """The reserved keys that generators and discriminators share."""

    optimizer: Chosen
    schedule: Chosen
    clip: float | None = None  # largest norm of the gradient
    init: InitSettings | None = None
    freeze: bool = False
    refs: Mapping[str, str] = field(factory=dict)  # option -> address of another network


@frozen
class GeneratorPlan(Part):
    """An edge of the graph: `sources` are domains or `generators.NAME`.

    side: whose turn it learns in. It is "discriminator" for what makes only conditions that
    discriminators are given, such as a text encoder; other networks read these detached.
    """

    sources: tuple[str, ...]
    target: str
    source_specs: tuple[Spec, ...]
    target_spec: Spec
    settings: NetworkSettings
    ema: float | None = None
    side: Side = "generator"

    @property
    def address(self) -> str:
        return addresses.of_generator(self.name)


@frozen
class DiscriminatorPlan(Part):
    """A discriminator of the domain `on`; `judged` is what it sees, after the augmentors.

    labels: the spec of the classes of what it judges, where the data has labels for some rows.
    """

    on: str
    given: tuple[str, ...]
    judged: Spec
    given_specs: tuple[Spec, ...]
    settings: NetworkSettings
    labels: LabelSpec | None = None
    side: ClassVar[Side] = "discriminator"

    @property
    def address(self) -> str:
        return addresses.of_discriminator(self.name)


@frozen
class LossPlan(Part):
    """A loss: `on` names the discriminators (of pairings) or generators it plays on.

    needs: side -> vocabulary names. start, stop: shares of the run between which it plays.
    """

    on: tuple[str, ...]
    of_pairings: bool
    needs: Mapping[str, tuple[str, ...]]
    weight: Mapping[str, float]
    every: int = 1
    start: float = 0.0
    stop: float = 1.0


@frozen
class AugmentorPlan(Part):
    """An augmentor in front of the discriminators `on`; acts on every `every`-th update."""

    on: tuple[str, ...]
    every: int = 1


@frozen(kw_only=True)
class PhasePlan:
    """Steps first .. last (inclusive, from 1) in which `train` play `losses`."""

    name: str
    train: tuple[str, ...]  # addresses
    losses: tuple[str, ...]
    discriminator_steps: int
    first: int
    last: int


@frozen(kw_only=True)
class Plan:
    """A whole game, checked."""

    name: str
    preview: bool
    has_preview: bool
    train: TrainSettings
    steps: int
    data: DataPlan
    domains: Mapping[str, DomainPlan]
    generators: Mapping[str, GeneratorPlan]
    discriminators: Mapping[str, DiscriminatorPlan]
    losses: Mapping[str, LossPlan]
    augmentors: Mapping[str, AugmentorPlan]
    hooks: Mapping[str, Part]
    metrics: Mapping[str, Part]
    phases: tuple[PhasePlan, ...]
    lock: Mapping[str, Any] = field(factory=dict)

    @property
    def networks(self) -> dict[str, GeneratorPlan | DiscriminatorPlan]:
        """Every network by its address, discriminators first, as they play."""
        plans: dict[str, GeneratorPlan | DiscriminatorPlan] = {}
        for discriminator in self.discriminators.values():
            plans[discriminator.address] = discriminator
        for generator in self.generators.values():
            plans[generator.address] = generator
        return plans

    def pairings(self, discriminator: str) -> tuple[str, ...]:
        """The generators that make what this discriminator judges."""
        on = self.discriminators[discriminator].on
        return tuple(name for name, g in self.generators.items() if g.target == on)

    def maker(self, domain: str) -> str | None:
        """The generator of a domain that the data does not have; None for every other domain."""
        if self.domains[domain].origin != "made":
            return None
        return next(name for name, g in self.generators.items() if g.target == domain)

    def labelled(self, discriminator: str) -> str | None:
        """The domain of labelled rows beside those that this discriminator judges, where the data
        keeps them apart."""
        domain = self.domains[self.discriminators[discriminator].on]
        return self.data.description.labelled.get(domain.of or domain.name)

    def labels_of(self, domain: str) -> LabelSpec | None:
        """The spec of the classes of a domain's rows, or of the labelled rows beside them."""
        rows, name = self.data.description, self.domains[domain].of or domain
        label = rows.labels_of(name) or rows.labels_of(rows.labelled.get(name, name))
        spec = rows.domains[label] if label else None
        return spec if isinstance(spec, LabelSpec) else None

    def inverse(self, generator: str) -> str | None:
        """The generator that leads back from this one's target to its first source."""
        return graph.inverse(self.generators, self.generators[generator])

    def paired(self, generator: str) -> bool:
        """Whether the data has, for each row of its first source, the row of its target."""
        edge = self.generators[generator]
        if edge.sources[0] not in self.domains:  # what another generator makes
            return False
        source, target = (self.domains[domain] for domain in (edge.sources[0], edge.target))
        group = self.data.description.group(source.of or source.name)
        return source.origin != "drawn" and (target.of or target.name) in group

    def played_domains(self) -> set[str]:
        """The dataset's domains that some network reads or judges, with the labels of their rows
        where a loss reads them."""
        rows = self.data.description
        asked: set[str] = set()
        for generator in self.generators.values():
            asked |= {generator.target, *generator.sources}
        for discriminator in self.discriminators.values():
            asked |= {discriminator.on, *discriminator.given}
        asked |= {self.domains[domain].of for domain in asked if domain in self.domains} - {""}
        played = asked & rows.domains.keys()
        needs = {n for loss in self.losses.values() for side in loss.needs.values() for n in side}
        if any(split(name)[0] == "labelled" for name in needs):
            played |= {rows.labelled[domain] for domain in played & rows.labelled.keys()}
        if any(split(name)[0] == "mismatched" for name in needs):
            played |= {rows.mismatched[domain] for domain in played & rows.mismatched.keys()}
        if any(name.endswith("_labels") for name in needs):
            played |= {label for domain in played if (label := rows.labels_of(domain))}
        return played

    def trained_in(self, phase: PhasePlan) -> set[str]:
        """The addresses of the networks that get gradients in a phase."""
        reached: set[str] = set()
        for name in phase.losses:
            loss = self.losses[name]
            for target in loss.on:
                if loss.of_pairings:
                    if "discriminator" in loss.needs:
                        reached.add(addresses.of_discriminator(target))
                        reached |= {addresses.of_generator(name) for name in self.encoders(target)}
                    if "generator" in loss.needs:
                        for generator in self.pairings(target):
                            reached |= self._chain(generator)
                elif "generator" in loss.needs:
                    reached |= self._chain(target)
                    back = self.inverse(target)
                    if "cycled" in loss.needs["generator"] and back:
                        reached |= self._chain(back)
        return reached & set(phase.train)

    def _chain(self, generator: str) -> set[str]:
        """The addresses of all that a gradient reaches which reaches a generator's output."""
        names = graph.learning_chain(self.generators, generator)
        return {addresses.of_generator(name) for name in names}

    def encoders(self, discriminator: str) -> tuple[str, ...]:
        """The generators that make what a discriminator is given and learn with it."""
        makers = (self.maker(domain) for domain in self.discriminators[discriminator].given)
        return tuple(
            name for name in makers if name and self.generators[name].side == "discriminator"
        )

    def phase_at(self, step: int) -> PhasePlan:
        """The phase that step `step` (from 1) belongs to."""
        return next((p for p in self.phases if step <= p.last), self.phases[-1])
