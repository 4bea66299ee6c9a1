"""A JSON Schema of recipes, made from what is installed: completion and red lines in editors.

Draft 7, which every editor speaks. It knows what a recipe may look like, not whether the game that
it describes can be played: that is what `ganforge check` is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import quote

import attrs

from ganforge.interfaces.manifest import Component, ImageOptions
from ganforge.interfaces.settings import (
    OPTIMIZERS,
    SCHEDULES,
    DerivedSettings,
    InitSettings,
    MadeSettings,
    NoiseSettings,
    PhaseSettings,
    TrainSettings,
)
from ganforge.planning.plan import SIDES
from ganforge.recipes.grammar import KIND
from ganforge.recipes.typed_options import option_types, type_members
from ganforge.registry.registry import Registry

Schema = dict[str, Any]

_BOUNDS = {
    "above": "exclusiveMinimum",
    "below": "exclusiveMaximum",
    "at_least": "minimum",
    "at_most": "maximum",
}
_NAME = "^[a-z0-9][a-z0-9_-]*$"
_TEXT: Schema = {"type": "string", "minLength": 1}
_NAMES: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
_OFF: Schema = {"type": "boolean", "description": "true: as if this table were not written"}
_EVERY: Schema = {"type": "integer", "minimum": 1, "description": "plays in every n-th update"}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1, "description": "share of the run"}


def recipe_schema(registry: Registry) -> Schema:
    """The schema of recipes that the components of a registry can play."""
    maker = _Maker(registry)
    whole, partial = maker.tables(whole=True), maker.tables(whole=False)
    top: Schema = {
        "recipe": {"const": 1, "description": "version of the grammar"},
        "name": {"type": "string", "pattern": _NAME, "description": "of the run folder"},
        "extends": {**_TEXT, "description": "a recipe that this one is laid over"},
        "lock": {"type": "object", "description": "what a run decided; written by ganforge"},
        "preview": maker.define("preview", _object(partial, "what `--preview` changes")),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ganforge recipe",
        "type": "object",
        "required": ["recipe"],
        # A recipe that extends another writes only what differs.
        "if": {"required": ["extends"]},
        "then": _object({**top, **partial}),
        "else": _object({**top, **whole}),
        "definitions": maker.definitions,
    }


def _object(properties: Mapping[str, Schema], description: str = "") -> Schema:
    made: Schema = {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
    }
    return {**made, "description": description} if description else made


class _Maker:
    """Makes the tables; what several of them share is a definition that they refer to."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.definitions: dict[str, Schema] = {}
        self.optimizer = self.define("optimizer", self._optimizer())
        network = {
            "optimizer": self.optimizer,
            "schedule": _reference("schedule"),
            "clip": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": "largest norm of gradients",
            },
            "init": self.define("init", settings_schema(InitSettings)),
            "freeze": {"type": "boolean", "description": "never trained"},
            "off": _OFF,
        }
        self.reserved: dict[str, dict[str, Schema]] = {
            "generators": {**network, **_EDGE},
            "discriminators": {**network, **_GUARD},
            "losses": _LOSS,
            "augmentors": {"on": _NAMES, "every": _EVERY, "off": _OFF},
            "hooks": {"off": _OFF},
            "metrics": {"off": _OFF},
        }

    def define(self, name: str, schema: Schema) -> Schema:
        """Keep a schema under a name; the reference to it."""
        self.definitions.setdefault(name, schema)
        return _reference(name)

    def _optimizer(self) -> Schema:
        schedule = self.define("schedule", _chosen(SCHEDULES))
        optimizer = _chosen(OPTIMIZERS)
        for variant in optimizer["anyOf"]:
            variant["properties"]["schedule"] = schedule
        return optimizer

    def tables(self, *, whole: bool) -> dict[str, Schema]:
        """Every table by its key. whole: a component must be named where it is used."""
        phases = {"type": "object", "additionalProperties": settings_schema(PhaseSettings)}
        train = settings_schema(TrainSettings)
        train["properties"]["phases"] = {**phases, "description": "[train.phases.NAME]"}
        noise, derived = settings_schema(NoiseSettings), settings_schema(DerivedSettings)
        derived["properties"]["of"] = {**_TEXT, "description": "the domain that it is made from"}
        derived["properties"]["view"] = {
            "type": "object",
            "properties": {"use": _TEXT},
            "required": ["use"],
            "description": "what an augmentor, with its options, makes of it",
        }
        domain = {"anyOf": [noise, derived, settings_schema(MadeSettings)]}
        image = settings_schema(ImageOptions)["properties"]
        found = {
            "data": self.component("dataset", image, must=whole),
            "train": self.define("train", train),
            "noise": self.define("noise", noise),
            "domains": {"type": "object", "additionalProperties": domain},
            "optimizer": self.optimizer,
        }
        for key, keys in self.reserved.items():
            kind = KIND[key]
            network = kind in ("generator", "discriminator")
            table = self.component(kind, keys, must=whole and network)
            found[key] = {"type": "object", "additionalProperties": table}
            if network:
                found[kind] = table
            else:
                found[key]["properties"] = self.by_own_name(kind, keys, table)
        return found

    def component(self, kind: str, keys: Mapping[str, Schema], *, must: bool) -> Schema:
        """The table of some component of a kind. must: it says which by `use`, or is `like`
        another; else it may leave that to a table below, or to its own name."""
        components = self.registry.of(kind)
        variants = [self.variant(component, keys) for component in components]
        every: dict[str, Schema] = {}
        for component, variant in zip(components, variants, strict=True):
            for name in settings_schema(component.options)["properties"]:
                option = {"$ref": f"{variant['$ref']}/properties/{name}"}
                every.setdefault(name, {"anyOf": []})["anyOf"].append(option)
        free = _object({**every, **keys, "like": _TEXT})
        if must:
            free["anyOf"] = [{"required": ["like"]}, {"required": ["off"]}]
        name = f"{kind}" if must else f"part of a {kind}"
        return self.define(name, {"anyOf": [*variants, free]})

    def by_own_name(
        self, kind: str, keys: Mapping[str, Schema], table: Schema
    ) -> dict[str, Schema]:
        """Tables whose name is a component's, which need no `use`."""
        named = {}
        for component in self.registry.of(kind):
            if self.registry.short_name(component) == component.name:
                own = _object({**settings_schema(component.options)["properties"], **keys})
                without = self.define(
                    f"{kind} {component.id} by name", {**own, "description": component.summary}
                )
                named[component.name] = {"anyOf": [without, table]}
        return named

    def variant(self, component: Component, keys: Mapping[str, Schema]) -> Schema:
        """The table of one component, named by `use`."""
        names = (self.registry.short_name(component), component.id, *component.aliases)
        use = {"enum": list(dict.fromkeys(names)), "description": component.summary}
        options = settings_schema(component.options)["properties"]
        table = _object({"use": use, "like": _TEXT, **options, **keys}, component.summary)
        name = f"{component.kind} {component.id}"
        return self.define(name, {**table, "required": ["use"]})


def _reference(name: str) -> Schema:
    # In a reference, `/` and `~` of a name are written `~1` and `~0` (RFC 6901).
    return {"$ref": f"#/definitions/{quote(name.replace('~', '~0').replace('/', '~1'))}"}


def _chosen(choices: Mapping[str, type]) -> Schema:
    """`optimizer` or `schedule`: a table with `use` and its options."""
    variants = []
    for name, cls in choices.items():
        variant = settings_schema(cls)
        variant["properties"]["use"] = {"const": name, "description": (cls.__doc__ or "").strip()}
        variants.append(variant)
    return {"anyOf": variants}


def settings_schema(cls: type) -> Schema:
    """The schema of a table of options."""
    types = option_types(cls)
    properties = {}
    for field in attrs.fields(cls):
        if field.name in types:
            bounds = field.metadata.get("bounds", {})
            described = {"description": field.metadata.get("help", "")}
            properties[field.name] = {**_typed(types[field.name], bounds), **described}
    return _object(properties)


def _typed(of: Any, bounds: Mapping[str, float]) -> Schema:
    """The schema of a value; bounds hold for each number in it."""
    members = type_members(of)
    if len(members) > 1:
        return {"anyOf": [_typed(member, bounds) for member in members]}
    of, origin, inner = members[0], get_origin(members[0]), get_args(members[0])
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple and inner[-1:] != (Ellipsis,):
        items = [_typed(part, bounds) for part in inner]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (list, tuple):
        return {"type": "array", "items": _typed(inner[0], bounds)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _typed(inner[1], bounds)}
    if of is bool:
        return {"type": "boolean"}
    if of in (int, float):
        kind = "integer" if of is int else "number"
        return {"type": kind, **{_BOUNDS[key]: value for key, value in bounds.items()}}
    if isinstance(of, type) and issubclass(of, (str, Path)):
        return {"type": "string"}
    return {}


_EDGE: dict[str, Schema] = {
    "from": {**_NAMES, "description": "domains, or generators.NAME, that it reads"},
    "to": {**_TEXT, "description": "the domain that it makes"},
    "ema": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "decay of the average that is sampled and measured",
    },
}
_GUARD: dict[str, Schema] = {
    "on": {**_TEXT, "description": "the domain that it judges"},
    "given": {**_NAMES, "description": "domains that it is given as conditions"},
}
_WEIGHTS: Schema = _object({side: {"type": "number"} for side in SIDES})
_LOSS: dict[str, Schema] = {
    "weight": {"anyOf": [{"type": "number"}, _WEIGHTS], "description": "of both sides, or of each"},
    "every": _EVERY,
    "on": {**_NAMES, "description": "discriminators, or generators, that it plays on"},
    "start": _SHARE,
    "stop": _SHARE,
    "off": _OFF,
}
