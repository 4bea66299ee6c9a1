"""What the data yields, and every kind of data in the game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ganforge.interfaces.addresses import made_by
from ganforge.interfaces.manifest import Component, DataDescription, ImageOptions
from ganforge.interfaces.settings import DerivedSettings, MadeSettings, NoiseSettings
from ganforge.interfaces.specs import ImageSpec, NoiseSpec, Spec, VectorSpec, spec_from_dict
from ganforge.planning.plan import DataPlan, DomainPlan, Part
from ganforge.planning.reader import IMPLIED, UNKNOWN, Reader, UnknownSpec, all_known
from ganforge.recipes.grammar import IMAGE_KEYS
from ganforge.recipes.toml_tables import Entry, Table
from ganforge.recipes.typed_options import structure


class DataReader(Reader):
    """`[data]`, `[noise]` and `[domains.NAME]`."""

    data_plan: DataPlan
    domains: Mapping[str, DomainPlan]
    data_is_known: bool = True

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
        fallback = table.entry("fallback")
        if fallback is not None and isinstance(fallback.value, str):
            self.find("dataset", fallback.value, fallback.value_span)
        if part is None or image is None:
            return None
        description = self.describe(part, image, table)
        if description is None:
            return None
        self.refuse_unknown_resampling(image, description, table)
        return DataPlan(part.name, part.component, part.options, image, description)

    def unknown_data(self) -> DataPlan:
        """Stands in for data that has a problem: any name that is written may be its domain's."""
        self.data_is_known = False
        usual: Any = ImageOptions
        component = Component("dataset", "unknown", "")
        return DataPlan("data", component, (), usual(), DataDescription(domains={}))

    def mentioned(self) -> list[str]:
        """The names of domains that networks and domains refer to."""
        keys = {"generators": ("from", "to"), "discriminators": ("on", "given"), "domains": ("of",)}
        values = [
            table.get(key)
            for kind, names in keys.items()
            for _, table in self.table(kind).tables()
            for key in names
        ]
        several = [v if isinstance(v, list) else [v] for v in values]
        return [n for names in several for n in names if isinstance(n, str) and _is_plain(n)]

    def domain_names(self) -> list[str]:
        """The domains that may be referred to."""
        return [name for name in self.domains if name not in (UNKNOWN, IMPLIED)]

    def refuse_unknown_resampling(
        self, image: ImageOptions, description: DataDescription, table: Table
    ) -> None:
        """`resample = { mask = "nearest" }` must name domains of images that there are."""
        images = [n for n, spec in description.domains.items() if isinstance(spec, ImageSpec)]
        named = image.resample if isinstance(image.resample, dict) else {}
        for name in named:
            if name not in images:
                self.problem(
                    f"'resample' names '{name}', which is not a domain of images; there are: "
                    f"{', '.join(images)}",
                    table.entries["resample"].value_span,
                )

    def describe(self, part: Part, image: ImageOptions, table: Table) -> DataDescription | None:
        locked = self.lock().get("data")
        if self.offline and locked:
            return description_from_dict(locked)
        if part.component.describe is None:
            self.problem(f"dataset '{part.component.id}' does not describe itself", table.span)
            return None
        described: DataDescription | None = self.refused(
            part.component, "describe", table, part.options, image
        )
        return described

    def domain_plans(self, data: DataPlan, noise: NoiseSettings) -> dict[str, DomainPlan]:
        domains = {
            "noise": DomainPlan(
                name="noise", spec=NoiseSpec(noise.dim, noise.distribution), origin="drawn"
            )
        }
        for name, spec in data.description.domains.items():
            how = data.image.resampling(name)
            domains[name] = DomainPlan(name=name, spec=spec, origin="data", resample=how)
        named = self.table("domains").entries
        guessed = [] if self.data_is_known else self.mentioned()
        for name in (UNKNOWN, IMPLIED, *guessed):
            if name not in domains and name not in named:
                domains[name] = DomainPlan(name=name, spec=UnknownSpec(), origin="data")
        for name, table in self.table("domains").tables():
            plan = self.domain(name, table, domains)
            if plan is not None:
                domains[name] = plan
            elif name not in domains:
                made: Any = "made" if "vector" in table else "derived" if "of" in table else "drawn"
                domains[name] = DomainPlan(name=name, spec=UnknownSpec(), origin=made)
        return domains

    def domain(self, name: str, table: Table, known: Mapping[str, DomainPlan]) -> DomainPlan | None:
        if name in known:
            where = "[noise] describes it" if name == "noise" else "it comes from the data"
            self.problem(f"there is already a domain '{name}': {where}", table.span)
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
        return self.derived(name, of, table, known)

    def derived(
        self, name: str, of: Entry, table: Table, known: Mapping[str, DomainPlan]
    ) -> DomainPlan | None:
        """A domain made of the images of another one."""
        settings = structure(
            table,
            DerivedSettings,
            owner=f"domain '{name}'",
            problems=self.problems,
            skip={"of", "view"},
        )
        view = self.view(name, table)
        below = isinstance(of.value, str) and of.value in self.table("domains")
        if below and of.value not in known:
            self.problem(
                f"domain '{name}' is made of itself"
                if of.value == name
                else f"domain '{name}' is made of '{of.value}', which is defined below it",
                of.value_span,
                "a domain is made of one of the data's, or of one that is defined above it",
            )
            return None
        there = [n for n in known if n not in (UNKNOWN, IMPLIED)]
        if self.known_name(of, "domain", there) is None or settings is None:
            return None
        parent = known[of.value].spec
        root = known[of.value].of or of.value
        if not all_known(parent):
            return DomainPlan(name=name, spec=parent, origin="derived", of=root)
        if not isinstance(parent, ImageSpec):
            self.problem(
                f"domain '{name}' resizes '{of.value}', which is not an image", of.value_span
            )
            return None
        grey = settings.channels == 1 and parent.channels == 3
        if settings.channels not in (None, parent.channels) and not grey:
            self.problem(
                f"domain '{name}' cannot have {settings.channels} channels, since '{of.value}' has "
                f"{parent.channels}" + (": 1 makes it grey" if parent.channels == 3 else ""),
                table.entries["channels"].value_span,
            )
            return None
        height, width = settings.pixels(parent.height, parent.width)
        if known[of.value].view is not None:
            self.problem(f"domain '{name}' is made of '{of.value}', which is a view", of.value_span)
            return None
        resized = ImageSpec(settings.channels or parent.channels, height, width)
        plan = DomainPlan(
            name=name,
            spec=resized,
            origin="derived",
            of=root,
            resized=resized,
            resample=known[of.value].resample,
        )
        return plan if "view" not in table else self.viewed(plan, view, table)

    def view(self, name: str, table: Table) -> Part | None:
        """The augmentor that a derived domain is seen through."""
        entry = table.entry("view")
        if entry is None:
            return None
        if not isinstance(entry.value, Table):
            self.problem(
                f"'view' of domain '{name}' takes a table",
                entry.value_span,
                'write `view = { use = "gradient-image", mode = "only" }`',
            )
            return None
        return self.part("view", "augmentor", entry.value, {"use"})

    def viewed(self, domain: DomainPlan, view: Part | None, table: Table) -> DomainPlan | None:
        """A derived domain as what one view of an augmentor makes of it."""
        entry = table.entry("view")
        assert entry is not None
        if view is None:
            return None
        views: Mapping[str, Spec] | None = {"plain": domain.spec}
        if view.component.views is not None:
            views = self.refused(view.component, "views", table, view.options, domain.spec)
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


def _is_plain(name: str) -> bool:
    """Whether a name is a domain's, not that of a generator whose output is read."""
    return made_by(name) is None


def description_from_dict(data: Mapping[str, Any]) -> DataDescription:
    """The description that `resolved.py` wrote into the lock."""
    return DataDescription(
        domains={name: spec_from_dict(spec) for name, spec in data.get("domains", {}).items()},
        aligned=tuple(tuple(group) for group in data.get("aligned", ())),
        counts=data.get("counts", {}),
        labelled=data.get("labelled", {}),
        mismatched=data.get("mismatched", {}),
    )
