"""The generators of a run as a folder that needs neither ganforge nor the run."""

from __future__ import annotations

import json
import keyword
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from ganforge import __version__
from ganforge.data.feed import held_out_rows, held_out_split
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.specs import ImageSpec, LabelSpec, NoiseSpec, Spec, spec_to_dict
from ganforge.lab.python_code import Traced, plain, traced
from ganforge.runs.run_folder import write_whole

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_ITEMS = 5  # that a generator is followed with; no other size of it should be the same
_LARGEST = 64_000_000  # bytes of held-out rows


def export(run: Run, out: Path, generator: str | None = None) -> list[str]:
    """Write generators into a folder: all of a run, or one and those that it reads. Returns the
    names of its files.

    What was written is tried at once: it must make what the run makes, bit for bit on a CPU (within
    0.001 where a generator can only be followed for one item at a time). Raises GanforgeError where
    a generator cannot be followed, and where it makes anything else.
    """
    plans = _wanted(run, generator)
    found = {plan.name: _traced(run, plan) for plan in plans}
    rows = _rows(run, plans)
    out.mkdir(parents=True, exist_ok=True)
    weights = {f"{n}/{k}": v for n, made in found.items() for k, v in made[0].weights.items()}
    told = {"run": run.folder.name, "step": str(run.step), "ganforge": __version__}
    (out / "weights.safetensors").write_bytes(save(weights, told))
    if rows:
        (out / "rows.safetensors").write_bytes(save(rows, told))
    write_whole(out / "config.json", json.dumps(_config(run, plans, found), indent=1) + "\n")
    write_whole(out / "networks.py", _source(run, found))
    program = Path(__file__).with_name("generate.py").read_text(encoding="utf-8")
    write_whole(out / "generate.py", program)
    for plan in plans:
        _try(run, plan, out)
    names = ["generate.py", "networks.py", "config.json", "weights.safetensors"]
    return [*names, "rows.safetensors"] if rows else names


def _wanted(run: Run, generator: str | None) -> list[GeneratorPlan]:
    """In the order in which they read each other."""
    ends = run.plan.generators.values() if generator is None else [run.generator_plan(generator)]
    found: dict[str, GeneratorPlan] = {}

    def add(plan: GeneratorPlan) -> None:
        for source in plan.sources:
            if source.startswith("generators."):
                add(run.generator_plan(source.removeprefix("generators.")))
        found[plan.name] = plan

    for plan in ends:
        add(plan)
    return list(found.values())


# --- what is in the folder ------------------------------------------------------------------------


def example(run: Run, plan: GeneratorPlan, count: int, seed: int = 0) -> list[Tensor]:
    """What a generator reads for some seeds, on the CPU; pictures are noise."""
    sources = run.sources(plan, range(seed, seed + count), rows=_pictures(run, plan, count, seed))
    return [source.cpu() for source in sources]


def _pictures(run: Run, plan: GeneratorPlan, count: int, seed: int = 0) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {
        domain: torch.rand(count, *spec.shape, generator=draws) * 2 - 1
        for domain, spec in run.leaves(plan)
        if isinstance(spec, ImageSpec)
    }


def _traced(run: Run, plan: GeneratorPlan) -> list[Traced]:
    """A generator as source; and as it is for one item, where it then does something else."""
    network = run.generator(plan.name)
    alone = bool(getattr(network, "draws_itself", False))
    names = [_word(source.removeprefix("generators.")) for source in plan.sources]
    what = f"generator '{plan.name}' ({plan.component.name})"
    found = [
        traced(network, example(run, plan, count), names, what)
        for count in ((1,) if alone else (_ITEMS, 1))
    ]
    return found if found[0].operations != found[-1].operations else found[:1]


def _word(name: str) -> str:
    """A name as Python writes one."""
    word = re.sub(r"\W", "_", name)
    return f"{word}_" if keyword.iskeyword(word) or word in ("w", "aten", "torch") else word


def _rows(run: Run, plans: Sequence[GeneratorPlan]) -> dict[str, Tensor]:
    """The held-out rows that take turns: of what is neither noise, class nor picture."""
    rows = {}
    for plan in plans:
        for source, spec in zip(plan.sources, plan.source_specs, strict=True):
            drawn = isinstance(spec, (NoiseSpec, LabelSpec, ImageSpec))
            if drawn or source.startswith("generators."):
                continue
            dataset = run.dataset()
            count = dataset.count(held_out_split(dataset), source)
            value = held_out_rows(dataset, source, range(count)).contiguous()
            if value.numel() * value.element_size() <= _LARGEST:
                rows[source] = value
    return rows


def _config(
    run: Run, plans: Sequence[GeneratorPlan], found: Mapping[str, list[Traced]]
) -> dict[str, Any]:
    read = {source for plan in plans for source in plan.sources}
    ends = [plan.name for plan in plans if plan.address not in read]
    return {
        "ganforge": __version__,
        "torch": torch.__version__,
        "run": run.folder.name,
        "step": run.step,
        "usual": ends[0] if len(ends) == 1 else None,
        "generators": {
            plan.name: {
                "sources": [
                    _source_told(source, spec)
                    for source, spec in zip(plan.sources, plan.source_specs, strict=True)
                ],
                "target": {"name": plan.target, **spec_to_dict(plan.target_spec)},
                "averaged": plan.ema is not None,
                "draws_itself": bool(getattr(run.generator(plan.name), "draws_itself", False)),
                "together": found[plan.name][0].together,
                "component": f"{plan.component.id} {plan.component.version}",
            }
            for plan in plans
        },
    }


def _source_told(source: str, spec: Spec) -> dict[str, Any]:
    by = {"by": source.removeprefix("generators.")} if source.startswith("generators.") else {}
    return {"name": source, **by, **spec_to_dict(spec)}


_HEAD = '''"""The generators of {run} at step {step}, every operation of a forward, one a line.

`w` holds the weights of one generator by name. Written by ganforge {version} with torch {torch}.
"""

import math
import operator
from collections.abc import Mapping

import torch
from torch import Tensor

aten = torch.ops.aten
'''


def _source(run: Run, found: Mapping[str, list[Traced]]) -> str:
    head = {"step": run.step, "version": __version__, "torch": torch.__version__}
    parts = [_HEAD.format(run=run.folder.name.replace('"', "'").replace("\\", "/"), **head)]
    table = []
    for number, (name, made) in enumerate(found.items()):
        function = f"make_{number}_{_word(name)}"
        several, *alone = made
        first = several.inputs[0]
        other = f"return {function}_alone({', '.join(['w', *several.inputs])})"
        before = [f"if {first}.shape[0] == 1:", f"    {other}"] if alone else []
        parts.append(_function(function, several, before))
        parts += [_function(f"{function}_alone", one, []) for one in alone]
        table.append(f"    {name!r}: {function},\n")
    parts.append("\n\nGENERATORS = {\n" + "".join(table) + "}\n")
    used = "".join(parts[1:])
    for module in ("math", "operator"):
        if f"{module}." not in used:
            parts[0] = parts[0].replace(f"import {module}\n", "")
    return "".join(parts)


def _function(name: str, one: Traced, before: Sequence[str]) -> str:
    inputs = "".join(f", {word}: Tensor" for word in one.inputs)
    body = "\n".join(f"    {line}" for line in (*before, *one.lines))
    return f"\n\ndef {name}(w: Mapping[str, Tensor]{inputs}) -> Tensor:\n{body}\n"


# --- that it does what the run does ---------------------------------------------------------------


def _try(run: Run, plan: GeneratorPlan, folder: Path) -> None:
    """Raises GanforgeError where the folder makes anything but what the run makes."""
    exported = _opened(folder)
    config = exported.generators[plan.name]
    exactly = run.device.type == "cpu" and (config["together"] or config["draws_itself"])
    for count, seed in ((1, 3), (_ITEMS, 0)):
        if any(isinstance(spec, ImageSpec) for _, spec in run.leaves(plan)):
            (pictures,) = _pictures(run, plan, count).values()
            ours = run.translate(pictures, plan.name)
            theirs = exported.translate(pictures, plan.name)
        else:
            ours = run.sample(count, seed=seed, generator=plan.name)
            theirs = exported.sample(count, seed=seed, generator=plan.name)
        same = torch.equal(ours, theirs) if exactly else torch.allclose(ours, theirs, atol=1e-3)
        if not same:
            raise GanforgeError(
                f"generator '{plan.name}' cannot be exported: what was written in {folder} makes "
                f"other images than the run, by up to {float((ours - theirs).abs().max()):.2g}"
            )


def _opened(folder: Path) -> Any:
    """The `Exported` of a folder's own generate.py."""
    spec = spec_from_file_location("exported_generate", folder / "generate.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        return module.Exported(folder)
    finally:
        sys.dont_write_bytecode = written


# --- ONNX -----------------------------------------------------------------------------------------


def to_onnx(run: Run, out: Path, generator: str | None = None) -> list[str]:
    """Write `NAME.onnx` for each generator, with its sources as inputs. Returns the names.

    Raises GanforgeError where the extra is not installed, and for a generator that draws by itself,
    whose draws an ONNX model cannot repeat.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise GanforgeError("ONNX is an extra: `pip install ganforge[onnx]`") from None
    names = []
    for plan in _wanted(run, generator):
        network = run.generator(plan.name)
        if getattr(network, "draws_itself", False):
            raise GanforgeError(
                f"generator '{plan.name}' draws by itself, which ONNX cannot repeat"
            )
        _write_onnx(run, plan, out / f"{plan.name}.onnx")
        names.append(f"{plan.name}.onnx")
    return names


def _write_onnx(run: Run, plan: GeneratorPlan, path: Path) -> None:
    inputs = example(run, plan, _ITEMS)
    names = [_word(source.removeprefix("generators.")) for source in plan.sources]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                plain(run.generator(plan.name)),
                tuple(inputs),
                path,
                input_names=names,
                output_names=["data"],
                dynamic_shapes=(tuple({0: torch.export.Dim.AUTO} for _ in inputs),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # whatever the exporter met
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise GanforgeError(
                f"generator '{plan.name}' cannot be written as ONNX: {reason}"
            ) from error
