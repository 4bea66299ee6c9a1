"""The JSON Schema takes every shipped recipe and rejects what no recipe may hold."""

import copy
import json
import tomllib
from functools import cache

import pytest
from jsonschema import Draft7Validator

from ganforge.planning.json_schema import recipe_schema
from ganforge.plugin import Component, option, options
from ganforge.registry.registry import Registry

RECIPES = Registry.load(only=()).recipes()


@cache
def validator():
    schema = recipe_schema(Registry.load(only=()))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def read(name):
    return tomllib.loads(RECIPES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_shipped_recipe_is_valid(name):
    assert [error.message for error in validator().iter_errors(read(name))] == []


CHANGES = {
    "a misspelt table": lambda r: r.update(trian={}),
    "a misspelt option": lambda r: r["generator"].update(wdith=3),
    "an option of another component": lambda r: r["generator"].update(hidden=[3]),
    "text for a number": lambda r: r["generator"].update(width="3"),
    "a number below its bound": lambda r: r["optimizer"].update(lr=0),
    "no whole number": lambda r: r["train"].update(batch=2.5),
    "a choice that there is not": lambda r: r["generator"].update(upsampling="bicubic"),
    "a component that there is not": lambda r: r["generator"].update(use="dcgna"),
    "a network without a component": lambda r: r["generator"].pop("use"),
    "a loss of its own name with a bad option": lambda r: r["losses"].update(hinge={"margin": -1}),
    "a weight of no side": lambda r: r["losses"]["adversarial"].update(weight={"critic": 1}),
    "a hook's misspelt option": lambda r: r["hooks"]["samples"].update(evry=3),
    "a list of the wrong length": lambda r: r["optimizer"].update(betas=[0.5]),
    "a wrong preview": lambda r: r["preview"].update(train={"step": 3}),
    "another version": lambda r: r.update(recipe=2),
    "no version": lambda r: r.pop("recipe"),
    "a name for no folder": lambda r: r.update(name="My Recipe"),
    "an average that is none": lambda r: r["generator"].update(ema=1.5),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_broken_recipe_is_rejected(what):
    recipe = copy.deepcopy(read("dcgan-mnist"))
    CHANGES[what](recipe)
    assert not validator().is_valid(recipe)


def test_what_the_grammar_allows_is_valid():
    recipe = read("dcgan-mnist")
    recipe["losses"]["hinge"] = {"margin": 2, "weight": {"generator": 0.5}, "every": 4}
    recipe["losses"]["penalty"] = {"use": "ganforge/r1", "start": 0.5}
    recipe["hooks"]["progress"] = {"off": True}
    recipe["generator"]["optimizer"] = {"use": "rmsprop", "schedule": {"use": "cosine"}}
    recipe["train"]["phases"] = {"first": {"train": ["generators.main"], "share": 0.5}}
    assert [error.message for error in validator().iter_errors(recipe)] == []


def test_a_third_partys_component_is_known():
    @options
    class Options:
        depth: int = option(2, at_least=1, help="how deep")

    there = Registry.load(only=())
    deep = Component("generator", "deep", "acme:Deep", Options, provider="acme", version="1")
    mine = Registry(components=(*there.components, deep))
    recipe = read("dcgan-mnist")
    recipe["generator"] = {"use": "deep", "depth": 3}
    recipe["preview"] = {}
    assert not validator().is_valid(recipe)
    assert Draft7Validator(recipe_schema(mine)).is_valid(recipe)
    recipe["generator"]["depth"] = 0
    assert not Draft7Validator(recipe_schema(mine)).is_valid(recipe)


def test_the_command_prints_or_writes_it(workdir, ganforge_cli):
    printed = json.loads(ganforge_cli("schema").out)
    answer = ganforge_cli("schema", "--out", "recipe.json")
    assert "#:schema ./recipe.json" in answer.out
    assert json.loads((workdir / "recipe.json").read_text(encoding="utf-8")) == printed
    assert printed["title"] == "ganforge recipe"


def test_a_place_that_cannot_be_written_is_told_in_a_line(workdir, ganforge_cli):
    answer = ganforge_cli("schema", "--out", "there/recipe.json")
    assert answer.status != 0
    assert "cannot write there" in answer.err
