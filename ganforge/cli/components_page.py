"""`ganforge list --markdown`: components as a page of documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ganforge.interfaces.manifest import KINDS, Component
from ganforge.recipes.typed_options import OptionRow, option_rows
from ganforge.registry.parameter_names import loss_needs
from ganforge.registry.registry import Registry


def page(components: Iterable[Component], registry: Registry) -> str:
    """A section for each kind, and in it one for each component, with its options as a table."""
    found = list(components)
    lines = []
    for kind in KINDS:
        of_kind = sorted((c for c in found if c.kind == kind), key=lambda c: (c.name, c.provider))
        if of_kind:
            lines += [f"## {_plural(kind).capitalize()}", ""]
        for component in of_kind:
            lines += _component(component, registry)
    return "\n".join(lines).rstrip() + "\n"


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _component(component: Component, registry: Registry) -> Iterator[str]:
    yield f"### {component.kind}/{registry.short_name(component)}"
    yield ""
    paper = f" ({_linked(component.paper)})" if component.paper else ""
    yield f"{component.summary}{paper}."
    yield ""
    facts = list(_facts(component))
    if facts:
        yield from facts
        yield ""
    rows = option_rows(component.options)
    if rows:
        yield "| option | takes | default | what it is |"
        yield "|---|---|---|---|"
        yield from map(_option, rows)
        yield ""


def _linked(paper: str) -> str:
    number = paper.removeprefix("arXiv:")
    return paper if number == paper else f"[{paper}](https://arxiv.org/abs/{number})"


def _facts(component: Component) -> Iterator[str]:
    if component.kind == "loss":
        for side, names in loss_needs(component).items():
            shown = ", ".join(f"`{name}`" for name in names) or "nothing"
            yield f"- the {side}'s side reads {shown}"
    if callable(component.offers):
        yield "- what it offers depends on its options"
    elif component.offers:
        yield f"- offers {', '.join(f'`{name}`' for name in component.offers)}"


def _option(row: OptionRow) -> str:
    bounds = f", {row.bounds_text}" if row.bounds_text else ""
    default = "required" if row.required else f"`{row.default_text}`"
    cells = (f"`{row.name}`", f"{row.type_text}{bounds}", default, row.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
