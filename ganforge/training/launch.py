"""From a recipe to a run: find the run folder, settle what `auto` means, bring the data, train."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs

from ganforge.data.archives import FetchOptions
from ganforge.data.download import prepare
from ganforge.data.feed import Feed
from ganforge.data.row_loader import is_worker_trouble, worker_trouble, workers_here
from ganforge.game.error_attribution import (
    attributing_errors,
    needs_more_items,
    remembers_no_memory,
)
from ganforge.game.game import Game
from ganforge.hardware import machine
from ganforge.hardware.machine import Machine
from ganforge.hardware.processes import Ranks, joined, refuse_uneven
from ganforge.interfaces.components import Dataset
from ganforge.interfaces.draws import Draws
from ganforge.interfaces.errors import BrokenRows, DataError, GanforgeError, RunError, TrainingError
from ganforge.interfaces.manifest import with_options
from ganforge.planning.compose import compose
from ganforge.planning.networks import lacks_weights
from ganforge.planning.plan import Plan
from ganforge.planning.resolved_recipe import (
    differences,
    known_by_content,
    lock_of,
    resolved_tables,
    to_toml,
)
from ganforge.recipes.recipe import Recipe, as_settings, load
from ganforge.registry.registry import Registry
from ganforge.runs.data_identity import (
    Change,
    Identity,
    changes,
    identity_of,
    read_identity,
    refuse_other_rows,
    refuse_unlike,
)
from ganforge.runs.readable_rows import without_broken
from ganforge.runs.run import Run
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder, write_whole
from ganforge.training.out_of_memory import largest_batch
from ganforge.training.preflight import is_too_few, refuse_unguarded_script, refuse_vast_batch
from ganforge.training.terminal import lasting
from ganforge.training.trainer import Training

Report = Callable[[str], None]


class Wait(Protocol):
    """Shows how far something is that takes a while; yields what is called with (done, total)."""

    def __call__(
        self, what: str, *, bytes_: bool = False
    ) -> AbstractContextManager[Callable[[int, int], None]]: ...


@contextmanager
def unseen(what: str, *, bytes_: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Waits without showing anything."""
    yield lambda done, total: None


@attrs.frozen(kw_only=True)
class Request:
    """What the person asked for: the arguments of `ganforge run`."""

    recipe: str | Path
    preview: bool = False
    out: Path | None = None
    sets: tuple[str, ...] = ()
    plugin_files: tuple[Path, ...] = ()
    without: tuple[str, ...] = ()
    new: bool = False
    replace: bool = False
    accept_data: bool = False  # rows that came or went since the run was begun


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a request. trained: False when the run was finished already."""

    folder: RunFolder
    plan: Plan
    step: int
    trained: bool
    stopped: str = ""  # why it ended before its last step
    stand_in: str = ""  # why other data was taken than the recipe names


def launch(
    request: Request,
    report: Report,
    checked: tuple[Registry, Recipe, Plan] | None = None,
    wait: Wait = unseen,
) -> Outcome:
    """Start or resume the run of a recipe. Raises GanforgeError for everything that is the
    person's or the machine's to mend.

    checked: what the request comes to, where that is known already. Where `torchrun` started
    several processes, all of them call this.
    """
    if checked is None:
        registry = Registry.load(plugin_files=request.plugin_files, without=request.without)
        checked = (registry, *_composed(request, registry))
    with joined() as ranks, _prepared(request, ranks, *checked, report, wait) as training:
        if isinstance(training, Outcome):  # there is nothing left to train
            return training
        with explaining_errors(training):
            training.run()
        return Outcome(
            folder=training.folder,
            plan=training.plan,
            step=training.step,
            trained=True,
            stopped=training.stop_reason,
            stand_in=training.plan.lock.get("stand_in", ""),
        )


@contextmanager
def _prepared(
    request: Request,
    ranks: Ranks | None,
    registry: Registry,
    recipe: Recipe,
    plan: Plan,
    report: Report,
    wait: Wait,
) -> Iterator[Training | Outcome]:
    """A training that is ready to go on, in a folder that is held for it; an outcome where the run
    is finished already."""
    if ranks is not None and not ranks.leads:
        yield _follow(request, ranks, registry, plan)
        return
    if ranks is not None:
        _refuse(request, plan, ranks)
    folder = _folder(request, plan)
    with lasting(folder.log):
        if folder.exists():
            with folder.held():
                yield _resume(request, plan, folder, registry, report, wait, ranks)
            return
        with _begun(request, recipe, plan, folder, registry, report, wait, ranks) as training:
            yield training


@contextmanager
def _begun(
    request: Request,
    recipe: Recipe,
    plan: Plan,
    folder: RunFolder,
    registry: Registry,
    report: Report,
    wait: Wait,
    ranks: Ranks | None,
) -> Iterator[Training]:
    """A run at its first step, alone or as the process that decides and writes."""
    _refuse_missing_weights(plan)
    plan, stand_in = with_data(request, registry, plan, report, wait)
    decided = machine.decide(plan.train, ranks)
    _report_crowded(decided, report)
    _share_decisions(ranks, folder, decided, stand_in)
    dataset, identity = open_data(plan, registry, None, report, wait)
    refuse_unlike(ranks, identity)
    training = build_training(plan, registry, decided, folder, wait, ranks, dataset)
    _initialise(training)
    with folder.held():
        if folder.exists():
            raise RunError(
                f"another process has begun a run in {folder.path} meanwhile; the same command "
                "goes on from there once it ended"
            )
        _write(folder, recipe, plan, decided, registry, identity)
        yield training


def _report_crowded(decided: Machine, report: Report) -> None:
    line = machine.crowded(decided)
    if line:
        report(line)


def _composed(request: Request, registry: Registry, *more: str) -> tuple[Recipe, Plan]:
    recipe = load(
        request.recipe,
        preview=request.preview,
        sets=(*request.sets, *more),
        shipped=registry.recipes(),
    )
    return recipe, compose(recipe, registry)


# --- several processes ----------------------------------------------------------------------------


def _share_decisions(
    ranks: Ranks | None, folder: RunFolder, decided: Machine, stand_in: str, step: int | None = None
) -> None:
    """Send the others what was found and decided, and which checkpoint to go on from."""
    if ranks is not None:
        words = {"folder": str(folder.path), "stand_in": stand_in, "step": step}
        ranks.broadcast({**words, "train": decided.locked()})
        ranks.agree()  # so that the data is on every machine


def _refuse(request: Request, plan: Plan, ranks: Ranks) -> None:
    """Raises GanforgeError for what one process could do, and several cannot."""
    refuse_uneven(plan, ranks)
    if ranks.restarts and (request.new or request.replace):
        raise RunError(
            "--new and --replace would begin again at each of torchrun's restarts: name a new "
            "folder with `--out DIR`, or leave out `--max-restarts`"
        )


def _follow(request: Request, ranks: Ranks, registry: Registry, plan: Plan) -> Training | Outcome:
    """The training of the run that the first process has found or begun."""
    decided_by_leader = ranks.receive()
    folder, stand_in = RunFolder(Path(decided_by_leader["folder"])), decided_by_leader["stand_in"]
    if "train" not in decided_by_leader:  # it is finished
        return Outcome(folder=folder, plan=plan, step=decided_by_leader["step"], trained=False)
    if stand_in:
        _, plan = _composed(request, registry, *_stand_in(plan))
        plan = attrs.evolve(plan, lock={**plan.lock, "stand_in": stand_in})
    if ranks.local == 0:
        _fetch(plan, lambda line: None, unseen)
    ranks.agree()
    decided = machine.decide(with_options(plan.train, **decided_by_leader["train"]), ranks)
    dataset, identity = open_data(plan, registry, read_identity(folder))
    refuse_unlike(ranks, identity)
    training = build_training(plan, registry, decided, folder, unseen, ranks, dataset)
    if decided_by_leader["step"] is None:
        _initialise(training)
    else:
        training.resume(checkpoint.load(folder.checkpoints, decided_by_leader["step"]))
    return training


# --- where ----------------------------------------------------------------------------------------


def _folder(request: Request, plan: Plan) -> RunFolder:
    name = plan.name + ("-preview" if plan.preview else "")
    path = request.out or Path("runs") / name
    if request.new and path.exists():
        path = next(
            p for n in range(2, 10_000) if not (p := path.with_name(f"{path.name}-{n}")).exists()
        )
    elif request.replace and path.exists():
        aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            os.replace(path, aside)
        except OSError as error:
            raise RunError(f"cannot move {path} aside: {error.strerror or error}") from error
    folder = RunFolder(path)
    if not folder.exists() and not folder.is_free():
        raise RunError(f"{path} holds something else; choose another place with `--out DIR`")
    return folder


# --- data -----------------------------------------------------------------------------------------


def with_data(
    request: Request, registry: Registry, plan: Plan, report: Report, wait: Wait
) -> tuple[Plan, str]:
    """The plan with its data at hand, and, where its stand-in was taken, why."""
    try:
        _fetch(plan, report, wait)
    except DataError as error:
        fallback = getattr(plan.data.options, "fallback", None)
        if fallback is None:
            raise
        reason = f"{fallback} stands in for {plan.data.component.name}: {error}"
        report(reason)
        _, plan = _composed(request, registry, *_stand_in(plan))
        return attrs.evolve(plan, lock={**plan.lock, "stand_in": reason}), reason
    return plan, plan.lock.get("stand_in", "")  # where the recipe is a run's resolved.toml


def _fetch(plan: Plan, report: Report, wait: Wait) -> None:
    """Bring the data where the recipe names an archive and it is not there."""
    options = plan.data.options
    if isinstance(options, FetchOptions) and options.must_fetch():
        report(f"fetching {options.fetch} into {options.root}")
        with wait(f"fetching {options.fetch}", bytes_=True) as on_progress:
            prepare(options, on_progress=on_progress)


def _stand_in(plan: Plan) -> tuple[str, ...]:
    """The setting that takes the stand-in; none where the recipe itself names it already."""
    fallback = getattr(plan.data.options, "fallback", None)
    return () if fallback is None else (f'data.use="{fallback}"',)


# --- building and training ------------------------------------------------------------------------


def build_training(
    plan: Plan,
    registry: Registry,
    decided: Machine,
    folder: RunFolder,
    wait: Wait = unseen,
    ranks: Ranks | None = None,
    dataset: Dataset | None = None,
) -> Training:
    refuse_vast_batch(plan, decided)
    feed = build_feed(plan, registry, decided, wait, dataset)
    with fitting():
        training = Training(plan, Game(plan, registry, decided, feed, ranks), folder, registry)
    if is_too_few(training.game):
        raise TrainingError(too_few_items(training))
    return training


def build_feed(
    plan: Plan,
    registry: Registry,
    decided: Machine,
    wait: Wait = unseen,
    dataset: Dataset | None = None,
) -> Feed:
    """The data of a plan, laid out as its networks read it fastest."""
    dataset = dataset or _dataset(plan, registry)
    classes = (registry.load_target(network.component) for network in plan.networks.values())
    asked = plan.train.workers
    workers = workers_here(decided.device) if asked is None else asked
    if workers:
        refuse_unguarded_script()
    with fitting(), _skippable(plan), wait("reading the data") as on_progress:
        return Feed(
            dataset,
            plan.played_domains(),
            batch=plan.train.batch,
            draws=Draws(plan.train.seed),
            device=decided.device,
            flip=plan.data.image.flip,
            channels_last=decided.wants_channels_last(classes),
            keep_bytes=int(plan.train.hold * 1e9),
            workers=workers,
            cache=plan.train.cache,
            on_progress=on_progress,
        )


def _dataset(plan: Plan, registry: Registry) -> Dataset:
    cls = registry.load_target(plan.data.component)
    with attributing_errors(plan.data.component):
        built: Dataset = cls(plan.data.options, plan.data.image, plan.data.description)
    return built


def open_data(
    plan: Plan,
    registry: Registry,
    before: Identity | None,
    report: Report = lambda line: None,
    wait: Wait = unseen,
) -> tuple[Dataset, Identity]:
    """The data set of a plan, and what it is made of. before: what the run has kept of that."""
    dataset = _dataset(plan, registry)
    if plan.data.image.skip_broken:
        with wait("looking for broken rows") as on_progress:
            dataset = without_broken(dataset, before, on_progress)
    elif before is None or before.broken is None:
        return dataset, identity_of(dataset, before)
    identity = identity_of(dataset, before)
    for (split, domain), names in (identity.broken or {}).items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        report(f"left out of {split}/{domain}, since they cannot be read: {shown}")
    return dataset, identity


@contextmanager
def _skippable(plan: Plan) -> Iterator[None]:
    """Report what else can be done about rows that cannot be read."""
    try:
        yield
    except BrokenRows as error:
        if not plan.data.image.skip_broken:
            error.notes = ("or leave out what cannot be read: `--set data.skip_broken=true`",)
        raise


@contextmanager
def fitting(
    what: str = "the data or the networks do not fit into memory; a smaller `data.size`, "
    "`noise.dim` or network width does",
) -> Iterator[None]:
    """Raise one line, this one, when something does not fit into memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not remembers_no_memory(error):
            raise
        raise TrainingError(what) from error


def _refuse_missing_weights(plan: Plan) -> None:
    """Raise RunError where `init` names a run without weights, before any data is read."""
    for address, network in plan.networks.items():
        if fault := lacks_weights(address, network.settings.init):
            raise RunError(fault)


def _initialise(training: Training) -> None:
    """Take weights of other runs, as `init` says; a resumed run has its own."""
    for address, network in training.game.networks.items():
        init = training.plan.networks[address].settings.init
        if init is not None and init.run is not None:
            _take_weights(network, address, Path(init.run))
            if address in training.game.ema:
                training.game.ema[address].load_state_dict(network.state_dict())


def _take_weights(network: Any, address: str, run: Path) -> None:
    """Weights of the network of the same name in another run; the averaged ones if it has some."""
    source = RunFolder(run)
    steps = source.checkpoint_steps()
    if not steps:
        raise RunError(f"`init` of {address}: {run} is no run with a checkpoint")
    saved = checkpoint.load(source.checkpoints, steps[-1]).networks
    for prefix in (f"ema.{address}/", f"{address}/"):
        own = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
        if own:
            break
    else:
        raise RunError(f"`init` of {address}: {run} has no network {address}")
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise RunError(f"`init` of {address}: the network in {run} differs: {first}") from error


def _write(
    folder: RunFolder,
    recipe: Recipe,
    plan: Plan,
    decided: Machine,
    registry: Registry,
    identity: Identity,
) -> None:
    """Start the run folder. Texts of plugin files are kept to be read, and never run unasked."""
    texts = {file.path.name: file.text for file in registry.plugin_files}
    folder.create(recipe.text, _resolved(plan, decided), texts)
    with _writing(folder):
        identity.write(folder)


@contextmanager
def explaining_errors(training: Training) -> Iterator[None]:
    """While a training runs: raise one line for what ends it, with what is kept of the run; then
    let go of its data."""
    try:
        with _in_one_line(training), _writing(training.folder), _skippable(training.plan):
            yield
    except GanforgeError as error:
        if training.leads and training.step and training.folder.kept() not in str(error):
            error.notes = (*error.notes, training.folder.kept())
        raise
    finally:
        training.game.feed.close()


@contextmanager
def _in_one_line(training: Training) -> Iterator[None]:
    """Raise TrainingError where memory ran out, or a batch is too small for BatchNorm, and
    DataError where a process that reads data died."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_worker_trouble(error):
            raise worker_trouble(error) from error
        if not remembers_no_memory(error):
            raise
        raise largest_batch(training) from error
    except ValueError as error:
        if not needs_more_items(error):
            raise
        raise TrainingError(too_few_items(training)) from error


def too_few_items(training: Training) -> str:
    """The line to show where BatchNorm is given one item."""
    train, ranks = training.plan.train, training.ranks
    among = "" if ranks is None else f" among {ranks.count} processes"
    helps = "" if ranks is None else ", or set `train.sync_batch_norm = true`"
    return (
        f"a batch of {train.batch} in {train.accumulate} part(s){among} gives BatchNorm one item "
        f"at a time, and it needs two: raise `train.batch` or lower `train.accumulate`{helps}"
    )


@contextmanager
def _writing(folder: RunFolder) -> Iterator[None]:
    """Raise one line when the disk is full or the run folder cannot be written to."""
    try:
        yield
    except OSError as error:
        inside = Path(str(error.filename or "")).is_relative_to(folder.path)
        if not inside and error.errno not in checkpoint.DISK_TROUBLE:
            raise
        raise RunError(
            f"cannot write to {folder.path}: {error.strerror or error}; {folder.kept()}, and "
            "the same command goes on"
        ) from error


# --- resuming -------------------------------------------------------------------------------------


def _resume(
    request: Request,
    plan: Plan,
    folder: RunFolder,
    registry: Registry,
    report: Report,
    wait: Wait,
    ranks: Ranks | None,
) -> Training | Outcome:
    """The training of a run at its newest checkpoint, if it is the same game."""
    before = folder.resolved_tables()
    stand_in = before.get("lock", {}).get("stand_in", "")
    if stand_in:
        _, plan = _composed(request, registry, *_stand_in(plan))
        plan = attrs.evolve(plan, lock={**plan.lock, "stand_in": stand_in})
    free = known_by_content(folder, plan, request.accept_data)
    changed = differences(before, resolved_tables(plan), free)
    if changed:
        shown = "\n".join(f"  {key}: {was} -> {now}" for key, was, now in changed[:12])
        more = f"\n  and {len(changed) - 12} more" if len(changed) > 12 else ""
        raise RunError(
            f"{folder.path} holds another game:\n{shown}{more}\n"
            "go on with --new (a new folder beside it), --replace (moves the old folder aside) "
            f"or --out DIR{_of_data_alone(changed, plan, folder)}"
        )
    saved, complaints = checkpoint.newest_whole(folder.checkpoints)
    if saved is None and complaints:
        raise RunError(
            f"no checkpoint of {folder.path} can be read: {complaints[0]}; begin again with --new "
            "(a new folder beside it) or --replace (moves this one aside)"
        )
    for complaint in complaints:
        report(f"{complaint}; taking an older checkpoint")
    if saved is not None and saved.step >= plan.steps:
        if ranks is not None:
            ranks.broadcast({"folder": str(folder.path), "stand_in": stand_in, "step": saved.step})
        return Outcome(folder=folder, plan=plan, step=saved.step, trained=False, stand_in=stand_in)
    _fetch(plan, report, wait)
    own = Path(request.recipe) == folder.resolved
    decided = _decided_before(plan, before.get("train", {}), report, ranks, own)
    _report_crowded(decided, report)
    _share_decisions(ranks, folder, decided, stand_in, None if saved is None else saved.step)
    kept = read_identity(folder)
    dataset, identity = open_data(plan, registry, kept, report, wait)
    found = [] if kept is None or saved is None else changes(kept, identity)
    if not request.accept_data:
        refuse_other_rows(folder.path, found, identity.left_out())
    refuse_unlike(ranks, identity)
    training = build_training(plan, registry, decided, folder, wait, ranks, dataset)
    with _writing(folder):
        if saved is None:
            report(f"{folder.path} has no checkpoint yet; beginning at its first step")
            _initialise(training)
            folder.cut_metrics(0)
        else:
            training.resume(saved)
            inexact = _inexact(saved, decided, plan, before.get("lock", {}))
            if inexact:
                training.inexact.append({"step": saved.step, "changed": inexact})
                changed_now = ", ".join(inexact)
                report(
                    f"not bit-exact from here on, since sums are rounded otherwise: {changed_now}"
                )
            _note_frozen(training, saved.step, report)
            _note_data(training, saved.step, found, report)
            report(f"resuming {folder.path} at step {saved.step:,} of {plan.steps:,}")
        write_whole(folder.resolved, _resolved(plan, decided))
        if identity != kept:
            identity.write(folder)
    if stand_in:
        report(stand_in)
    return training


def _of_data_alone(changed: Sequence[tuple[str, str, str]], plan: Plan, folder: RunFolder) -> str:
    """What else can be done where nothing but the place and the number of rows is another."""
    free = known_by_content(folder, plan, accepted=True)
    if all(key in free or key.startswith("lock.data.counts.") for key, _, _ in changed):
        return "; if it is the same data, or is to be, with `--accept-data`"
    return ""


def _note_frozen(training: Training, step: int, report: Report) -> None:
    """Report what was trained before and no longer is, which older versions did with parts that
    their authors froze."""
    names = sorted(training.frozen_since)
    if names:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        report(
            f"trained up to step {step:,} and frozen from here on, as its author says: "
            f"{names[0]}{more}; the run stays with the values that they have now"
        )
        training.inexact.append({"step": step, "changed": [f"{len(names)} parameters frozen"]})


def _note_data(training: Training, step: int, found: Sequence[Change], report: Report) -> None:
    """Report how the data has changed, and keep in later checkpoints from where on."""
    if not found:
        return
    report(f"the data has changed: {'; '.join(map(str, found))}")
    inexact = [f"data {change}" for change in found if not change.exact]
    if inexact:
        training.inexact.append({"step": step, "changed": inexact})
        report(f"not bit-exact from step {step:,} on, since other data is learned from")


def _resolved(plan: Plan, decided: Machine) -> str:
    heading = f"{plan.name}, every default and decision written out; runs again as it is"
    return to_toml(resolved_tables(plan, decided.locked()), heading)


def _decided_before(
    plan: Plan, locked: Mapping[str, Any], report: Report, ranks: Ranks | None, own: bool
) -> Machine:
    """The machine as it was decided at the first start, where the recipe leaves it to `auto`.

    own: whether the recipe is the run's own, written out, which leaves nothing to `auto`.
    """
    asked = plan.train
    if own:
        asked = with_options(
            plan.train,
            device="auto" if plan.train.device == locked.get("device") else plan.train.device,
            threads=None if plan.train.threads == locked.get("threads") else plan.train.threads,
        )
    if locked:  # a folder that does not say what multiplied is older than the choice
        locked = {"products": "torch", **locked}
    kept = {
        key: locked[key]
        for key in ("device", "precision", "threads", "layout", "products")
        if key in locked and getattr(asked, key) in ("auto", None)
    }
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if "threads" in kept and wanted.isdecimal() and int(wanted) not in (0, kept["threads"]):
        report(
            f"OMP_NUM_THREADS is {wanted}: {wanted} threads from here on, {kept['threads']} before"
        )
        kept["threads"] = int(wanted)
    try:
        return machine.decide(with_options(asked, **kept), ranks)
    except GanforgeError as error:
        if "device" not in kept:
            raise
        kept.pop("device")
        decided = machine.decide(with_options(asked, **kept), ranks)
        report(f"{error}; going on with {decided.device}")
        return decided


def _inexact(
    saved: checkpoint.Checkpoint, decided: Machine, plan: Plan, before: Mapping[str, Any]
) -> list[str]:
    """Why this session cannot continue bit for bit: `torch 2.13.0 -> 2.14.1`."""
    import torch

    was = {**before.get("versions", {}), **saved.state.get("machine", {})}
    was["torch"] = saved.state.get("torch", torch.__version__)
    now = {**lock_of(plan)["versions"], **decided.facts(), "torch": torch.__version__}
    return [f"{key} {was[key]} -> {now[key]}" for key in now if was.get(key, now[key]) != now[key]]


# --- from Python ----------------------------------------------------------------------------------


def train(
    recipe: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    preview: bool = False,
    out: str | Path | None = None,
    plugin_files: Sequence[str | Path] = (),
) -> Run:
    """Train a recipe as `ganforge run` does, and open the run. `set` overrides recipe keys."""
    request = Request(
        recipe=recipe,
        preview=preview,
        out=None if out is None else Path(out),
        sets=tuple(as_settings(set or {})),
        plugin_files=tuple(Path(file) for file in plugin_files),
    )
    outcome = launch(request, print)
    return Run(outcome.folder, plugin_files=request.plugin_files)
