"""The generators of a run as a folder that needs neither ganforge nor the run."""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ganforge import __version__
from ganforge.data.feed import held_out_rows, held_out_split
from ganforge.interfaces.addresses import made_by, name_of
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.specs import ImageSpec, LabelSpec, NoiseSpec, Spec, spec_to_dict
from ganforge.lab.python_code import Traced, plain, traced
from ganforge.planning import graph
from ganforge.storage.run_folder import write_whole

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_ITEMS = 5  # that a generator is followed with; no other size of it should be the same
_LARGEST = 64_000_000  # bytes of held-out rows
_NEAR = 1e-3  # a difference of no matter where a network is computed otherwise


def export(run: Run, out: Path, generator: str | None = None, *, onnx: bool = False) -> list[str]:
    """Write generators into a folder: all of a run, or one and those that it reads. Returns the
    names of its files. onnx: write NAME.onnx of each, too.

    What was written is tried at once: it must make what the run makes, bit for bit on a CPU (within
    0.001 where a generator can only be followed for one item at a time, and as ONNX). Raises
    GanforgeError where a generator cannot be followed, and where it makes anything else; then
    nothing is written.
    """
    plans = _wanted(run, generator)
    with _whole(out) as folder:
        names = _write(run, plans, folder)
        for plan in plans:
            _try(run, plan, folder)
        return names + (to_onnx(run, folder, generator) if onnx else [])


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder whose files are moved into another one if nothing is raised, and else are gone."""
    part = out.with_name(f".{out.name[:200]}.{os.getpid()}.part")
    new = [folder for folder in out.parents if not folder.exists()]
    try:
        part.mkdir(parents=True)
        yield part
        out.mkdir(exist_ok=True)
        for file in part.iterdir():
            file.replace(out / file.name)
    finally:
        rmtree(part, ignore_errors=True)
        with suppress(OSError):  # raised for those that are of use
            for folder in new:
                folder.rmdir()


def _write(run: Run, plans: Sequence[GeneratorPlan], out: Path) -> list[str]:
    """Write all but ONNX. Returns the names of the files."""
    found = {plan.name: _traced(run, plan) for plan in plans}
    rows = _rows(run, plans)
    weights = {f"{n}/{k}": v for n, made in found.items() for k, v in made[0].weights.items()}
    metadata = {"run": run.folder.name, "step": str(run.step), "ganforge": __version__}
    (out / "weights.safetensors").write_bytes(save(weights, metadata))
    if rows:
        (out / "rows.safetensors").write_bytes(save(rows, metadata))
    write_whole(out / "config.json", json.dumps(_config(run, plans, found), indent=1) + "\n")
    write_whole(out / "networks.py", _source(run, found))
    program = Path(__file__).with_name("generate.py").read_text(encoding="utf-8")
    write_whole(out / "generate.py", program)
    names = ["generate.py", "networks.py", "config.json", "weights.safetensors"]
    return [*names, "rows.safetensors"] if rows else names


def _wanted(run: Run, generator: str | None) -> list[GeneratorPlan]:
    """In the order in which they read each other."""
    ends = run.plan.generators.values() if generator is None else [run.generator_plan(generator)]
    plans = run.plan.generators
    names = dict.fromkeys(name for end in ends for name in graph.chain(plans, end.name))
    return [plans[name] for name in names]


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
    names = [_word(name_of(source)) for source in plan.sources]
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
            if drawn or made_by(source) is not None:
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
    ends = list(graph.ends({plan.name: plan for plan in plans}))
    return {
        "ganforge": __version__,
        "torch": torch.__version__,
        "run": run.folder.name,
        "step": run.step,
        "usual": ends[0] if len(ends) == 1 else None,
        "generators": {
            plan.name: {
                "sources": [
                    _source_text(source, spec)
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


def _source_text(source: str, spec: Spec) -> dict[str, Any]:
    name = made_by(source)
    return {"name": source, **({} if name is None else {"by": name}), **spec_to_dict(spec)}


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
        ours, theirs = _both(run, plan, exported, count, seed)
        same = torch.equal(ours, theirs) if exactly else torch.allclose(ours, theirs, atol=_NEAR)
        if not same:
            raise GanforgeError(
                f"generator '{plan.name}' cannot be exported: the exported code makes different "
                f"images than the run, by up to {float((ours - theirs).abs().max()):.2g}"
            )


def _both(
    run: Run, plan: GeneratorPlan, exported: Any, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """What the run makes of the same, and what the folder makes."""
    pictures = _pictures(run, plan, count)
    if len(pictures) > 1:
        sources = example(run, plan, count, seed)
        rows = dict(zip(plan.sources, sources, strict=True))
        return run.made_of(rows, plan.name), exported.make(*sources, generator=plan.name)
    for images in pictures.values():
        return run.translate(images, plan.name), exported.translate(images, plan.name)
    ours = run.sample(count, seed=seed, generator=plan.name)
    return ours, exported.sample(count, seed=seed, generator=plan.name)


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

    Each is run once with onnxruntime, for two numbers of items. Raises GanforgeError where it does
    not make what the network makes, where the extra is not installed, and for a generator that
    draws by itself, whose draws an ONNX model cannot repeat.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
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
        path = out / f"{plan.name}.onnx"
        network = plain(network)
        _write_onnx(run, plan, network, path)
        for count in _TRIED:
            _try_onnx(run, plan, network, path, count)
        names.append(path.name)
    return names


_TRIED = (1, 7)  # items that a written model is tried with; it is followed with others


def _write_onnx(run: Run, plan: GeneratorPlan, network: nn.Module, path: Path) -> None:
    inputs = example(run, plan, _ITEMS)
    names = [_word(name_of(source)) for source in plan.sources]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
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
            raise GanforgeError(
                f"generator '{plan.name}' cannot be written as ONNX: {_reason(error)}"
            ) from error


def _reason(error: Exception) -> str:
    """What is at the bottom of it, in a line: exporters wrap it in advice on themselves."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]


@torch.no_grad()
def _try_onnx(run: Run, plan: GeneratorPlan, network: nn.Module, path: Path, count: int) -> None:
    """Raises GanforgeError where a written model makes something else of so many items."""
    import onnxruntime

    inputs = example(run, plan, count, seed=1)
    ours = network(*inputs)
    refused = f"generator '{plan.name}' cannot be written as ONNX: what the exporter of torch wrote"
    of = f"of {count} item{'' if count == 1 else 's'}"
    try:
        model = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = {i.name: x.numpy() for i, x in zip(model.get_inputs(), inputs, strict=True)}
        theirs = torch.from_numpy(model.run(["data"], given)[0])
    except Exception as error:  # whatever the runtime met
        raise GanforgeError(f"{refused} cannot be run {of} ({_reason(error)})") from error
    if theirs.shape != ours.shape:
        shapes = f"{list(theirs.shape)}, not {list(ours.shape)}"
        raise GanforgeError(f"{refused} returns a different shape {of}: {shapes}")
    if not torch.allclose(theirs, ours, atol=_NEAR, rtol=_NEAR):
        raise GanforgeError(
            f"{refused} returns different values {of}, by up to "
            f"{float((theirs - ours).abs().max()):.2g} (allowed: {_NEAR:g}); resizing by a scale "
            "factor with antialias is such a case: give the size instead"
        )
