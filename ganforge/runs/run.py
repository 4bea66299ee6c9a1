"""A run opened to be looked at: its generators, samples and metrics; also from notebooks.

Needs only the run folder: what the data yields is written in its `resolved.toml`.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from attrs import frozen
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ganforge.data.feed import held_out_rows, held_out_split, read_rows
from ganforge.data.resampling import resized
from ganforge.game.derived_domains import derived
from ganforge.game.error_attribution import attributing_errors
from ganforge.game.networks import build_loss, build_network, build_views
from ganforge.game.output_checks import generator_output
from ganforge.hardware.machine import find_device
from ganforge.interfaces.addresses import made_by, of_loss
from ganforge.interfaces.components import Dataset, DiscriminatorOutput, Loss
from ganforge.interfaces.draws import Draw, Draws
from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.interfaces.specs import ImageSpec, LabelSpec, NoiseSpec, Spec, TextSpec
from ganforge.planning import graph
from ganforge.planning.compose import compose
from ganforge.planning.plan import DiscriminatorPlan, GeneratorPlan, LossPlan, Part, Plan
from ganforge.recipes.recipe import as_settings, load
from ganforge.registry.registry import Registry
from ganforge.runs.data_identity import read_identity
from ganforge.runs.readable_rows import as_kept
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder, find_run

_BATCH = 64  # images made at once when sampling
_TRANSLATED = 16  # and when translating, where images are larger


def open_run(
    run: str | Path | None = None,
    *,
    step: int | str = "last",
    device: str = "auto",
    plugin_files: Sequence[str | Path] = (),
    data: str | Path | None = None,
) -> Run:
    """Open a run by its folder, its name, or nothing for the newest.

    step: a step with a checkpoint, "last" or "best". data: where its data is, if not where it was.
    Raises RunError when there is no such run or step.
    """
    sets = () if data is None else tuple(as_settings({"data.root": Path(data).absolute()}))
    where = find_device(device)
    return Run(find_run(run), step=step, device=where, plugin_files=plugin_files, sets=sets)


@frozen
class Live:
    """A training in progress, to be looked at in place of what its folder holds.

    modules: networks and losses by their address, generators averaged where the recipe averages.
    """

    step: int
    plan: Plan
    dataset: Dataset
    modules: Mapping[str, nn.Module]


class Run:
    """One run, looked at: nothing here changes it.

    live: the training that it is, where it is in progress; then its networks are those that train.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        step: int | str = "last",
        device: torch.device | None = None,
        plugin_files: Sequence[str | Path] = (),
        registry: Registry | None = None,
        sets: Sequence[str] = (),
        live: Live | None = None,
    ) -> None:
        self._sets = tuple(sets)  # KEY=VALUE, on top of what was played: where the data is now
        self._live = live
        self.folder = folder
        self.device = device or torch.device("cpu")
        self.registry = registry or Registry.load(plugin_files=[*map(Path, plugin_files)])
        self.step = self._find_step(step) if live is None else live.step
        self._loaded = {} if live is None else dict(live.modules)

    @classmethod
    def during(cls, training: Any) -> Run:
        """The run of a training in progress, with the generators as they are now."""
        game, plan = training.game, training.plan
        generators = {g.address: training.generator(g.name) for g in plan.generators.values()}
        live = Live(
            step=training.step,
            plan=plan,
            dataset=game.feed.dataset,
            modules={**game.networks, **game.losses, **generators},
        )
        folder, registry = training.folder, training.registry
        return cls(folder, device=game.device, registry=registry, live=live)

    def __repr__(self) -> str:
        return f"<run {self.folder.name} at step {self.step}>"

    def _repr_png_(self) -> bytes | None:
        """In a notebook a run shows its newest sheet."""
        sheets = self.folder.sheets()
        return sheets[-1].read_bytes() if sheets else None

    def _find_step(self, step: int | str) -> int:
        steps = self.folder.checkpoint_steps()
        if not steps:
            raise RunError(f"{self.folder.path} has no checkpoint yet")
        if step == "last":
            return steps[-1]
        if step == "best":
            best = self.folder.best()
            if best in steps:
                return best
            raise RunError(
                f"{self.folder.path} has no best step, since no metric was asked to choose one "
                "(`hooks.checkpoint.best`); use `--step last`"
                if best is None
                else f"the checkpoint of {self.folder.path}'s best step, {best}, is gone; use "
                "`--step last`"
            )
        number = int(step) if str(step).isdecimal() else -1
        if number in steps or self.folder.snapshot(number).exists():
            return number
        raise RunError(
            f"{self.folder.path} has no checkpoint of step {step}; "
            f"there are: {', '.join(map(str, self.folder.kept_steps()))}, last"
        )

    @cached_property
    def plan(self) -> Plan:
        """What was played."""
        if self._live is not None:
            return self._live.plan
        recipe = load(self.folder.resolved, sets=self._sets)
        return compose(recipe, self.registry, offline=True)

    def dataset(self) -> Dataset:
        """The run's dataset. Raises DataError when its files are not on this machine."""
        return self._dataset

    @cached_property
    def _dataset(self) -> Dataset:
        if self._live is not None:
            return self._live.dataset
        data = self.plan.data
        built: Dataset = self.registry.load_target(data.component)(
            data.options, data.image, data.description
        )
        return as_kept(built, read_identity(self.folder))

    def held_out(self, domain: str, count: int) -> Tensor:
        """The first held-out rows of a domain, also of a derived one; fewer than `count` where
        there are fewer. Images are float32 [N, C, H, W] in [-1, 1]."""
        return self._rows(held_out_split(self.dataset()), domain, count, spread=False)

    def training(self, domain: str, count: int) -> Tensor:
        """Rows of the training split as `held_out` gives them; where there are more than `count`,
        so many, evenly spread."""
        return self._rows("train", domain, count, spread=True)

    def _rows(self, split: str, domain: str, count: int, *, spread: bool) -> Tensor:
        plan = self.plan.domains.get(domain)
        of = plan.of if plan is not None and plan.of else domain
        dataset = self.dataset()
        there = dataset.count(split, of)
        count = min(count, there)
        numbers = [n * there // count if spread else n for n in range(count)]
        rows = read_rows(dataset, split, of, numbers).to(self.device)
        if plan is None or not plan.of:
            return rows
        draw = Draw(Draws(0).generator("view", domain), count, slice(None), self.device)
        return derived(plan, rows, build_views(self.plan, self.registry).get(domain), draw)

    def real_parts(
        self, domain: str, most: int, *, split: Literal["held-out", "training"] = "held-out"
    ) -> Iterator[Tensor]:
        """Rows of a domain, evenly spread where there are more than `most`, some at a time, as
        `held_out` gives them; for what is too much to be held at once."""
        plan = self.plan.domains.get(domain)
        of = plan.of if plan is not None and plan.of else domain
        dataset = self.dataset()
        name = "train" if split == "training" else held_out_split(dataset)
        there = dataset.count(name, of)
        count = min(most, there)
        view = build_views(self.plan, self.registry).get(domain) if plan and plan.of else None
        for start in range(0, count, _BATCH):
            part = slice(start, min(start + _BATCH, count))
            numbers = [n * there // count for n in range(part.start, part.stop)]
            rows = read_rows(dataset, name, of, numbers).to(self.device)
            if plan is not None and plan.of:
                draw = Draw(Draws(0).generator("view", domain), count, part, self.device)
                rows = derived(plan, rows, view, draw)
            yield rows

    def generator(self, name: str | None = None) -> nn.Module:
        """A generator in eval mode, averaged where the recipe averages. `name` may be left out
        where there is only one."""
        return self._network(self.generator_plan(name))

    def discriminator(self, name: str | None = None) -> nn.Module:
        """A discriminator in eval mode. `name` may be left out where there is only one."""
        return self._network(self.discriminator_plan(name))

    def discriminator_plan(self, name: str | None = None) -> DiscriminatorPlan:
        """The plan of a discriminator. Raises GanforgeError when the name is missing or wrong."""
        return _one(self.plan.discriminators, name, "discriminator")

    def generator_plan(self, name: str | None = None) -> GeneratorPlan:
        """The plan of a generator; without a name, of the only one whose output no other reads.
        Raises GanforgeError when the name is missing or wrong."""
        plans = self.plan.generators
        last = graph.ends(plans)
        return _one(last if name is None and len(last) == 1 else plans, name, "generator")

    def at_once(self, generator: str) -> int:
        """How many items `sample` or `translate` let a generator make at once."""
        translates = isinstance(self.generator_plan(generator).source_specs[0], ImageSpec)
        return _TRANSLATED if translates else _BATCH

    def _network(self, plan: GeneratorPlan | DiscriminatorPlan) -> nn.Module:
        if plan.address not in self._loaded:
            self._loaded[plan.address] = self._opened(plan)
        return self._loaded[plan.address].eval()

    def _opened(self, plan: GeneratorPlan | DiscriminatorPlan) -> nn.Module:
        """A network with its weights of this step, and with them what it keeps by its `Ref`s.

        All are built first, from the run's seed, as training built them before it had weights.
        """
        built: dict[tuple[str, bool], nn.Module] = {}
        network = self._blank(plan.address, True, built)
        plans = self.plan.networks
        kept = {key: weakref.ref(built.pop(key)) for key in list(built)[:-1]}
        if kept:
            gc.collect()  # so that what was only read while the network was built is gone
        for (address, averaged), reference in kept.items():
            part = reference()
            if part is not None:
                self._filled(part, address, plans[address], averaged=averaged)
        return self._filled(network, plan.address, plan)

    def _blank(
        self, address: str, averaged: bool, built: dict[tuple[str, bool], nn.Module]
    ) -> nn.Module:
        """A network before its first step, and into `built` too, after all that its `Ref`s name.

        averaged: whether its average is wanted, where it has one. An average sees averages, as far
        as there are some; what has none sees what is trained.
        """
        plan = self.plan.networks[address]
        averaged = averaged and isinstance(plan, GeneratorPlan) and plan.ema is not None
        key = (address, averaged)
        if key not in built:
            refs = plan.settings.refs.values()
            others = {name: self._blank(name, averaged, built) for name in refs}
            draws = Draws(self.plan.train.seed)
            built[key] = build_network(plan, self.registry, draws, others)
        return built[key]

    def _loss(self, plan: LossPlan, discriminator: DiscriminatorPlan) -> Loss:
        """A loss as it plays on one discriminator, with the parameters that it owns."""
        address = of_loss(plan.name, discriminator.name)
        if address not in self._loaded:
            blank = self._blank(discriminator.address, False, {})
            draws = Draws(self.plan.train.seed)
            loss = build_loss(plan, self.registry, draws, self.plan, discriminator, blank)
            self._loaded[address] = self._filled(loss, address, plan)
        return cast(Loss, self._loaded[address].eval())

    def _filled(
        self, module: nn.Module, address: str, part: Part, *, averaged: bool = True
    ) -> nn.Module:
        """A module with its weights of this step, averaged ones where there are some and they are
        wanted."""
        saved = self._weights()
        own: dict[str, Tensor] = {}
        for prefix in (f"ema.{address}/", f"{address}/") if averaged else (f"{address}/",):
            own = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            if own:
                break
        if not own and module.state_dict() and self.step not in self.folder.checkpoint_steps():
            raise RunError(
                f"of step {self.step} only the generators are kept, not {address}; steps with a "
                f"whole checkpoint: {', '.join(map(str, self.folder.checkpoint_steps()))}"
            )
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise RunError(
                f"{part.component.id} {part.component.version} does not fit the weights in "
                f"{self.folder.path}: it was trained with another version of the plugin"
            ) from error
        return module.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def class_scores(self, images: Tensor, discriminator: str | None = None) -> Tensor:
        """What a discriminator, or a classifier that a loss hung on it, says of the classes.

        images: [N, C, H, W] of the domain that it judges, or of that which this is resized from;
        unaugmented. Returns logits [N, classes] on the CPU; a further output for fakes is left out.
        Raises GanforgeError where nothing classifies.
        """
        plan = self.discriminator_plan(discriminator)
        if plan.given or plan.labels is None:
            raise GanforgeError(
                f"discriminator '{plan.name}' is given conditions, so it classifies nothing alone"
                if plan.given
                else f"the data of discriminator '{plan.name}' has no labels"
            )
        spec = self.plan.domains[plan.on].spec
        if plan.judged != spec:
            raise GanforgeError(
                f"discriminator '{plan.name}' judges {plan.judged}, which augmentors make of {spec}"
            )
        if plan.on not in self.plan.data.description.domains:
            images = resized(images, spec.shape, self.plan.domains[plan.on].resample)
        network = self._network(plan)
        owners = [self._loss(x, plan) for x in self.plan.losses.values() if owns(x, plan)]
        found = [
            _classes(network(part.to(self.device)), owners, plan.name)
            for part in torch.split(images, _BATCH)
        ]
        return torch.cat(found)[:, : plan.labels.classes].float().cpu()

    def _weights(self) -> Mapping[str, Tensor]:
        """The networks of this step: its checkpoint, or the generators kept beside its sheet."""
        if self.step not in self.folder.checkpoint_steps():
            try:
                return load_file(self.folder.snapshot(self.step))
            except (OSError, SafetensorError) as error:
                raise RunError(f"cannot read the snapshot of step {self.step}: {error}") from error
        return checkpoint.load(self.folder.checkpoints, self.step).networks

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, as dicts."""
        return list(self.folder.metric_lines())

    @torch.no_grad()
    def sample(
        self,
        count: int = 16,
        *,
        label: int | str | None = None,
        text: str | None = None,
        seed: int = 0,
        generator: str | None = None,
    ) -> Tensor:
        """What a generator makes of drawn noise, float32 [count, C, H, W] in [-1, 1], on the CPU;
        of a generator of text, token numbers int64 [count, length].

        Image i of seed S is image 0 of seed S + i. label: the name of a class, or its number from 0
        where no class is called by a number; left out, the classes take turns. text: what is
        described; left out, held-out texts take turns. Raises GanforgeError for a label or text
        that the generator does not know.
        """
        plan = self.generator_plan(generator)
        if text is not None and not self._reads(plan, TextSpec):
            raise GanforgeError(f"generator '{plan.name}' is given no text: leave it out")
        made = []
        for start in range(0, count, _BATCH):
            seeds = range(seed + start, seed + min(start + _BATCH, count))
            sources = self.sources(plan, seeds, label, text=text)
            made.append(self._made(plan, sources, seeds).cpu())
        data = torch.cat(made)
        return data.argmax(2) if isinstance(plan.target_spec, TextSpec) else data

    @torch.no_grad()
    def made_of(self, rows: Mapping[str, Tensor], generator: str | None = None) -> Tensor:
        """What a generator makes of given sources, on the CPU; sources that it needs and that are
        not given are drawn, for item i from seed i.

        rows: source (a domain, or `generators.NAME`) -> items [N, ...]. Classes may be given as
        one-hot numbers float [N, classes], also between two; a generator that only knows class
        numbers gets the nearest.
        """
        plan = self.generator_plan(generator)
        count = len(next(iter(rows.values())))
        made = []
        for start in range(0, count, _BATCH):
            seeds = range(start, min(start + _BATCH, count))
            part = {source: value[start : seeds.stop] for source, value in rows.items()}
            try:
                data = self._made(plan, self.sources(plan, seeds, rows=part), seeds)
            except (RuntimeError, IndexError, TypeError):
                part = {k: self._as_numbers(k, value) for k, value in part.items()}
                data = self._made(plan, self.sources(plan, seeds, rows=part), seeds)
            made.append(data.cpu())
        return torch.cat(made)

    def _as_numbers(self, source: str, value: Tensor) -> Tensor:
        domain = self.plan.domains.get(source)
        is_label = domain is not None and isinstance(domain.spec, LabelSpec)
        return value.argmax(1) if is_label and value.is_floating_point() else value

    def write(
        self,
        count: int = 16,
        *,
        text: str | None = None,
        seed: int = 0,
        generator: str | None = None,
    ) -> list[str]:
        """What a generator of text writes, as `sample` draws it."""
        plan = self.generator_plan(generator)
        if not isinstance(plan.target_spec, TextSpec):
            raise GanforgeError(f"generator '{plan.name}' makes {plan.target_spec}, no text")
        tokens = self.sample(count, text=text, seed=seed, generator=plan.name)
        return [plan.target_spec.decode(row) for row in tokens.tolist()]

    def texts_read(self, plan: GeneratorPlan, seeds: Sequence[int]) -> list[str] | None:
        """The held-out texts that a generator reads for these seeds; None where it reads none."""
        found = ((d, spec) for d, spec in self.leaves(plan) if isinstance(spec, TextSpec))
        domain, spec = next(found, (None, None))
        if domain is None or spec is None:
            return None
        return [spec.decode(row) for row in held_out_rows(self.dataset(), domain, seeds).tolist()]

    def _reads(self, plan: GeneratorPlan, kind: type[Spec]) -> bool:
        """Whether a generator, or one whose output it reads, reads data of a kind."""
        return any(isinstance(spec, kind) for _, spec in self.leaves(plan))

    def leaves(self, plan: GeneratorPlan) -> list[tuple[str, Spec]]:
        """The domains that a generator reads, also through others, with their specs."""
        return list(graph.leaves(self.plan.generators, plan))

    def by_class(self, styles: int, *, seed: int = 0, generator: str | None = None) -> Tensor:
        """Every class from the same noise: image [i, c] of [styles, classes, C, H, W] is class c
        made with the noise of seed S + i. Raises GanforgeError where no label is given."""
        plan = self.generator_plan(generator)
        spec = next((s for s in plan.source_specs if isinstance(s, LabelSpec)), None)
        if spec is None:
            raise GanforgeError(f"generator '{plan.name}' is given no label")
        classes = spec.names or range(spec.classes)
        columns = (
            self.sample(styles, label=label, seed=seed, generator=plan.name) for label in classes
        )
        return torch.stack(list(columns), 1)

    def _made(self, plan: GeneratorPlan, sources: Sequence[Tensor], seeds: Sequence[int]) -> Tensor:
        """What a generator makes of its sources, float32 on the run's device."""
        network = self.generator(plan.name)
        sources = [source.to(self.device) for source in sources]
        if not getattr(network, "draws_itself", False):
            return self._data_of(plan, network, sources)
        made = []
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for row, seed in enumerate(seeds):
                Draws(seed, self.device.type).seed_networks("sample", plan.address)
                one = [source[row : row + 1] for source in sources]
                made.append(self._data_of(plan, network, one))
        return torch.cat(made)

    @staticmethod
    def _data_of(plan: GeneratorPlan, network: Any, sources: Sequence[Tensor]) -> Tensor:
        with attributing_errors(plan.component):
            made = network(*sources)
        checked = generator_output(made, len(sources[0]), plan.component, plan.target_spec)
        return checked.data.float()

    def sources(
        self,
        plan: GeneratorPlan,
        seeds: Sequence[int],
        label: int | str | None = None,
        rows: Mapping[str, Tensor] | None = None,
        text: str | None = None,
    ) -> list[Tensor]:
        """What a generator is given for these seeds, one item each.

        rows: data by domain, taken where the generator reads it. What else it reads of the data,
        images apart, are the held-out rows of the seeds' numbers, or `text`.
        """
        values = []
        for source, spec in zip(plan.sources, plan.source_specs, strict=True):
            if rows and source in rows:
                values.append(rows[source])
            elif (name := made_by(source)) is not None:
                before = self.generator_plan(name)
                read = self.sources(before, seeds, label, rows, text)
                values.append(self._made(before, read, seeds))
            elif isinstance(spec, NoiseSpec):
                values.append(torch.stack([noise_of(spec, source, seed) for seed in seeds]))
            elif isinstance(spec, LabelSpec):
                number = class_number(spec, label)
                values.append(
                    torch.tensor([s % spec.classes if number is None else number for s in seeds])
                )
            elif isinstance(spec, TextSpec) and text is not None:
                values.append(torch.tensor([spec.encode(text)] * len(seeds)))
            elif not isinstance(spec, ImageSpec):
                values.append(held_out_rows(self.dataset(), source, seeds))
            else:
                raise GanforgeError(
                    f"generator '{plan.name}' turns {spec} into {plan.target_spec}: use "
                    f"`ganforge translate {self.folder.name} INPUT... --out DIR`"
                )
        return values

    @torch.no_grad()
    def translate(
        self,
        images: Tensor,
        generator: str | None = None,
        *,
        seed: int = 0,
        label: int | str | None = None,
    ) -> Tensor:
        """What an image-to-image generator makes of images [N, C, H, W] in [-1, 1]; whatever else
        it reads is drawn, for image i from seed S + i.

        label: a class number or name; left out, the classes take turns. Raises GanforgeError for a
        label that the generator does not know.
        """
        plan = self.generator_plan(generator)
        if not isinstance(plan.source_specs[0], ImageSpec):
            raise GanforgeError(
                f"generator '{plan.name}' makes images from {plan.source_specs[0]}: use "
                f"`ganforge sample {self.folder.name}`"
            )
        made = []
        for start in range(0, len(images), _TRANSLATED):
            part = images[start : start + _TRANSLATED]
            seeds = range(seed + start, seed + start + len(part))
            sources = self.sources(plan, seeds, label, rows={plan.sources[0]: part})
            made.append(self._made(plan, sources, seeds).cpu())
        return torch.cat(made)


def owns(loss: LossPlan, discriminator: DiscriminatorPlan) -> bool:
    """Whether a loss has an instance of its own for this discriminator."""
    return loss.of_pairings and discriminator.name in loss.on


def _classes(
    output: Tensor | DiscriminatorOutput, owners: Sequence[Loss], discriminator: str
) -> Tensor:
    output = (
        output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(scores=output)
    )
    if output.class_scores is not None:
        return output.class_scores
    for loss in owners:
        scores = loss.class_scores(output)
        if scores is not None:
            return scores
    raise GanforgeError(f"neither discriminator '{discriminator}' nor a loss on it classifies")


P = TypeVar("P")


def _one(plans: Mapping[str, P], name: str | None, what: str) -> P:
    """The plan of this name, or the only one."""
    if name is None and len(plans) == 1:
        return next(iter(plans.values()))
    if name is None or name not in plans:
        raise GanforgeError(
            f"say which {what}: {', '.join(plans)} (`--{what} NAME`)"
            if name is None
            else f"there is no {what} '{name}'; there are: {', '.join(plans)}"
        )
    return plans[name]


def noise_of(spec: NoiseSpec, source: str, seed: int) -> Tensor:
    """The noise of one seed, float32 [dim]; it depends on nothing else in a batch."""
    generator = Draws(seed).generator("sample", source)
    if spec.distribution == "uniform":
        return torch.from_numpy(generator.uniform(-1, 1, spec.dim).astype(np.float32))
    return torch.from_numpy(generator.standard_normal(spec.dim, dtype=np.float32))


def class_number(spec: LabelSpec, label: int | str | None) -> int | None:
    """The number of a class given by name, or by number where no class is called by a number: of
    the classes "1" to "11", 0 is none. Raises GanforgeError when there is none."""
    if label is None:
        return None
    if str(label) in spec.names:
        return spec.names.index(str(label))
    counted = not any(name.isdecimal() for name in spec.names)
    if counted and str(label).isdecimal() and int(label) < spec.classes:
        return int(label)
    names = ", ".join(spec.names) if spec.names else f"0 to {spec.classes - 1}"
    raise GanforgeError(f"there is no label '{label}'; there are: {names}")
