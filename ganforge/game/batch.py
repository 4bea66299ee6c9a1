"""The data of one update, and what generators make of it; each thing is made once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganforge.game.forwards import Forwards
from ganforge.hardware.processes import shares
from ganforge.interfaces.addresses import made_by
from ganforge.interfaces.components import GeneratorOutput
from ganforge.interfaces.draws import Draw
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.specs import LabelSpec, NoiseSpec
from ganforge.planning.graph import upstream
from ganforge.planning.plan import GeneratorPlan

# What a purpose is called in the addresses of draws, where runs of 0.1.0 have another name.
_IN_DRAWS = {"second": "twin"}


class Batch:
    """The rows of one discriminator update: number `update` of the run, counting from 0.

    rows: the part of the whole batch that is played (all of it, or one share of it).
    graph: whether the generators' forwards can be differentiated.
    together: the rows that all processes play at once, these among them; unset: these.
    """

    def __init__(
        self,
        game: Forwards,
        update: int,
        rows: slice,
        *,
        graph: bool,
        together: slice | None = None,
    ) -> None:
        self.game = game
        self.update = update
        self.rows = rows
        self.together = together or rows
        self.graph = graph
        self._data: dict[str, Tensor] | None = None
        self._made: dict[tuple[str, str], GeneratorOutput] = {}
        self._sources: dict[tuple[str, str], tuple[Tensor, ...]] = {}

    def __getitem__(self, domain: str) -> Tensor:
        """Real data of a domain, [N, *spec.shape]."""
        if self._data is None:
            self._data = dict(self.game.batches.batch(self.update, self.rows))
        if domain not in self._data:
            of = self.game.plan.domains[domain].of
            self._data[domain] = self.game.derived(domain, self[of], self.draw("view", domain))
        return self._data[domain]

    def draw(self, *address: str) -> Draw:
        """Draws of this batch for one purpose."""
        return self._draw(address, self.rows)

    def draw_together(self, *address: str) -> Draw:
        """The same draws, of the rows that all processes play at once."""
        return self._draw(address, self.together)

    def _draw(self, address: tuple[str, ...], rows: slice) -> Draw:
        generator = self.game.draws.generator(*address, self.update)
        return Draw(generator, self.game.plan.train.batch, rows, self.game.device)

    def sources(self, name: str, purpose: str = "made") -> tuple[Tensor, ...]:
        """What a generator is given. The `second` gets other noise, `mismatched` other data."""
        key = (name, purpose)
        if key not in self._sources:
            edge = self.game.plan.generators[name]
            self._sources[key] = tuple(self._source(edge, s, purpose) for s in edge.sources)
        return self._sources[key]

    def _source(self, edge: GeneratorPlan, source: str, purpose: str) -> Tensor:
        before = made_by(source)
        if before is not None:
            mismatched = purpose == "mismatched"
            data = self.made(before, purpose if mismatched else "made").data
            same_side = self.game.plan.generators[before].side == edge.side
            return data if same_side else data.detach()
        spec = self.game.plan.domains[source].spec
        if isinstance(spec, NoiseSpec):
            # By domain, not by generator: one that reads another's output shares its noise and
            # labels, as it does when it is sampled. Who wants other noise names another domain.
            address = ("noise", source) + ((_IN_DRAWS[purpose],) if purpose in _IN_DRAWS else ())
            return noise(spec, self.draw(*address))
        if isinstance(spec, LabelSpec) and not self._beside_rows(edge, source):
            return self.draw("label", source).integers(spec.classes)
        return self.mismatched(source) if purpose == "mismatched" else self[source]

    def _beside_rows(self, edge: GeneratorPlan, source: str) -> bool:
        """Whether a generator reads this label together with the rows that it belongs to."""
        group = set(self.game.plan.data.description.group(source)) - {source}
        return bool(group & set(edge.sources))

    def made(self, name: str, purpose: str = "made") -> GeneratorOutput:
        """What a generator made of its sources."""
        key = (name, purpose)
        if key not in self._made:
            sources = self.sources(name, purpose)
            learns = self.game.learns_now(name) if self._is_encoder(name) else self.graph
            with torch.set_grad_enabled(learns):
                self._made[key] = self.game.generate(
                    name,
                    sources,
                    address=(_IN_DRAWS.get(purpose, purpose), *self.address),
                    records=learns,
                )
        return self._made[key]

    @property
    def encoded(self) -> dict[tuple[str, str], GeneratorOutput]:
        """What encoders made of this batch so far. G's turn reads what D's last turn made, before
        that turn moved them."""
        return {key: made for key, made in self._made.items() if self._is_encoder(key[0])}

    def take_encoded(self, encoded: Mapping[tuple[str, str], GeneratorOutput]) -> None:
        """Read these in place of what encoders would make now."""
        self._made |= encoded

    def _is_encoder(self, name: str) -> bool:
        return self.game.plan.generators[name].side == "discriminator"

    @property
    def address(self) -> tuple[int, int]:
        """What tells this batch's forwards from others': the update, and the first row."""
        return self.update, self.rows.start or 0

    def condition(self, name: str, domain: str) -> Tensor | None:
        """What a generator, or one whose output it reads, was given or made of a domain."""
        edge = self.game.plan.generators[name]
        if domain in edge.sources:
            return self.sources(name)[edge.sources.index(domain)]
        for before in upstream(edge.sources):
            if self.game.plan.generators[before].target == domain:
                return self.made(before).data
            found = self.condition(before, domain)
            if found is not None:
                return found
        return None

    def matched(self, domain: str) -> Tensor:
        """The condition of real rows: their own data, or what is made of it."""
        maker = self.game.plan.maker(domain)
        return self[domain] if maker is None else self.made(maker).data

    def mismatched(self, domain: str) -> Tensor:
        """A condition that is wrong for each row: what the data says is wrong of it, else the data
        of the row before it in the whole batch; or what is made of that."""
        plan = self.game.plan
        maker = plan.maker(domain)
        if maker is not None:
            return self.made(maker, "mismatched").data
        wrong = plan.data.description.mismatched.get(domain)
        return self.of_other_rows(domain) if wrong is None else self[wrong]

    def of_other_rows(self, domain: str) -> Tensor:
        """Real data of a domain, each row's from the row before it in the whole batch."""
        whole = self.game.plan.train.batch
        if whole < 2:
            raise PluginError("a loss reads mismatched rows: `train.batch` must be 2 or more")
        batch = Batch(self.game, self.update, slice(0, whole), graph=False)
        return (self if self.rows == batch.rows else batch)[domain].roll(1, 0)[self._within(whole)]

    def _within(self, whole: int) -> slice:
        return slice(*self.rows.indices(whole))


def parts_of(game: Forwards, update: int, *, graph: bool) -> list[Batch]:
    """The batch of an update, in the parts that the recipe splits it into; of several processes,
    the rows of each part that this one plays."""
    if game.ranks is None:
        return [Batch(game, update, rows, graph=graph) for rows in _parts(game)]
    share = game.ranks.share
    return [Batch(game, update, share(r), graph=graph, together=r) for r in _parts(game)]


def all_parts_of(game: Forwards, update: int, *, graph: bool) -> list[Batch]:
    """The same, those of all processes one after the other, to play alone what they play."""
    every = (part for rows in _parts(game) for part in shares(rows, game.machine.processes))
    return [Batch(game, update, rows, graph=graph) for rows in every]


def rows_of(game: Forwards) -> list[slice]:
    """The rows of a batch that this process plays, in its parts."""
    parts = _parts(game)
    return parts if game.ranks is None else [game.ranks.share(rows) for rows in parts]


def _parts(game: Forwards) -> list[slice]:
    whole, parts = game.plan.train.batch, min(game.plan.train.accumulate, game.plan.train.batch)
    return [slice(whole * n // parts, whole * (n + 1) // parts) for n in range(parts)]


def noise(spec: NoiseSpec, draw: Draw) -> Tensor:
    """Drawn noise, float32 [N, dim]."""
    if spec.distribution == "uniform":
        return draw.uniform(spec.dim, low=-1.0, high=1.0)
    return draw.normal(spec.dim)
