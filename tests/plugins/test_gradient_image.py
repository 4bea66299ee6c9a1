"""The gradient magnitude of images as a view."""

import math
import re

import pytest
import torch
from ganforge_gradient_image.gradient_image import GradientImage, finite_differences, sobel
from ganforge_gradient_image.plugin import GradientImageOptions, ganforge_components
from hypothesis import given, settings
from hypothesis import strategies as st
from making_data import data_settings, make_mnist
from playing import QUIET, recipe_file, training_of
from recipe_text import RecipeText

from ganforge import Draw, Draws, ImageSpec, VectorSpec
from ganforge.game.batch import Batch
from ganforge.game.turn import Turn
from ganforge.planning.compose import compose
from ganforge.plugin import Impossible
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry

(COMPONENT,) = ganforge_components()
OPERATORS = {"finite": finite_differences, "sobel": sobel}
BOTH = pytest.mark.parametrize("operator", [finite_differences, sobel])


def augmentor(spec=ImageSpec(3, 8, 9), **options):  # noqa: B008
    return GradientImage(GradientImageOptions(**options), spec)


def draw(batch):
    return Draw(Draws(0).generator("test"), batch, slice(None), torch.device("cpu"))


def edge():
    """Left half -1, right half 1, [1, 1, 4, 6]"""
    image = -torch.ones(1, 1, 4, 6)
    image[..., 3:] = 1
    return image


def test_finite_differences_by_hand():
    image = torch.tensor([[[[0.0, 0.3], [0.4, 0.4]]]])
    expected = torch.tensor([[[[math.hypot(0.3, 0.4), 0.1], [0.0, 0.0]]]]) / math.sqrt(2) - 1
    torch.testing.assert_close(finite_differences(image), expected, rtol=0, atol=1e-3)
    column = finite_differences(edge())[0, 0, 0]
    assert column.tolist() == pytest.approx([-1, -1, 2 / math.sqrt(2) - 1, -1, -1, -1], abs=1e-3)


def test_sobel_by_hand():
    row = sobel(edge())[0, 0, 0]
    assert row.tolist() == pytest.approx([-1, -1, 1, 1, -1, -1], abs=1e-3)
    spot = torch.zeros(1, 1, 5, 5)
    spot[..., 2, 2] = 0.5
    diagonal, straight = 0.5 * math.sqrt(2) / 4 - 1, 1.0 / 4 - 1
    inner = [[diagonal, straight, diagonal], [straight, -1, straight]]
    torch.testing.assert_close(sobel(spot)[0, 0, 1:3, 1:4], torch.tensor(inner), rtol=0, atol=1e-3)


@BOTH
def test_flat_images_give_minus_one_with_gradient_zero(operator):
    image = torch.full((2, 3, 7, 5), 0.37, requires_grad=True)
    seen = operator(image)
    seen.sum().backward()
    assert torch.equal(seen, torch.full_like(seen, -1))
    assert torch.equal(image.grad, torch.zeros_like(image))


@BOTH
@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 9999),
    extreme=st.booleans(),
)
def test_result_has_the_size_of_the_image_and_stays_in_range(
    operator, height, width, seed, extreme
):
    torch.manual_seed(seed)
    image = torch.rand(1, 2, height, width) * 2 - 1
    seen = operator(image.sign() if extreme else image)
    assert seen.shape == image.shape
    assert seen.min() >= -1 and seen.max() <= 1


def test_ranges_are_used_in_full():
    corner = torch.tensor([[[[-1.0, 1.0], [1.0, 1.0]]]])
    assert finite_differences(corner).max().item() == pytest.approx(1, abs=1e-3)
    assert sobel(edge()).max().item() == pytest.approx(1, abs=1e-3)
    checker = torch.tensor([[-1.0, -1, 1], [-1, 0, 1], [1, 1, 1]])[None, None]
    assert sobel(checker)[0, 0, 1, 1].item() == 1, "corners beyond an edge are cut"


@BOTH
def test_turning_the_image_turns_its_gradient(operator):
    image = torch.randn(1, 1, 6, 6).clamp(-1, 1)
    if operator is sobel:  # finite differences look right and down only
        torch.testing.assert_close(
            operator(image.rot90(1, (2, 3))), operator(image).rot90(1, (2, 3))
        )
    torch.testing.assert_close(operator(image.mT), operator(image).mT)
    torch.testing.assert_close(operator(-image), operator(image))


@BOTH
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (7, 2)])
def test_derivative_is_right(operator, size):
    torch.manual_seed(1)
    image = (torch.rand(2, 2, *size, dtype=torch.float64) * 2 - 1) * 0.5
    assert torch.autograd.gradcheck(operator, image.requires_grad_())
    assert torch.autograd.gradgradcheck(operator, image)


@BOTH
def test_stays_float32_under_autocast(operator):
    image = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(operator(image), operator(image).float())
        assert operator(image).dtype == torch.float32


@pytest.mark.parametrize("operator", ["finite", "sobel"])
@pytest.mark.parametrize("mode", ["view", "stack", "only"])
def test_views_are_those_of_the_manifest(operator, mode):
    spec = ImageSpec(3, 8, 9)
    options = GradientImageOptions(operator=operator, mode=mode)
    images = torch.rand(2, *spec.shape) * 2 - 1
    seen = GradientImage(options, spec).view(images, draw(2))
    seen = seen if isinstance(seen, dict) else {"plain": seen}
    said = COMPONENT.views(options, spec)
    assert {name: (2, *view.shape) for name, view in said.items()} == {
        name: tuple(view.shape) for name, view in seen.items()
    }
    gradient = OPERATORS[operator](images)
    expected = {
        "view": {"plain": images, "gradient": gradient},
        "stack": {"plain": torch.cat([images, gradient], 1)},
        "only": {"plain": gradient},
    }[mode]
    assert all(torch.equal(seen[name], expected[name]) for name in expected)


def test_gradient_reaches_the_image_through_every_view():
    images = torch.rand(2, 3, 8, 9, requires_grad=True)
    views = augmentor().view(images, draw(2))
    for view in views.values():
        (gradient,) = torch.autograd.grad(view.square().sum(), images, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_views_refuse_what_is_no_image():
    with pytest.raises(Impossible, match="made from images, not from vector of 3"):
        COMPONENT.views(GradientImageOptions(), VectorSpec(3))


# In a game

GAME = (
    RecipeText("""
recipe = 1
[data]
use = "dots"
size = 16
[train]
steps = 2
batch = 4
precision = "fp32"
device = "cpu"
[noise]
dim = 5
[generator]
use = "dcgan"
width = 2
[discriminator]
use = "dcgan"
width = 2
[losses.adversarial]
use = "non-saturating"
[augmentors.gradient-image]
mode = "view"
""")
    + QUIET
)
SECOND = """
[discriminators.edges]
like = "main"
[augmentors.gradient-image]
mode = "only"
on = "edges"
"""


@pytest.mark.parametrize("mode", ["view", "stack", "only", "second"])
def test_a_game_in_every_mode_moves_every_parameter(mode, tmp_path):
    view = '[augmentors.gradient-image]\nmode = "view"\n'
    second = GAME.replace("[discriminator]", "[discriminators.main]").replace(view, SECOND)
    text = second if mode == "second" else GAME
    sets = [] if mode == "second" else [f"augmentors.gradient-image.mode={mode}"]
    training = training_of(tmp_path, text, sets=sets)
    before = {k: v.clone() for k, v in training.game.state()["networks"].items()}
    training.run()
    for name, value in training.game.state()["networks"].items():
        assert value.isfinite().all() and not torch.equal(value, before[name]), name
    guards = training.plan.discriminators
    assert set(guards) == ({"main", "edges"} if mode == "second" else {"main"})
    assert guards["main"].judged.channels == (2 if mode == "stack" else 1)


def test_losses_of_both_views_are_added_for_both_sides(tmp_path):
    training = training_of(tmp_path, GAME)
    game = training.game
    game.enter(training.plan.phase_at(1))
    (loss,) = training.plan.losses.values()
    for side in ("discriminator", "generator"):
        turn = Turn(Batch(game, 0, slice(0, 4), graph=True), side, 1, game.wants([loss], side))
        assert turn.views("main") == ("plain", "gradient")
        ((_, terms),) = game.terms(loss, turn)
        instance = game.losses["losses.adversarial@main"]
        apart = []
        for view in turn.views("main"):
            read = [turn.pairing("main", "main", view, name) for name in loss.needs[side]]
            result = getattr(instance, side)(*read)
            apart.append(result if isinstance(result, dict) else {"loss": result})
        assert apart[0].keys() == terms.keys()
        for name, value in terms.items():
            torch.testing.assert_close(value, sum(part[name].mean() for part in apart))
            assert (apart[0][name] - apart[1][name]).abs().max() > 0


def test_the_variant_in_the_recipes_comment_has_a_discriminator_of_its_own(tmp_path):
    """What stands there commented out composes as it says."""
    registry = Registry.load(only=())
    shipped = next(r.path for r in registry.shipped() if r.name == "gradient-image-mnist")
    text = shipped.read_text(encoding="utf-8")
    variant = re.sub(r"^# ?", "", text[text.index("# [discriminators.edges]") :], flags=re.M)
    make_mnist(tmp_path / "mnist")
    head = 'recipe = 1\nextends = "dcgan-mnist"\nname = "edges"\n'
    recipe = load(
        recipe_file(tmp_path, head + variant),
        sets=data_settings("dcgan-mnist", tmp_path),
        shipped=registry.recipes(),
    )
    plan = compose(recipe, registry)
    assert plan.augmentors["gradient-image"].on == ("edges",)
    assert plan.augmentors["gradient-image"].options.mode == "only"
    assert set(plan.discriminators) == {"main", "edges"}
