"""Generators as edges between domains, discriminators that judge them, augmentors between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ganforge.interfaces import addresses
from ganforge.interfaces.addresses import Address
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import Ref, option, option_names, options, with_options
from ganforge.interfaces.settings import OPTIMIZERS, SCHEDULES, InitSettings
from ganforge.interfaces.specs import ImageSpec, LabelSpec, Spec
from ganforge.planning import graph
from ganforge.planning.data import DataReader
from ganforge.planning.plan import (
    AugmentorPlan,
    Chosen,
    DiscriminatorPlan,
    GeneratorPlan,
    NetworkSettings,
    Part,
)
from ganforge.planning.reader import IMPLIED, UNKNOWN, StandIn, UnknownSpec, all_known
from ganforge.recipes.source import Span
from ganforge.recipes.toml_tables import Table
from ganforge.recipes.typed_options import structure
from ganforge.registry.parameter_names import takes_labels
from ganforge.storage.run_folder import RunFolder


class NetworkReader(DataReader):
    """`[generators.NAME]`, `[discriminators.NAME]` and `[augmentors.NAME]`."""

    generators: Mapping[str, GeneratorPlan]
    augmentors: Mapping[str, AugmentorPlan]
    judged_domains_valid: bool = True  # False: some discriminator cannot judge its domain

    def network_settings(self, key: str, part: Part) -> NetworkSettings:
        """The reserved keys of a network. Wrong ones are replaced by the defaults."""
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
        usual: Any = _NetworkKeys
        own = own or usual(freeze=table.get("freeze") is True)
        return NetworkSettings(
            optimizer=optimizer,
            schedule=schedule,
            clip=own.clip,
            init=self.init(table, f"{key}.{part.name}"),
            freeze=own.freeze,
            refs=self.refs(part, table),
        )

    def chosen(self, table: Table, key: str, choices: Mapping[str, type], default: str) -> Chosen:
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
            return Chosen(default, choices[default]())
        options = structure(
            merged,
            choices[use],
            owner=f"{key} '{use}'",
            problems=self.problems,
            skip={"use", "schedule"} if key == "optimizer" else {"use"},
        )
        return Chosen(use, choices[use]() if options is None else options)

    def init(self, table: Table, address: str) -> InitSettings | None:
        name = Address.parse(address).name
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
            fault = lacks_weights(address, settings) if self.starts else ""
            if fault:
                self.problem(fault, run.value_span if run else entry.value_span)
        return settings

    def refs(self, part: Part, table: Table) -> dict[str, str]:
        """Options that name other networks, as addresses."""
        refs = {}
        written = isinstance(part, StandIn)  # then there are no options, but perhaps this one
        for attribute in attrs.fields(part.component.options):
            if attribute.type not in (Ref, "Ref", Ref | None, "Ref | None"):
                continue
            name = attribute.name
            value = table.get(name) if written else getattr(part.options, name)
            if not isinstance(value, str) or not value:
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
        waiting = list(edges)
        while waiting:  # a generator that reads another's output comes after it
            ready = [n for n in waiting if not {*graph.upstream(edges[n][0])} & {*waiting}]
            if not ready:
                table = self.table("generators").get(waiting[0])
                self.problem(
                    f"generators feed each other in a circle: {', '.join(waiting)}", table.span
                )
                break
            for name in ready:
                plans[name] = self.generator(parts[name], edges[name], plans)
            waiting = [n for n in waiting if n not in ready]
        return {name: plans[name] for name in parts if name in plans}

    def edge(self, name: str) -> tuple[tuple[str, ...], str]:
        """(sources, target) of a generator, names checked; UNKNOWN for wrong ones."""
        table = self.table("generators").get(name)
        sources = self.names(table.entry("from")) if "from" in table else ("noise",)
        sources = tuple(self.source(source, table) for source in sources or (UNKNOWN,))
        return sources, self.target(name, table) or UNKNOWN

    def source(self, name: str, table: Table) -> str:
        known = {addresses.of_generator(n) for n, _ in self.table("generators").tables()}
        place = self.place(table.entry("from"), name)
        if name in self.domains and self.domains[name].origin == "made":
            self.problem(
                f"the data has no '{name}', which generators make",
                place,
                f"write `generators.NAME`, of the one that makes '{name}'",
            )
        elif name in self.domains or name in known:
            return name
        else:
            self.unknown("domain", name, {*self.domain_names(), *known}, place)
        return UNKNOWN

    def target(self, name: str, table: Table) -> str | None:
        entry = table.entry("to")
        if entry is not None:
            return self.known_name(entry, "domain", self.domain_names())
        if not self.data_is_known:
            return IMPLIED
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
        edge: tuple[tuple[str, ...], str],
        done: Mapping[str, GeneratorPlan],
    ) -> GeneratorPlan:
        sources, target = edge
        table = self.table("generators").get(part.name)
        upstream = {addresses.of_generator(n): plan.target_spec for n, plan in done.items()}
        specs = tuple(self.domains[s].spec if s in self.domains else upstream[s] for s in sources)
        spec = self.domains[target].spec
        if all_known(*specs, spec):
            self.refused(part.component, "check", table, part.options, specs, spec)
        settings = self.network_settings("generators", part)
        ema = table.get("ema")
        if ema is not None and not (isinstance(ema, float) and 0 < ema < 1):
            entry = table.entry("ema")
            self.problem(
                f"'ema' of generator '{part.name}' lies between 0 and 1, as in `ema = 0.999`",
                entry.value_span if entry else None,
            )
            ema = None
        return GeneratorPlan(
            part.name, part.component, part.options, sources, target, specs, spec, settings, ema
        )

    def discriminator_plans(self, parts: Mapping[str, Part]) -> dict[str, DiscriminatorPlan]:
        plans = {name: self.discriminator(part) for name, part in parts.items()}
        self.generators = self.on_their_sides(plans)
        return plans

    def on_their_sides(
        self, discriminators: Mapping[str, DiscriminatorPlan]
    ) -> dict[str, GeneratorPlan]:
        """Generators of conditions that no discriminator judges learn with the discriminators."""
        judged = {plan.on for plan in discriminators.values()}
        given = {domain for plan in discriminators.values() for domain in plan.given}
        return {
            name: attrs.evolve(plan, side="discriminator")
            if plan.target in given - judged and self.domains[plan.target].origin == "made"
            else plan
            for name, plan in self.generators.items()
        }

    def judged_domain(self, name: str) -> str | None:
        """The domain that a discriminator is `on`."""
        table = self.table("discriminators").get(name)
        entry = table.entry("on")
        if entry is not None:
            return self.known_name(entry, "domain", self.domain_names())
        made = {generator.target for generator in self.generators.values()}
        if len(made) == 1:
            return next(iter(made))
        if made and self.knows_all_generators():
            self.problem(
                f"discriminator '{name}' does not say which domain it judges",
                table.span,
                f"generators make: {', '.join(sorted(made))}",
                'write `on = "..."`',
            )
        return None

    def condition(self, part: Part, name: str, place: Span | None) -> str:
        """A domain that a discriminator is given; UNKNOWN if it cannot be, which is reported."""
        if name not in self.domains:
            self.unknown("domain", name, self.domain_names(), place)
            return UNKNOWN
        makers = [g.name for g in self.generators.values() if g.target == name]
        made = self.domains[name].origin == "made"
        if made and len(makers) != 1 and self.knows_all_generators():
            self.problem(
                f"discriminator '{part.name}' is given '{name}', which "
                + (f"{', '.join(makers)} make" if makers else "no generator makes"),
                place,
                "exactly one generator must make it",
            )
        return name if not made or len(makers) == 1 else UNKNOWN

    def discriminator(self, part: Part) -> DiscriminatorPlan:
        table = self.table("discriminators").get(part.name)
        on = self.judged_domain(part.name) or UNKNOWN
        conditions = table.entry("given")
        given = tuple(
            self.condition(part, name, self.place(conditions, name))
            for name in self.names(conditions) or ()
        )
        settings = self.network_settings("discriminators", part)
        if self.domains[on].origin in ("made", "drawn"):
            entry = table.entry("on")
            self.problem(
                f"discriminator '{part.name}' judges '{on}', of which the data has no rows",
                entry.value_span if entry else table.span,
            )
            on = UNKNOWN
            self.judged_domains_valid = False
        judged = self.judged(part.name, on)
        specs = tuple(self.domains[name].spec for name in given)
        labels = self.labels(on)
        if all_known(judged, *specs):
            beside = {"labels": labels} if takes_labels(part.component.check) else {}
            self.refused(part.component, "check", table, part.options, judged, specs, **beside)
            for name, augmentor in self.augmentors.items():
                if part.name in augmentor.on:
                    before = self.table("augmentors").get(name)
                    options = augmentor.options
                    self.refused(augmentor.component, "check", before, options, judged, specs)
        made = {generator.target for generator in self.generators.values()}
        if on != UNKNOWN and on not in made and self.knows_all_generators():
            self.judged_domains_valid = False
            entry = table.entry("on")
            self.problem(
                f"discriminator '{part.name}' judges '{on}', which no generator makes",
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
        targets = {generator.target for generator in self.generators.values()}
        implied = IMPLIED in targets and any(
            "on" in table for _, table in self.table("discriminators").tables()
        )
        complete = bool(tables) and len(self.generators) == len(tables)
        return complete and UNKNOWN not in targets and not implied

    def judged(self, discriminator: str, on: str) -> Spec:
        """The spec of what a discriminator sees, through its augmentors in order."""
        views = {"plain": self.domains[on].spec}
        for name, augmentor in self.augmentors.items():
            if discriminator not in augmentor.on:
                continue
            if isinstance(augmentor, StandInAugmentor) or not all_known(*views.values()):
                return UnknownSpec()
            if augmentor.component.views is None:
                continue
            table = self.table("augmentors").get(name)
            seen: dict[str, Spec] = {}
            for spec in views.values():
                made = self.refused(augmentor.component, "views", table, augmentor.options, spec)
                if made is None:
                    return UnknownSpec()
                seen |= made
            views = seen
        specs = set(views.values())
        if len(specs) > 1:
            self.problem(
                f"discriminator '{discriminator}' would see views of different shapes: "
                + ", ".join(f"{view} ({spec})" for view, spec in views.items()),
                self.table("discriminators").get(discriminator).span,
            )
            return UnknownSpec()
        return specs.pop()

    def augmentor_plans(
        self, parts: Mapping[str, Part], discriminators: Mapping[str, Part]
    ) -> dict[str, AugmentorPlan]:
        plans = {}
        for name, part in parts.items():
            table = self.table("augmentors").get(name)
            on = self.chosen_names(table, discriminators, "discriminator")
            every = self.every(table)
            cls = StandInAugmentor if isinstance(part, StandIn) else AugmentorPlan
            plans[name] = cls(name, part.component, part.options, on, every)
        return plans


@attrs.frozen
class StandInAugmentor(AugmentorPlan):
    """An augmentor with a problem: what it shows is not known."""


def lacks_weights(address: str, init: InitSettings | None) -> str:
    """Why a network cannot begin with the weights of the run that its `init` names, as far as the
    files of that run show it; "" where nothing is wrong."""
    if init is None or init.run is None:
        return ""
    run = RunFolder(Path(init.run))
    if not run.checkpoint_steps():
        return f"`init` of {address}: {run.path} is not a run with a checkpoint"
    parsed = Address.parse(address)
    key, name = parsed.kind, parsed.name
    try:
        tables = run.resolved_tables()
    except GanforgeError:  # looked at again where weights are read
        return ""
    if name in tables.get(key, {}):
        return ""
    kinds = ("generators", "discriminators")
    there = ", ".join(f"{kind}.{name}" for kind in kinds for name in tables.get(kind, {}))
    return f"`init` of {address}: {run.path} has no network {address}; there are: {there}"


# Keys of the other side's networks -> what they are called here, if anything.
_OTHERS = {
    "generators": {"on": "to", "given": "from"},
    "discriminators": {"from": "given", "to": "on", "ema": ""},
}


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
