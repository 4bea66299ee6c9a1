"""`ganforge doctor`."""

from __future__ import annotations

import pytest

from ganforge import __version__

CLASH = """
from ganforge.plugin import Component, hookimpl

@hookimpl
def ganforge_components():
    return [Component("loss", "least-squares", "a:B"), Component("loss", "odd", "a:B")]
"""


def test_without_troubles_it_says_so(ganforge_cli) -> None:
    answer = ganforge_cli("doctor")
    assert answer.status == 0, answer.out
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["ganforge", __version__] in [line[:2] for line in lines]
    assert any(line[:1] == ["torch"] for line in lines)
    assert any(line[:3] == ["dcgan", "ganforge", __version__] for line in lines)
    assert answer.out.endswith("no troubles\n")


def test_failures_are_troubles_and_the_exit_status(ganforge_cli, make_plugin) -> None:
    make_plugin("broken-gan", "raise ValueError('no weights')")
    make_plugin("later-gan", group="ganforge.v2")
    answer = ganforge_cli("doctor")
    assert answer.status == 1
    assert "  broken-gan 0.3: ValueError: no weights (broken_gan/plugin.py:1)\n" in answer.out
    assert "later-gan 0.3: written for version 2 of the plugin interface" in answer.out
    assert "Traceback" not in answer.out


@pytest.mark.parametrize("name", ["broken-gan", "Broken_GAN"])
def test_one_plugin_is_told_with_its_traceback(ganforge_cli, make_plugin, name: str) -> None:
    make_plugin("broken-gan", "x = 1\nraise ValueError('no weights')")
    answer = ganforge_cli("doctor", name)
    assert answer.status == 1
    assert "Traceback" in answer.out
    assert "raise ValueError('no weights')" in answer.out
    assert "dcgan" not in answer.out


def test_one_plugin_is_told_with_its_components(ganforge_cli, make_plugin) -> None:
    make_plugin()
    answer = ganforge_cli("doctor", "acme-gan")
    assert answer.status == 0
    line = "loss soft-hinge acme_gan.losses:Hinge Hinge loss for both sides"
    assert line in [" ".join(line.split()) for line in answer.out.splitlines()]


def test_a_built_in_plugin_is_found_by_its_entry_point(ganforge_cli) -> None:
    answer = ganforge_cli("doctor", "dcgan")
    assert answer.status == 0
    assert "ganforge_dcgan.networks:" in answer.out
    assert "ganforge_lsgan" not in answer.out


def test_an_unknown_plugin_is_helped(ganforge_cli, make_plugin) -> None:
    make_plugin()
    answer = ganforge_cli("doctor", "acme-gna")
    assert answer.status == 2
    assert answer.err == "error: no plugin 'acme-gna' is installed; did you mean 'acme-gan'?\n"
    off = ganforge_cli("doctor", "acme-gan", "--no-plugin", "acme-gan")
    assert off.err == "error: 'acme-gan' is switched off by --no-plugin\n"


def test_names_of_several_plugins_are_troubles(ganforge_cli, make_plugin) -> None:
    make_plugin("acme-gan", CLASH)
    make_plugin("other-gan", CLASH)
    out = ganforge_cli("doctor").out
    assert (
        "loss 'least-squares' means ganforge/least-squares; acme-gan/least-squares, "
        "other-gan/least-squares only by its whole name" in out
    )
    assert "loss 'odd' is offered by acme-gan/odd, other-gan/odd: recipes must say which" in out


def test_a_manifest_that_imports_torch_is_a_trouble(ganforge_cli, make_plugin) -> None:
    make_plugin("heavy-gan", "import torch\n" + CLASH)
    answer = ganforge_cli.fresh("doctor", "heavy-gan")
    assert "heavy-gan (heavy-gan) imports torch in its manifest" in answer.out


def test_options_that_no_recipe_can_hold_are_a_trouble(ganforge_cli, make_plugin) -> None:
    manifest = """
from collections.abc import Callable
from ganforge.plugin import Component, hookimpl, option, options

@options
class Odd:
    function: Callable = option(print, help="what to call")

@hookimpl
def ganforge_components():
    return [Component("loss", "odd", "a:B", Odd)]
"""
    make_plugin("odd-gan", manifest)
    assert "loss odd-gan/odd: option 'function'" in ganforge_cli("doctor").out
