"""What a sweep plays: recipes x values x seeds, and where each run lies. Light: no torch.

DIR/RECIPE/K=V/seed-3, with the values of several keys in one name: `K=V,K2=V2`.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.interfaces.manifest import with_options
from ganforge.planning.compose import compose
from ganforge.planning.plan import Plan
from ganforge.planning.resolved_recipe import differences, known_by_content, resolved_tables
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder

SEED = "train.seed"

_END = r"\s*([^.,:]+(?:\.[^.,:]*)?)"  # of a range
_LONGEST = 60  # characters of a name before it is cut
_RESERVED = {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(10))}


@frozen
class Range:
    """All numbers between two, whole ones where both are; `log`: evenly spread on that scale."""

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


@frozen
class Variation:
    """A key of the recipe and the values that it takes, as TOML writes them, or a range."""

    key: str
    values: tuple[str, ...]
    range: Range | None = None


@frozen
class Planned:
    """A run of a sweep. name: its folder below the sweep's. sets: beside those of the command."""

    name: str
    recipe: str
    sets: tuple[str, ...]
    plan: Plan = field(repr=False)
    folder: RunFolder

    @property
    def log(self) -> Path:
        """What the run's process wrote, beside its folder."""
        return self.folder.path.with_name(f"{self.folder.name}.log")

    def done(self) -> bool:
        """Whether its last step is reached."""
        saved = self.folder.checkpoint_steps()
        return bool(saved) and saved[-1] >= self.plan.steps


# --- what is asked for ----------------------------------------------------------------------------


def varied(argument: str) -> Variation:
    """`KEY=V,V,...` or `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log`. Raises GanforgeError."""
    key, equals, text = argument.partition("=")
    key = key.strip()
    if not equals or not key or not text.strip():
        raise GanforgeError(f"--vary {argument}: it takes KEY=VALUE,VALUE,...")
    if key == SEED:
        raise GanforgeError("--vary train.seed: `--seeds 0-4` says which seeds")
    found = re.fullmatch(rf"{_END}\.\.{_END}(:log)?\s*", text)
    if found and (span := _range(found[1], found[2], bool(found[3]), argument)):
        return Variation(key, (), span)
    values = tuple(value.strip() for value in _split(text))
    if not all(values):
        raise GanforgeError(f"--vary {argument}: a value is missing between two commas")
    plain = [_plain(value) for value in values]
    twice = next((v for v, p in zip(values, plain, strict=True) if plain.count(p) > 1), None)
    if twice is not None:
        raise GanforgeError(f"--vary {argument}: {twice} is given twice")
    return Variation(key, values)


def _range(low: str, high: str, log: bool, argument: str) -> Range | None:
    ends = [_number(low), _number(high)]
    if None in ends:
        return None
    first, last = ends
    assert first is not None and last is not None
    if first >= last:
        raise GanforgeError(f"--vary {argument}: the range begins with its smaller end")
    if log and first <= 0:
        raise GanforgeError(f"--vary {argument}: a range on a log scale lies above 0")
    return Range(first, last, log)


def _number(text: str) -> float | None:
    """An int or a float, as TOML writes them."""
    value = _plain(text.strip())
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number and abs(value) < float("inf") else None


def _split(text: str) -> list[str]:
    """Parts between the commas outside quotes and brackets."""
    parts, deep, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            deep += 1
        elif letter in "]}":
            deep -= 1
        elif letter == "," and deep <= 0:
            parts.append("")
            continue
        parts[-1] += letter
    return parts


def _plain(text: str) -> Any:
    """The value that is written; if it is not TOML, the text itself, as `--set` takes it."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def seeds_of(text: str) -> tuple[int, ...]:
    """`0-4`, `7` or `0,2,5-7`. Raises GanforgeError."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", part)
        if not found:
            raise GanforgeError(f"--seeds {text}: it takes 0-4, or 0,2,5")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise GanforgeError(f"--seeds {text}: the smaller one comes first: {last}-{first}")
        if last - first >= 10_000:
            raise GanforgeError(f"--seeds {text}: at most 10,000 seeds")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise GanforgeError(f"--seeds {text}: a seed is given twice")
    return tuple(seeds)


# --- names ----------------------------------------------------------------------------------------


def combination(chosen: Mapping[str, str]) -> str:
    """The folder of some values, `K=V,K2=V2`; the same on every system, and one for each choice."""
    return ",".join(f"{key}={_written(value)}" for key, value in chosen.items())


def _written(text: str) -> str:
    """A value in a folder's name: a number as Python writes it, a string without its quotes."""
    value = _plain(text)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    return safe(value if isinstance(value, str) else text)


def safe(text: str) -> str:
    """A part of a path that every system takes. What had to be changed, or differs from another
    name by capitals alone, is told apart by a checksum."""
    kept = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text)[:_LONGEST].strip(".-")
    if kept and kept == text == text.lower() and kept not in _RESERVED:
        return kept
    return f"{kept}-{hashlib.sha256(text.encode()).hexdigest()[:6]}".strip("-")


# --- plans ----------------------------------------------------------------------------------------


@frozen
class Command:
    """What all runs of a sweep have in common: the arguments of `ganforge run`."""

    out: Path
    preview: bool = False
    sets: tuple[str, ...] = ()
    plugin_files: tuple[Path, ...] = ()
    without: tuple[str, ...] = ()

    def arguments(self, planned: Planned) -> list[str]:
        """What follows `ganforge` to play one of them."""
        words = ["run", planned.recipe, "--out", str(planned.folder.path)]
        words += ["--preview"] if self.preview else []
        words += [word for value in (*self.sets, *planned.sets) for word in ("--set", value)]
        words += [word for file in self.plugin_files for word in ("--plugin-file", str(file))]
        return words + [word for name in self.without for word in ("--no-plugin", name)]


def plan_of(
    registry: Registry, command: Command, recipe: str, chosen: Mapping[str, str]
) -> tuple[Plan, tuple[str, ...]]:
    """The plan of a recipe with these values, and the settings that they are. Raises RecipeError,
    whose problems show the value as a `--set`."""
    sets = tuple(f"{key}={value}" for key, value in chosen.items())
    loaded = load(
        recipe,
        preview=command.preview,
        sets=(*command.sets, *sets),
        shipped=registry.recipes(),
    )
    return compose(loaded, registry), sets


def planned(
    plan: Plan, sets: Sequence[str], command: Command, recipe: str, folder: str, seed: int
) -> Planned:
    """A run of a plan with a seed, in `RECIPE/FOLDER/seed-N`."""
    name = "/".join(part for part in (folder_of(plan), folder, f"seed-{seed}") if part)
    plan = attrs.evolve(plan, train=with_options(plan.train, seed=seed))
    sets = (*sets, f"{SEED}={seed}")
    return Planned(name, recipe, sets, plan, RunFolder(command.out.joinpath(*name.split("/"))))


def folder_of(plan: Plan) -> str:
    """The folder of a recipe's runs."""
    return safe(plan.name + ("-preview" if plan.preview else ""))


def grid(
    registry: Registry,
    command: Command,
    recipes: Sequence[str],
    variations: Sequence[Variation],
    seeds: Sequence[int] | None,
) -> list[Planned]:
    """All runs of a sweep, each recipe's together and all seeds of a value together.

    seeds: None for the recipe's own. Raises GanforgeError for whatever cannot be played.
    """
    for variation in variations:
        if variation.range is not None:
            raise GanforgeError(f"--vary {variation.key}: a range of values is for `--search`")
    found: dict[str, Planned] = {}
    for recipe in recipes:
        for values in product(*(variation.values for variation in variations)):
            chosen = {v.key: value for v, value in zip(variations, values, strict=True)}
            plan, sets = plan_of(registry, command, recipe, chosen)
            for seed in seeds if seeds is not None else (plan.train.seed,):
                run = planned(plan, sets, command, recipe, combination(chosen), seed)
                if run.name in found:
                    raise GanforgeError(
                        f"two recipes are named {plan.name}: their runs would share a folder"
                    )
                found[run.name] = run
    return list(found.values())


def refuse_other_games(runs: Sequence[Planned]) -> None:
    """Raises RunError where a run's folder holds what this sweep would not play."""
    for run in runs:
        if not run.folder.exists():
            if not run.folder.is_free():
                raise RunError(f"{run.folder.path} holds something else; choose another `--out`")
            continue
        before = run.folder.resolved_tables()
        if before.get("lock", {}).get("stand_in"):
            continue  # played on other data than the recipe names, as it said
        free = known_by_content(run.folder, run.plan)
        changed = differences(before, resolved_tables(run.plan), free)
        if changed:
            key, was, now = changed[0]
            raise RunError(
                f"{run.folder.path} holds another game ({key}: {was} -> {now}); choose another "
                "`--out`"
            )
