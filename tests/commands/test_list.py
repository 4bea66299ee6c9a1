"""`ganforge list`."""

from __future__ import annotations

import json

import pytest

KEYS = {"kind", "name", "id", "provider", "version", "summary", "paper", "aliases", "use"}


def test_components_are_listed_by_kind(ganforge_cli, make_plugin) -> None:
    make_plugin()
    answer = ganforge_cli("list")
    assert answer.status == 0
    assert answer.err == ""
    generators, losses = answer.out.index("generators\n"), answer.out.index("losses\n")
    assert generators < answer.out.index("discriminators\n") < losses
    (hinge,) = (line for line in answer.out.splitlines() if line.split()[:1] == ["soft-hinge"])
    assert hinge.startswith("  soft-hinge ")
    assert "Hinge loss for both sides" in hinge
    assert "arXiv:1705.02894" in hinge
    assert hinge.endswith("from acme-gan 0.3")
    assert "from ganforge" not in answer.out


@pytest.mark.parametrize("word", ["loss", "losses", "Losses"])
def test_a_kind_may_be_in_the_plural(ganforge_cli, word: str) -> None:
    answer = ganforge_cli("list", word)
    assert answer.out.startswith("losses\n")
    assert "least-squares" in answer.out
    assert "generators" not in answer.out


def test_an_unknown_kind_is_helped(ganforge_cli) -> None:
    assert "there is no kind 'lsoses'; did you mean 'loss'?" in ganforge_cli("list", "lsoses").err
    assert "kinds: generator, " in ganforge_cli("list", "xyzzy").err
    assert ganforge_cli("list", "xyzzy").status == 2


def test_json_holds_components_and_failures(ganforge_cli, make_plugin) -> None:
    make_plugin()
    make_plugin("broken-gan", "raise ValueError('no weights')")
    answer = ganforge_cli("list", "--json")
    listed = json.loads(answer.out)
    assert set(listed) == {"components", "failed"}
    assert all(set(component) == KEYS for component in listed["components"])
    (hinge,) = (c for c in listed["components"] if c["provider"] == "acme-gan")
    assert hinge == {
        "kind": "loss",
        "name": "soft-hinge",
        "id": "acme-gan/soft-hinge",
        "provider": "acme-gan",
        "version": "0.3",
        "summary": "Hinge loss for both sides",
        "paper": "arXiv:1705.02894",
        "aliases": [],
        "use": "soft-hinge",
    }
    (failure,) = (f for f in listed["failed"] if f["provider"] == "broken-gan")
    assert failure == {
        "provider": "broken-gan",
        "version": "0.3",
        "entry_point": "broken-gan",
        "error": "ValueError: no weights (broken_gan/plugin.py:1)",
    }


def test_a_broken_plugin_is_one_line_on_standard_error(ganforge_cli, make_plugin) -> None:
    make_plugin("broken-gan", "raise ValueError('no weights')")
    answer = ganforge_cli("list", "loss")
    assert answer.status == 0
    assert answer.err == (
        "warning: plugin broken-gan 0.3 failed to load: ValueError: no weights "
        "(broken_gan/plugin.py:1) (`ganforge doctor broken-gan` says more)\n"
    )
    assert "least-squares" in answer.out


def test_a_shadowed_name_is_listed_as_it_must_be_written(ganforge_cli, make_plugin) -> None:
    manifest = """
from ganforge.plugin import Component, hookimpl

@hookimpl
def ganforge_components():
    return [Component("loss", "least-squares", "a:B")]
"""
    make_plugin("acme-gan", manifest)
    names = [line.split()[0] for line in ganforge_cli("list", "loss").out.splitlines()]
    assert {"least-squares", "acme-gan/least-squares"} <= set(names)


def test_recipes_are_listed_with_their_first_sentence(ganforge_cli) -> None:
    answer = ganforge_cli("list", "recipes")
    assert answer.out.startswith("recipes\n")
    text = " ".join(answer.out.split())
    assert "cyclegan-horse2zebra CycleGAN between horses and zebras" in text
    listed = json.loads(ganforge_cli("list", "recipes", "--json").out)
    assert set(listed) == {"recipes", "failed"}
    assert all(recipe["summary"] for recipe in listed["recipes"])


def test_words_that_the_output_cannot_hold_are_no_error(ganforge_cli, make_plugin) -> None:
    manifest = """
from ganforge.plugin import Component, hookimpl

@hookimpl
def ganforge_components():
    return [Component("loss", "odd", "a:B", summary="noise \u2192 image")]
"""
    make_plugin("acme-gan", manifest)
    ganforge_cli.encoding = "cp1252"
    answer = ganforge_cli.fresh("list", "loss")
    assert answer.status == 0, answer.err
    assert "odd noise ? image" in " ".join(answer.out.split())


def test_plugin_files_are_listed(ganforge_cli, tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from ganforge import Loss\nclass MyLoss(Loss):\n    'Mine.'\n")
    answer = ganforge_cli("list", "loss", "--plugin-file", path)
    (line,) = (line for line in answer.out.splitlines() if "my-loss" in line)
    assert line.split()[:2] == ["my-loss", "Mine."]
    assert "from mine.py" in line


def test_no_plugin_leaves_one_out(ganforge_cli, make_plugin) -> None:
    make_plugin()
    assert "soft-hinge" in ganforge_cli("list", "loss").out
    assert "soft-hinge" not in ganforge_cli("list", "loss", "--no-plugin", "acme-gan").out


def test_a_plugins_components_are_printed_as_a_page(ganforge_cli, make_plugin):
    make_plugin("acme-gan")
    page = ganforge_cli("list", "--markdown", "--plugin", "acme-gan").out
    assert page.startswith("## Losses\n\n### loss/soft-hinge\n\nHinge loss for both sides (")
    assert "- the generator's side reads `fake_scores`" in page
    assert "| `margin` | number, above 0 | `1.0` | distance kept from the boundary |" in page
    assert "dcgan" not in page


def test_a_plugin_that_provides_nothing_is_told(ganforge_cli):
    answer = ganforge_cli("list", "--plugin", "ganforg")
    assert answer.status == 2
    assert "no plugin 'ganforg' provides components; did you mean 'ganforge'?" in answer.err
