"""A plan written out: every default, exact component ids, locked decisions. It runs again as is.

Light. `resolved.toml` is both the run folder's memory and a recipe of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import attrs

from ganforge import __version__
from ganforge.interfaces.specs import NoiseSpec, VectorSpec, spec_to_dict
from ganforge.planning.plan import (
    SIDES,
    AugmentorPlan,
    DiscriminatorPlan,
    DomainPlan,
    GeneratorPlan,
    LossPlan,
    NetworkSettings,
    Part,
    Plan,
)
from ganforge.recipes.recipe import ALWAYS_ON
from ganforge.recipes.typed_options import unstructure
from ganforge.storage.run_folder import RunFolder

# Distributions whose versions decide, beside the plugins', what is drawn, decoded and computed.
_COMPUTING = ("torch", "torchvision", "numpy", "pillow")

# What may differ when a run is resumed: how long, how it is watched, and where it runs.
FREE = (
    *("name", "train.steps", "train.device", "train.threads", "hooks", "metrics"),
    *("train.products", "train.compile"),  # how sums are rounded, which is told where it changes
    *("train.hold", "train.workers", "train.cache"),  # where rows come from, never which
    *("lock.versions", "lock.has_preview", "lock.stand_in"),
    *("data.fetch", "data.fallback"),  # how data comes, never which
    "data.skip_broken",  # which rows are played is kept in data.json
)


def resolved_tables(plan: Plan, locked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe that builds exactly this plan, as nested dicts for a TOML writer.

    locked: keys of [train] decided on this machine (device, precision, threads, layout, products).
    """
    train = {**unstructure(plan.train), "steps": plan.steps, **(locked or {})}
    train.pop("epochs", None)
    tables: dict[str, Any] = {
        "recipe": 1,
        "name": plan.name,
        "data": {**_use(plan.data), **unstructure(plan.data.image)},
        "train": train | _phases(plan),
    }
    drawn = {d.name: _domain(d) for d in plan.domains.values() if d.origin != "data"}
    tables["noise"] = drawn.pop("noise")
    tables["domains"] = drawn
    tables["generators"] = {g.name: _generator(g) for g in plan.generators.values()}
    tables["discriminators"] = {d.name: _discriminator(d) for d in plan.discriminators.values()}
    tables["losses"] = {loss.name: _loss(loss) for loss in plan.losses.values()}
    tables["augmentors"] = {a.name: _augmentor(a) for a in plan.augmentors.values()}
    tables["hooks"] = {part.name: _use(part) for part in plan.hooks.values()}
    tables["hooks"] |= {name: {"off": True} for name in ALWAYS_ON if name not in plan.hooks}
    tables["metrics"] = {part.name: _use(part) for part in plan.metrics.values()}
    tables["lock"] = lock_of(plan)
    return {key: value for key, value in tables.items() if value != {}}


def to_toml(tables: Mapping[str, Any], heading: str) -> str:
    """TOML text under a comment."""
    import tomli_w

    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return comment + "\n" + tomli_w.dumps(dict(tables))


def lock_of(plan: Plan) -> dict[str, Any]:
    """Versions, and what the data yields, so that a run folder is enough to look at a run."""
    providers = {part.component.provider: part.component.version for part in _parts(plan)}
    description = plan.data.description
    lock: dict[str, Any] = {
        "versions": {"ganforge": __version__, **providers, **_installed(*_COMPUTING)},
        "data": {
            "domains": {name: spec_to_dict(s) for name, s in description.domains.items()},
            "aligned": [list(group) for group in description.aligned],
            "counts": {split: dict(rows) for split, rows in description.counts.items()},
        },
    }
    for key in ("labelled", "mismatched"):
        if getattr(description, key):
            lock["data"][key] = dict(getattr(description, key))
    if plan.has_preview:
        lock["has_preview"] = True
    if "stand_in" in plan.lock:
        lock["stand_in"] = plan.lock["stand_in"]
    return lock


def known_by_content(folder: RunFolder, plan: Plan, accepted: bool = False) -> tuple[str, ...]:
    """Keys that may differ where a run knows its data by what it is (data.json), or the person has
    accepted what there is: where the data lies, and how many rows it has."""
    return (*_path_keys(plan), "lock.data.counts") if folder.data.is_file() or accepted else ()


def _path_keys(plan: Plan) -> tuple[str, ...]:
    """Keys of a resolved recipe that say where its data is: the options that are paths."""
    options: Any = plan.data.options
    if not attrs.has(type(options)):
        return ()
    return tuple(
        f"data.{field.name}"
        for field in attrs.fields(attrs.resolve_types(type(options)))
        if Path in (field.type, *get_args(field.type))
    )


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str] = ()
) -> list[tuple[str, str, str]]:
    """(key, old value, new value) of what makes two resolved recipes different games.

    What the new one leaves to `auto` is not a difference, and neither are these keys.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    found = []
    for key in dict.fromkeys((*before, *after)):
        if any(key == kind or key.startswith(f"{kind}.") for kind in (*FREE, *free)):
            continue
        was, now = before.get(key), after.get(key)
        if was != now and now != "auto":
            found.append((key, _written(was), _written(now)))
    return found


def _parts(plan: Plan) -> Iterator[Part]:
    yield plan.data
    for group in (
        plan.generators,
        plan.discriminators,
        plan.losses,
        plan.augmentors,
        plan.hooks,
        plan.metrics,
    ):
        yield from group.values()


def _installed(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _use(part: Part) -> dict[str, Any]:
    return {"use": part.component.id, **unstructure(part.options)}


def _domain(domain: DomainPlan) -> dict[str, Any]:
    if isinstance(domain.spec, NoiseSpec):
        return {"dim": domain.spec.dim, "distribution": domain.spec.distribution}
    if isinstance(domain.spec, VectorSpec):
        return {"vector": domain.spec.dim}
    resized = domain.resized
    assert resized is not None
    table = {
        "of": domain.of,
        "size": [resized.height, resized.width],
        "channels": resized.channels,
    }
    return table | ({"view": _use(domain.view)} if domain.view else {})


def _settings(settings: NetworkSettings) -> dict[str, Any]:
    table: dict[str, Any] = {
        "optimizer": {"use": settings.optimizer.use, **unstructure(settings.optimizer.options)},
        "schedule": {"use": settings.schedule.use, **unstructure(settings.schedule.options)},
        "freeze": settings.freeze,
    }
    if settings.clip is not None:
        table["clip"] = settings.clip
    if settings.init is not None:
        table["init"] = unstructure(settings.init)
    return table


def _generator(plan: GeneratorPlan) -> dict[str, Any]:
    table = {**_use(plan), "from": list(plan.sources), "to": plan.target}
    if plan.ema is not None:
        table["ema"] = plan.ema
    return table | _settings(plan.settings)


def _discriminator(plan: DiscriminatorPlan) -> dict[str, Any]:
    table = {**_use(plan), "on": plan.on}
    if plan.given:
        table["given"] = list(plan.given)
    return table | _settings(plan.settings)


def _loss(plan: LossPlan) -> dict[str, Any]:
    return {
        **_use(plan),
        "on": list(plan.on),
        "weight": {side: plan.weight[side] for side in SIDES},
        "every": plan.every,
        "start": plan.start,
        "stop": plan.stop,
    }


def _augmentor(plan: AugmentorPlan) -> dict[str, Any]:
    return {**_use(plan), "on": list(plan.on), "every": plan.every}


def _phases(plan: Plan) -> dict[str, Any]:
    if len(plan.phases) == 1 and plan.phases[0].name == "all":
        return {}
    tables = {
        phase.name: {
            "train": list(phase.train),
            "losses": list(phase.losses),
            "discriminator_steps": phase.discriminator_steps,
            "steps": phase.last - phase.first + 1,
        }
        for phase in plan.phases
    }
    tables[plan.phases[-1].name].pop("steps")  # it lasts as long as the run
    return {"phases": tables}


def leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested tables."""
    for key, value in table.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from leaves(value, where)
        else:
            yield where, list(value) if isinstance(value, tuple) else value


def _written(value: Any) -> str:
    return "not there" if value is None else repr(value)
