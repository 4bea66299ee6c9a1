"""Figures of two sets of features. Those that torch-fidelity has are its own; in float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

SUBSETS, SUBSET = 100, 1000  # of the kernel distance: how many, and of how many images at most
SPLITS = 10  # of the score
NEIGHBOUR = 3  # whose distance is the radius of precision and recall (arXiv:1904.06991)
NEAREST = 5  # the same of density and coverage (arXiv:2002.09797)
SEED = 2020  # torch-fidelity's, of subsets and splits
AT_ONCE = 1000  # rows whose distances are held at once

HOW = (
    f"kernel distance = mean and deviation over {SUBSETS} subsets of at most {SUBSET:,}; score "
    f"over {SPLITS} splits; precision and recall by neighbour {NEIGHBOUR}, density and coverage "
    f"by neighbour {NEAREST}; torch-fidelity"
)


@frozen(eq=False)
class Seen:
    """What an extractor finds in N images: features [N, D], and class logits [N, K] where it
    classifies."""

    features: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)


def figures(samples: Seen, real: Seen) -> dict[str, float]:
    """frechet, kernel, kernel-deviation (of subsets), score and score-deviation (with logits),
    precision, recall, density and coverage of samples against real images."""
    fake, true = samples.features.double(), real.features.double()
    mean, deviation = kernel_distance(fake, true)
    found = {"frechet": frechet_distance(fake, true), "kernel": mean}
    if deviation is not None:
        found["kernel-deviation"] = deviation
    if samples.logits is not None:
        scored = isc_features_to_metric(samples.logits, min(SPLITS, len(samples)), True, SEED)
        found["score"] = scored[KEY_METRIC_ISC_MEAN]
        found["score-deviation"] = scored[KEY_METRIC_ISC_STD]
    found |= precision_recall(fake, true)
    return found | density_coverage(fake, true)


def frechet_distance(fake: Tensor, real: Tensor) -> float:
    """Squared Frechet distance between Gaussians fitted to features [N, D] and [M, D], float64
    (arXiv:1706.08500, equation 6); rounding may leave it a little below 0."""
    both = [fid_features_to_statistics(features) for features in (fake, real)]
    return fid_statistics_to_metric(*both, verbose=False)[KEY_METRIC_FID]


def kernel_distance(fake: Tensor, real: Tensor) -> tuple[float, float | None]:
    """Unbiased squared maximum mean discrepancy of features [N, D] and [M, D], float64, with the
    kernel (x . y / D + 1)^3 (arXiv:1801.01401, section 4): mean and deviation over subsets; none
    where both sets are small enough to be taken whole."""
    size = min(SUBSET, len(fake), len(real))
    whole = size == len(fake) == len(real)  # then each subset is all there is
    found = kid_features_to_metric(
        fake,
        real,
        kid_subsets=1 if whole else SUBSETS,
        kid_subset_size=size,
        rng_seed=SEED,
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN], None if whole else found[KEY_METRIC_KID_STD]


def precision_recall(fake: Tensor, real: Tensor) -> dict[str, float]:
    """precision: share of fakes [N, D] within reach of a real item [M, D], which is as far as its
    third neighbour among the real ones. recall: the same with both in turned roles."""
    found = prc_features_to_metric(
        fake,
        real,
        prc_neighborhood=NEIGHBOUR,
        prc_batch_size=AT_ONCE,
        save_cpu_ram=True,
        verbose=False,
    )
    return {"precision": found[KEY_METRIC_PRECISION], "recall": found[KEY_METRIC_RECALL]}


def density_coverage(fake: Tensor, real: Tensor, nearest: int = NEAREST) -> dict[str, float]:
    """density: real items in whose reach a fake [N, D] lies, over `nearest`, mean over fakes.
    coverage: share of the real items [M, D] with a fake in reach. Reach: nearer than the
    `nearest`-th neighbour among the real items (arXiv:2002.09797).

    M must exceed `nearest`.
    """
    reach = torch.cat([x.kthvalue(nearest + 1).values for x in _distances(real, real)])  # 1st: self
    hits, covered = 0, 0
    for distances, radius in zip(_distances(real, fake), reach.split(AT_ONCE), strict=True):
        inside = distances < radius[:, None]
        hits += int(inside.sum())
        covered += int(inside.any(1).sum())
    return {"density": hits / (nearest * len(fake)), "coverage": covered / len(real)}


def repeats_note(real: Tensor, nearest: int = NEAREST) -> str:
    """What density and coverage say of real features [N, D] of which many are the same; "" where
    that is not so.

    The reach of a row with `nearest` copies is 0, and no sample is nearer than that.
    """
    rows = real.cpu().contiguous().numpy()
    count = sum(n for n in Counter(row.tobytes() for row in rows).values() if n > nearest)
    if not count:
        return ""
    return (
        f"caution: {count:,} of {len(rows):,} real images are the same as {nearest} others or "
        "more, so their reach is 0: density and coverage never count a sample as within it, "
        "precision and recall do at a distance of 0"
    )


def _distances(rows: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Euclidean distances [<= AT_ONCE, M] of rows [N, D] to others [M, D], some rows at a time."""
    for part in rows.split(AT_ONCE):
        yield torch.cdist(part, others)
