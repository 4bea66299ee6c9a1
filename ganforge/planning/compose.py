"""From a recipe to a plan: find every component, type every option, check that all of it fits.

Light. Everything that is wrong is collected and raised at once, in the order of the file. The
readers in composing/ build on each other: data, then networks, then losses, then the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganforge.interfaces.addresses import Address
from ganforge.interfaces.settings import NoiseSettings, PhaseSettings, TrainSettings
from ganforge.planning.losses import LossReader
from ganforge.planning.plan import DataPlan, LossPlan, Part, PhasePlan, Plan
from ganforge.planning.reader import IMPLIED, UNKNOWN, StandIn, all_known
from ganforge.recipes.grammar import AUGMENTOR_KEYS, HOOK_KEYS, LOSS_KEYS, METRIC_KEYS, NETWORK_KEYS
from ganforge.recipes.problems import RecipeError
from ganforge.recipes.recipe import ALWAYS_ON, Recipe
from ganforge.recipes.toml_tables import Table
from ganforge.recipes.typed_options import structure
from ganforge.registry.registry import Registry


def compose(
    recipe: Recipe, registry: Registry, *, offline: bool = False, starts: bool = False
) -> Plan:
    """The plan of a recipe. Raises RecipeError with every problem.

    offline: take what the data yields from the recipe's lock (a run folder's `resolved.toml`)
    instead of looking at the data, which may be on another machine. starts: a run of it is to
    begin, so other runs that it takes weights from must be there.
    """
    composer = _Composer(recipe, registry, offline, starts)
    plan = composer.compose()
    if composer.problems:
        raise RecipeError(composer.problems)
    assert composer.is_whole, "something was left out of a plan without a word"
    return plan


class _Composer(LossReader):
    """Where a table is wrong, something stands in for it (reader.py), so that the rest is looked at
    too; what would only follow from a problem is not told."""

    phases_are_known: bool = True
    is_whole: bool = True  # False: something stands in, so this plan is not to be played

    def compose(self) -> Plan:
        train = self.settings("train", TrainSettings)
        noise = self.settings("noise", NoiseSettings)
        data = self.data()
        generator_parts = self.parts("generators", "generator", skip=NETWORK_KEYS)
        discriminator_parts = self.parts("discriminators", "discriminator", skip=NETWORK_KEYS)
        loss_parts = self.parts("losses", "loss", skip=LOSS_KEYS)
        augmentor_parts = self.parts("augmentors", "augmentor", skip=AUGMENTOR_KEYS)
        metrics = self.parts("metrics", "metric", skip=METRIC_KEYS)
        hooks = self.hooks()
        for key, parts in (("losses", loss_parts), ("hooks", hooks), ("metrics", metrics)):
            self.check_parts(key, parts)
        usual: Any = NoiseSettings
        self.data_plan = data or self.unknown_data()
        self.domains = self.domain_plans(self.data_plan, noise or usual())
        self.generators = self.generator_plans(generator_parts)
        self.augmentors = self.augmentor_plans(augmentor_parts, discriminator_parts)
        self.discriminators = self.discriminator_plans(discriminator_parts)
        losses = self.loss_plans(loss_parts)
        usual = TrainSettings
        steps = self.steps(train, self.data_plan)
        train = train or usual()
        phases = self.phases(train, steps, losses)
        kinds = (loss_parts, generator_parts, discriminator_parts, augmentor_parts, hooks, metrics)
        stand_ins = (isinstance(p, StandIn) for parts in kinds for p in parts.values())
        known = data is not None and steps is not None
        self.is_whole = known and not any(stand_ins) and not self.is_vague()
        played = {name: self.domains[name] for name in self.domain_names()}
        plan = Plan(
            name=self.recipe.name,
            preview=self.recipe.preview,
            has_preview=self.recipe.has_preview,
            train=train,
            steps=steps or 1,
            data=self.data_plan,
            domains=played if self.is_whole else self.domains,
            generators=self.generators,
            discriminators=self.discriminators,
            losses=losses,
            augmentors=self.augmentors,
            hooks=hooks,
            metrics=metrics,
            phases=phases,
            lock=self.lock(),
        )
        complete = self.losses_are_known and self.phases_are_known and self.knows_all_generators()
        judged = self.judged_domains_valid and all(
            d.on != UNKNOWN for d in self.discriminators.values()
        )
        if complete and judged and not self.offline:
            self.check_played(plan)
        return plan

    def is_vague(self) -> bool:
        """Whether some network reads, makes or judges what is not known."""
        named = {
            *self.all_sources(),
            *(g.target for g in self.generators.values()),
            *(name for d in self.discriminators.values() for name in (d.on, *d.given)),
        }
        return bool(named & {UNKNOWN, IMPLIED}) or not all_known(
            *(self.domains[name].spec for name in self.domain_names()),
            *(discriminator.judged for discriminator in self.discriminators.values()),
        )

    def hooks(self) -> dict[str, Part]:
        parts = self.parts("hooks", "hook", skip=HOOK_KEYS)
        removed = self.recipe.removed.get("hooks", ())
        for name in ALWAYS_ON:
            if name not in self.table("hooks") and name not in removed:
                part = self.part(name, "hook", Table(self.root.span), HOOK_KEYS)
                if part is not None:
                    parts[name] = part
        return parts

    def check_parts(self, key: str, parts: Mapping[str, Part]) -> None:
        """What components refuse of their own options. A run that is only looked at needs no leave:
        what it was made with may not be installed here."""
        for name, part in parts.items() if not self.offline else ():
            table = self.table(key).get(name) or Table(self.root.span)
            self.refused(part.component, "check", table, part.options)

    def steps(self, train: TrainSettings | None, data: DataPlan) -> int | None:
        """The steps of the run; None if a reported problem hides them."""
        table = self.table("train")
        if "steps" in table and "epochs" in table:
            # The later of the two in the order of application wins only if it alone is written.
            entry = table.entry("epochs")
            self.problem(
                "[train] takes `steps` or `epochs`, not both", entry.key_span if entry else None
            )
        elif "steps" not in table and "epochs" not in table:
            self.problem(
                "[train] does not say how long",
                table.span,
                "write `steps = 10_000` or `epochs = 50`",
            )
        if train is None or (train.steps is None and train.epochs is None):
            return None
        if train.steps is not None:
            return train.steps
        assert train.epochs is not None
        counts = data.description.counts.get("train", {})
        targets = (self.domains[g.target] for g in self.generators.values())
        played = {domain.of or domain.name for domain in targets} & counts.keys()
        if not played and not (self.data_is_known and self.knows_all_generators()):
            return None
        if not played:
            self.problem(
                "an epoch is not known, since the data does not say how many rows it has",
                table.span,
                "write `steps` instead of `epochs`",
            )
            return None
        updates = max(max(1, counts[domain] // train.batch) for domain in played)
        return max(1, round(train.epochs * updates / train.discriminator_steps))

    def phases(
        self, train: TrainSettings, steps: int | None, losses: Mapping[str, LossPlan]
    ) -> tuple[PhasePlan, ...]:
        """The phases in their order; the whole run as one where the recipe names none."""
        networks = (
            *(plan.address for plan in self.generators.values() if not plan.settings.freeze),
            *(plan.address for plan in self.discriminators.values() if not plan.settings.freeze),
        )
        value = self.table("train").get("phases")
        tables = list(value.tables()) if isinstance(value, Table) else []
        if not tables or self.offline:
            whole = PhasePlan(
                name="all",
                train=networks,
                losses=tuple(losses),
                discriminator_steps=train.discriminator_steps,
                first=1,
                last=steps or 1,
            )
            return (whole,)
        plans: list[PhasePlan] = []
        first = 1
        for position, (name, table) in enumerate(tables):
            settings = structure(
                table, PhaseSettings, owner=f"phase '{name}'", problems=self.problems
            )
            if settings is None:
                self.phases_are_known = False
                continue
            is_last = position == len(tables) - 1
            length = self.phase_length(name, settings, table, steps or 1, is_last)
            if steps is not None and first > steps:
                self.problem(
                    f"phase '{name}' is never played: those before it take all of the run's "
                    f"{steps:,} steps",
                    table.span,
                )
            last = first + length - 1 if steps is None else min(steps, first + length - 1)
            last = steps if is_last and steps is not None else last
            trained, played = self.phase_members(table, settings, losses)
            plans.append(
                PhasePlan(
                    name=name,
                    train=trained,
                    losses=played,
                    discriminator_steps=settings.discriminator_steps or train.discriminator_steps,
                    first=first,
                    last=last,
                )
            )
            first = last + 1
        return tuple(plans)

    def phase_length(
        self, name: str, settings: PhaseSettings, table: Table, steps: int, is_last: bool
    ) -> int:
        neither = settings.steps is None and settings.share is None
        if settings.steps is not None and settings.share is not None:
            self.problem(f"phase '{name}' takes `steps` or `share`, not both", table.span)
        if neither and not is_last:
            self.problem(
                f"phase '{name}' does not say how long it is",
                table.span,
                "write `steps = 1_000` or `share = 0.5`; only the last phase may leave it out",
            )
        if neither:
            return 1
        return settings.steps or max(1, round((settings.share or 0) * steps))

    def phase_members(
        self, table: Table, settings: PhaseSettings, losses: Mapping[str, LossPlan]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        addresses = (self.network(name, table.entry("train")) for name in settings.train)
        trained = [address for address in addresses if address is not None]
        self.phases_are_known &= len(trained) == len(settings.train)
        playing = tuple(losses) if settings.losses is None else tuple(settings.losses)
        there = [name for name, _ in self.table("losses").tables()]
        for name in playing:
            if name not in there:
                self.phases_are_known = False
                self.unknown("loss", name, there, self.place(table.entry("losses"), name))
        return tuple(trained), tuple(name for name in playing if name in losses)

    def check_played(self, plan: Plan) -> None:
        """Every phase trains something, and every network is trained by some loss in some phase,
        unless it is frozen."""
        trained_in = {phase.name: plan.trained_in(phase) for phase in plan.phases}
        trained = {address for addresses in trained_in.values() for address in addresses}
        phases = self.table("train").get("phases")
        for name, addresses in trained_in.items():
            if not addresses and isinstance(phases, Table) and name in phases:
                self.problem(
                    f"phase '{name}' trains nothing: none of its losses plays on a network that it "
                    "trains",
                    phases.get(name).span,
                )
        for address, network in plan.networks.items():
            if address in trained or network.settings.freeze:
                continue
            parsed = Address.parse(address)
            self.problem(
                f"no loss trains {parsed.described} in any phase",
                self.table(parsed.kind).get(parsed.name).span,
                "add a loss that plays on it, or write `freeze = true`",
            )
