"""Places, walks and sums of samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipes import CYCLE, DIGITS, PLAIN, write_recipe

import ganforge
from ganforge import GanforgeError
from ganforge.lab.latent_arithmetic import summed
from ganforge.lab.latent_points import along, made, place, slerp
from ganforge.lab.sample_formula import Group, parsed
from ganforge.lab.walk import walk


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs that know classes, that do not, and that translate, by name."""
    folder = tmp_path_factory.mktemp("runs")
    opened = {}
    for name, text in (("digits", DIGITS), ("plain", PLAIN), ("cycle", CYCLE)):
        text = text.replace('root = "pictures"', f'root = "{(folder / "pictures").as_posix()}"')
        opened[name] = ganforge.train(write_recipe(folder, text), out=folder / "runs" / name)
    return opened


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    "text, groups",
    [
        ("3", [Group((3,), 1.0)]),
        ("mean(3, 8,11) - mean(2) + 4", [Group((3, 8, 11), 1), Group((2,), -1), Group((4,), 1)]),
        ("-(1 - 2) * 0.5", [Group((1,), -0.5), Group((2,), 0.5)]),
        ("2 * mean(1,2) / 4", [Group((1, 2), 0.5)]),
    ],
)
def test_a_formula_is_a_sum_of_weighted_means(text, groups):
    assert parsed(text) == groups


@pytest.mark.parametrize(
    "text",
    [
        *("", "mean(", "mean()", "mean(1.5)", "a", "__import__('os')", "1 ** 2", "1 / 0", "1 +"),
        *("mean(1, x=2)", "mean(mean(1))", "True", "[1]", "(" * 300 + "1" + ")" * 300, "1" * 2000),
        "\0",
    ],
)
def test_what_is_no_formula_is_told_with_an_example(text):
    with pytest.raises(GanforgeError, match=r"mean\(3,8,11\)|longer than"):
        parsed(text)


# ---------------------------------------------------------------- ways


def test_an_arc_keeps_the_length_and_a_straight_way_does_not():
    one, other = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    half = math.sqrt(0.5) * 3
    assert torch.allclose(slerp(one, other, 0.5), torch.tensor([[half, half]]))
    assert torch.allclose(slerp(one, one, 0.3), one)
    ways = [at["z"] for at, _ in along([{"z": one}, {"z": other}], 2)]
    assert torch.allclose(torch.cat(ways), torch.tensor([[3.0, 0.0], [1.5, 1.5], [0.0, 3.0]]))
    shares = [share for _, share in along([{"z": one}, {"z": other}, {"z": one}], 4)]
    assert shares == [n / 4 for n in range(9)]


def test_a_place_gives_what_its_seed_gives(runs):
    run = runs["digits"]
    plan = run.generator_plan()
    for seed, label in ((0, None), (4, None), (4, "1")):
        expected = run.sample(1, seed=seed, label=label)
        torch.testing.assert_close(made(run, plan, [place(run, plan, seed, label=label)]), expected)
    with pytest.raises(GanforgeError, match="starts from images"):
        place(runs["cycle"], runs["cycle"].generator_plan("cat2dog"), 0)


def test_a_walk_stops_at_its_stops(runs):
    run = runs["plain"]
    plan = run.generator_plan()
    stops = [place(run, plan, seed) for seed in (3, 5, 9)]
    found = walk(run, plan, stops, 4)
    assert len(found.images) == 9
    for number, seed in enumerate((3, 5, 9)):
        torch.testing.assert_close(found.images[4 * number], run.sample(1, seed=seed)[0])
    assert found.unevenness >= 1
    assert walk(run, plan, stops[:1] * 2, 4).unevenness == 1.0  # nothing moves


def test_a_jump_is_told_from_a_glide(runs):
    run = runs["plain"]
    plan = run.generator_plan()
    one, other = (place(run, plan, seed) for seed in (1, 2))
    glide = walk(run, plan, [one, other], 16)
    jump = walk(run, plan, [one, one, other, other], 1)
    assert glide.unevenness < 2.5 < jump.unevenness == pytest.approx(3)


def test_classes_may_be_passed_through(runs):
    run = runs["digits"]
    plan = run.generator_plan()
    stops = [place(run, plan, 0, label=label) for label in (0, 1)]
    images = walk(run, plan, stops, 2).images
    mixed = {**stops[0], "label": torch.tensor([[0.5, 0.5]])}
    torch.testing.assert_close(images[1:2], made(run, plan, [mixed]))


def test_samples_are_added_by_their_noise(runs):
    run = runs["plain"]
    plan = run.generator_plan()
    found = summed(run, plan, parsed("mean(1, 2) - 3"), spread=0.0)
    noise = [place(run, plan, seed)["noise"] for seed in (1, 2, 3)]
    expected = made(run, plan, [{"noise": (noise[0] + noise[1]) / 2 - noise[2]}])
    torch.testing.assert_close(found.result, expected)
    torch.testing.assert_close(found.neighbours, expected.expand(8, -1, -1, -1))
    torch.testing.assert_close(found.samples[0], run.sample(2, seed=1))
    assert [len(mean) for mean in found.means] == [1, 1]
    near = summed(run, plan, parsed("1"), spread=0.25)
    assert not torch.equal(near.neighbours[0], near.neighbours[1])
    torch.testing.assert_close(near.result, run.sample(1, seed=1))


# ---------------------------------------------------------------- the commands


def test_walk_writes_a_strip_or_an_animation(ganforge_cli, runs, workdir):
    name = str(runs["digits"].folder.path)
    answer = ganforge_cli("walk", name, "--seeds", "0,1,2", "--frames", "3", "--out", "w.png")
    assert answer.status == 0
    assert "7 images between 3 stops" in answer.out and answer.out.strip().endswith("w.png")
    with Image.open("w.png") as strip:
        assert strip.size == (4 * 8 + 3 * 2, 2 * 8 + 2)
    assert ganforge_cli("walk", name, "--labels", "0,wolves", "--out", "w.gif").status == 2
    assert ganforge_cli("walk", name, "--labels", "0,1", "--out", "w.gif").status == 0
    with Image.open("w.gif") as film:
        assert film.n_frames > 20


def test_arithmetic_writes_a_sheet(ganforge_cli, runs, workdir):
    name = str(runs["plain"].folder.path)
    answer = ganforge_cli("arithmetic", name, "mean(1,2) - 3", "--out", "a.png")
    assert answer.status == 0 and answer.out.strip().endswith("a.png")
    with Image.open("a.png") as sheet:
        assert np.asarray(sheet).shape[0] == 8 + 8 + 8 + 8 + 3 * 8 + 2 * 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["walk", "plain", "--seeds", "1"], "a walk needs two stops or more"),
        (["walk", "plain", "--seeds", "a,b"], "--seeds takes whole numbers"),
        (["walk", "plain", "--labels", "0,1"], "is given no label"),
        (["walk", "plain", "--text", "a"], "is given no text"),
        (["walk", "plain", "--out", "a.jpg"], "--out takes FILE.png or FILE.gif"),
        (["walk", "plain", "--text", "a", "--labels", "1"], "not both at once"),
        (["arithmetic", "plain", "1 +"], "cannot read the formula"),
        (["arithmetic", "plain", "1", "+", "2"], "write the formula as one word"),
        (["arithmetic", "plain", "1", "--out", "a.gif"], "--out takes FILE.png"),
    ],
)
def test_mistakes_are_told_in_a_line(ganforge_cli, runs, words, message):
    words[1] = str(runs[words[1]].folder.path)
    answer = ganforge_cli(*words)
    assert answer.status == 2
    assert message in answer.err and answer.err.count("\n") == 1
