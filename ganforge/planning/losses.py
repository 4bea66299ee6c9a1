"""Losses: what they ask for, and whether the game can give it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.specs import LabelSpec, NoiseSpec
from ganforge.interfaces.vocabulary import (
    DISCRIMINATOR_OUTPUT,
    VOCABULARY,
    current,
    reads_output,
    split,
)
from ganforge.planning import graph
from ganforge.planning.networks import NetworkReader
from ganforge.planning.plan import (
    SIDES,
    DiscriminatorPlan,
    DomainPlan,
    GeneratorPlan,
    LossPlan,
    Part,
)
from ganforge.planning.reader import UNKNOWN, StandIn, all_known
from ganforge.recipes.suggestions import nearest
from ganforge.recipes.toml_tables import Table
from ganforge.registry.parameter_names import loss_needs

_SHARES = {"start": 0.0, "stop": 1.0}


class LossReader(NetworkReader):
    """`[losses.NAME]`."""

    discriminators: Mapping[str, DiscriminatorPlan]
    losses_are_known: bool = True  # False: a loss has a problem, so what it trains is not known

    def loss_plans(self, parts: Mapping[str, Part]) -> dict[str, LossPlan]:
        if not self.table("losses").entries and not self.recipe.problems:
            self.problem(
                "the recipe has no losses, so nothing would be learned",
                None,
                'write a table such as `[losses.adversarial]` with `use = "non-saturating"`',
            )
        self.losses_are_known = bool(parts)
        return {name: self.loss(part) for name, part in parts.items()}

    def loss(self, part: Part) -> LossPlan:
        table = self.table("losses").get(part.name)
        needs = self.needs(part, table)
        of_pairings = any(reads_output(n) for names in needs.values() for n in names)
        before = len(self.problems)
        if needs:
            on = self.plays_on(part, table, needs, of_pairings)
            self.losses_are_known &= len(self.problems) == before
        else:
            on = ()
            self.losses_are_known = False
            networks = {*self.generators, *self.discriminators}
            self.chosen_names(table, networks, "network")
        share = {key: self.share(table, key, default) for key, default in _SHARES.items()}
        if share["start"] >= share["stop"]:
            entry = table.entry("stop") or table.entry("start")
            self.problem(
                f"loss '{part.name}' never plays: it stops at {share['stop']:g} of the run and "
                f"starts at {share['start']:g}",
                entry.value_span if entry else table.span,
            )
        return LossPlan(
            part.name,
            part.component,
            part.options,
            on,
            of_pairings,
            needs,
            self.weight(table, part.name),
            self.every(table),
            share["start"],
            share["stop"],
        )

    def needs(self, part: Part, table: Table) -> dict[str, tuple[str, ...]]:
        """Side -> what a loss reads there; nothing if that is unknown, which is reported."""
        if isinstance(part, StandIn) and not part.component.target:
            return {}
        stated = callable(part.component.needs)
        if stated and self.refused(part.component, "needs", table, part.options) is None:
            return {}
        try:
            found = loss_needs(part.component, part.options)
        except GanforgeError as error:
            self.problem(str(error), table.span)
            return {}
        needs = {side: tuple(names) for side, names in found.items()}
        asked = [(side, name) for side, names in needs.items() for name in names]
        strange = [(side, name) for side, name in asked if current(name) not in VOCABULARY]
        self.registry.warnings += [
            f"loss '{part.component.id}' reads '{name}', which is called '{current(name)}' now"
            for name in sorted({name for _, name in asked if current(name) != name})
        ]
        for side, name in strange:
            close = nearest(name, VOCABULARY)
            self.problem(
                f"loss '{part.component.id}' asks for '{name}' ({side}), which is not in "
                "the vocabulary",
                table.span,
                f"similar: {', '.join(close)}" if close else "see docs/first-plugin.md",
            )
        if not needs and not isinstance(part, StandIn):
            self.problem(f"loss '{part.component.id}' reads nothing on either side", table.span)
        return {} if strange else needs

    def plays_on(
        self, part: Part, table: Table, needs: Mapping[str, tuple[str, ...]], of_pairings: bool
    ) -> tuple[str, ...]:
        """The discriminators or generators a loss plays on, each able to give what it needs.

        Without `on`, a loss of contests plays on every discriminator and must be able to; one of
        generators plays on those that can give what it needs.
        """
        known: Mapping[str, Any] = self.discriminators if of_pairings else self.generators
        names = self.chosen_names(table, known, "discriminator" if of_pairings else "generator")
        asked = tuple(dict.fromkeys(n for side in SIDES for n in needs.get(side, ())))
        lacks = {name: self.lacking(name, asked, of_pairings) for name in names}
        able = tuple(name for name, reason in lacks.items() if not reason)
        if able and not of_pairings and "on" not in table:
            return able
        for name, reason in lacks.items():
            if reason:
                entry = table.entry("on") or table.entry("use")
                self.problem(
                    f"loss '{part.name}' cannot play on '{name}': {reason}",
                    entry.value_span if entry else table.span,
                )
                break
        return able

    def lacking(self, name: str, asked: Iterable[str], of_pairings: bool) -> str:
        """Why a discriminator's contests, or a generator, cannot give what a loss asks for."""
        generators = (
            [g for g in self.generators.values() if g.target == self.discriminators[name].on]
            if of_pairings and self.discriminators[name].on != UNKNOWN
            else [self.generators[name]]
            if not of_pairings
            else []
        )
        for need in asked:
            missing = self.lacking_output if of_pairings else self.lacking_alone
            reason = missing(name, need)
            for generator in generators:
                reason = reason or self.lacking_generator_output(generator, need)
            if reason:
                return f"it asks for '{need}', but {reason}"
        return ""

    def lacking_output(self, discriminator: str, need: str) -> str:
        plan = self.discriminators[discriminator]
        source, quantity = split(need)
        declared = self.offered(plan, self.table("discriminators").get(discriminator))
        scored = "scores" in declared or "reconstruction" not in declared
        if quantity in ("scores", "gradient") and not scored:
            return f"discriminator '{plan.component.name}' reconstructs, and returns no scores"
        beside = quantity in DISCRIMINATOR_OUTPUT and quantity not in ("scores", "gradient", "seen")
        complete = declared or plan.component.provider == "ganforge"
        if beside and complete and quantity not in declared:
            return f"discriminator '{plan.component.name}' offers no {quantity}"
        if (source == "mismatched" or quantity == "given") and not plan.given:
            return f"discriminator '{discriminator}' is given no condition (`given = ...`)"
        if not all_known(self.domains[plan.on].spec):
            return ""
        domain = self.domains[plan.on].of or plan.on
        apart = self.data_plan.description.labelled.get(domain)
        needs_labels = quantity == "labels" and source in ("real", "mismatched", "mixed")
        if needs_labels and self.data_plan.description.labels_of(domain) is None:
            hint = ": a loss of labelled rows asks for labelled_labels" if apart else ""
            return f"the rows of '{plan.on}' have no labels{hint}"
        if source == "labelled" and plan.labels is None:
            return f"no rows of '{plan.on}' have labels"
        if source == "labelled" and apart and plan.given:
            return f"the labelled rows of '{plan.on}' have no condition (`given = ...`)"
        return ""

    def lacking_alone(self, generator: str, need: str) -> str:
        """Why a loss that reads no discriminator output cannot have an input."""
        source, quantity = split(need)
        if source in ("labelled", "mixed", "mismatched") or quantity == "given":
            return "only a loss that reads what a discriminator returns is given that"
        target = self.generators[generator].target
        domain = self.domains[target]
        if source != "real" or quantity != "labels" or not all_known(domain.spec):
            return ""
        labels = self.data_plan.description.labels_of(domain.of or target)
        return "" if labels else f"the rows of '{target}' have no labels"

    def lacking_generator_output(self, generator: GeneratorPlan, need: str) -> str:
        source, quantity = split(need)
        edge = f"generator '{generator.name}'"
        sources_are_known = all_known(*generator.source_specs)
        if need in ("truth", "real_log_probs"):
            reason = self.lacking_pairs(generator, need)
            if reason:
                return reason
        if need == "cycled" and self.inverse(generator) is None:
            if not self.knows_all_generators() or UNKNOWN in self.all_sources():
                return ""
            return f"no generator leads back from '{generator.target}' to '{generator.sources[0]}'"
        back = self.inverse(generator) if need == "cycled" else None
        if back is not None and len(back.sources) > 1:
            return f"the way back, generator '{back.name}', reads more than one source"
        both_are_known = sources_are_known and all_known(generator.target_spec)
        alike = generator.source_specs == (generator.target_spec,)
        if need == "same" and both_are_known and not alike:
            return (
                f"{edge} turns {', '.join(map(str, generator.source_specs))} into "
                f"{generator.target_spec}: only the same shape can stay the same"
            )
        if need in ("source", "cycled") and isinstance(generator.source_specs[0], NoiseSpec):
            return f"{edge} starts from noise, not from data"
        draws = any(isinstance(s, NoiseSpec) for s in generator.source_specs)
        if source == "second" and sources_are_known and not draws:
            return f"{edge} draws no noise, so it cannot make a second fake"
        labelled = any(isinstance(s, LabelSpec) for s in generator.source_specs)
        lacks_labels = sources_are_known and not labelled
        if quantity == "labels" and source in ("fake", "second") and lacks_labels:
            return f'{edge} is given no label (`from = ["noise", "label"]`)'
        offered = self.offered(generator, self.table("generators").get(generator.name))
        known = offered or generator.component.provider == "ganforge"
        if quantity in ("posterior", "log_probs") and quantity not in offered and known:
            return f"generator '{generator.component.name}' offers no {quantity}"
        return ""

    def lacking_pairs(self, generator: GeneratorPlan, need: str) -> str:
        """Why no row of a generator's target belongs to what it reads."""
        target, sources = self.domains[generator.target], self.leaves(generator)
        if not all_known(target.spec, *(domain.spec for domain in sources)):
            return ""
        if target.origin not in ("data", "derived"):
            return f"the data has no '{generator.target}'"
        read = {d.of or d.name for d in sources if d.origin in ("data", "derived")}
        if need == "truth" and not read:
            return (
                f"generator '{generator.name}' reads no data, so there is no true result to "
                "compare with"
            )
        group = self.data_plan.description.group(target.of or target.name)
        unpaired = sorted(read - set(group))
        if unpaired:
            return f"the rows of '{unpaired[0]}' and '{generator.target}' are not paired"
        return ""

    def all_sources(self) -> set[str]:
        """What any generator reads."""
        return {source for plan in self.generators.values() for source in plan.sources}

    def leaves(self, generator: GeneratorPlan) -> list[DomainPlan]:
        """The domains that a generator reads, also through others."""
        read = (domain for domain, _ in graph.leaves(self.generators, generator))
        return [self.domains[domain] for domain in read if domain in self.domains]

    def inverse(self, generator: GeneratorPlan) -> GeneratorPlan | None:
        back = graph.inverse(self.generators, generator)
        return None if back is None else self.generators[back]

    def weight(self, table: Table, name: str) -> dict[str, float]:
        entry = table.entry("weight")
        if entry is None:
            return dict.fromkeys(SIDES, 1.0)
        value = entry.value.plain() if isinstance(entry.value, Table) else entry.value
        weights = dict.fromkeys(SIDES, value) if not isinstance(value, dict) else value
        wrong = set(weights) - set(SIDES)
        numbers = all(_is_number(weight) and math.isfinite(weight) for weight in weights.values())
        if wrong or not numbers:
            self.problem(
                f"weight of loss '{name}' takes a number, or one for each side",
                entry.value_span,
                "write `weight = 10.0` or `weight = { discriminator = 0.5, generator = 1.0 }`",
            )
            return dict.fromkeys(SIDES, 1.0)
        return {side: float(weights.get(side, 1.0)) for side in SIDES}

    def share(self, table: Table, key: str, default: float) -> float:
        entry = table.entry(key)
        if entry is None:
            return default
        if _is_number(entry.value) and 0 <= entry.value <= 1:
            return float(entry.value)
        self.problem(f"'{key}' is a share of the run, from 0 to 1", entry.value_span)
        return default


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
