"""What the losses of one update may look at; each thing is made once, when it is first read.

A `Batch` holds data, noise and what the generators made of them. A `Turn` is one update of one
side over a batch. A `DiscriminatorInput` is one input (real, fake, ...) of one discriminator, a
`DiscriminatorForward` is one forward over it in one view, and what is read off its output. Where
D's last turn and G's turn share a batch, the fakes are made once: they depend on the generators
only, which have not stepped in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ganforge.game.batch import Batch
from ganforge.interfaces.components import DiscriminatorOutput, GeneratorOutput, as_one_hot
from ganforge.interfaces.specs import LabelSpec, NoiseSpec, Spec, TextSpec
from ganforge.interfaces.vocabulary import DISCRIMINATOR_OUTPUT, FORCED, TRANSLATION, split
from ganforge.planning.plan import GeneratorPlan, Side

# Inputs that one forward of a discriminator may take side by side.
_BATCHED_TOGETHER = ("real", "labelled", "mismatched", "fake", "second")


class Turn:
    """One update of one side. `wants` are the names that its losses will read.

    step counts from 1; `input_of` and `translation` memoise, so that everything exists once.
    """

    def __init__(self, batch: Batch, side: Side, step: int, wants: Collection[str]) -> None:
        self.batch = batch
        self.game = batch.game
        self.side: Side = side
        self.step = step
        self.wants = frozenset(wants)
        self._inputs: dict[tuple[str, str, str], DiscriminatorInput] = {}
        self._translations: dict[str, Translation] = {}

    def input_of(self, discriminator: str, kind: str, generator: str) -> DiscriminatorInput:
        """The input `kind` before `discriminator`; real data is the same for all fakes."""
        if kind == "labelled" and self.game.plan.labelled(discriminator) is None:
            kind = "real"
        key = (discriminator, kind, "" if kind in ("real", "labelled", "mismatched") else generator)
        if key not in self._inputs:
            self._inputs[key] = DiscriminatorInput(self, discriminator, kind, key[2])
        return self._inputs[key]

    def translation(self, generator: str) -> Translation:
        """What concerns one generator alone."""
        if generator not in self._translations:
            self._translations[generator] = Translation(self, generator)
        return self._translations[generator]

    def pairing(self, discriminator: str, generator: str, view: str, name: str) -> Any:
        """The value of a vocabulary name in one pairing."""
        if name == "turn":
            return self
        if name in TRANSLATION or name in FORCED:
            return getattr(self.translation(generator), name)
        source, quantity = split(name)
        judged_input = self.input_of(discriminator, source, generator)
        if quantity in DISCRIMINATOR_OUTPUT:
            return getattr(judged_input.forward_of(view), quantity)
        return getattr(judged_input, quantity)

    def known_scores(self, discriminator: str) -> tuple[Tensor, Tensor] | None:
        """(scores of real, scores of fakes) that this turn's losses have read, detached."""
        scores: dict[str, Tensor] = {}
        for (name, kind, _), judged_input in self._inputs.items():
            if name == discriminator and kind in ("real", "fake"):
                found = judged_input.known_scores()
                if found is not None:
                    scores[kind] = found
        return (scores["real"], scores["fake"]) if len(scores) == 2 else None

    def known_data(self, discriminator: str) -> tuple[Tensor, Tensor] | None:
        """(real data, fakes) that this turn's losses have put before a discriminator, detached."""
        data: dict[str, Tensor] = {}
        for (name, kind, _), judged_input in self._inputs.items():
            if name == discriminator and kind in ("real", "fake") and "data" in vars(judged_input):
                data[kind] = judged_input.data.detach()
        return (data["real"], data["fake"]) if len(data) == 2 else None

    def batched_together(self, discriminator: str, view: str) -> list[DiscriminatorForward]:
        """The forwards of one view that one forward makes: in D's turn, real and fakes before a
        discriminator that judges each row by itself; not where a gradient with respect to one of
        them is read, since that would go through all."""
        if self.side == "generator" or not self.game.judges_rows_apart(discriminator):
            return []
        kinds = {
            k
            for k, quantity in map(split, self.wants)
            if quantity in DISCRIMINATOR_OUTPUT and quantity != "seen"
        }
        if any(f"{kind}_gradient" in self.wants for kind in kinds & set(_BATCHED_TOGETHER)):
            return []
        inputs = [
            self.input_of(discriminator, kind, generator)
            for kind in _BATCHED_TOGETHER
            if kind in kinds
            for generator in self.game.plan.pairings(discriminator)
        ]
        return [judged_input.forward_of(view) for judged_input in dict.fromkeys(inputs)]

    def views(self, discriminator: str) -> tuple[str, ...]:
        """The views that a discriminator has of its data."""
        return tuple(self.input_of(discriminator, "real", "").views)


class Translation:
    """A generator's sources, what it makes of them, and the way back."""

    def __init__(self, turn: Turn, generator: str) -> None:
        self._turn = turn
        self._batch = turn.batch
        self._game = turn.game
        self._name = generator
        self._plan = turn.game.plan.generators[generator]

    def value(self, name: str) -> Any:
        """The value of a vocabulary name for this generator."""
        if name == "turn":
            return self._turn
        if name in TRANSLATION or name in FORCED:
            return getattr(self, name)
        kind, quantity = split(name)
        if kind == "real":
            return self._real(quantity)
        purpose = "second" if kind == "second" else "made"
        made = self._batch.made(self._name, purpose)
        made = made if self._turn.side == "generator" else detached(made)
        if quantity == "labels":
            return labels_among(self._plan, self._batch.sources(self._name, purpose))
        if quantity == "latents" and made.latents is None:
            return noise_among(self._plan, self._batch.sources(self._name, purpose))
        return getattr(made, quantity)

    def _real(self, quantity: str) -> Any:
        domain = self._plan.target
        if quantity == "labels":
            return real_labels(self._batch, domain)
        return as_judged(self._batch[domain], self._plan.target_spec)

    @property
    def source(self) -> Tensor:
        return self._batch.sources(self._name)[0]

    @property
    def made(self) -> Tensor:
        made = self._batch.made(self._name).data
        return made if self._turn.side == "generator" else made.detach()

    @cached_property
    def cycled(self) -> Tensor:
        """F(G(x)), where F is the inverse generator."""
        back = self._game.plan.inverse(self._name)
        assert back is not None, "composition refused this"
        made = self._game.generate(
            back, (self.made,), address=("cycled", *self._batch.address), records=True
        )
        return made.data

    @property
    def truth(self) -> Tensor:
        """The row of its target's data that belongs to the source."""
        return as_judged(self._batch[self._plan.target], self._plan.target_spec)

    @cached_property
    def real_log_probs(self) -> Tensor | None:
        """What it gives to each token of that row, [N, length]."""
        made = self._game.generate(
            self._name,
            self._batch.sources(self._name),
            address=("forced", *self._batch.address),
            records=True,
            forced=self._batch[self._plan.target],
        )
        return made.log_probs

    @cached_property
    def same(self) -> Tensor:
        """G(y) of real data y of its own target domain."""
        real = self._batch[self._plan.target]
        made = self._game.generate(
            self._name, (real,), address=("same", *self._batch.address), records=True
        )
        return made.data


class DiscriminatorInput:
    """One input before one discriminator, whatever the view."""

    def __init__(self, turn: Turn, discriminator: str, kind: str, generator: str) -> None:
        self._turn = turn
        self._batch = turn.batch
        self._game = turn.game
        self._discriminator = turn.game.plan.discriminators[discriminator]
        self._kind = kind
        self._generator = generator
        self._forwards: dict[str, DiscriminatorForward] = {}

    @cached_property
    def data(self) -> Tensor:
        """[N, *spec.shape]; a leaf where its gradient will be read and no generator made it."""
        data: Tensor = getattr(self, f"_{self._kind}")()
        kinds = ("real", "labelled") if self._kind == "real" else (self._kind,)
        read = any(f"{kind}_gradient" in self._turn.wants for kind in kinds)
        return data.detach().requires_grad_() if read and not data.requires_grad else data

    def _real(self) -> Tensor:
        return as_judged(self._batch[self._discriminator.on], self._spec)

    def _labelled(self) -> Tensor:
        domain = self._game.plan.labelled(self._discriminator.name)
        assert domain is not None, "such an input is the real one"
        data = self._batch[domain]
        plan = self._game.plan.domains[self._discriminator.on]
        if plan.origin == "derived":
            data = self._game.derived(plan.name, data, self._batch.draw("view", domain))
        return as_judged(data, self._spec)

    def _mismatched(self) -> Tensor:
        return as_judged(self._batch[self._discriminator.on], self._spec)

    @property
    def _spec(self) -> Spec:
        """Of what it judges, before the augmentors."""
        return self._game.plan.domains[self._discriminator.on].spec

    def _fake(self, purpose: str = "made") -> Tensor:
        made = self._batch.made(self._generator, purpose).data
        if self._turn.side == "generator":
            return made
        return self._game.replayed(self._discriminator.name, made.detach(), self._batch)

    def _second(self) -> Tensor:
        return self._fake("second")

    def _mixed(self) -> Tensor:
        """Points on the lines between real and fake (WGAN-GP, arXiv:1704.00028, algorithm 1)."""
        real = self._turn.input_of(self._discriminator.name, "real", "").data.detach()
        fake = self._turn.input_of(self._discriminator.name, "fake", self._generator).data.detach()
        draw = self._batch.draw("mixed", self._discriminator.name, self._generator)
        share = draw.uniform(*[1] * (real.dim() - 1))
        return torch.lerp(fake, real, share)

    @cached_property
    def views(self) -> Mapping[str, Tensor]:
        """The data after the augmentors, by view; real and fake get the same draws."""
        return self._game.views(self._discriminator.name, self.data, self._batch, self._turn.side)

    @cached_property
    def labels(self) -> Tensor:
        """Class numbers: the rows' own for real data, those asked for of a generator."""
        if self._kind in ("real", "mismatched"):
            return real_labels(self._batch, self._discriminator.on)
        if self._kind == "labelled":
            return real_labels(self._batch, str(self._game.plan.labelled(self._discriminator.name)))
        plan = self._game.plan.generators[self._generator]
        return labels_among(plan, self._batch.sources(self._generator))

    @cached_property
    def given(self) -> tuple[Tensor, ...] | None:
        """The condition: of the same row, of another row, or what the generator was given."""
        return tuple(self._condition(domain) for domain in self._discriminator.given) or None

    def _condition(self, domain: str) -> Tensor:
        condition = None
        if self._kind in ("fake", "second", "mixed"):
            condition = self._batch.condition(self._generator, domain)
        if self._kind == "mismatched":
            condition = self._batch.mismatched(domain)
        if condition is None:
            condition = self._batch.matched(domain)
        maker = self._game.plan.maker(domain)
        learns = maker is not None and self._game.learns_now(maker)
        return condition if learns else condition.detach()

    @property
    def latents(self) -> Tensor:
        """The code that a fake was made from; the noise where the generator names none."""
        made = self._beside
        if made.latents is not None:
            return made.latents
        plan = self._game.plan.generators[self._generator]
        return noise_among(plan, self._batch.sources(self._generator, self._purpose))

    @property
    def posterior(self) -> tuple[Tensor, Tensor] | None:
        return self._beside.posterior

    @property
    def log_probs(self) -> Tensor | None:
        return self._beside.log_probs

    @property
    def _beside(self) -> GeneratorOutput:
        """What the generator made; detached in D's turn, whose losses must not reach it."""
        made = self._batch.made(self._generator, self._purpose)
        return made if self._turn.side == "generator" else detached(made)

    @property
    def _purpose(self) -> str:
        return "second" if self._kind == "second" else "made"

    def known_scores(self) -> Tensor | None:
        """The scores of the first view, if a loss has read them."""
        for forward in self._forwards.values():
            if "output" in vars(forward) and forward.scores is not None:
                return forward.scores.detach()
        return None

    def forward_of(self, view: str) -> DiscriminatorForward:
        """What the discriminator returns for this input in one view."""
        if view not in self._forwards:
            address = (self._kind, self._generator, view, self._turn.side, *self._batch.address)
            self._forwards[view] = DiscriminatorForward(
                self, self._discriminator.name, view, address, self._turn
            )
        return self._forwards[view]


class DiscriminatorForward:
    """One forward of one discriminator, and what was read off it."""

    def __init__(
        self,
        judged_input: DiscriminatorInput,
        discriminator: str,
        view: str,
        address: tuple[str | int, ...],
        turn: Turn,
    ) -> None:
        self._input = judged_input
        self._discriminator = discriminator
        self._view = view
        self._address = address
        self._turn = turn

    @property
    def seen(self) -> Tensor:
        return self._input.views[self._view]

    @cached_property
    def output(self) -> DiscriminatorOutput:
        """What the discriminator returned for this input alone, also where others passed it in the
        same forward; then each of them has its part."""
        forwards = self._turn.batched_together(self._discriminator, self._view)
        together = self in forwards
        if not together:
            forwards = [self]
        address = ("together", self._view, self._turn.side, *self._turn.batch.address)
        output = self._turn.game.judge(
            self._discriminator,
            _joined([forward.seen for forward in forwards]),
            _joined_conditions([forward._input.given for forward in forwards]),
            address=address if together else self._address,
            records=self._turn.side == "discriminator",
        )
        if not together:
            return output
        parts = output.split([len(forward.seen) for forward in forwards])
        for forward, part in zip(forwards, parts, strict=True):
            vars(forward)["output"] = part
        return parts[forwards.index(self)]

    # Losses compute in float32, whatever precision the network ran in.

    @cached_property
    def scores(self) -> Tensor | None:
        return in_float(self.output.scores)

    @cached_property
    def class_scores(self) -> Tensor | None:
        return in_float(self.output.class_scores)

    @cached_property
    def features(self) -> Tensor | None:
        return in_float(self.output.features)

    @cached_property
    def reconstruction(self) -> Tensor | None:
        return in_float(self.output.reconstruction)

    @cached_property
    def gradient(self) -> Tensor:
        """Of the scores' sum with respect to the data before the augmentors."""
        assert self.scores is not None
        (gradient,) = torch.autograd.grad(self.scores.sum(), self._input.data, create_graph=True)
        return gradient


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """[N, ...] each, one after the other; one alone is not copied."""
    return torch.cat([*tensors]) if len(tensors) > 1 else tensors[0]


def _joined_conditions(
    conditions: Sequence[tuple[Tensor, ...] | None],
) -> tuple[Tensor, ...] | None:
    """The same of each condition; None where the discriminator is given none."""
    given = [condition for condition in conditions if condition is not None]
    return tuple(map(_joined, zip(*given, strict=True))) or None


def in_float(value: Tensor | None) -> Tensor | None:
    """The same in float32."""
    return None if value is None else value.float()


def detached(made: GeneratorOutput) -> GeneratorOutput:
    """The same, cut off from the generator."""
    posterior = made.posterior
    return GeneratorOutput(
        made.data.detach(),
        None if made.latents is None else made.latents.detach(),
        None if posterior is None else (posterior[0].detach(), posterior[1].detach()),
        None if made.log_probs is None else made.log_probs.detach(),
    )


def labels_among(plan: GeneratorPlan, sources: tuple[Tensor, ...]) -> Tensor:
    """The class numbers among a generator's sources."""
    pairs = zip(sources, plan.source_specs, strict=True)
    return next(value for value, spec in pairs if isinstance(spec, LabelSpec))


def noise_among(plan: GeneratorPlan, sources: tuple[Tensor, ...]) -> Tensor:
    """The noise among a generator's sources."""
    pairs = zip(sources, plan.source_specs, strict=True)
    return next(value for value, spec in pairs if isinstance(spec, NoiseSpec))


def as_judged(data: Tensor, spec: Spec) -> Tensor:
    """Real data as discriminators judge it: text one-hot, everything else as it is."""
    return as_one_hot(data, spec) if isinstance(spec, TextSpec) else data


def real_labels(batch: Batch, domain: str) -> Tensor:
    """The labels of the rows that a domain's data comes from."""
    plan = batch.game.plan
    label = plan.data.description.labels_of(plan.domains[domain].of or domain)
    assert label is not None, "composition refused this"
    return batch[label]
