"""Generators as edges between domains, discriminators as guards, augmentors before them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ganforge.interfaces.manifest import Ref, option, option_names, options, with_options
from ganforge.interfaces.settings import OPTIMIZERS, SCHEDULES, InitSettings
from ganforge.interfaces.specs import ImageSpec, LabelSpec, Spec
from ganforge.planning.data import DataReader
from ganforge.planning.plan import (
    AugmentorPlan,
    Chosen,
    DataPlan,
    DiscriminatorPlan,
    DomainPlan,
    GeneratorPlan,
    NetworkSettings,
    Part,
)
from ganforge.recipes.source import Span
from ganforge.recipes.toml_tables import Table
from ganforge.recipes.typed_options import structure
from ganforge.registry.parameter_names import takes_labels


class NetworkReader(DataReader):
    """`[generators.NAME]`, `[discriminators.NAME]` and `[augmentors.NAME]`."""

    data_plan: DataPlan
    domains: Mapping[str, DomainPlan]
    generators: Mapping[str, GeneratorPlan]
    augmentors: Mapping[str, AugmentorPlan]

    def network_settings(self, key: str, part: Part) -> NetworkSettings | None:
        table = self.table(key).get(part.name)
        self.misplaced(key, table)
        own = structure(
            table,
            _NetworkKeys,
            owner=f"{key[:-1]} '{part.name}'",
            problems=self.problems,
            skip={e.key for e in table} - set(option_names(_NetworkKeys)),
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
            settings = with_options(settings, run=(folder / settings.run).resolve().as_posix())
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
            address = self.network(value, table.entry(attribute.name))
            if address is not None:
                refs[attribute.name] = address
        return refs

    def misplaced(self, key: str, table: Table) -> None:
        """Keys that only networks of the other side have."""
        for entry in table:
            if entry.key in _OTHERS[key]:
                self.problem(
                    f"a {key[:-1]} has no '{entry.key}'",
                    entry.key_span,
                    label=f"did you mean '{_OTHERS[key][entry.key]}'?"
                    if _OTHERS[key][entry.key]
                    else "",
                )

    def generator_plans(self, parts: Mapping[str, Part]) -> dict[str, GeneratorPlan]:
        if not self.table("generators").entries and not self.recipe.problems:
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
                there = self.domains.keys() | known
                self.unknown("domain", source, there, self.place(table.entry("from"), source))
                return None
            if source in self.domains and self.domains[source].origin == "made":
                self.problem(
                    f"the data has no '{source}', which generators make",
                    self.place(table.entry("from"), source),
                    f"write `generators.NAME`, of the one that makes '{source}'",
                )
                return None
        target = self.target(name, table)
        return None if target is None else (sources, target)

    def target(self, name: str, table: Table) -> str | None:
        entry = table.entry("to")
        if entry is not None:
            return self.known_name(entry, "domain", self.domains)
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
            if isinstance(domain.spec, ImageSpec)
            and domain.origin == "data"
            and name not in self.data_plan.description.labelled.values()
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
        self.generators = self.on_their_sides(plans)
        return plans

    def on_their_sides(self, guards: Mapping[str, DiscriminatorPlan]) -> dict[str, GeneratorPlan]:
        """Generators of conditions that nothing guards learn with the discriminators."""
        guarded = {plan.on for plan in guards.values()}
        given = {domain for plan in guards.values() for domain in plan.given}
        return {
            name: attrs.evolve(plan, side="discriminator")
            if plan.target in given - guarded and self.domains[plan.target].origin == "made"
            else plan
            for name, plan in self.generators.items()
        }

    def guarded(self, name: str) -> str | None:
        """The domain that a discriminator is `on`."""
        table = self.table("discriminators").get(name)
        entry = table.entry("on")
        if entry is not None:
            return self.known_name(entry, "domain", self.domains)
        made = {generator.target for generator in self.generators.values()}
        if len(made) == 1:
            return next(iter(made))
        if made and self.knows_all_generators():
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
                self.unknown("domain", name, self.domains, self.place(table.entry("given"), name))
                return None
            makers = [g.name for g in self.generators.values() if g.target == name]
            if (
                self.domains[name].origin == "made"
                and len(makers) != 1
                and self.knows_all_generators()
            ):
                self.problem(
                    f"discriminator '{part.name}' is given '{name}', which "
                    + (f"{', '.join(makers)} make" if makers else "no generator makes"),
                    self.place(table.entry("given"), name),
                    "exactly one generator must make it",
                )
                return None
        settings = self.network_settings("discriminators", part)
        if on is None or settings is None:
            return None
        if self.domains[on].origin in ("made", "drawn"):
            entry = table.entry("on")
            self.problem(
                f"discriminator '{part.name}' guards '{on}', of which the data has no rows",
                entry.value_span if entry else table.span,
            )
            return None
        judged = self.judged(part.name, on)
        if judged is None:
            return None
        specs = tuple(self.domains[name].spec for name in given)
        labels = self.labels(on)
        beside = {"labels": labels} if takes_labels(part.component.check) else {}
        self.refused(part.component.check, table, part.options, judged, specs, **beside)
        for name, augmentor in self.augmentors.items():
            if part.name in augmentor.on:
                before = self.table("augmentors").get(name)
                self.refused(augmentor.component.check, before, augmentor.options, judged, specs)
        made = {generator.target for generator in self.generators.values()}
        if on not in made and self.knows_all_generators():
            entry = table.entry("on")
            self.problem(
                f"discriminator '{part.name}' guards '{on}', which no generator makes",
                entry.value_span if entry else table.span,
                f"generators make: {', '.join(sorted(made))}",
            )
        return DiscriminatorPlan(
            part.name, part.component, part.options, on, given, judged, specs, settings, labels
        )

    def labels(self, domain: str) -> LabelSpec | None:
        """The spec of the classes of a domain's rows, or of the labelled rows beside them."""
        description = self.data_plan.description
        name = self.domains[domain].of or domain
        label = description.labels_of(name) or description.labels_of(
            description.labelled.get(name, name)
        )
        spec = description.domains[label] if label else None
        return spec if isinstance(spec, LabelSpec) else None

    def knows_all_generators(self) -> bool:
        """Whether none has a problem of its own, which would look like others' problems too."""
        tables = list(self.table("generators").tables())
        return bool(tables) and len(self.generators) == len(tables)

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


# Keys of the other side's networks -> what they are called here, if anything.
_OTHERS = {
    "generators": {"on": "to", "given": "from"},
    "discriminators": {"from": "given", "to": "on", "ema": ""},
}


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


@options
class _NetworkKeys:
    """Reserved keys of a network that are plain values."""

    clip: float | None = option(None, above=0, help="largest norm of the gradient")
    freeze: bool = option(False, help="never trained")
