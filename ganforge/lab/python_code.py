"""A network as plain Python: every operation that it plays, one a line, its weights read by name.

torch.export follows a network and gives the operations of a forward; here they are written down. A
.pt2 archive would hold the same, but it is read with pickle, TorchScript is deprecated, and copied
sources would need everything that they import.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ganforge.interfaces.components import GeneratorOutput
from ganforge.interfaces.errors import GanforgeError


@frozen(eq=False)
class Traced:
    """A network as source. lines: the body of a function of `w` (weights by name) and the inputs.
    together: whether these may be several items, or one only. operations: what is called.
    """

    inputs: tuple[str, ...]
    lines: tuple[str, ...]
    weights: Mapping[str, Tensor]
    together: bool
    operations: tuple[str, ...]


class _Data(nn.Module):
    """A generator that returns its data alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *sources: Tensor) -> Tensor:
        made = self.network(*sources)
        return (made.data if isinstance(made, GeneratorOutput) else made).float()


def plain(network: nn.Module) -> nn.Module:
    """A copy on the CPU that returns its data alone, its weights as they are used: what normalises
    them is worked out."""
    alone = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    for module in list(alone.modules()):
        if parametrize.is_parametrized(module):
            # A copy shares its class with the original, whose parameter would go too.
            kind = type(module)
            module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return _Data(alone.requires_grad_(False)).eval()


def traced(network: nn.Module, inputs: Sequence[Tensor], names: Sequence[str], what: str) -> Traced:
    """A generator as source. inputs: five items of each source, or one where it can only make one
    at a time. `what` names it in errors. Raises GanforgeError where it cannot be followed."""
    several = len(inputs[0]) > 1
    try:
        program = _followed(plain(network), inputs, several)
    except Exception as error:  # torch.export raises whatever met it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GanforgeError(
            f"{what} cannot be exported: torch.export cannot follow it ({reason})"
        ) from error
    shape = program.graph.output_node().args[0][0].meta["val"].shape
    if several and isinstance(shape[0], int):  # it was written for as many items as there were
        return traced(network, [value[:1] for value in inputs], names, what)
    lines, weights = tuple(_lines(program, names, what)), _tensors(program)
    return Traced(tuple(names), lines, weights, several, _operations(program))


def _followed(
    network: nn.Module, inputs: Sequence[Tensor], several: bool
) -> torch.export.ExportedProgram:
    dynamic: Any = None
    if several:
        dynamic = (tuple({0: torch.export.Dim.AUTO} for _ in inputs),)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(network, tuple(inputs), dynamic_shapes=dynamic, strict=False)


def _operations(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """What is called in turn, sizes apart."""
    called = (node for node in program.graph.nodes if node.op == "call_function")
    targets = (str(node.target) for node in called if not _only_asserts(node))
    return tuple(
        target for target in targets if target.startswith("aten.") and "sym_" not in target
    )


_KINDS = torch.export.graph_signature.InputKind


def _name(target: str) -> str:
    return target.removeprefix("network.")


def _tensors(program: torch.export.ExportedProgram) -> dict[str, Tensor]:
    """The weights that are read, by name."""
    users = {node.name: node.users for node in program.graph.nodes if node.op == "placeholder"}
    found = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is not _KINDS.USER_INPUT and spec.target and users[spec.arg.name]:
            kept = program.state_dict.get(spec.target)
            value = program.constants[spec.target] if kept is None else kept
            found[_name(spec.target)] = value.detach().clone().contiguous()
    return found


def _lines(program: torch.export.ExportedProgram, names: Sequence[str], what: str) -> Iterator[str]:
    words: dict[str, str] = {}
    inputs = iter(names)
    for spec in program.graph_signature.input_specs:
        if spec.kind is _KINDS.USER_INPUT:
            words[spec.arg.name] = next(inputs)
        else:
            words[spec.arg.name] = f"w[{_name(spec.target or '')!r}]"
    module = ""
    for node in program.graph.nodes:
        if node.op == "placeholder" or _only_asserts(node):
            continue
        if node.op == "output":
            yield f"return {_written(node.args[0][0], words, what)}"
            continue
        inside = _module_of(node)
        if inside and inside != module:
            yield f"# {inside}"
            module = inside
        yield f"{node.name} = {_call(node, words, what)}"


def _only_asserts(node: fx.Node) -> bool:
    target = str(node.target)
    return not node.users and ("_assert" in target or "sym_constrain" in target)


def _module_of(node: fx.Node) -> str:
    """The innermost module that an operation belongs to, such as `layers.0 (Conv2d)`."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, cls = stack[-1]
    kind = str(cls if isinstance(cls, str) else cls.__name__).rpartition(".")[2]
    inside = str(path).partition("network")[2].removeprefix(".")
    return f"{inside} ({kind})" if inside else ""


def _call(node: fx.Node, words: Mapping[str, str], what: str) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        function = str(target)  # aten.conv2d.default
    elif getattr(target, "__module__", "") in ("_operator", "math"):
        function = f"{str(target.__module__).strip('_')}.{target.__name__}"  # type: ignore[union-attr]
    else:
        raise GanforgeError(f"{what} cannot be exported: it uses {target}, which is not in torch")
    given = [_written(value, words, what) for value in node.args]
    given += [f"{key}={_written(value, words, what)}" for key, value in node.kwargs.items()]
    return f"{function}({', '.join(given)})"


def _written(value: Any, words: Mapping[str, str], what: str) -> str:
    """A value as Python would write it."""
    if isinstance(value, fx.Node):
        return words.get(value.name, value.name)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_written(one, words, what) for one in value)}]"
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return str(value)
    if isinstance(value, torch.device):
        return repr(str(value))
    if isinstance(value, float) and value - value != 0:
        return f"float({str(value)!r})"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise GanforgeError(f"{what} cannot be exported: it uses {value!r}, which cannot be written")
