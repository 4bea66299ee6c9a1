"""A run opened to be looked at: its generators, samples and metrics; also from notebooks.

Needs only the run folder: what the data yields is written in its `resolved.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ganforge import checkpoint
from ganforge.compose import compose
from ganforge.draws import Draws
from ganforge.errors import GanforgeError, RunError
from ganforge.feed import held_out_rows
from ganforge.interfaces import Dataset, Made
from ganforge.machine import find_device
from ganforge.networks import build_network
from ganforge.plan import GeneratorPlan, Plan
from ganforge.recipe import load
from ganforge.registry import Registry
from ganforge.runfolder import RunFolder, find_run
from ganforge.specs import ImageSpec, LabelSpec, NoiseSpec

_BATCH = 64  # images made at once when sampling


def open_run(
    run: str | Path | None = None,
    *,
    step: int | str = "last",
    device: str = "auto",
    plugin_files: Sequence[Path] = (),
) -> Run:
    """Open a run by its folder, its name, or nothing for the newest.

    step: a step with a checkpoint, "last" or "best". Raises RunError when there is none.
    """
    return Run(find_run(run), step=step, device=find_device(device), plugin_files=plugin_files)


class Run:
    """One run, looked at: nothing here changes it."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        step: int | str = "last",
        device: torch.device | None = None,
        plugin_files: Sequence[Path] = (),
        registry: Registry | None = None,
    ) -> None:
        self.folder = folder
        self.device = device or torch.device("cpu")
        self.registry = registry or Registry.load(plugin_files=plugin_files)
        self.step = self._find_step(step)
        self._live: Mapping[str, nn.Module] = {}
        self._generators: dict[str, nn.Module] = {}

    @classmethod
    def during(cls, training: Any) -> Run:
        """The run of a training in progress, with the generators as they are now."""
        run = cls.__new__(cls)
        run.folder = training.folder
        run.device = training.game.device
        run.registry = training.registry
        run.step = training.step
        run._live = {name: training.generator(name) for name in training.plan.generators}
        run._generators = {}
        run.__dict__["plan"] = training.plan
        return run

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
            best = self.folder.path / "best.json"
            if not best.is_file():
                raise RunError(
                    f"{self.folder.path} has no best step, since no metric was asked to choose "
                    "one; use `--step last`"
                )
            import json

            return int(json.loads(best.read_text(encoding="utf-8"))["step"])
        number = int(step) if str(step).isdecimal() else -1
        if number in steps or self.folder.snapshot(number).exists():
            return number
        kept = {int(path.stem[5:]) for path in self.folder.snapshots.glob("step-*.safetensors")}
        raise RunError(
            f"{self.folder.path} has no checkpoint of step {step}; "
            f"there are: {', '.join(map(str, sorted({*steps, *kept})))}, last"
        )

    @cached_property
    def plan(self) -> Plan:
        """What was played."""
        return compose(load(self.folder.resolved), self.registry, offline=True)

    def dataset(self) -> Dataset:
        """The run's dataset. Raises DataError when its files are not on this machine."""
        data = self.plan.data
        built: Dataset = self.registry.load_target(data.component)(
            data.options, data.image, data.description
        )
        return built

    def held_out(self, domain: str, count: int) -> Tensor:
        """The first held-out rows of a domain: images float32 [N, C, H, W] in [-1, 1]."""
        return held_out_rows(self.dataset(), domain, count).to(self.device)

    def generator(self, name: str | None = None) -> nn.Module:
        """A generator in eval mode, averaged where the recipe averages. `name` may be left out
        where there is only one."""
        plan = self.generator_plan(name)
        if plan.name in self._live:
            return self._live[plan.name].eval()
        if plan.name not in self._generators:
            self._generators[plan.name] = self._load(plan)
        return self._generators[plan.name]

    def generator_plan(self, name: str | None = None) -> GeneratorPlan:
        """The plan of a generator. Raises GanforgeError when the name is missing or wrong."""
        plans = self.plan.generators
        if name is None and len(plans) == 1:
            return next(iter(plans.values()))
        if name is None or name not in plans:
            raise GanforgeError(
                f"say which generator: {', '.join(plans)} (`--generator NAME`)"
                if name is None
                else f"there is no generator '{name}'; there are: {', '.join(plans)}"
            )
        return plans[name]

    def _load(self, plan: GeneratorPlan) -> nn.Module:
        others = {address: self._blank(address) for address in plan.settings.refs.values()}
        network = build_network(plan, self.registry, Draws(0), others)
        saved = self._weights()
        for prefix in (f"ema.{plan.address}/", f"{plan.address}/"):
            own = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            if own:
                break
        try:
            network.load_state_dict(own)
        except RuntimeError as error:
            raise RunError(
                f"{plan.component.id} {plan.component.version} does not fit the weights in "
                f"{self.folder.path}: it was trained with another version of the plugin"
            ) from error
        return network.to(self.device).eval().requires_grad_(False)

    def _weights(self) -> Mapping[str, Tensor]:
        """The networks of this step: its checkpoint, or the generators kept beside its sheet."""
        if self.step not in self.folder.checkpoint_steps():
            try:
                return load_file(self.folder.snapshot(self.step))
            except (OSError, SafetensorError) as error:
                raise RunError(f"cannot read the snapshot of step {self.step}: {error}") from error
        return checkpoint.load(self.folder.checkpoints, self.step).networks

    def _blank(self, address: str) -> nn.Module:
        return build_network(self.plan.networks[address], self.registry, Draws(0), {})

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, as dicts."""
        return list(self.folder.metric_lines())

    @torch.no_grad()
    def sample(
        self,
        count: int = 16,
        *,
        label: int | str | None = None,
        seed: int = 0,
        generator: str | None = None,
    ) -> Tensor:
        """What a generator makes of drawn noise, float32 [count, C, H, W] in [-1, 1], on the CPU.

        Image i of seed S is image 0 of seed S + i. label: a class number or name; left out, the
        classes take turns.
        """
        plan = self.generator_plan(generator)
        made = []
        for start in range(0, count, _BATCH):
            seeds = range(seed + start, seed + min(start + _BATCH, count))
            made.append(self._made(plan, self.sources(plan, seeds, label)).float().cpu())
        return torch.cat(made)

    def _made(self, plan: GeneratorPlan, sources: Sequence[Tensor]) -> Tensor:
        """What a generator makes of its sources, on the run's device."""
        result = self.generator(plan.name)(*(source.to(self.device) for source in sources))
        return result.data if isinstance(result, Made) else cast(Tensor, result)

    def sources(
        self,
        plan: GeneratorPlan,
        seeds: Sequence[int],
        label: int | str | None = None,
        rows: Mapping[str, Tensor] | None = None,
    ) -> list[Tensor]:
        """What a generator is given for these seeds, one item each.

        rows: data by domain, taken where the generator reads it.
        """
        values = []
        for source, spec in zip(plan.sources, plan.source_specs, strict=True):
            if rows and source in rows:
                values.append(rows[source])
            elif source.startswith("generators."):
                before = self.generator_plan(source.removeprefix("generators."))
                values.append(self._made(before, self.sources(before, seeds, label, rows)))
            elif isinstance(spec, NoiseSpec):
                values.append(torch.stack([noise_of(spec, source, seed) for seed in seeds]))
            elif isinstance(spec, LabelSpec):
                number = class_number(spec, label)
                values.append(
                    torch.tensor([s % spec.classes if number is None else number for s in seeds])
                )
            else:
                raise GanforgeError(
                    f"generator '{plan.name}' turns {spec} into {plan.target_spec}: use "
                    f"`ganforge translate {self.folder.name} INPUT... --out DIR`"
                )
        return values

    @torch.no_grad()
    def translate(self, images: Tensor, generator: str | None = None) -> Tensor:
        """What an image-to-image generator makes of images [N, C, H, W] in [-1, 1]; whatever else
        it reads is drawn, for image i from seed i."""
        plan = self.generator_plan(generator)
        if not isinstance(plan.source_specs[0], ImageSpec):
            raise GanforgeError(
                f"generator '{plan.name}' makes images from {plan.source_specs[0]}: use "
                f"`ganforge sample {self.folder.name}`"
            )
        sources = self.sources(plan, range(len(images)), rows={plan.sources[0]: images})
        return self._made(plan, sources).float().cpu()


def noise_of(spec: NoiseSpec, source: str, seed: int) -> Tensor:
    """The noise of one seed, float32 [dim]; it depends on nothing else in a batch."""
    generator = Draws(seed).generator("sample", source)
    if spec.distribution == "uniform":
        return torch.from_numpy(generator.uniform(-1, 1, spec.dim).astype(np.float32))
    return torch.from_numpy(generator.standard_normal(spec.dim, dtype=np.float32))


def class_number(spec: LabelSpec, label: int | str | None) -> int | None:
    """The number of a class given by number or name. Raises GanforgeError when there is none."""
    if label is None:
        return None
    if str(label) in spec.names:
        return spec.names.index(str(label))
    if str(label).isdecimal() and int(label) < spec.classes:
        return int(label)
    names = ", ".join(spec.names) if spec.names else f"0 to {spec.classes - 1}"
    raise GanforgeError(f"there is no label '{label}'; there are: {names}")


def train(
    recipe: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    preview: bool = False,
    out: str | Path | None = None,
    plugin_files: Sequence[str | Path] = (),
) -> Run:
    """Train a recipe as `ganforge run` does, and open the run. `set` overrides recipe keys."""
    from ganforge.launch import Request, launch

    request = Request(
        recipe=recipe,
        preview=preview,
        out=None if out is None else Path(out),
        sets=tuple(_settings(set or {})),
        plugin_files=tuple(Path(file) for file in plugin_files),
    )
    outcome = launch(request, print)
    return Run(outcome.folder, plugin_files=request.plugin_files)


def _settings(values: Mapping[str, Any], below: str = "") -> Iterator[str]:
    """KEY=VALUE for each value, also of tables within tables."""
    import tomli_w

    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{below}{key}.")
        else:
            plain = value.as_posix() if isinstance(value, Path) else value
            yield below + key + tomli_w.dumps({"v": plain}).strip().removeprefix("v")
