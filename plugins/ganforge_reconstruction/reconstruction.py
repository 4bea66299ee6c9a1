"""How near a generator comes to images that it never saw (arXiv:1704.03971, section 4.2)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ganforge import GanforgeError, Metric
from ganforge_reconstruction.problem import Problem
from ganforge_reconstruction.search import Objective, bfgs, rmsprop

if TYPE_CHECKING:
    from ganforge import Run

REACH = 0.1  # longest step of bfgs, against the length of drawn noise
PAPER_LR = 0.01  # of rmsprop


class Reconstruction(Metric):
    """For each generator that makes images of the data from noise, over held-out images:

    loss        squared error per pixel to the nearest image that G was found to make, mean over
                the images; pixels in [-1, 1]
    unsearched  the same where the searches started
    seconds     of wall-clock time that searching took

    Where there are several such generators, `NAME/` stands before the figures.
    """

    def measure(self, run: Run) -> Mapping[str, float]:
        problems, refused = {}, []
        for name in run.plan.generators:
            try:
                problems[name] = Problem.of(run, name, self.options.count, self.options.batch)
            except GanforgeError as why:
                refused.append(str(why))
        if not problems:
            raise GanforgeError(
                f"reconstruction needs a generator of images from noise: {'; '.join(refused)}"
            )
        figures: dict[str, float] = {}
        for name, problem in problems.items():
            prefix = f"{name}/" if len(problems) > 1 else ""
            figures |= {prefix + key: value for key, value in self._figures(problem).items()}
        return figures

    @torch.no_grad()
    def _figures(self, problem: Problem) -> dict[str, float]:
        started = time.perf_counter()
        with parametrize.cached():  # what normalises weights runs once, not in each pass
            scale = problem.scale() if self.options.method == "bfgs" else None
            tried = [self._losses(problem, start, scale) for start in range(self.options.restarts)]
        first, last = torch.stack(tried).amin(0)  # of each image's searches the best
        return {
            "loss": float(last.mean()),
            "unsearched": float(first.mean()),
            "seconds": time.perf_counter() - started,
        }

    def _losses(self, problem: Problem, start: int, scale: Tensor | None) -> Tensor:
        """Losses before and after the search for each image, [2, N]; start 0 is the middle of the
        noise, others are drawn."""
        count = len(problem.images)
        codes = problem.drawn(count, f"start-{start}") if start else problem.zeros()
        losses = []
        for rows in problem.parts(count):
            evaluate = problem.objective(rows, problem.images[rows])
            found = self._found(evaluate, codes[rows], scale, REACH * problem.length())
            losses.append(torch.stack([evaluate(codes[rows])[0], found]))
        return torch.cat(losses, 1)

    def _found(
        self, evaluate: Objective, codes: Tensor, scale: Tensor | None, reach: float
    ) -> Tensor:
        """The lowest loss found for each row, [n]."""
        steps = self.options.steps
        if scale is None:
            return rmsprop(evaluate, codes, steps, self.options.lr or PAPER_LR)[1]
        return bfgs(evaluate, codes, steps, scale, reach)[1]

    def protocol(self) -> str:
        options = self.options
        how = options.method
        if how == "rmsprop":
            how += f" at {options.lr or PAPER_LR:g}"
        starts = f", the best of {options.restarts} starts" if options.restarts > 1 else ""
        return (
            f"first {options.count} held-out images; squared error per pixel in [-1, 1] to the "
            f"nearest image that G makes, found by {options.steps} steps of {how} from noise 0"
            f"{starts}; G in eval mode and float32, its other sources as the image has them"
        )
