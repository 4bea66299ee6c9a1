"""Walks over the graph of generators: each leads from its sources to its target, and a source is a
domain or what another generator makes. Light."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from ganforge.interfaces.addresses import made_by
from ganforge.interfaces.specs import Spec


class Edge(Protocol):
    """What a walk reads of a generator."""

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def source_specs(self) -> tuple[Spec, ...]: ...

    @property
    def target(self) -> str: ...

    @property
    def side(self) -> str: ...


E = TypeVar("E", bound=Edge)


def upstream(sources: tuple[str, ...]) -> list[str]:
    """The generators whose output is among these sources."""
    return [name for name in map(made_by, sources) if name is not None]


def chain(edges: Mapping[str, Edge], name: str) -> list[str]:
    """A generator after all those whose output it reads, also through others, each once."""
    found: dict[str, None] = {}
    for before in upstream(edges[name].sources):
        found |= dict.fromkeys(chain(edges, before))
    return [*found, name]


def learning_chain(edges: Mapping[str, Edge], name: str) -> list[str]:
    """The same, as far as gradients go back in G's turn: none reach what learns in D's turn, since
    generators read it detached."""
    if edges[name].side == "discriminator":
        return []
    before = (n for source in upstream(edges[name].sources) for n in learning_chain(edges, source))
    return [*dict.fromkeys(before), name]


def leaves(edges: Mapping[str, Edge], edge: Edge) -> Iterator[tuple[str, Spec]]:
    """(domain, spec) of all that a generator reads, also through others."""
    for source, spec in zip(edge.sources, edge.source_specs, strict=True):
        before = made_by(source)
        if before is None:
            yield source, spec
        elif before in edges:
            yield from leaves(edges, edges[before])


def ends(edges: Mapping[str, E]) -> dict[str, E]:
    """The generators whose output no other reads."""
    read = {name for edge in edges.values() for name in upstream(edge.sources)}
    return {name: edge for name, edge in edges.items() if name not in read}


def inverse(edges: Mapping[str, Edge], edge: Edge) -> str | None:
    """The generator that leads back from this one's target to its first source."""
    for name, other in edges.items():
        if other.sources[0] == edge.target and other.target == edge.sources[0]:
            return name
    return None
