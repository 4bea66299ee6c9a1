"""What the data yields, and every kind of data in the game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ganforge.interfaces.manifest import DataDescription, ImageOptions
from ganforge.interfaces.settings import DerivedSettings, MadeSettings, NoiseSettings
from ganforge.interfaces.specs import ImageSpec, NoiseSpec, Spec, VectorSpec, spec_from_dict
from ganforge.planning.plan import DataPlan, DomainPlan, Part
from ganforge.planning.reader import Reader
from ganforge.recipes.grammar import IMAGE_KEYS
from ganforge.recipes.toml_tables import Table
from ganforge.recipes.typed_options import structure


class DataReader(Reader):
    """`[data]`, `[noise]` and `[domains.NAME]`."""

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
        image_keys = set(IMAGE_KEYS)
        part = self.part("data", "dataset", table, skip={"use"} | image_keys)
        others = {entry.key for entry in table} - image_keys
        image = structure(table, ImageOptions, owner="[data]", problems=self.problems, skip=others)
        if part is None or image is None:
            return None
        description = self.describe(part, image, table)
        fallback = table.entry("fallback")
        if fallback is not None:
            self.find("dataset", fallback.value, fallback.value_span)
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
        if name in known:
            where = "[noise] describes it" if name == "noise" else "it comes from the data"
            self.problem(f"there is a domain '{name}' already: {where}", table.span)
            return None
        of = table.entry("of")
        if "vector" in table:
            made = structure(table, MadeSettings, owner=f"domain '{name}'", problems=self.problems)
            if made is None:
                return None
            return DomainPlan(name=name, spec=VectorSpec(made.vector), origin="made")
        if of is None:
            settings = structure(
                table, NoiseSettings, owner=f"domain '{name}'", problems=self.problems
            )
            if settings is None:
                return None
            spec = NoiseSpec(settings.dim, settings.distribution)
            return DomainPlan(name=name, spec=spec, origin="drawn")
        if self.known_name(of, "domain", known) is None:
            return None
        derived = structure(
            table,
            DerivedSettings,
            owner=f"domain '{name}'",
            problems=self.problems,
            skip={"of", "view"},
        )
        parent = known[of.value].spec
        if derived is None:
            return None
        if not isinstance(parent, ImageSpec):
            self.problem(f"domain '{name}' resizes '{of.value}', which is no image", of.value_span)
            return None
        grey = derived.channels == 1 and parent.channels == 3
        if derived.channels not in (None, parent.channels) and not grey:
            self.problem(
                f"domain '{name}' cannot have {derived.channels} channels, since '{of.value}' has "
                f"{parent.channels}" + (": 1 makes it grey" if parent.channels == 3 else ""),
                table.entries["channels"].value_span,
            )
            return None
        height, width = derived.pixels(parent.height, parent.width)
        if known[of.value].view is not None:
            self.problem(f"domain '{name}' is made of '{of.value}', which is a view", of.value_span)
            return None
        resized = ImageSpec(derived.channels or parent.channels, height, width)
        root = known[of.value].of or of.value
        plan = DomainPlan(name=name, spec=resized, origin="derived", of=root, resized=resized)
        return plan if "view" not in table else self.viewed(plan, table)

    def viewed(self, domain: DomainPlan, table: Table) -> DomainPlan | None:
        """A derived domain as what one view of an augmentor makes of it."""
        entry = table.entry("view")
        assert entry is not None
        if not isinstance(entry.value, Table):
            self.problem(
                f"'view' of domain '{domain.name}' takes a table",
                entry.value_span,
                'write `view = { use = "gradient-image", mode = "only" }`',
            )
            return None
        view = self.part("view", "augmentor", entry.value, {"use"})
        if view is None:
            return None
        views: dict[str, Spec] | None = {"plain": domain.spec}
        if view.component.views is not None:
            views = self.refused(view.component.views, table, view.options, domain.spec)
        if views is None:
            return None
        if len(views) > 1:
            self.problem(
                f"'{view.component.name}' with these options makes {len(views)} views: "
                f"{', '.join(views)}; a domain is one",
                entry.value_span,
            )
            return None
        return evolve(domain, spec=next(iter(views.values())), view=view)


def description_from_dict(data: Mapping[str, Any]) -> DataDescription:
    """The description that `resolved.py` wrote into the lock."""
    return DataDescription(
        domains={name: spec_from_dict(spec) for name, spec in data.get("domains", {}).items()},
        aligned=tuple(tuple(group) for group in data.get("aligned", ())),
        counts=data.get("counts", {}),
        labelled=data.get("labelled", {}),
        mismatched=data.get("mismatched", {}),
    )
