"""How many of the valid wordings of held-out times a generator finds, and how many it invents.

A likelihood-trained network's best guess is one wording out of many. What a game should bring is
all of them, and nothing else. So both figures stand together, for texts as the run draws them, and
for what the same network gives when it is decoded or drawn from otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganforge import GanforgeError, GeneratorOutput, Metric, TextSpec
from ganforge_spoken_times.dataset import SpokenTimes
from ganforge_spoken_times.wording import valid, wordings

if TYPE_CHECKING:
    from ganforge import Run

BEAMS = (5, 20)
TEMPERATURES = (1.0, 0.7)
AT_ONCE = 32  # times that are asked for together


class WordingCoverage(Metric):
    """Over held-out times, for texts as the generator's own forward draws them:

    valid              share of the texts that are a wording of their time
    covered            share of a time's wordings that are among its texts
    covered-at-most    what as many draws cover on average where all wordings are equally likely
                       and nothing else is drawn: an upper bound of `covered` for independent draws

    and where the generator can `decode`, `valid` and `covered` of the same network below `greedy`
    (one text a time), `beam-5` and `beam-20` (that many texts), `temperature-1` and
    `temperature-0-7` (as many draws).
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """15:45 has nine wordings."""
        time = "15:45"
        right = list(wordings(time))
        yield "all wordings", found(time, right)[1], 1.0
        shares = found(time, [right[0], right[0], "quarter to five"])
        yield "one wording twice, and a wrong one, valid", shares[0], 2 / 3
        yield "one wording twice, and a wrong one, covered", shares[1], 1 / 9
        yield "one draw of nine", covered_at_most([9], 1), 1 / 9
        yield "two draws of two, and of one", covered_at_most([2, 1], 2), (3 / 4 + 1) / 2

    def measure(self, run: Run) -> Mapping[str, float]:
        dataset = run.dataset()
        if not isinstance(dataset, SpokenTimes):
            raise GanforgeError(
                "wording-coverage needs the data spoken-times, whose wordings are known, not "
                f"{run.plan.data.component.name}"
            )
        plan = next((p for p in run.plan.generators.values() if p.target == "wording"), None)
        if plan is None or "time" not in plan.sources:
            raise GanforgeError("wording-coverage needs a generator from `time` to `wording`")
        times = dataset.times("test")[: self.options.count]
        network, draws = run.generator(plan.name), self.options.draws
        tallies = Tallies(dataset.description.domains["wording"])
        source = dataset.description.domains["time"]
        for start in range(0, len(times), AT_ONCE):
            asked = times[start : start + AT_ONCE]
            tokens = torch.tensor([source.encode(time) for time in asked])
            every = tokens.repeat_interleave(draws, 0)
            seeds = range(start * draws, start * draws + len(every))
            one, many = (
                [s.to(run.device) for s in run.sources(plan, chosen, rows={"time": rows})]
                for chosen, rows in ((range(start, start + len(asked)), tokens), (seeds, every))
            )
            tallies.add("", asked, drawn(network, many, start))
            if hasattr(network, "decode"):
                for name, texts in decoded(network, one, many, start):
                    tallies.add(f"{name}/", asked, texts)
        figures = tallies.figures()
        figures["covered-at-most"] = covered_at_most([len(wordings(t)) for t in times], draws)
        return figures

    def protocol(self) -> str:
        options = self.options
        return (
            f"first {options.count} held-out times of spoken-times; valid = share of texts that "
            "are a wording of their time, covered = share of a time's wordings among its texts: "
            f"{options.draws} draws, {AT_ONCE} times together, or one greedy text, or all texts of "
            f"a beam; covered-at-most = expected of {options.draws} uniform draws of valid wordings"
        )


class Tallies:
    """Sums of shares, by the way that texts were found."""

    def __init__(self, spec: TextSpec) -> None:
        self.spec = spec
        self.shares: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, times: Sequence[str], tokens: Tensor) -> None:
        """Texts as tokens, int64 [times x texts, length]"""
        rows = tokens.view(len(times), -1, tokens.shape[-1]).tolist()
        shares = self.shares.setdefault(name, [])
        for time, texts in zip(times, rows, strict=True):
            shares.append(found(time, [self.spec.decode(text) for text in texts]))

    def figures(self) -> dict[str, float]:
        """Means over times."""
        return {
            f"{name}{what}": sum(pair[place] for pair in shares) / len(shares)
            for name, shares in self.shares.items()
            for place, what in enumerate(("valid", "covered"))
        }


def found(time: str, texts: Sequence[str]) -> tuple[float, float]:
    """(share of these texts that are valid, share of the time's wordings that are among them)"""
    right = [text for text in texts if valid(time, text)]
    return len(right) / len(texts), len(set(right)) / len(wordings(time))


def covered_at_most(wordings_each: Sequence[int], draws: int) -> float:
    """The expected share that independent uniform draws cover, 1 - (1 - 1/k)^draws for k wordings,
    averaged over times with so many wordings each."""
    return sum(1 - (1 - 1 / k) ** draws for k in wordings_each) / len(wordings_each)


@torch.no_grad()
def drawn(network: torch.nn.Module, sources: Sequence[Tensor], seed: int) -> Tensor:
    """One text for each row of the sources as the generator draws it, tokens int64 [N, length]."""
    devices = [sources[0].device] if sources[0].is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        made = network(*sources)
    return (made.data if isinstance(made, GeneratorOutput) else made).argmax(2).cpu()


def decoded(
    network: Any, one: Sequence[Tensor], many: Sequence[Tensor], seed: int
) -> Iterable[tuple[str, Tensor]]:
    """(way, tokens) of the same network. one: sources of each time once; many: of each draw."""
    yield "greedy", network.decode(*one, method="greedy").cpu()
    for width in BEAMS:
        yield f"beam-{width}", network.decode(*one, method="beam", count=width).cpu()
    for temperature in TEMPERATURES:
        # Another seed than that of the network's own draws, which would be the same texts.
        generator = torch.Generator(one[0].device).manual_seed(seed + 1)
        texts = network.decode(*many, method="sample", temperature=temperature, generator=generator)
        yield f"temperature-{temperature:g}".replace(".", "-"), texts.cpu()
