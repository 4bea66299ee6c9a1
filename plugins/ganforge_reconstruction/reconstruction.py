"""How near a generator comes to images that it never saw (arXiv:1704.03971, section 4.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ganforge import GanforgeError, Metric
from ganforge_reconstruction.problem import DRAWS, Problem, domain_searched
from ganforge_reconstruction.search import Objective, bfgs, rmsprop

if TYPE_CHECKING:
    from ganforge import Run

Search = Callable[[Objective, Tensor], tuple[Tensor, Tensor]]

SCALE = 0.5  # of the first steps of bfgs, against what is typical of G
LONGEST = 1 / 12  # step of bfgs, against how long noise may be
PAPER_LR = 0.01  # of rmsprop


class Reconstruction(Metric):
    """For each generator that makes images of the data from noise, over held-out images:

    loss        squared error per pixel to the nearest image that G was found to make, mean over
                the images; pixels in [-1, 1]
    unsearched  the same where the searches started
    seconds     of wall-clock time that searching took

    Where there are several such generators, `NAME/` stands before the figures.
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """The loss 3 + (x - 1)^2 + 10 (y + 2)^2, whose least value is 3; of (x - 3)^2 + (y - 4)^2
        within 1 of the middle it is 16, at (0.6, 0.8)."""
        inside = bowl([1.0, -2.0], [1.0, 10.0], 3.0)
        yield "the bottom of a bowl", lowest(inside, radius=9.0), 3.0
        beyond = bowl([3.0, 4.0], [1.0, 1.0], 0.0)
        yield "a bowl whose bottom lies too far out", lowest(beyond, radius=1.0), 16.0

    def measure(self, run: Run) -> Mapping[str, float]:
        domains, refused = {}, []
        for name in run.plan.generators:
            try:
                domains[name] = domain_searched(run, name)
            except GanforgeError as why:
                refused.append(str(why))
        if not domains:
            raise GanforgeError(
                f"reconstruction needs a generator of images from noise: {'; '.join(refused)}"
            )
        figures: dict[str, float] = {}
        for name, domain in domains.items():
            problem = Problem.of(run, name, domain, self.options.count, self.options.batch)
            prefix = f"{name}/" if len(domains) > 1 else ""
            figures |= {prefix + key: value for key, value in self._figures(problem).items()}
        return figures

    @torch.no_grad()
    def _figures(self, problem: Problem) -> dict[str, float]:
        started = time.perf_counter()
        with parametrize.cached():  # what normalises weights runs once, not in each pass
            search = self._method(problem)
            starts = range(1 + self.options.restarts)
            tried = [self._losses(problem, start, search) for start in starts]
        first, last = torch.stack(tried).amin(0)  # of each image's searches the best
        return {
            "loss": float(last.double().mean()),
            "unsearched": float(first.double().mean()),
            "seconds": time.perf_counter() - started,
        }

    def _method(self, problem: Problem) -> Search:
        """What takes an objective and first codes to the codes found and their losses."""
        steps = self.options.steps
        if self.options.method == "rmsprop":
            lr = self.options.lr or PAPER_LR
            return lambda evaluate, codes: rmsprop(evaluate, codes, steps, lr)
        radius, scale = problem.radius(), SCALE * problem.scale()
        return lambda evaluate, codes: bfgs(evaluate, codes, steps, radius, scale, LONGEST * radius)

    def _losses(self, problem: Problem, start: int, search: Search) -> Tensor:
        """Losses before and after the search for each image, [2, N]; start 0 is the middle of the
        noise, others are drawn."""
        count = len(problem.images)
        codes = problem.drawn(count, f"start-{start}") if start else problem.zeros()
        losses = []
        for rows in problem.parts(count):
            evaluate = problem.objective(rows, problem.images[rows])
            before, after = evaluate(codes[rows])[0], search(evaluate, codes[rows])[1]
            losses.append(torch.stack([before, after]))
        return torch.cat(losses, 1)

    def protocol(self) -> str:
        options = self.options
        how = f"{options.steps} steps of {options.method}"
        if options.method == "rmsprop":
            how += f" at {options.lr or PAPER_LR:g}"
        else:
            how += f" through noise no longer than the longest of {DRAWS} draws"
        starts = f" and {options.restarts} drawn starts" if options.restarts else ""
        return (
            f"first {options.count} held-out images; squared error per pixel in [-1, 1] to the "
            f"nearest image of G found by {how}, from noise 0{starts}; G in eval mode and float32, "
            "its other sources as the image has them"
        )


def bowl(middle: Sequence[float], axes: Sequence[float], least: float) -> Objective:
    """least + sum of axes (codes - middle)^2, an objective of which all is known."""
    at, steep = torch.tensor(middle).double(), torch.tensor(axes).double()

    def evaluate(codes: Tensor) -> tuple[Tensor, Tensor]:
        away = codes - at
        return least + (away.square() * steep).sum(1), 2 * away * steep

    return evaluate


def lowest(evaluate: Objective, radius: float) -> float:
    """The least value in two dimensions that 200 steps of bfgs find from the middle."""
    start = torch.zeros(1, 2, dtype=torch.float64)
    first = torch.eye(2, dtype=torch.float64)
    return float(bfgs(evaluate, start, 200, radius, first, LONGEST * radius)[1])
