"""A search among the values of a sweep, by Optuna: it chooses them, and stops what falls behind.

Trials are kept in Optuna's own storage: a file in the sweep's folder, or a database that any number
of machines share. A trial's run lies in `RECIPE/trial-N/seed-S` of the machine that plays it.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from ganforge.interfaces.errors import GanforgeError, PluginError, RunError
from ganforge.planning.plan import Plan
from ganforge.recipes.problems import RecipeError
from ganforge.registry.registry import Registry
from ganforge.runs.measurement import figure_text
from ganforge.sweeps.child_process import End
from ganforge.sweeps.grid import Command, Planned, Variation, folder_of, plan_of, planned

_WAITS = (0.5, 1.0, 2.0)  # seconds between tries to be the one that makes a database's tables
_FILE = "trials.log"  # in the sweep's folder
_RECIPE = "recipe"  # the parameter that says which of several recipes is played
_PLACE = "ganforge:place"  # whose trial it is: machine and folder


@frozen
class Space:
    """What is chosen among. recipes: by their folders. plans: those that were tried. seed: of every
    trial, None for the recipe's own. metric: NAME/FIGURE, or NAME alone. measured: whether runs
    measure it on their way."""

    recipes: Mapping[str, str]
    plans: tuple[Plan, ...] = field(repr=False)
    variations: tuple[Variation, ...]
    seed: int | None
    metric: str
    measured: bool

    @classmethod
    def of(
        cls,
        registry: Registry,
        command: Command,
        recipes: Sequence[str],
        variations: Sequence[Variation],
        seeds: Sequence[int] | None,
        metric: str,
    ) -> Space:
        """Every value is tried beside the first ones of the others. Raises GanforgeError for what
        cannot be played or measured."""
        if seeds is not None and len(seeds) > 1:
            raise GanforgeError(
                "a search plays one seed: sweep the best values with several seeds afterwards"
            )
        if not variations and len(recipes) < 2:
            raise GanforgeError("a search needs something to choose: --vary KEY=V,V,...")
        plans: list[Plan] = []
        found: dict[str, str] = {}
        for recipe in recipes:
            own = [plan_of(registry, command, recipe, c)[0] for c in _tried(variations)]
            if folder_of(own[0]) in found:
                raise GanforgeError(f"two recipes are named {own[0].name}")
            found[folder_of(own[0])] = recipe
            plans += own
        metric = metric.removeprefix("metric/").strip("/")
        for plan in plans:
            _refuse_unmeasured(plan, metric)
        measured = all(bool(getattr(p.hooks["metrics"].options, "evaluate", 0)) for p in plans)
        seed = seeds[0] if seeds else None
        return cls(found, tuple(plans), tuple(variations), seed, metric, measured)

    def distributions(self, optuna: Any) -> dict[str, Any]:
        """Of Optuna's parameters: keys of the recipe, and which recipe where there are several."""
        kinds = optuna.distributions
        found = {v.key: _distribution(kinds, v) for v in self.variations}
        if len(self.recipes) > 1:
            found[_RECIPE] = kinds.CategoricalDistribution(tuple(self.recipes))
        return found


def _tried(variations: Sequence[Variation]) -> list[dict[str, str]]:
    """Choices that have each value, and both ends of each range, at least once."""
    ends = {
        v.key: v.values if v.range is None else (repr(v.range.low), repr(v.range.high))
        for v in variations
    }
    first = {key: values[0] for key, values in ends.items()}
    others = [{**first, key: value} for key, values in ends.items() for value in values[1:]]
    return [first, *others]


def _refuse_unmeasured(plan: Plan, metric: str) -> None:
    name = metric.partition("/")[0]
    if name not in plan.metrics:
        there = ", ".join(plan.metrics) or "none"
        raise GanforgeError(
            f"--metric {metric}: {plan.name} has no metric '{name}'; there are: {there} (add one "
            f"with `--set metrics.{name}.use=...`)"
        )
    if "metrics" not in plan.hooks:
        raise GanforgeError(
            f"--metric {metric}: {plan.name} measures nothing: hooks.metrics is off"
        )


def _distribution(kinds: Any, variation: Variation) -> Any:
    span = variation.range
    if span is None:
        return kinds.CategoricalDistribution(variation.values)
    kind = kinds.IntDistribution if span.whole else kinds.FloatDistribution
    return kind(span.low, span.high, log=span.log)


# --- Optuna ---------------------------------------------------------------------------------------


def study_of(folder: Path, space: Space, direction: str, storage: str | None) -> Any:
    """The study of a sweep's folder, begun or gone on with; machines that share a database share
    the study of the folder's name. Raises GanforgeError."""
    try:
        optuna: Any = import_module("optuna")
    except ImportError:
        raise PluginError("a search needs Optuna: `pip install 'ganforge[sweep]'`") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = folder.resolve().name
    with _storing(storage):
        kept = _in_file(optuna, folder) if storage is None else _in_database(optuna, storage)
        study = optuna.create_study(
            study_name=name,
            storage=kept,
            direction=direction,
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(),
            pruner=optuna.pruners.MedianPruner(),
        )
        before = study.user_attrs.get("metric", space.metric), study.direction.name.lower()
        if before != (space.metric, direction):
            raise RunError(
                f"the study '{name}' {before[1]}s {before[0]}; name another folder with `--out`"
            )
        study.set_user_attr("metric", space.metric)
    return study


def _in_file(optuna: Any, folder: Path) -> Any:
    journal: Any = import_module("optuna.storages.journal")
    path = str(folder / _FILE)
    # Not the default lock: it is a symbolic link, which Windows allows to few.
    lock = journal.JournalFileOpenLock(path)
    return optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock_obj=lock))


def _in_database(optuna: Any, url: str) -> Any:
    """With psycopg, which `ganforge[sweep]` brings, where the URL names no driver."""
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    trouble: Any = import_module("sqlalchemy.exc")
    for wait in _WAITS:
        try:
            return optuna.storages.RDBStorage(url)
        except (trouble.IntegrityError, trouble.ProgrammingError):
            time.sleep(wait)  # another machine is making the tables
    return optuna.storages.RDBStorage(url)


@contextmanager
def _storing(storage: str | None) -> Iterator[None]:
    """Tell in one line what is wrong with the storage; passwords are left out."""
    where = "its file" if storage is None else re.sub(r"//([^/@:]*):[^@/]*@", r"//\1@", storage)
    try:
        yield
    except GanforgeError:
        raise
    except ImportError as error:
        raise RunError(f"the search's storage {where} needs a driver: {error}") from error
    except OSError as error:
        raise RunError(f"cannot write the search's {where}: {error.strerror or error}") from error
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy", "optuna", "psycopg", "alembic")):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(f"the search's storage {where} cannot be used: {first}") from error


# --- trials ---------------------------------------------------------------------------------------


@define
class Search:
    """Where a pool takes its runs from: trials of a study, `trials` in all, on whatever machine."""

    registry: Registry
    command: Command
    space: Space
    study: Any
    trials: int
    storage: str | None
    _running: dict[str, Any] = field(factory=dict)  # run -> its trial
    _again: list[Any] = field(factory=list)  # trials of this folder that were cut off
    _seen_by_study: set[tuple[str, int]] = field(factory=set)  # (run, step) reported
    _optuna: Any = field(init=False, factory=lambda: import_module("optuna"))

    def __attrs_post_init__(self) -> None:
        with _storing(self.storage):
            self._again = [
                self._optuna.trial.Trial(self.study, trial._trial_id)
                for trial in self.study.get_trials(deepcopy=False)
                if trial.state == self._state("RUNNING")
                and trial.user_attrs.get(_PLACE) == self._place
            ]

    @property
    def _place(self) -> str:
        return f"{socket.gethostname()}:{self.command.out.resolve()}"

    def _state(self, name: str) -> Any:
        return self._optuna.trial.TrialState[name]

    def next(self) -> Planned | None:
        """A trial that was cut off here, else a new one, while there are fewer than asked for."""
        with _storing(self.storage):
            while self._again or len(self.study.get_trials(deepcopy=False)) < self.trials:
                trial = self._again.pop(0) if self._again else self._next_trial()
                run = None if trial is None else self._planned(trial)
                if trial is None or run is not None:
                    return run
        return None

    def _next_trial(self) -> Any:
        trial = self.study.ask(self.space.distributions(self._optuna))
        if trial.number >= self.trials:  # another machine was quicker
            self.study.tell(trial, state=self._state("FAIL"))
            return None
        trial.set_user_attr(_PLACE, self._place)
        return trial

    def _planned(self, trial: Any) -> Planned | None:
        """The run of a trial; None where its values cannot be played together."""
        choices = {key: _written(trial.params[key]) for key in trial.params}
        folder = choices.pop(_RECIPE, next(iter(self.space.recipes)))
        recipe = self.space.recipes[folder]
        try:
            plan, sets = plan_of(self.registry, self.command, recipe, choices)
        except RecipeError as error:
            trial.set_user_attr("refused", str(error).splitlines()[0])
            self.study.tell(trial, state=self._state("FAIL"))
            return None
        seed = plan.train.seed if self.space.seed is None else self.space.seed
        run = planned(plan, sets, self.command, recipe, f"trial-{trial.number}", seed)
        self._running[run.name] = trial
        self._seen_by_study |= {(run.name, step) for step in self._reported(trial)}
        return run

    def _reported(self, trial: Any) -> Sequence[int]:
        return list(self.study._storage.get_trial(trial._trial_id).intermediate_values)

    def looked(self, run: Planned, lines: Sequence[Mapping[str, Any]]) -> str:
        """Report what was measured; "pruned" where others were better at that step."""
        trial = self._running[run.name]
        pruned = False
        with _storing(self.storage):
            for line in lines:
                value, step = self._value(line), line["step"]
                if value is None or (run.name, step) in self._seen_by_study:
                    continue
                self._seen_by_study.add((run.name, step))
                trial.report(value, step)
                pruned = step < run.plan.steps and bool(trial.should_prune())
        return "pruned" if pruned else ""

    def ended(self, run: Planned, end: End) -> End:
        """Report to the study; an interrupted trial stays open, and continues next time."""
        trial = self._running.pop(run.name)
        if end.how in ("interrupted", "elsewhere"):
            return end
        with _storing(self.storage):
            if end.how in ("pruned", "failed"):
                state = self._state("PRUNED" if end.how == "pruned" else "FAIL")
                self.study.tell(trial, state=state)
                return end
            values = (self._value(line) for line in run.folder.metric_lines())
            value = next((v for v in reversed(list(values)) if v is not None), None)
            if value is None:
                self.study.tell(trial, state=self._state("FAIL"))
                return End("failed", f"it measured no finite {self.space.metric}")
            self.study.tell(trial, value)
        return End(end.how, f"{self.space.metric} = {figure_text(value)}")

    def _value(self, line: Mapping[str, Any]) -> float | None:
        """The figure in a line of metrics.jsonl; None where it is not there or not finite.

        Raises GanforgeError where the metric has several figures and none was named.
        """
        name, figure, _ = self.space.metric.partition("/")
        there = [key for key in line if key.startswith(f"metric/{name}/")]
        wanted = [f"metric/{self.space.metric}"]
        if not figure:  # the one that is named as the metric is, or the only one
            wanted = [f"metric/{name}/{name}", *(there if len(there) == 1 else [])]
        key = next((key for key in wanted if key in there), None)
        if key is None and there:
            figures = ", ".join(key.removeprefix("metric/") for key in there)
            raise GanforgeError(f"--metric {self.space.metric}: say which figure: {figures}")
        value = None if key is None else line.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        return float(value) if math.isfinite(value) else None

    def best(self) -> Iterator[str]:
        """What came of it, in lines: how many trials, the best one, and how to train it again."""
        with _storing(self.storage):
            trials = self.study.get_trials(deepcopy=False)
            states = [trial.state.name.lower() for trial in trials]
            words = {"complete": "finished", "fail": "failed"}
            counts = {words.get(state, state): states.count(state) for state in states}
            yield "\n" + ", ".join(f"{count} {how}" for how, count in counts.items())
            done = [t for t in trials if t.state == self._state("COMPLETE")]
            if not done:
                return
            best = self.study.best_trial
        yield f"best: trial {best.number}, {self.space.metric} = {figure_text(best.value)}"
        for key, value in best.params.items():
            yield f"  {key} = {_written(value)}"


def _written(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else repr(value)
