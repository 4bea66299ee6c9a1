"""The checkerboard metric: by hand, and on untrained generators whose order is known."""

import gzip
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ganforge_checkerboard.checkerboard import Checkerboard, checkerboard
from ganforge_checkerboard.plugin import CheckerboardOptions, ganforge_components
from ganforge_dcgan.networks import DcganGenerator
from ganforge_dcgan.plugin import DcganGeneratorOptions
from ganforge_painted_horses.dataset import PaintedHorses
from ganforge_painted_horses.plugin import PaintedHorsesOptions, describe

from ganforge import GanforgeError, ImageSpec, NoiseSpec, VectorSpec
from ganforge.plugin import ImageOptions

SEEDS = (0, 1, 2)
VARIANTS = {
    "transposed 3": {"kernel": 3},
    "transposed 4": {"kernel": 4},
    "resize": {"upsampling": "resize"},
}


def untrained(seed, size=64, width=64, **options):
    """24 images of a generator at its first weights, batch-normalised as in training."""
    torch.manual_seed(seed)
    options = DcganGeneratorOptions(width=width, **options)
    generator = DcganGenerator(options, [NoiseSpec(100)], ImageSpec(3, size, size))
    with torch.no_grad():
        return generator(torch.randn(24, 100))


def painted(count, size=64):
    image, options = ImageOptions(size=size), PaintedHorsesOptions()
    dataset = PaintedHorses(options, image, describe(options, image))
    rows = torch.stack([dataset.item("train", "horse", index) for index in range(count)])
    return rows / 127.5 - 1


# The measure


def test_a_dot_in_each_cell_by_hand():
    """Stride 2, dots of height a: the Laplacian's energies are 16 a^2 on the dot, 4 a^2 beside it
    and 0 diagonally: mean 6 a^2, deviation 6 a^2."""
    images = torch.zeros(2, 1, 10, 14)
    images[..., ::2, ::2] = 0.3
    assert checkerboard(images, 2) == pytest.approx(1, abs=1e-6)


def test_columns_by_hand():
    """Every third column a: energies (2 a)^2 on it and a^2 to both sides: mean 2 a^2, deviation
    sqrt((4 + 1 + 1) / 3) a^2."""
    images = torch.zeros(1, 1, 14, 14)
    images[..., ::3] = 0.5
    expected = math.sqrt(((4 - 2) ** 2 + 2 * (1 - 2) ** 2) / 3) / 2
    assert checkerboard(images, 3) == pytest.approx(expected, abs=1e-6)


def test_channels_are_measured_apart_so_that_their_grids_cannot_hide_each_other():
    images = torch.zeros(1, 4, 12, 12)
    for channel, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        images[:, channel, row::2, column::2] = 1
    assert checkerboard(images, 2) == pytest.approx(1, abs=1e-6)
    images[:, 3] = torch.randn(12, 12)
    images[:, 3] *= 100  # nor is a channel that is loud heard more
    assert checkerboard(images, 2) > 0.75


def test_scale_and_brightness_change_nothing_and_flat_images_are_0():
    images = untrained(0, size=16, width=4)
    assert checkerboard(0.01 * images + 0.5, 2) == pytest.approx(checkerboard(images, 2), rel=1e-3)
    assert checkerboard(torch.full((2, 3, 8, 8), 0.7), 2) == 0


def test_alternating_signs_of_one_strength_are_not_seen():
    """The measure's blind spot: the pattern has the same energy at every place."""
    board = (torch.arange(12)[:, None] + torch.arange(12)) % 2 * 2.0 - 1
    assert checkerboard(board[None, None], 2) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_noise_has_no_grid_and_one_place_with_everything_is_the_most(stride):
    torch.manual_seed(0)
    noise = torch.randn(400, 1, 26, 31)
    assert checkerboard(noise, stride) < 0.02
    comb = torch.zeros(1, 1, 62, 62)
    comb[..., ::stride, ::stride] = 1
    assert 0.9 <= checkerboard(comb, stride) <= math.sqrt(stride**2 - 1)


# The order of untrained generators


def test_untrained_generators_are_ordered_as_their_upsampling():
    """Transposed 3 x 3 > transposed 4 x 4 > resize > real images, in three seeds."""
    found = {
        name: [checkerboard(untrained(seed, **options), 2) for seed in SEEDS]
        for name, options in VARIANTS.items()
    }
    assert all(0.37 <= value <= 0.50 for value in found["transposed 3"]), found
    assert all(0.16 <= value <= 0.24 for value in found["transposed 4"]), found
    assert all(0.02 <= value <= 0.06 for value in found["resize"]), found
    assert checkerboard(painted(100), 2) < 0.02


def test_real_digits_have_next_to_no_grid():
    root = os.environ.get("GANFORGE_TEST_DATA")
    if not root:
        pytest.skip("GANFORGE_TEST_DATA does not name a folder with `mnist`")
    (path,) = (Path(root) / "mnist").rglob("train-images-idx3-ubyte.gz")
    with gzip.open(path) as file:
        data = bytearray(file.read(16 + 10_000 * 784)[16:])
    digits = torch.frombuffer(data, dtype=torch.uint8).view(-1, 1, 28, 28) / 127.5 - 1
    assert 0.002 <= checkerboard(digits, 2) <= 0.005


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [36, 54])
def test_stride_3_and_kernel_5_are_ordered_too(seed, size):
    options = {"size": size, "width": 32, "stride": 3}
    uneven = checkerboard(untrained(seed, kernel=5, **options), 3)
    resized = checkerboard(untrained(seed, kernel=5, upsampling="resize", **options), 3)
    assert uneven > 0.3 > 0.2 > resized


# The metric


def run_with(generators, made, real, domains=("image",)):
    """What the metric sees of a run."""
    plans = {
        name: SimpleNamespace(source_specs=sources, target_spec=spec, target="image", sources="i")
        for name, (sources, spec) in generators.items()
    }
    origins = {"image": SimpleNamespace(origin="data" if "image" in domains else "made")}
    return SimpleNamespace(
        plan=SimpleNamespace(generators=plans, domains=origins),
        generator_plan=plans.get,
        sample=lambda count, seed, generator: made[seed : seed + count],
        translate=lambda images, name, seed: -images,
        held_out=lambda domain, count: real[:count],
    )


NOISE, IMAGE = (NoiseSpec(3),), ImageSpec(3, 16, 16)


def test_measures_samples_beside_held_out_images():
    made, real = untrained(0, size=16, width=4, kernel=3), torch.randn(300, 3, 16, 16)
    metric = Checkerboard(CheckerboardOptions(count=20))
    run = run_with({"main": (NOISE, IMAGE)}, made, real)
    assert metric.measure(run) == {
        "checkerboard": checkerboard(made[:20], 2),
        "checkerboard-real": checkerboard(real[:20], 2),
    }
    assert "20 samples" in metric.protocol() and "2 x 2 px" in metric.protocol()


def test_translators_are_measured_on_held_out_inputs_each_under_its_name():
    made, real = untrained(0, size=16, width=4), torch.randn(100, 3, 16, 16)
    generators = {
        "draw": (NOISE, IMAGE),
        "turn": ((IMAGE,), IMAGE),
        "code": ((IMAGE,), VectorSpec(4)),
    }
    figures = Checkerboard(CheckerboardOptions(count=70)).measure(run_with(generators, made, real))
    assert set(figures) == {
        f"{name}/checkerboard{end}" for name in ("draw", "turn") for end in ("", "-real")
    }
    assert figures["turn/checkerboard"] == pytest.approx(checkerboard(real[:70], 2))


def test_images_that_the_data_does_not_have_are_measured_alone():
    run = run_with({"main": (NOISE, IMAGE)}, torch.randn(9, 3, 16, 16), None, domains=())
    assert set(Checkerboard(CheckerboardOptions()).measure(run)) == {"checkerboard"}


def test_refuses_runs_without_images_and_images_below_one_cell():
    metric = Checkerboard(CheckerboardOptions(stride=4))
    with pytest.raises(GanforgeError, match="needs a generator of images"):
        metric.measure(run_with({"main": (NOISE, VectorSpec(3))}, None, None))
    with pytest.raises(GanforgeError, match="at least 6 x 6 px; generator 'main' makes 5 x 16"):
        metric.measure(run_with({"main": (NOISE, ImageSpec(1, 5, 16))}, None, None))


def test_offers_the_metric():
    (component,) = ganforge_components()
    assert (component.kind, component.name) == ("metric", "checkerboard")
