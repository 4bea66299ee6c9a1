"""From a recipe to a plan: find every component, type every option, check that all of it fits.

Light. Everything that is wrong is collected and raised at once, in the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ganforge.document import Entry, Span, Table
from ganforge.errors import GanforgeError
from ganforge.needs import loss_needs
from ganforge.plan import (
    SIDES,
    AugmentorPlan,
    Chosen,
    DataPlan,
    DiscriminatorPlan,
    DomainPlan,
    GeneratorPlan,
    LossPlan,
    NetworkSettings,
    Part,
    PhasePlan,
    Plan,
    Side,
)
from ganforge.plugin import Component, DataDescription, ImageOptions, Impossible, Kind, Ref
from ganforge.problems import Problem, RecipeError
from ganforge.recipe import Recipe
from ganforge.registry import NotFound, Registry
from ganforge.settings import (
    OPTIMIZERS,
    SCHEDULES,
    InitSettings,
    NoiseSettings,
    PhaseSettings,
    TrainSettings,
)
from ganforge.specs import ImageSpec, LabelSpec, NoiseSpec, Spec, spec_from_dict
from ganforge.structure import structure
from ganforge.suggest import nearest
from ganforge.vocabulary import VERDICT, VOCABULARY, reads_verdict, split

ALWAYS_ON = ("progress", "metrics", "checkpoint", "samples")

T = TypeVar("T")


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


class _Composer:
    def __init__(self, recipe: Recipe, registry: Registry, offline: bool) -> None:
        self.recipe = recipe
        self.registry = registry
        self.offline = offline
        self.root: Table = recipe.table
        self.problems: list[Problem] = list(recipe.problems)

    # --- the whole ------------------------------------------------------------------------------

    def compose(self) -> Plan | None:
        train = self.settings("train", TrainSettings)
        noise = self.settings("noise", NoiseSettings)
        data = self.data()
        generator_parts = self.parts("generators", "generator", skip=_NETWORK_KEYS)
        discriminator_parts = self.parts("discriminators", "discriminator", skip=_NETWORK_KEYS)
        loss_parts = self.parts("losses", "loss", skip=_LOSS_KEYS)
        augmentor_parts = self.parts("augmentors", "augmentor", skip=_AUGMENTOR_KEYS)
        metrics = self.parts("metrics", "metric", skip=_PLAIN_KEYS)
        hooks = self.hooks()
        if data is None or noise is None or train is None:
            return None
        self.domains = self.domain_plans(data, noise)
        self.generators = self.generator_plans(generator_parts)
        self.augmentors = self.augmentor_plans(augmentor_parts, discriminator_parts)
        self.discriminators = self.discriminator_plans(discriminator_parts)
        self.data_plan = data
        losses = self.loss_plans(loss_parts)
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
        if not self.problems:
            self.check_played(plan)
        return plan

    # --- small tools ----------------------------------------------------------------------------

    def problem(self, message: str, span: Span | None, *notes: str, label: str = "") -> None:
        self.problems.append(Problem(message, span or self.root.span, notes, label))

    def table(self, key: str) -> Table:
        value = self.root.get(key)
        return value if isinstance(value, Table) else Table(self.root.span)

    def settings(self, key: str, cls: type[T]) -> T | None:
        skip = {"phases"} if key == "train" else ()
        settings: T | None = structure(
            self.table(key), cls, owner=f"[{key}]", problems=self.problems, skip=skip
        )
        return settings

    def lock(self) -> dict[str, Any]:
        return self.table("lock").plain()

    def parts(self, key: str, kind: Kind, *, skip: Collection[str]) -> dict[str, Part]:
        """Every table below `[key]` as a component with its options."""
        found = {}
        for name, table in self.table(key).tables():
            part = self.part(name, kind, table, skip)
            if part is not None:
                found[name] = part
        return found

    def part(self, name: str, kind: Kind, table: Table, skip: Collection[str]) -> Part | None:
        named = table.entry("use")
        default = "" if kind in ("generator", "discriminator", "dataset") else name
        use = named.value if named else default
        span = named.value_span if named else table.span
        if not isinstance(use, str) or not use:
            self.problem(
                f"{kind} '{name}' does not say which component to use",
                span,
                f'write `use = "..."`; `ganforge list {kind}` shows what there is',
            )
            return None
        component = self.find(kind, use, span)
        if component is None:
            return None
        options = structure(
            table,
            component.options,
            owner=f"{kind} '{use}'",
            problems=self.problems,
            skip=skip,
            provider=f"{component.provider} {component.version}; "
            f"see `ganforge show {kind}/{component.name}`",
        )
        return None if options is None else Part(name, component, options)

    def find(self, kind: Kind, use: str, span: Span | None) -> Component | None:
        try:
            return self.registry.find(kind, use)
        except NotFound as error:
            self.problem(error.message, span, *error.notes)
            return None

    def names(self, entry: Entry | None) -> tuple[str, ...] | None:
        """The value of a key that takes a name or a list of names."""
        if entry is None:
            return None
        value = [entry.value] if isinstance(entry.value, str) else entry.value
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.problem(
            f"'{entry.key}' takes a name or a list of names, not {_shown(entry.value)}",
            entry.value_span,
        )
        return None

    def unknown(self, what: str, name: str, known: Iterable[str], span: Span | None) -> None:
        known = sorted(known)
        close = nearest(name, known)
        self.problem(
            f"there is no {what} '{name}'",
            span,
            f"there are: {', '.join(known) or 'none'}",
            label=f"did you mean '{close[0]}'?" if close else "",
        )

    def refused(self, fact: Any, table: Table, *arguments: Any) -> Any:
        """Call a fact function of a manifest; a refusal becomes a problem at the option's line."""
        if fact is None:
            return None
        try:
            return fact(*arguments)
        except Impossible as error:
            entry = table.entry(error.key) if error.key else None
            self.problem(str(error), entry.value_span if entry else table.span)
        except GanforgeError as error:
            self.problem(str(error), table.span)
        return None

    # --- data and domains -----------------------------------------------------------------------

    def data(self) -> DataPlan | None:
        if "data" not in self.root:
            self.problem(
                "the recipe has no data",
                self.root.span,
                'write a table `[data]` with `use = "..."`; `ganforge list dataset` shows what '
                "there is",
            )
            return None
        table = self.table("data")
        image_keys = {a.name for a in attrs.fields(ImageOptions)}
        part = self.part("data", "dataset", table, skip={"use"} | image_keys)
        others = {entry.key for entry in table} - image_keys
        image = structure(table, ImageOptions, owner="[data]", problems=self.problems, skip=others)
        if part is None or image is None:
            return None
        description = self.describe(part, image, table)
        if description is None:
            return None
        return DataPlan(part.name, part.component, part.options, image, description)

    def describe(self, part: Part, image: ImageOptions, table: Table) -> DataDescription | None:
        locked = self.lock().get("data")
        if self.offline and locked:
            return description_from_dict(locked)
        if part.component.describe is None:
            self.problem(f"dataset '{part.component.id}' does not describe itself", table.span)
            return None
        described: DataDescription | None = self.refused(
            part.component.describe, table, part.options, image
        )
        return described

    def domain_plans(self, data: DataPlan, noise: NoiseSettings) -> dict[str, DomainPlan]:
        domains = {
            "noise": DomainPlan(
                name="noise", spec=NoiseSpec(noise.dim, noise.distribution), origin="drawn"
            )
        }
        for name, spec in data.description.domains.items():
            domains[name] = DomainPlan(name=name, spec=spec, origin="data")
        for name, table in self.table("domains").tables():
            plan = self.domain(name, table, domains)
            if plan is not None:
                domains[name] = plan
        return domains

    def domain(self, name: str, table: Table, known: Mapping[str, DomainPlan]) -> DomainPlan | None:
        of = table.entry("of")
        if of is None:
            settings = structure(
                table, NoiseSettings, owner=f"domain '{name}'", problems=self.problems
            )
            if settings is None:
                return None
            spec = NoiseSpec(settings.dim, settings.distribution)
            return DomainPlan(name=name, spec=spec, origin="drawn")
        if of.value not in known:
            self.unknown("domain", str(of.value), known, of.value_span)
            return None
        derived = structure(
            table, ImageOptions, owner=f"domain '{name}'", problems=self.problems, skip={"of"}
        )
        parent = known[of.value].spec
        if derived is None:
            return None
        if not isinstance(parent, ImageSpec):
            self.problem(f"domain '{name}' resizes '{of.value}', which is no image", of.value_span)
            return None
        height, width = derived.pixels(parent.height, parent.width)
        spec_ = ImageSpec(derived.channels or parent.channels, height, width)
        return DomainPlan(name=name, spec=spec_, origin="derived", of=of.value)

    # --- networks -------------------------------------------------------------------------------

    def network_settings(self, key: str, part: Part) -> NetworkSettings | None:
        table = self.table(key).get(part.name)
        own = structure(
            table,
            _NetworkKeys,
            owner=f"{key[:-1]} '{part.name}'",
            problems=self.problems,
            skip={e.key for e in table} - {a.name for a in attrs.fields(_NetworkKeys)},
        )
        optimizer = self.chosen(table, "optimizer", OPTIMIZERS, "adam")
        schedule = self.chosen(table, "schedule", SCHEDULES, "constant")
        if own is None or optimizer is None or schedule is None:
            return None
        return NetworkSettings(
            optimizer=optimizer,
            schedule=schedule,
            clip=own.clip,
            init=self.init(table, part.name),
            freeze=own.freeze,
            refs=self.refs(part, table),
        )

    def chosen(
        self, table: Table, key: str, choices: Mapping[str, type], default: str
    ) -> Chosen | None:
        """The network's optimizer or schedule, over that of `[optimizer]`."""
        whole = self.table("optimizer")
        common = whole.get("schedule") if key == "schedule" else whole
        own = table.get(key)
        if key == "schedule" and own is None and isinstance(table.get("optimizer"), Table):
            own = table.get("optimizer").get("schedule")
        merged = _overlaid(common, own, self.root.span)
        use = merged.get("use", default)
        if use not in choices:
            entry = merged.entry("use")
            self.unknown(key, str(use), choices, entry.value_span if entry else None)
            return None
        options = structure(
            merged,
            choices[use],
            owner=f"{key} '{use}'",
            problems=self.problems,
            skip={"use", "schedule"} if key == "optimizer" else {"use"},
        )
        return None if options is None else Chosen(use, options)

    def init(self, table: Table, name: str) -> InitSettings | None:
        entry = table.entry("init")
        if entry is None:
            return None
        if not isinstance(entry.value, Table):
            self.problem(
                f"'init' of '{name}' takes a table",
                entry.value_span,
                'write `init = { normal = 0.02 }` or `init = { run = "runs/NAME" }`',
            )
            return None
        settings: InitSettings | None = structure(
            entry.value, InitSettings, owner=f"init of '{name}'", problems=self.problems
        )
        if settings is not None and (settings.normal is None) == (settings.run is None):
            self.problem(f"'init' of '{name}' takes either `normal` or `run`", entry.value_span)
        if settings is not None and settings.run is not None:
            run = entry.value.entry("run")
            folder = run.value_span.source.folder if run else Path()
            settings = attrs.evolve(settings, run=(folder / settings.run).resolve().as_posix())
        return settings

    def refs(self, part: Part, table: Table) -> dict[str, str]:
        """Options that name other networks, as addresses."""
        refs = {}
        for attribute in attrs.fields(type(part.options)):
            if attribute.type not in (Ref, "Ref", Ref | None, "Ref | None"):
                continue
            value = getattr(part.options, attribute.name)
            if value is None:
                continue
            address = self.address(value)
            entry = table.entry(attribute.name)
            if address is None:
                self.unknown(
                    "network", value, self.addresses(), entry.value_span if entry else table.span
                )
            else:
                refs[attribute.name] = address
        return refs

    def addresses(self) -> list[str]:
        return [
            f"{key}.{name}"
            for key in ("generators", "discriminators")
            for name, _ in self.table(key).tables()
        ]

    def address(self, name: str) -> str | None:
        """`generators.NAME` for a full address or for a name that only one network has."""
        addresses = self.addresses()
        if name in addresses:
            return name
        short = {"generator": "generators.main", "discriminator": "discriminators.main"}
        if short.get(name) in addresses:
            return short[name]
        matches = [address for address in addresses if address.split(".", 1)[1] == name]
        return matches[0] if len(matches) == 1 else None

    def generator_plans(self, parts: Mapping[str, Part]) -> dict[str, GeneratorPlan]:
        if not self.table("generators").entries:
            self.problem(
                "the recipe has no generator",
                None,
                'write a table `[generator]` with `use = "..."`',
            )
        edges = {name: self.edge(name) for name in parts}
        plans: dict[str, GeneratorPlan] = {}
        waiting = [name for name, edge in edges.items() if edge is not None]
        while waiting:  # a generator that reads another's output comes after it
            ready = [n for n in waiting if not _upstream(edges[n]) & set(waiting)]
            if not ready:
                table = self.table("generators").get(waiting[0])
                self.problem(
                    f"generators feed each other in a circle: {', '.join(waiting)}", table.span
                )
                break
            for name in ready:
                plan = self.generator(parts[name], edges[name], plans)
                if plan is not None:
                    plans[name] = plan
            waiting = [n for n in waiting if n not in ready]
        return {name: plans[name] for name in parts if name in plans}

    def edge(self, name: str) -> tuple[tuple[str, ...], str] | None:
        """(sources, target) of a generator, names checked."""
        table = self.table("generators").get(name)
        sources = self.names(table.entry("from")) if "from" in table else ("noise",)
        if sources is None:
            return None
        known = {f"generators.{n}" for n, _ in self.table("generators").tables()}
        for source in sources:
            if source not in self.domains and source not in known:
                entry = table.entry("from")
                self.unknown(
                    "domain",
                    source,
                    self.domains.keys() | known,
                    entry.value_span if entry else table.span,
                )
                return None
        target = self.target(name, table)
        return None if target is None else (sources, target)

    def target(self, name: str, table: Table) -> str | None:
        entry = table.entry("to")
        if entry is not None:
            if entry.value not in self.domains:
                self.unknown("domain", str(entry.value), self.domains, entry.value_span)
                return None
            return str(entry.value)
        images = self.image_domains()
        if len(images) == 1:
            return images[0]
        self.problem(
            f"generator '{name}' does not say what it makes",
            table.span,
            f"the data has several images: {', '.join(images)}"
            if images
            else "the data has no image",
            'write `to = "..."`',
        )
        return None

    def image_domains(self) -> list[str]:
        return [
            name
            for name, domain in self.domains.items()
            if isinstance(domain.spec, ImageSpec) and domain.origin == "data"
        ]

    def generator(
        self,
        part: Part,
        edge: tuple[tuple[str, ...], str] | None,
        done: Mapping[str, GeneratorPlan],
    ) -> GeneratorPlan | None:
        assert edge is not None
        sources, target = edge
        table = self.table("generators").get(part.name)
        upstream = {f"generators.{n}": plan.target_spec for n, plan in done.items()}
        if any(s not in self.domains and s not in upstream for s in sources):
            return None  # what it reads has a problem of its own
        specs = tuple(self.domains[s].spec if s in self.domains else upstream[s] for s in sources)
        spec = self.domains[target].spec
        self.refused(part.component.check, table, part.options, specs, spec)
        settings = self.network_settings("generators", part)
        ema = table.get("ema")
        if ema is not None and not (isinstance(ema, float) and 0 < ema < 1):
            entry = table.entry("ema")
            self.problem(
                f"'ema' of generator '{part.name}' lies between 0 and 1, as in `ema = 0.999`",
                entry.value_span if entry else None,
            )
            ema = None
        if settings is None:
            return None
        return GeneratorPlan(
            part.name, part.component, part.options, sources, target, specs, spec, settings, ema
        )

    def discriminator_plans(self, parts: Mapping[str, Part]) -> dict[str, DiscriminatorPlan]:
        plans = {}
        for name, part in parts.items():
            plan = self.discriminator(part)
            if plan is not None:
                plans[name] = plan
        return plans

    def guarded(self, name: str) -> str | None:
        """The domain that a discriminator is `on`."""
        table = self.table("discriminators").get(name)
        entry = table.entry("on")
        if entry is not None:
            if entry.value not in self.domains:
                self.unknown("domain", str(entry.value), self.domains, entry.value_span)
                return None
            return str(entry.value)
        made = {generator.target for generator in self.generators.values()}
        if len(made) == 1:
            return next(iter(made))
        if made:
            self.problem(
                f"discriminator '{name}' does not say which domain it guards",
                table.span,
                f"generators make: {', '.join(sorted(made))}",
                'write `on = "..."`',
            )
        return None

    def discriminator(self, part: Part) -> DiscriminatorPlan | None:
        table = self.table("discriminators").get(part.name)
        on = self.guarded(part.name)
        given = self.names(table.entry("given")) or ()
        for name in given:
            if name not in self.domains:
                entry = table.entry("given")
                self.unknown("domain", name, self.domains, entry.value_span if entry else None)
                return None
        settings = self.network_settings("discriminators", part)
        if on is None or settings is None:
            return None
        judged = self.judged(part.name, on)
        if judged is None:
            return None
        specs = tuple(self.domains[name].spec for name in given)
        self.refused(part.component.check, table, part.options, judged, specs)
        made = {generator.target for generator in self.generators.values()}
        if on not in made:
            entry = table.entry("on")
            self.problem(
                f"discriminator '{part.name}' guards '{on}', which no generator makes",
                entry.value_span if entry else table.span,
                f"generators make: {', '.join(sorted(made))}",
            )
        return DiscriminatorPlan(
            part.name, part.component, part.options, on, given, judged, specs, settings
        )

    def judged(self, discriminator: str, on: str) -> Spec | None:
        """The spec of what a discriminator sees, through its augmentors in order."""
        views = {"plain": self.domains[on].spec}
        for name, augmentor in self.augmentors.items():
            if discriminator not in augmentor.on or augmentor.component.views is None:
                continue
            table = self.table("augmentors").get(name)
            seen: dict[str, Spec] = {}
            for spec in views.values():
                made = self.refused(augmentor.component.views, table, augmentor.options, spec)
                if made is None:
                    return None
                seen |= made
            views = seen
        specs = set(views.values())
        if len(specs) > 1:
            self.problem(
                f"discriminator '{discriminator}' would see views of different shapes: "
                + ", ".join(f"{view} ({spec})" for view, spec in views.items()),
                self.table("discriminators").get(discriminator).span,
            )
            return None
        return specs.pop()

    # --- what plays -----------------------------------------------------------------------------

    def augmentor_plans(
        self, parts: Mapping[str, Part], discriminators: Mapping[str, Part]
    ) -> dict[str, AugmentorPlan]:
        plans = {}
        for name, part in parts.items():
            table = self.table("augmentors").get(name)
            on = self.chosen_names(table, discriminators, "discriminator")
            every = self.every(table)
            plans[name] = AugmentorPlan(name, part.component, part.options, on, every)
        return plans

    def chosen_names(self, table: Table, known: Iterable[str], what: str) -> tuple[str, ...]:
        """`on` of a table: names among `known`, all of them where it is not written."""
        entry = table.entry("on")
        if entry is None:
            return tuple(known)
        names = self.names(entry) or ()
        for name in names:
            if name not in known:
                self.unknown(what, name, known, entry.value_span)
        return tuple(name for name in names if name in known)

    def every(self, table: Table) -> int:
        entry = table.entry("every")
        if entry is None:
            return 1
        if isinstance(entry.value, int) and not isinstance(entry.value, bool) and entry.value > 0:
            return entry.value
        self.problem("'every' takes a whole number from 1", entry.value_span)
        return 1

    def hooks(self) -> dict[str, Part]:
        parts = self.parts("hooks", "hook", skip=_PLAIN_KEYS)
        removed = self.recipe.removed.get("hooks", ())
        for name in ALWAYS_ON:
            if name not in self.table("hooks") and name not in removed:
                part = self.part(name, "hook", Table(self.root.span), _PLAIN_KEYS)
                if part is not None:
                    parts[name] = part
        for name, part in parts.items():
            table = self.table("hooks").get(name) or Table(self.root.span)
            self.refused(part.component.check, table, part.options)
        return parts

    def loss_plans(self, parts: Mapping[str, Part]) -> dict[str, LossPlan]:
        if not self.table("losses").entries:
            self.problem(
                "the recipe has no losses, so nothing would be learned",
                None,
                'write a table such as `[losses.adversarial]` with `use = "non-saturating"`',
            )
        plans = {}
        for name, part in parts.items():
            plan = self.loss(part)
            if plan is not None:
                plans[name] = plan
        return plans

    def loss(self, part: Part) -> LossPlan | None:
        table = self.table("losses").get(part.name)
        try:
            needs = {side: tuple(names) for side, names in loss_needs(part.component).items()}
        except GanforgeError as error:
            self.problem(str(error), table.span)
            return None
        for side, names in needs.items():
            for name in names:
                if name not in VOCABULARY:
                    close = nearest(name, VOCABULARY)
                    self.problem(
                        f"loss '{part.component.id}' asks for '{name}' ({side}), which is not in "
                        "the vocabulary",
                        table.span,
                        f"close: {', '.join(close)}" if close else "see docs/first-plugin.md",
                    )
                    return None
        of_contests = any(reads_verdict(n) for names in needs.values() for n in names)
        on = self.plays_on(part, table, needs, of_contests)
        share = {key: self.share(table, key, default) for key, default in _SHARES.items()}
        return LossPlan(
            part.name,
            part.component,
            part.options,
            on,
            of_contests,
            needs,
            self.weight(table, part.name),
            self.every(table),
            share["start"],
            share["stop"],
        )

    def plays_on(
        self, part: Part, table: Table, needs: Mapping[str, tuple[str, ...]], of_contests: bool
    ) -> tuple[str, ...]:
        """The discriminators or generators a loss plays on, each able to give what it needs.

        Without `on`, a loss of contests plays on every discriminator and must be able to; one of
        generators plays on those that can give what it needs.
        """
        known: Mapping[str, Any] = self.discriminators if of_contests else self.generators
        names = self.chosen_names(table, known, "discriminator" if of_contests else "generator")
        asked = tuple(dict.fromkeys(n for side in SIDES for n in needs.get(side, ())))
        lacks = {name: self.lacking(name, asked, of_contests) for name in names}
        able = tuple(name for name, reason in lacks.items() if not reason)
        if able and not of_contests and "on" not in table:
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

    def lacking(self, name: str, asked: Iterable[str], of_contests: bool) -> str:
        """Why a discriminator's contests, or a generator, cannot give what a loss asks for."""
        generators = (
            [g for g in self.generators.values() if g.target == self.discriminators[name].on]
            if of_contests
            else [self.generators[name]]
        )
        for need in asked:
            reason = self.lacking_verdict(name, need) if of_contests else ""
            for generator in generators:
                reason = reason or self.lacking_made(generator, need)
            if reason:
                return f"it asks for '{need}', but {reason}"
        return ""

    def lacking_verdict(self, discriminator: str, need: str) -> str:
        plan = self.discriminators[discriminator]
        source, quantity = split(need)
        if quantity in VERDICT and quantity not in ("seen", "scores", "gradient"):
            declared = plan.component.offered(plan.options)
            if quantity not in declared and (declared or plan.component.provider == "ganforge"):
                return f"discriminator '{plan.component.name}' offers no {quantity}"
        if (source == "mismatched" or quantity == "given") and not plan.given:
            return f"discriminator '{discriminator}' is given no condition (`given = ...`)"
        if quantity == "labels" and source in ("real", "mismatched", "mixed"):
            group = self.data_plan.description.group(plan.on)
            if not any(isinstance(self.domains[d].spec, LabelSpec) for d in group):
                return f"the rows of '{plan.on}' have no labels"
        return ""

    def lacking_made(self, generator: GeneratorPlan, need: str) -> str:
        source, quantity = split(need)
        edge = f"generator '{generator.name}'"
        if need == "cycled" and self.inverse(generator) is None:
            return f"no generator leads back from '{generator.target}' to '{generator.sources[0]}'"
        if need == "same" and generator.source_specs != (generator.target_spec,):
            return (
                f"{edge} turns {', '.join(map(str, generator.source_specs))} into "
                f"{generator.target_spec}: only the same shape can stay the same"
            )
        if need in ("source", "cycled") and isinstance(generator.source_specs[0], NoiseSpec):
            return f"{edge} starts from noise, not from data"
        if source == "twin" and not any(isinstance(s, NoiseSpec) for s in generator.source_specs):
            return f"{edge} draws no noise, so it makes nothing twice"
        labelled = any(isinstance(s, LabelSpec) for s in generator.source_specs)
        if quantity == "labels" and source in ("fake", "twin") and not labelled:
            return f'{edge} is given no label (`from = ["noise", "label"]`)'
        offered = generator.component.offered(generator.options)
        known = offered or generator.component.provider == "ganforge"
        if quantity in ("posterior", "log_probs") and quantity not in offered and known:
            return f"generator '{generator.component.name}' offers no {quantity}"
        return ""

    def inverse(self, generator: GeneratorPlan) -> GeneratorPlan | None:
        back = (
            other
            for other in self.generators.values()
            if other.sources[0] == generator.target and other.target == generator.sources[0]
        )
        return next(back, None)

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

    # --- the course of the run ------------------------------------------------------------------

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
        played = {g.target for g in self.generators.values()} & counts.keys()
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
        networks = tuple(
            plan.address
            for plan in (*self.generators.values(), *self.discriminators.values())
            if not plan.settings.freeze
        )
        value = self.table("train").get("phases")
        tables = list(value.tables()) if isinstance(value, Table) else []
        if not tables:
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
            length = self.phase_length(name, settings, table, steps)
            last = steps if position == len(tables) - 1 else min(steps, first + length - 1)
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

    def phase_length(self, name: str, settings: PhaseSettings, table: Table, steps: int) -> int:
        if (settings.steps is None) == (settings.share is None):
            self.problem(f"phase '{name}' takes either `steps` or `share`", table.span)
            return steps
        return settings.steps or max(1, round((settings.share or 0) * steps))

    def phase_members(
        self, table: Table, settings: PhaseSettings, losses: Mapping[str, LossPlan]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        trained = []
        for name in settings.train:
            address = self.address(name)
            entry = table.entry("train")
            if address is None:
                self.unknown("network", name, self.addresses(), entry.value_span if entry else None)
            else:
                trained.append(address)
        played = tuple(losses) if settings.losses is None else tuple(settings.losses)
        for name in played:
            if name not in losses:
                entry = table.entry("losses")
                self.unknown("loss", name, losses, entry.value_span if entry else None)
        return tuple(trained), played

    def check_played(self, plan: Plan) -> None:
        """Every network is trained by some loss in some phase, unless it is frozen."""
        trained = {address for phase in plan.phases for address in trained_in(plan, phase)}
        for address in self.addresses():
            key, name = address.split(".", 1)
            table = self.table(key).get(name)
            network = plan.generators.get(name) if key == "generators" else None
            network = network or plan.discriminators.get(name)
            if address not in trained and network is not None and not network.settings.freeze:
                self.problem(
                    f"no loss trains {key[:-1]} '{name}' in any phase",
                    table.span,
                    "add a loss that plays on it, or write `freeze = true`",
                )


def trained_in(plan: Plan, phase: PhasePlan) -> set[str]:
    """The addresses of the networks that get gradients in a phase."""
    reached: set[str] = set()
    for name in phase.losses:
        loss = plan.losses[name]
        for target in loss.on:
            if loss.of_contests:
                if "discriminator" in loss.needs:
                    reached.add(f"discriminators.{target}")
                if "generator" in loss.needs:
                    for generator in plan.contests(target):
                        reached |= _chain(plan, generator)
            elif "generator" in loss.needs:
                reached |= _chain(plan, target)
                back = plan.inverse(target)
                if "cycled" in loss.needs["generator"] and back:
                    reached |= _chain(plan, back)
    return reached & set(phase.train)


def _chain(plan: Plan, generator: str) -> set[str]:
    """A generator and those whose output it reads."""
    reached = {f"generators.{generator}"}
    for source in plan.generators[generator].sources:
        if source.startswith("generators."):
            reached |= _chain(plan, source.removeprefix("generators."))
    return reached


def side_of(address: str) -> Side:
    """Which side a network belongs to."""
    return "generator" if address.startswith("generators.") else "discriminator"


def description_from_dict(data: Mapping[str, Any]) -> DataDescription:
    """The description that `resolved.py` wrote into the lock."""
    return DataDescription(
        domains={name: spec_from_dict(spec) for name, spec in data.get("domains", {}).items()},
        aligned=tuple(tuple(group) for group in data.get("aligned", ())),
        counts=data.get("counts", {}),
    )


def _upstream(edge: tuple[tuple[str, ...], str] | None) -> set[str]:
    sources = edge[0] if edge else ()
    return {s.removeprefix("generators.") for s in sources if s.startswith("generators.")}


def _overlaid(below: Any, above: Any, span: Span) -> Table:
    """One table over another; where `use` differs, nothing of the lower one is left."""
    lower = below if isinstance(below, Table) else Table(span)
    upper = above if isinstance(above, Table) else Table(span)
    if "use" in upper and upper.get("use") != lower.get("use"):
        return upper
    return Table(upper.span if upper.entries else lower.span, {**lower.entries, **upper.entries})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "a table" if isinstance(value, (Table, dict)) else repr(value)


@attrs.frozen(kw_only=True)
class _NetworkKeys:
    """Reserved keys of a network that are plain values."""

    clip: float | None = attrs.field(
        default=None,
        metadata={"help": "largest norm of the gradient", "bounds": {"above": 0}},
    )
    freeze: bool = attrs.field(default=False, metadata={"help": "never trained", "bounds": {}})


_NETWORK_KEYS = frozenset(
    "use like from to on given optimizer schedule clip ema init freeze off".split()
)
_LOSS_KEYS)
        augmentor_parts = self.parts("augmentors", "augmentor", skip=_AUGMENTOR_KEYS)
        metrics = self.parts("metrics", "metric", skip=_PLAIN_KEYS)
        hooks = self.hooks()
        if data is None or noise is None or train is None:
            return None
        self.domains = self.domain_plans(data, noise)
        self.generators = self.generator_plans(generator_parts)
        self.augmentors = self.augmentor_plans(augmentor_parts, discriminator_parts)
        self.discriminators = self.discriminator_plans(discriminator_parts)
        self.data_plan = data
        losses = self.loss_plans(loss_parts)
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
        if not self.problems:
            self.check_played(plan)
        return plan

    # --- small tools ----------------------------------------------------------------------------

    def problem(self, message: str, span: Span | None, *notes: str, label: str = "") -> None:
        self.problems.append(Problem(message, span or self.root.span, notes, label))

    def table(self, key: str) -> Table:
        value = self.root.get(key)
        return value if isinstance(value, Table) else Table(self.root.span)

    def settings(self, key: str, cls: type[T]) -> T | None:
        skip = {"phases"} if key == "train" else ()
        settings: T | None = structure(
            self.table(key), cls, owner=f"[{key}]", problems=self.problems, skip=skip
        )
        return settings

    def lock(self) -> dict[str, Any]:
        return self.table("lock").plain()

    def parts(self, key: str, kind: Kind, *, skip: Collection[str]) -> dict[str, Part]:
        """Every table below `[key]` as a component with its options."""
        found = {}
        for name, table in self.table(key).tables():
            part = self.part(name, kind, table, skip)
            if part is not None:
                found[name] = part
        return found

    def part(self, name: str, kind: Kind, table: Table, skip: Collection[str]) -> Part | None:
        named = table.entry("use")
        default = "" if kind in ("generator", "discriminator", "dataset") else name
        use = named.value if named else default
        span = named.value_span if named else table.span
        if not isinstance(use, str) or not use:
            self.problem(
                f"{kind} '{name}' does not say which component to use",
                span,
                f'write `use = "..."`; `ganforge list {kind}` shows what there is',
            )
            return None
        component = self.find(kind, use, span)
        if component is None:
            return None
        options = structure(
            table,
            component.options,
            owner=f"{kind} '{use}'",
            problems=self.problems,
            skip=skip,
            provider=f"{component.provider} {component.version}; "
            f"see `ganforge show {kind}/{component.name}`",
        )
        return None if options is None else Part(name, component, options)

    def find(self, kind: Kind, use: str, span: Span | None) -> Component | None:
        try:
            return self.registry.find(kind, use)
        except NotFound as error:
            self.problem(error.message, span, *error.notes)
            return None

    def names(self, entry: Entry | None) -> tuple[str, ...] | None:
        """The value of a key that takes a name or a list of names."""
        if entry is None:
            return None
        value = [entry.value] if isinstance(entry.value, str) else entry.value
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.problem(
            f"'{entry.key}' takes a name or a list of names, not {_shown(entry.value)}",
            entry.value_span,
        )
        return None

    def unknown(self, what: str, name: str, known: Iterable[str], span: Span | None) -> None:
        known = sorted(known)
        close = nearest(name, known)
        self.problem(
            f"there is no {what} '{name}'",
            span,
            f"there are: {', '.join(known) or 'none'}",
            label=f"did you mean '{close[0]}'?" if close else "",
        )

    def refused(self, fact: Any, table: Table, *arguments: Any) -> Any:
        """Call a fact function of a manifest; a refusal becomes a problem at the option's line."""
        if fact is None:
            return None
        try:
            return fact(*arguments)
        except Impossible as error:
            entry = table.entry(error.key) if error.key else None
            self.problem(str(error), entry.value_span if entry else table.span)
        except GanforgeError as error:
            self.problem(str(error), table.span)
        return None

    # --- data and domains -----------------------------------------------------------------------

    def data(self) -> DataPlan | None:
        if "data" not in self.root:
            self.problem(
                "the recipe has no data",
                self.root.span,
                'write a table `[data]` with `use = "..."`; `ganforge list dataset` shows what '
                "there is",
            )
            return None
        table = self.table("data")
        image_keys = {a.name for a in attrs.fields(ImageOptions)}
        part = self.part("data", "dataset", table, skip={"use"} | image_keys)
        others = {entry.key for entry in table} - image_keys
        image = structure(table, ImageOptions, owner="[data]", problems=self.problems, skip=others)
        if part is None or image is None:
            return None
        description = self.describe(part, image, table)
        if description is None:
            return None
        return DataPlan(part.name, part.component, part.options, image, description)

    def describe(self, part: Part, image: ImageOptions, table: Table) -> DataDescription | None:
        locked = self.lock().get("data")
        if self.offline and locked:
            return description_from_dict(locked)
        if part.component.describe is None:
            self.problem(f"dataset '{part.component.id}' does not describe itself", table.span)
            return None
        described: DataDescription | None = self.refused(
            part.component.describe, table, part.options, image
        )
        return described

    def domain_plans(self, data: DataPlan, noise: NoiseSettings) -> dict[str, DomainPlan]:
        domains = {
            "noise": DomainPlan(
                name="noise", spec=NoiseSpec(noise.dim, noise.distribution), origin="drawn"
            )
        }
        for name, spec in data.description.domains.items():
            domains[name] = DomainPlan(name=name, spec=spec, origin="data")
        for name, table in self.table("domains").tables():
            plan = self.domain(name, table, domains)
            if plan is not None:
                domains[name] = plan
        return domains

    def domain(self, name: str, table: Table, known: Mapping[str, DomainPlan]) -> DomainPlan | None:
        of = table.entry("of")
        if of is None:
            settings = structure(
                table, NoiseSettings, owner=f"domain '{name}'", problems=self.problems
            )
            if settings is None:
                return None
            spec = NoiseSpec(settings.dim, settings.distribution)
            return DomainPlan(name=name, spec=spec, origin="drawn")
        if of.value not in known:
            self.unknown("domain", str(of.value), known, of.value_span)
            return None
        derived = structure(
            table, ImageOptions, owner=f"domain '{name}'", problems=self.problems, skip={"of"}
        )
        parent = known[of.value].spec
        if derived is None:
            return None
        if not isinstance(parent, ImageSpec):
            self.problem(f"domain '{name}' resizes '{of.value}', which is no image", of.value_span)
            return None
        height, width = derived.pixels(parent.height, parent.width)
        spec_ = ImageSpec(derived.channels or parent.channels, height, width)
        return DomainPlan(name=name, spec=spec_, origin="derived", of=of.value)

    # --- networks -------------------------------------------------------------------------------

    def network_settings(self, key: str, part: Part) -> NetworkSettings | None:
        table = self.table(key).get(part.name)
        own = structure(
            table,
            _NetworkKeys,
            owner=f"{key[:-1]} '{part.name}'",
            problems=self.problems,
            skip={e.key for e in table} - {a.name for a in attrs.fields(_NetworkKeys)},
        )
        optimizer = self.chosen(table, "optimizer", OPTIMIZERS, "adam")
        schedule = self.chosen(table, "schedule", SCHEDULES, "constant")
        if own is None or optimizer is None or schedule is None:
            return None
        return NetworkSettings(
            optimizer=optimizer,
            schedule=schedule,
            clip=own.clip,
            init=self.init(table, part.name),
            freeze=own.freeze,
            refs=self.refs(part, table),
        )

    def chosen(
        self, table: Table, key: str, choices: Mapping[str, type], default: str
    ) -> Chosen | None:
        """The network's optimizer or schedule, over that of `[optimizer]`."""
        whole = self.table("optimizer")
        common = whole.get("schedule") if key == "schedule" else whole
        own = table.get(key)
        if key == "schedule" and own is None and isinstance(table.get("optimizer"), Table):
            own = table.get("optimizer").get("schedule")
        merged = _overlaid(common, own, self.root.span)
        use = merged.get("use", default)
        if use not in choices:
            entry = merged.entry("use")
            self.unknown(key, str(use), choices, entry.value_span if entry else None)
            return None
        options = structure(
            merged,
            choices[use],
            owner=f"{key} '{use}'",
            problems=self.problems,
            skip={"use", "schedule"} if key == "optimizer" else {"use"},
        )
        return None if options is None else Chosen(use, options)

    def init(self, table: Table, name: str) -> InitSettings | None:
        entry = table.entry("init")
        if entry is None:
            return None
        if not isinstance(entry.value, Table):
            self.problem(
                f"'init' of '{name}' takes a table",
                entry.value_span,
                'write `init = { normal = 0.02 }` or `init = { run = "runs/NAME" }`',
            )
            return None
        settings: InitSettings | None = structure(
            entry.value, InitSettings, owner=f"init of '{name}'", problems=self.problems
        )
        if settings is not None and (settings.normal is None) == (settings.run is None):
            self.problem(f"'init' of '{name}' takes either `normal` or `run`", entry.value_span)
        if settings is not None and settings.run is not None:
            run = entry.value.entry("run")
            folder = run.value_span.source.folder if run else Path()
            settings = attrs.evolve(settings, run=(folder / settings.run).resolve().as_posix())
        return settings

    def refs(self, part: Part, table: Table) -> dict[str, str]:
        """Options that name other networks, as addresses."""
        refs = {}
        for attribute in attrs.fields(type(part.options)):
            if attribute.type not in (Ref, "Ref", Ref | None, "Ref | None"):
                continue
            value = getattr(part.options, attribute.name)
            if value is None:
                continue
            address = self.address(value)
            entry = table.entry(attribute.name)
            if address is None:
                self.unknown(
                    "network", value, self.addresses(), entry.value_span if entry else table.span
                )
            else:
                refs[attribute.name] = address
        return refs

    def addresses(self) -> list[str]:
        return [
            f"{key}.{name}"
            for key in ("generators", "discriminators")
            for name, _ in self.table(key).tables()
        ]

    def address(self, name: str) -> str | None:
        """`generators.NAME` for a full address or for a name that only one network has."""
        addresses = self.addresses()
        if name in addresses:
            return name
        short = {"generator": "generators.main", "discriminator": "discriminators.main"}
        if short.get(name) in addresses:
            return short[name]
        matches = [address for address in addresses if address.split(".", 1)[1] == name]
        return matches[0] if len(matches) == 1 else None

    def generator_plans(self, parts: Mapping[str, Part]) -> dict[str, GeneratorPlan]:
        if not self.table("generators").entries:
            self.problem(
                "the recipe has no generator",
                None,
                'write a table `[generator]` with `use = "..."`',
            )
        edges = {name: self.edge(name) for name in parts}
        plans: dict[str, GeneratorPlan] = {}
        waiting = [name for name, edge in edges.items() if edge is not None]
        while waiting:  # a generator that reads another's output comes after it
            ready = [n for n in waiting if not _upstream(edges[n]) & set(waiting)]
            if not ready:
                table = self.table("generators").get(waiting[0])
                self.problem(
                    f"generators feed each other in a circle: {', '.join(waiting)}", table.span
                )
                break
            for name in ready:
                plan = self.generator(parts[name], edges[name], plans)
                if plan is not None:
                    plans[name] = plan
            waiting = [n for n in waiting if n not in ready]
        return {name: plans[name] for name in parts if name in plans}

    def edge(self, name: str) -> tuple[tuple[str, ...], str] | None:
        """(sources, target) of a generator, names checked."""
        table = self.table("generators").get(name)
        sources = self.names(table.entry("from")) if "from" in table else ("noise",)
        if sources is None:
            return None
        known = {f"generators.{n}" for n, _ in self.table("generators").tables()}
        for source in sources:
            if source not in self.domains and source not in known:
                entry = table.entry("from")
                self.unknown(
                    "domain",
                    source,
                    self.domains.keys() | known,
                    entry.value_span if entry else table.span,
                )
                return None
        target = self.target(name, table)
        return None if target is None else (sources, target)

    def target(self, name: str, table: Table) -> str | None:
        entry = table.entry("to")
        if entry is not None:
            if entry.value not in self.domains:
                self.unknown("domain", str(entry.value), self.domains, entry.value_span)
                return None
            return str(entry.value)
        images = self.image_domains()
        if len(images) == 1:
            return images[0]
        self.problem(
            f"generator '{name}' does not say what it makes",
            table.span,
            f"the data has several images: {', '.join(images)}"
            if images
            else "the data has no image",
            'write `to = "..."`',
        )
        return None

    def image_domains(self) -> list[str]:
        return [
            name
            for name, domain in self.domains.items()
            if isinstance(domain.spec, ImageSpec) and domain.origin == "data"
        ]

    def generator(
        self,
        part: Part,
        edge: tuple[tuple[str, ...], str] | None,
        done: Mapping[str, GeneratorPlan],
    ) -> GeneratorPlan | None:
        assert edge is not None
        sources, target = edge
        table = self.table("generators").get(part.name)
        upstream = {f"generators.{n}": plan.target_spec for n, plan in done.items()}
        if any(s not in self.domains and s not in upstream for s in sources):
            return None  # what it reads has a problem of its own
        specs = tuple(self.domains[s].spec if s in self.domains else upstream[s] for s in sources)
        spec = self.domains[target].spec
        self.refused(part.component.check, table, part.options, specs, spec)
        settings = self.network_settings("generators", part)
        ema = table.get("ema")
        if ema is not None and not (isinstance(ema, float) and 0 < ema < 1):
            entry = table.entry("ema")
            self.problem(
                f"'ema' of generator '{part.name}' lies between 0 and 1, as in `ema = 0.999`",
                entry.value_span if entry else None,
            )
            ema = None
        if settings is None:
            return None
        return GeneratorPlan(
            part.name, part.component, part.options, sources, target, specs, spec, settings, ema
        )

    def discriminator_plans(self, parts: Mapping[str, Part]) -> dict[str, DiscriminatorPlan]:
        plans = {}
        for name, part in parts.items():
            plan = self.discriminator(part)
            if plan is not None:
                plans[name] = plan
        return plans

    def guarded(self, name: str) -> str | None:
        """The domain that a discriminator is `on`."""
        table = self.table("discriminators").get(name)
        entry = table.entry("on")
        if entry is not None:
            if entry.value not in self.domains:
                self.unknown("domain", str(entry.value), self.domains, entry.value_span)
                return None
            return str(entry.value)
        made = {generator.target for generator in self.generators.values()}
        if len(made) == 1:
            return next(iter(made))
        if made:
            self.problem(
                f"discriminator '{name}' does not say which domain it guards",
                table.span,
                f"generators make: {', '.join(sorted(made))}",
                'write `on = "..."`',
            )
        return None

    def discriminator(self, part: Part) -> DiscriminatorPlan | None:
        table = self.table("discriminators").get(part.name)
        on = self.guarded(part.name)
        given = self.names(table.entry("given")) or ()
        for name in given:
            if name not in self.domains:
                entry = table.entry("given")
                self.unknown("domain", name, self.domains, entry.value_span if entry else None)
                return None
        settings = self.network_settings("discriminators", part)
        if on is None or settings is None:
            return None
        judged = self.judged(part.name, on)
        if judged is None:
            return None
        specs = tuple(self.domains[name].spec for name in given)
        self.refused(part.component.check, table, part.options, judged, specs)
        made = {generator.target for generator in self.generators.values()}
        if on not in made:
            entry = table.entry("on")
            self.problem(
                f"discriminator '{part.name}' guards '{on}', which no generator makes",
                entry.value_span if entry else table.span,
                f"generators make: {', '.join(sorted(made))}",
            )
        return DiscriminatorPlan(
            part.name, part.component, part.options, on, given, judged, specs, settings
        )

    def judged(self, discriminator: str, on: str) -> Spec | None:
        """The spec of what a discriminator sees, through its augmentors in order."""
        views = {"plain": self.domains[on].spec}
        for name, augmentor in self.augmentors.items():
            if discriminator not in augmentor.on or augmentor.component.views is None:
                continue
            table = self.table("augmentors").get(name)
            seen: dict[str, Spec] = {}
            for spec in views.values():
                made = self.refused(augmentor.component.views, table, augmentor.options, spec)
                if made is None:
                    return None
                seen |= made
            views = seen
        specs = set(views.values())
        if len(specs) > 1:
            self.problem(
                f"discriminator '{discriminator}' would see views of different shapes: "
                + ", ".join(f"{view} ({spec})" for view, spec in views.items()),
                self.table("discriminators").get(discriminator).span,
            )
            return None
        return specs.pop()

    # --- what plays -----------------------------------------------------------------------------

    def augmentor_plans(
        self, parts: Mapping[str, Part], discriminators: Mapping[str, Part]
    ) -> dict[str, AugmentorPlan]:
        plans = {}
        for name, part in parts.items():
            table = self.table("augmentors").get(name)
            on = self.chosen_names(table, discriminators, "discriminator")
            every = self.every(table)
            plans[name] = AugmentorPlan(name, part.component, part.options, on, every)
        return plans

    def chosen_names(self, table: Table, known: Iterable[str], what: str) -> tuple[str, ...]:
        """`on` of a table: names among `known`, all of them where it is not written."""
        entry = table.entry("on")
        if entry is None:
            return tuple(known)
        names = self.names(entry) or ()
        for name in names:
            if name not in known:
                self.unknown(what, name, known, entry.value_span)
        return tuple(name for name in names if name in known)

    def every(self, table: Table) -> int:
        entry = table.entry("every")
        if entry is None:
            return 1
        if isinstance(entry.value, int) and not isinstance(entry.value, bool) and entry.value > 0:
            return entry.value
        self.problem("'every' takes a whole number from 1", entry.value_span)
        return 1

    def hooks(self) -> dict[str, Part]:
        parts = self.parts("hooks", "hook", skip=_PLAIN_KEYS)
        removed = self.recipe.removed.get("hooks", ())
        for name in ALWAYS_ON:
            if name not in self.table("hooks") and name not in removed:
                part = self.part(name, "hook", Table(self.root.span), _PLAIN_KEYS)
                if part is not None:
                    parts[name] = part
        for name, part in parts.items():
            table = self.table("hooks").get(name) or Table(self.root.span)
            self.refused(part.component.check, table, part.options)
        return parts

    def loss_plans(self, parts: Mapping[str, Part]) -> dict[str, LossPlan]:
        if not self.table("losses").entries:
            self.problem(
                "the recipe has no losses, so nothing would be learned",
                None,
                'write a table such as `[losses.adversarial]` with `use = "non-saturating"`',
            )
        plans = {}
        for name, part in parts.items():
            plan = self.loss(part)
            if plan is not None:
                plans[name] = plan
        return plans

    def loss(self, part: Part) -> LossPlan | None:
        table = self.table("losses").get(part.name)
        try:
            needs = {side: tuple(names) for side, names in loss_needs(part.component).items()}
        except GanforgeError as error:
            self.problem(str(error), table.span)
            return None
        for side, names in needs.items():
            for name in names:
                if name not in VOCABULARY:
                    close = nearest(name, VOCABULARY)
                    self.problem(
                        f"loss '{part.component.id}' asks for '{name}' ({side}), which is not in "
                        "the vocabulary",
                        table.span,
                        f"close: {', '.join(close)}" if close else "see docs/first-plugin.md",
                    )
                    return None
        of_contests = any(reads_verdict(n) for names in needs.values() for n in names)
        on = self.plays_on(part, table, needs, of_contests)
        share = {key: self.share(table, key, default) for key, default in _SHARES.items()}
        return LossPlan(
            part.name,
            part.component,
            part.options,
            on,
            of_contests,
            needs,
            self.weight(table, part.name),
            self.every(table),
            share["start"],
            share["stop"],
        )

    def plays_on(
        self, part: Part, table: Table, needs: Mapping[str, tuple[str, ...]], of_contests: bool
    ) -> tuple[str, ...]:
        """The discriminators or generators a loss plays on, each able to give what it needs.

        Without `on`, a loss of contests plays on every discriminator and must be able to; one of
        generators plays on those that can give what it needs.
        """
        known: Mapping[str, Any] = self.discriminators if of_contests else self.generators
        names = self.chosen_names(table, known, "discriminator" if of_contests else "generator")
        asked = tuple(dict.fromkeys(n for side in SIDES for n in needs.get(side, ())))
        lacks = {name: self.lacking(name, asked, of_contests) for name in names}
        able = tuple(name for name, reason in lacks.items() if not reason)
        if able and not of_contests and "on" not in table:
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

    def lacking(self, name: str, asked: Iterable[str], of_contests: bool) -> str:
        """Why a discriminator's contests, or a generator, cannot give what a loss asks for."""
        generators = (
            [g for g in self.generators.values() if g.target == self.discriminators[name].on]
            if of_contests
            else [self.generators[name]]
        )
        for need in asked:
            reason = self.lacking_verdict(name, need) if of_contests else ""
            for generator in generators:
                reason = reason or self.lacking_made(generator, need)
            if reason:
                return f"it asks for '{need}', but {reason}"
        return ""

    def lacking_verdict(self, discriminator: str, need: str) -> str:
        plan = self.discriminators[discriminator]
        source, quantity = split(need)
        if quantity in VERDICT and quantity not in ("seen", "scores", "gradient"):
            declared = plan.component.offered(plan.options)
            if quantity not in declared and (declared or plan.component.provider == "ganforge"):
                return f"discriminator '{plan.component.name}' offers no {quantity}"
        if (source == "mismatched" or quantity == "given") and not plan.given:
            return f"discriminator '{discriminator}' is given no condition (`given = ...`)"
        if quantity == "labels" and source in ("real", "mismatched", "mixed"):
            group = self.data_plan.description.group(plan.on)
            if not any(isinstance(self.domains[d].spec, LabelSpec) for d in group):
                return f"the rows of '{plan.on}' have no labels"
        return ""

    def lacking_made(self, generator: GeneratorPlan, need: str) -> str:
        source, quantity = split(need)
        edge = f"generator '{generator.name}'"
        if need == "cycled" and self.inverse(generator) is None:
            return f"no generator leads back from '{generator.target}' to '{generator.sources[0]}'"
        if need == "same" and generator.source_specs != (generator.target_spec,):
            return (
                f"{edge} turns {', '.join(map(str, generator.source_specs))} into "
                f"{generator.target_spec}: only the same shape can stay the same"
            )
        if need in ("source", "cycled") and isinstance(generator.source_specs[0], NoiseSpec):
            return f"{edge} starts from noise, not from data"
        if source == "twin" and not any(isinstance(s, NoiseSpec) for s in generator.source_specs):
            return f"{edge} draws no noise, so it makes nothing twice"
        labelled = any(isinstance(s, LabelSpec) for s in generator.source_specs)
        if quantity == "labels" and source in ("fake", "twin") and not labelled:
            return f'{edge} is given no label (`from = ["noise", "label"]`)'
        offered = generator.component.offered(generator.options)
        known = offered or generator.component.provider == "ganforge"
        if quantity in ("posterior", "log_probs") and quantity not in offered and known:
            return f"generator '{generator.component.name}' offers no {quantity}"
        return ""

    def inverse(self, generator: GeneratorPlan) -> GeneratorPlan | None:
        back = (
            other
            for other in self.generators.values()
            if other.sources[0] == generator.target and other.target == generator.sources[0]
        )
        return next(back, None)

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

    # --- the course of the run ------------------------------------------------------------------

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
        played = {g.target for g in self.generators.values()} & counts.keys()
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
        networks = tuple(
            plan.address
            for plan in (*self.generators.values(), *self.discriminators.values())
            if not plan.settings.freeze
        )
        value = self.table("train").get("phases")
        tables = list(value.tables()) if isinstance(value, Table) else []
        if not tables:
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
            length = self.phase_length(name, settings, table, steps)
            last = steps if position == len(tables) - 1 else min(steps, first + length - 1)
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

    def phase_length(self, name: str, settings: PhaseSettings, table: Table, steps: int) -> int:
        if (settings.steps is None) == (settings.share is None):
            self.problem(f"phase '{name}' takes either `steps` or `share`", table.span)
            return steps
        return settings.steps or max(1, round((settings.share or 0) * steps))

    def phase_members(
        self, table: Table, settings: PhaseSettings, losses: Mapping[str, LossPlan]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        trained = []
        for name in settings.train:
            address = self.address(name)
            entry = table.entry("train")
            if address is None:
                self.unknown("network", name, self.addresses(), entry.value_span if entry else None)
            else:
                trained.append(address)
        played = tuple(losses) if settings.losses is None else tuple(settings.losses)
        for name in played:
            if name not in losses:
                entry = table.entry("losses")
                self.unknown("loss", name, losses, entry.value_span if entry else None)
        return tuple(trained), played

    def check_played(self, plan: Plan) -> None:
        """Every network is trained by some loss in some phase, unless it is frozen."""
        trained = {address for phase in plan.phases for address in trained_in(plan, phase)}
        for address in self.addresses():
            key, name = address.split(".", 1)
            table = self.table(key).get(name)
            network = plan.generators.get(name) if key == "generators" else None
            network = network or plan.discriminators.get(name)
            if address not in trained and network is not None and not network.settings.freeze:
                self.problem(
                    f"no loss trains {key[:-1]} '{name}' in any phase",
                    table.span,
                    "add a loss that plays on it, or write `freeze = true`",
                )


def trained_in(plan: Plan, phase: PhasePlan) -> set[str]:
    """The addresses of the networks that get gradients in a phase."""
    reached: set[str] = set()
    for name in phase.losses:
        loss = plan.losses[name]
        for target in loss.on:
            if loss.of_contests:
                if "discriminator" in loss.needs:
                    reached.add(f"discriminators.{target}")
                if "generator" in loss.needs:
                    for generator in plan.contests(target):
                        reached |= _chain(plan, generator)
            elif "generator" in loss.needs:
                reached |= _chain(plan, target)
                back = plan.inverse(target)
                if "cycled" in loss.needs["generator"] and back:
                    reached |= _chain(plan, back)
    return reached & set(phase.train)


def _chain(plan: Plan, generator: str) -> set[str]:
    """A generator and those whose output it reads."""
    reached = {f"generators.{generator}"}
    for source in plan.generators[generator].sources:
        if source.startswith("generators."):
            reached |= _chain(plan, source.removeprefix("generators."))
    return reached


def side_of(address: str) -> Side:
    """Which side a network belongs to."""
    return "generator" if address.startswith("generators.") else "discriminator"


def description_from_dict(data: Mapping[str, Any]) -> DataDescription:
    """The description that `resolved.py` wrote into the lock."""
    return DataDescription(
        domains={name: spec_from_dict(spec) for name, spec in data.get("domains", {}).items()},
        aligned=tuple(tuple(group) for group in data.get("aligned", ())),
        counts=data.get("counts", {}),
    )


def _upstream(edge: tuple[tuple[str, ...], str] | None) -> set[str]:
    sources = edge[0] if edge else ()
    return {s.removeprefix("generators.") for s in sources if s.startswith("generators.")}


def _overlaid(below: Any, above: Any, span: Span) -> Table:
    """One table over another; where `use` differs, nothing of the lower one is left."""
    lower = below if isinstance(below, Table) else Table(span)
    upper = above if isinstance(above, Table) else Table(span)
    if "use" in upper and upper.get("use") != lower.get("use"):
        return upper
    return Table(upper.span if upper.entries else lower.span, {**lower.entries, **upper.entries})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "a table" if isinstance(value, (Table, dict)) else repr(value)


@attrs.frozen(kw_only=True)
class _NetworkKeys:
    """Reserved keys of a network that are plain values."""

    clip: float | None = attrs.field(
        default=None,
        metadata={"help": "largest norm of the gradient", "bounds": {"above": 0}},
    )
    freeze: bool = attrs.field(default=False, metadata={"help": "never trained", "bounds": {}})


_NETWORK_KEYS = frozenset(
    ("use", "like", "from", "to", "on", "given", "optimizer", "schedule", "clip", "ema", "init")
    + ("freeze", "off")
)
_LOSS_KEYS = frozenset(("use", "like", "weight", "every", "on", "start", "stop", "off"))
_AUGMENTOR_KEYS = frozenset(("use", "on", "every", "off"))
_PLAIN_KEYS = frozenset(("use", "off"))
_SHARES = {"start": 0.0, "stop": 1.0}
