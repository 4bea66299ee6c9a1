"""`ganforge show`."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from ganforge.cli.show import snippet
from ganforge.planning.compose import compose
from ganforge.recipes.document import parse
from ganforge.recipes.recipe import load
from ganforge.recipes.source import Source
from ganforge.registry.registry import Registry

REGISTRY = Registry.load()


def test_a_component_is_shown_whole(ganforge_cli, make_plugin) -> None:
    make_plugin()
    answer = ganforge_cli("show", "loss/soft-hinge")
    assert answer.status == 0
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[0] == "loss/soft-hinge from acme-gan 0.3"
    assert lines[1] == "Hinge loss for both sides"
    assert "paper arXiv:1705.02894 https://arxiv.org/abs/1705.02894" in lines
    assert "margin number, above 0 1.0 distance kept from the boundary" in lines
    assert "the discriminator's side reads" in answer.out
    assert "  real_scores  raw scores, logits" in answer.out
    assert answer.out.endswith("in a recipe\n  [losses.soft-hinge]\n  # margin = 1.0\n")


@pytest.mark.parametrize(
    "name", ["least-squares", "losses/least-squares", "loss/ganforge/least-squares"]
)
def test_the_kind_may_be_left_out_or_in_the_plural(ganforge_cli, name: str) -> None:
    assert ganforge_cli("show", name).out == ganforge_cli("show", "loss/least-squares").out


def test_a_name_of_several_kinds_lists_them(ganforge_cli) -> None:
    answer = ganforge_cli("show", "dcgan")
    assert answer.status == 2
    assert answer.err == (
        "error: 'dcgan' is the name of several\n"
        "   = write one of: generator/dcgan, discriminator/dcgan\n"
    )


def test_an_unknown_name_is_helped(ganforge_cli) -> None:
    answer = ganforge_cli("show", "patchgam")
    assert answer.err.splitlines()[:2] == [
        "error: there is no component or recipe 'patchgam'",
        "   = similar: discriminator/patchgan, loss/matching",
    ]
    assert "similar: vanilla-mnist" in ganforge_cli("show", "vanila_mnist").err
    assert "did you mean" not in ganforge_cli("show", "loss/lsgan").err
    assert "the plugin 'lsgan' offers: loss/least-squares" in ganforge_cli("show", "loss/lsgan").err


def test_a_dataset_shows_the_options_of_images_too(ganforge_cli) -> None:
    out = ganforge_cli("show", "dataset/mnist").out
    assert "options of every dataset of images" in out
    assert "cover crops what is over" in out


def test_json_of_a_component(ganforge_cli) -> None:
    shown = json.loads(ganforge_cli("show", "loss/least-squares", "--json").out)
    assert shown["id"] == "ganforge/least-squares"
    assert shown["needs"]["generator"] == ["fake_scores"]
    assert [option["name"] for option in shown["options"]] == ["real", "fake", "wanted"]


@pytest.mark.parametrize("component", REGISTRY.components, ids=lambda c: f"{c.kind}/{c.name}")
def test_the_snippet_of_every_built_in_is_toml_that_finds_it_again(component) -> None:
    text = snippet(component, REGISTRY).replace(" = ...", ' = "x"')
    table = parse(Source("snippet", text, Path()))
    (header,) = table.plain()
    inner = table.plain()[header]
    if header not in ("data", "generator", "discriminator"):
        ((name, inner),) = inner.items()
        inner = {"use": name, **inner}
    assert REGISTRY.find(component.kind, inner["use"]) is component
    assert tomllib.loads(re.sub("^# ", "", text, flags=re.M)), "the comments are TOML too"


# --- recipes --------------------------------------------------------------------------------------


def test_a_recipe_is_shown_with_every_default_and_its_origin(ganforge_cli) -> None:
    answer = ganforge_cli(
        "show", "vanilla-mnist", "--preview", "--set", "noise.dim=7", "--set", "train.seed=3"
    )
    assert answer.status == 0, answer.err
    origin = {}
    section = ""
    for line in answer.out.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif line:
            value, _, comment = line.rpartition("#")
            key = section + value.partition("=")[0].strip()
            origin[key] = (value.partition("=")[2].strip(), comment.strip())
    assert origin["noise.dim"] == ("7", "--set")
    assert origin["train.seed"] == ("3", "--set")
    assert origin["train.batch"][1].startswith("vanilla_mnist.toml:")
    assert origin["train.discriminator_steps"][1].startswith("[preview]")
    assert origin["noise.distribution"] == ('"normal"', "default")
    lr = origin["generators.main.optimizer.lr"]
    assert lr[0] == "0.0002"
    assert lr[1].startswith("vanilla_mnist.toml:")
    assert origin["hooks.checkpoint.every"][1] == "default"
    assert origin["train.steps"][1].startswith("[preview]"), "they follow from its epochs"


def test_a_shown_recipe_is_the_same_recipe(ganforge_cli, tmp_path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(ganforge_cli("show", "cyclegan-horse2zebra", "--preview").out)
    again = compose(load(path), REGISTRY)
    first = compose(
        load("cyclegan-horse2zebra", preview=True, shipped=REGISTRY.recipes()), REGISTRY
    )
    for name in ("steps", "data", "generators", "discriminators", "losses", "hooks"):
        assert getattr(again, name) == getattr(first, name), name


def test_json_of_a_recipe(ganforge_cli) -> None:
    shown = json.loads(ganforge_cli("show", "recipe/vanilla-mnist", "--json").out)
    assert shown["train"]["batch"] == 64
    assert "lock" not in shown


def test_a_recipe_with_mistakes_shows_them(ganforge_cli, tmp_path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("recipe = 1\n[train]\nbatsh = 3\n")
    answer = ganforge_cli("show", path)
    assert answer.status == 2
    assert "did you mean 'batch'?" in answer.err
    assert answer.out == ""
