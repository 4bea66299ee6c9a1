"""From a recipe to a plan: find every component, type every option, check that all of it fits.

Light. Everything that is wrong is collected and raised at once, in the order of the file. The
readers in composing/ build on each other: data, then networks, then losses, then the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganforge.interfaces.settings import NoiseSettings, PhaseSettings, TrainSettings
from ganforge.planning.losses import LossReader
from ganforge.planning.plan import DataPlan, LossPlan, Part, PhasePlan, Plan
from ganforge.recipes.grammar import AUGMENTOR_KEYS, HOOK_KEYS, LOSS_KEYS, METRIC_KEYS, NETWORK_KEYS
from ganforge.recipes.problems import RecipeError
from ganforge.recipes.recipe import ALWAYS_ON, Recipe
from ganforge.recipes.toml_tables import Table
from ganforge.recipes.typed_options import structure
from ganforge.registry.registry import Registry


def compose(recipe: Recipe, registry: Registry, *, offline: bool = False) -> Plan:
    """The plan of a recipe. Raises RecipeError with every problem.

    offline: take what the data yields from the recipe's lock (a run folder's `resolved.toml`)
    instead of looking at the data, which may be on another machine.
    """
    composer = _Composer(recipe, registry, offline)
    plan = composer.compose()
    if plan is None or composer.problems:
        raise RecipeError(composer.problems)
    return plan


class _Composer(LossReader):
    def compose(self) -> Plan | None:
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
        if data is None:
            return None
        # Where these tables are wrong their defaults stand in, so that the rest is looked at too.
        usual: Any = NoiseSettings
        self.data_plan = data
        self.domains = self.domain_plans(data, noise or usual())
        self.generators = self.generator_plans(generator_parts)
        self.augmentors = self.augmentor_plans(augmentor_parts, discriminator_parts)
        self.discriminators = self.discriminator_plans(discriminator_parts)
        losses = self.loss_plans(loss_parts)
        if train is None:
            return None
        steps = self.steps(train, data)
        phases = self.phases(train, steps, losses)
        plan = Plan(
            name=self.recipe.name,
            preview=self.recipe.preview,
            has_preview=self.recipe.has_preview,
            train=train,
            steps=steps,
            data=data,
            domains=self.domains,
            generators=self.generators,
            discriminators=self.discriminators,
            losses=losses,
            augmentors=self.augmentors,
            hooks=hooks,
            metrics=metrics,
            phases=phases,
            lock=self.lock(),
        )
        if not self.problems and not self.offline:
            self.check_played(plan)
        return plan

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
            self.refused(part.component.check, table, part.options)

    def steps(self, train: TrainSettings, data: DataPlan) -> int:
        table = self.table("train")
        if train.steps is not None and train.epochs is not None:
            # The later of the two in the order of application wins only if it alone is written.
            entry = table.entry("epochs")
            self.problem(
                "[train] takes `steps` or `epochs`, not both", entry.key_span if entry else None
            )
        if train.steps is not None:
            return train.steps
        if train.epochs is None:
            self.problem(
                "[train] does not say how long",
                table.span,
                "write `steps = 10_000` or `epochs = 50`",
            )
            return 1
        counts = data.description.counts.get("train", {})
        targets = (self.domains[g.target] for g in self.generators.values())
        played = {domain.of or domain.name for domain in targets} & counts.keys()
        if not played:
            self.problem(
                "an epoch is not known, since the data does not say how many rows it has",
                table.span,
                "write `steps` instead of `epochs`",
            )
            return 1
        updates = max(max(1, counts[domain] // train.batch) for domain in played)
        return max(1, round(train.epochs * updates / train.discriminator_steps))

    def phases(
        self, train: TrainSettings, steps: int, losses: Mapping[str, LossPlan]
    ) -> tuple[PhasePlan, ...]:
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
                last=steps,
            )
            return (whole,)
        plans: list[PhasePlan] = []
        first = 1
        for position, (name, table) in enumerate(tables):
            settings = structure(
                table, PhaseSettings, owner=f"phase '{name}'", problems=self.problems
            )
            if settings is None:
                continue
            is_last = position == len(tables) - 1
            length = self.phase_length(name, settings, table, steps, is_last)
            if first > steps:
                self.problem(
                    f"phase '{name}' is never played: those before it take all of the run's "
                    f"{steps:,} steps",
                    table.span,
                )
            last = steps if is_last else min(steps, first + length - 1)
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
        playing = tuple(losses) if settings.losses is None else tuple(settings.losses)
        there = [name for name, _ in self.table("losses").tables()]
        for name in playing:
            if name not in there:
                self.unknown("loss", name, there, self.place(table.entry("losses"), name))
        return tuple(trained), playing

    def check_played(self, plan: Plan) -> None:
        """Every phase trains something, and every network is trained by some loss in some phase,
        unless it is frozen."""
        trained_in = {phase.name: plan.trained_in(phase) for phase in plan.phases}
        trained = {address for addresses in trained_in.values() for address in addresses}
        for name, addresses in trained_in.items():
            if not addresses and name != "all":
                self.problem(
                    f"phase '{name}' trains nothing: none of its losses plays on a network that it "
                    "trains",
                    self.table("train").get("phases").get(name).span,
                )
        for address, network in plan.networks.items():
            if address in trained or network.settings.freeze:
                continue
            key, name = address.split(".", 1)
            self.problem(
                f"no loss trains {key[:-1]} '{name}' in any phase",
                self.table(key).get(name).span,
                "add a loss that plays on it, or write `freeze = true`",
            )
