"""Plugins are found, one broken plugin breaks nothing else, and names mean what they should."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recipe_text import RecipeText

from ganforge.interfaces.errors import PluginError
from ganforge.plugin import Component
from ganforge.registry.registry import LoadFailure, NotFound, Registry

MakePlugin = Callable[..., str]


def failure_of(registry: Registry, provider: str = "acme-gan") -> LoadFailure:
    found = [failure for failure in registry.failures if failure.provider == provider]
    assert len(found) == 1, found
    return found[0]


def ids(registry: Registry, provider: str = "acme-gan") -> list[str]:
    return [c.id for c in registry.components if c.provider == provider]


# --- what is found --------------------------------------------------------------------------------


def test_an_installed_plugin_is_found_with_its_provider(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("Acme_GAN", version="0.3")
    registry = Registry.load()
    hinge = registry.find("loss", "soft-hinge")
    assert (hinge.id, hinge.version, hinge.paper) == (
        "acme-gan/soft-hinge",
        "0.3",
        "arXiv:1705.02894",
    )
    assert hinge.options().margin == 1.0
    assert not [f for f in registry.failures if f.provider == "acme-gan"]


def test_built_ins_come_first() -> None:
    registry = Registry.load()
    assert registry.components[0].provider == "ganforge"
    assert {c.kind for c in registry.components} >= {"generator", "discriminator", "loss"}


def test_the_same_entry_point_name_in_two_distributions_loads_both(make_plugin: MakePlugin) -> None:
    make_plugin("acme-gan", points={"losses": "acme_gan.plugin"})
    make_plugin("other-gan", points={"losses": "other_gan.plugin"})
    registry = Registry.load()
    assert ids(registry) == ["acme-gan/soft-hinge"]
    assert ids(registry, "other-gan") == ["other-gan/soft-hinge"]


def test_a_plugin_may_have_several_entry_points(make_plugin: MakePlugin) -> None:
    second = """
        from ganforge.plugin import Component, hookimpl

        @hookimpl
        def ganforge_components():
            yield Component("loss", "wasserstein", "{package}.losses:Hinge")
    """
    make_plugin(
        points={"one": "acme_gan.plugin", "two": "acme_gan.second"}, files={"second": second}
    )
    assert ids(Registry.load()) == ["acme-gan/soft-hinge", "acme-gan/wasserstein"]


def test_what_a_plugin_prints_does_not_reach_standard_output(
    make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    make_plugin(manifest="print('hello')\nfrom ganforge.plugin import hookimpl\n" + COMPONENTS)
    Registry.load()
    assert "hello" not in capsys.readouterr().out


COMPONENTS = """
@hookimpl
def ganforge_components():
    return []
"""


# --- what goes wrong ------------------------------------------------------------------------------

HOOK = RecipeText("""
from ganforge.plugin import Component, hookimpl, option, options

@hookimpl
def ganforge_components():
    {body}
""")


def returning(expression: str) -> str:
    return HOOK.replace("{body}", f"return {expression}")


BROKEN = {
    "raises": ("raise ValueError('no weights\\nsecond line')", "ValueError: no weights ("),
    "imports what is missing": ("import nowhere_to_be_found", "No module named 'nowhere_to"),
    "exits": ("import sys\nsys.exit(3)", "it called sys.exit(3)"),
    "exits in the hook": (HOOK.replace("{body}", "raise SystemExit"), "it called sys.exit()"),
    "is no Python": ("def (", "SyntaxError"),
    "misspells a hook": (
        HOOK.replace("ganforge_components", "ganforge_component"),
        "there is no hook 'ganforge_component'; did you mean 'ganforge_components'?",
    ),
    "asks a hook for more": (
        HOOK.replace("ganforge_components()", "ganforge_components(config)").replace(
            "{body}", "return []"
        ),
        "config",
    ),
    "forgets the decorator": (
        "def ganforge_components():\n    return []",
        "its 'ganforge_components' lacks the decorator @hookimpl",
    ),
    "offers nothing": ("x = 1", "it offers nothing"),
    "returns no list": (returning("Component('loss', 'a', 'a:B')"), "a Component, not a list"),
    "returns other things": (returning("['soft-hinge']"), "returned a str among its components"),
    "knows no such kind": (returning("[Component('los', 'a', 'a:B')]"), "no kind 'los'"),
    "has a bad name": (returning("[Component('loss', 'Soft_Hinge', 'a:B')]"), "'Soft_Hinge'"),
    "has a name that is no text": (returning("[Component('loss', 3, 'a:B')]"), "3 is not a name"),
    "has a bad target": (returning("[Component('loss', 'a', 'a.B')]"), "'package.module:Class'"),
    "has bad options": (returning("[Component('loss', 'a', 'a:B', dict)]"), "@options"),
    "says not what it yields": (returning("[Component('dataset', 'a', 'a:B')]"), "`describe`"),
    "ships no folder": (
        HOOK.replace("components", "recipes").replace("{body}", "return 'recipes'"),
        "not the Path of a folder",
    ),
    "builds a component wrongly": (returning("[Component('loss', papers='x')]"), "TypeError"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_plugin_is_contained_and_reported(make_plugin: MakePlugin, what: str) -> None:
    manifest, expected = BROKEN[what]
    make_plugin("acme-gan", manifest)
    make_plugin("fine-gan")
    registry = Registry.load()
    failure = failure_of(registry)
    assert expected in failure.error
    assert "\n" not in failure.error
    assert (failure.version, failure.entry_point) == ("0.3", "acme-gan")
    assert ids(registry, "fine-gan") == ["fine-gan/soft-hinge"]
    assert registry.find("loss", "least-squares").provider == "ganforge"


def test_a_failure_names_the_line_and_keeps_the_traceback(make_plugin: MakePlugin) -> None:
    make_plugin("acme-gan", "x = 1\nraise ValueError('no weights')")
    failure = failure_of(Registry.load())
    assert failure.error == "ValueError: no weights (acme_gan/plugin.py:2)"
    assert "Traceback" in failure.trace
    assert "raise ValueError" in failure.trace


def test_one_faulty_component_leaves_the_others_of_its_plugin(make_plugin: MakePlugin) -> None:
    make_plugin(
        "acme-gan", returning("[Component('loss', 'a', 'a:A'), Component('loss', 'B', 'a:B')]")
    )
    registry = Registry.load()
    assert ids(registry) == ["acme-gan/a"]
    assert "'B' is not a name" in failure_of(registry).error


def test_a_duplicate_of_its_own_is_refused(make_plugin: MakePlugin) -> None:
    make_plugin(
        "acme-gan", returning("[Component('loss', 'a', 'a:A'), Component('loss', 'a', 'a:B')]")
    )
    registry = Registry.load()
    assert [c.target for c in registry.components if c.provider == "acme-gan"] == ["a:A"]
    assert "two components loss/a" in failure_of(registry).error


def test_the_same_name_in_two_kinds_is_no_duplicate(make_plugin: MakePlugin) -> None:
    make_plugin(
        "acme-gan", returning("[Component('loss', 'a', 'a:A'), Component('hook', 'a', 'a:B')]")
    )
    assert ids(Registry.load()) == ["acme-gan/a", "acme-gan/a"]


@pytest.mark.parametrize(
    ("kind", "option"), [("loss", "weight"), ("generator", "ema"), ("augmentor", "every")]
)
def test_an_option_of_a_reserved_name_is_refused(
    make_plugin: MakePlugin, kind: str, option: str
) -> None:
    manifest = f"""
from ganforge.plugin import Component, hookimpl, option, options

@options
class Options:
    {option}: float = option(1.0, help="how much")

@hookimpl
def ganforge_components():
    return [Component("{kind}", "a", "a:B", Options)]
"""
    make_plugin("acme-gan", manifest)
    error = failure_of(Registry.load()).error
    assert f"the option name '{option}' is reserved" in error


def test_keyboard_interrupt_is_not_contained(make_plugin: MakePlugin) -> None:
    make_plugin("acme-gan", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry.load()


def test_strict_raises_the_first_failure(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_plugin("acme-gan", "raise ValueError('no weights')")
    monkeypatch.setenv("GANFORGE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"plugin acme-gan 0\.3: ValueError: no weights"):
        Registry.load()


@pytest.mark.parametrize("group", ["ganforge.v2", "ganforge.v17"])
def test_a_plugin_for_another_version_is_reported_and_not_imported(
    make_plugin: MakePlugin, group: str
) -> None:
    make_plugin("acme-gan", "raise AssertionError('imported')", group=group)
    error = failure_of(Registry.load()).error
    assert f"written for version {group[10:]} of the plugin interface" in error


def test_a_plugin_for_this_and_a_later_version_is_fine(make_plugin: MakePlugin) -> None:
    group = "ganforge.v2]\nacme-gan = acme_gan.second\n[ganforge.v1"
    make_plugin("acme-gan", group=group)
    registry = Registry.load()
    assert ids(registry) == ["acme-gan/soft-hinge"]
    assert not [f for f in registry.failures if f.provider == "acme-gan"]


def test_an_unknown_group_of_ours_is_reported(make_plugin: MakePlugin) -> None:
    make_plugin("acme-gan", group="ganforge.plugins")
    assert "'ganforge.v1'" in failure_of(Registry.load()).error


# --- leaving plugins out --------------------------------------------------------------------------


def test_no_plugin_leaves_one_out(make_plugin: MakePlugin) -> None:
    make_plugin("acme-gan", "raise ValueError")
    make_plugin("fine-gan")
    registry = Registry.load(without=["Acme_GAN"])
    assert not [f for f in registry.failures if f.provider == "acme-gan"]
    assert ids(registry, "fine-gan")
    with pytest.raises(NotFound) as error:
        registry.find("loss", "acme-gan/soft-hinge")
    assert "acme-gan is switched off by --no-plugin and may provide it" in error.value.notes


@pytest.mark.parametrize(
    ("value", "expected"), [("", []), ("other, Fine_GAN", ["fine-gan/soft-hinge"])]
)
def test_the_environment_limits_plugins(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]
) -> None:
    make_plugin("acme-gan")
    make_plugin("fine-gan")
    monkeypatch.setenv("GANFORGE_PLUGINS", value)
    registry = Registry.load()
    assert [c.id for c in registry.components if c.provider != "ganforge"] == expected
    assert registry.find("loss", "least-squares")


def test_leaving_out_what_is_not_there_is_a_warning(make_plugin: MakePlugin) -> None:
    make_plugin("acme-gan")
    registry = Registry.load(without=["acme-gna"])
    assert registry.warnings == ["no plugin 'acme-gna' is installed; did you mean 'acme-gan'?"]


def test_the_built_ins_cannot_be_left_out() -> None:
    with pytest.raises(PluginError, match="built-in"):
        Registry.load(without=["ganforge"])


# --- names ----------------------------------------------------------------------------------------


def loss(name: str, provider: str, *aliases: str) -> Component:
    return Component("loss", name, "a:B", provider=provider, version="1", aliases=aliases)


def test_a_name_alone_means_the_built_in() -> None:
    registry = Registry((loss("soft-hinge", "acme-gan"), loss("soft-hinge", "ganforge")))
    assert registry.find("loss", "soft-hinge").id == "ganforge/soft-hinge"
    assert registry.find("loss", "acme-gan/soft-hinge").id == "acme-gan/soft-hinge"


def test_a_name_alone_means_the_only_provider() -> None:
    registry = Registry((loss("soft-hinge", "acme-gan"), loss("wgan", "ganforge")))
    assert registry.find("loss", "soft-hinge").id == "acme-gan/soft-hinge"


def test_a_name_of_several_plugins_lists_them() -> None:
    registry = Registry((loss("soft-hinge", "acme-gan"), loss("soft-hinge", "other-gan")))
    with pytest.raises(NotFound) as error:
        registry.find("loss", "soft-hinge")
    assert error.value.message == "loss 'soft-hinge' is offered by 2 plugins"
    assert error.value.notes == ["write one of: acme-gan/soft-hinge, other-gan/soft-hinge"]


def test_a_distribution_may_be_spelt_as_it_is_installed() -> None:
    registry = Registry((loss("soft-hinge", "acme-gan"),))
    assert registry.find("loss", "Acme_GAN/soft-hinge").id == "acme-gan/soft-hinge"


def test_a_retired_name_lives_on_with_one_warning() -> None:
    registry = Registry((loss("least-squares", "ganforge", "lsgan"),))
    assert registry.find("loss", "lsgan").name == "least-squares"
    assert registry.find("loss", "lsgan").name == "least-squares"
    assert registry.warnings == ["loss 'lsgan' is now called 'least-squares'"]


def test_a_plugin_cannot_take_over_a_retired_name_of_a_built_in() -> None:
    registry = Registry((loss("least-squares", "ganforge", "lsgan"), loss("lsgan", "acme-gan")))
    assert registry.find("loss", "lsgan").id == "ganforge/least-squares"


def test_the_short_name_is_exact_where_a_name_is_not_enough() -> None:
    offered = ["ganforge/a", "acme-gan/a", "acme-gan/b", "acme-gan/c", "other-gan/c"]
    registry = Registry(tuple(loss(id.split("/")[1], id.split("/")[0]) for id in offered))
    shorts = [registry.short_name(c) for c in registry.components]
    assert shorts == ["a", "acme-gan/a", "b", "acme-gan/c", "other-gan/c"]
    assert [registry.find("loss", short) for short in shorts] == list(registry.components)


def test_an_unknown_name_is_helped() -> None:
    failure = LoadFailure("acme-gan", "0.3", "acme-gan", "ValueError")
    registry = Registry(
        (loss("least-squares", "ganforge"), Component("hook", "soft-hinge", "a:B", provider="p")),
        (failure,),
    )
    with pytest.raises(NotFound) as error:
        registry.find("loss", "least_square")
    assert error.value.message == "there is no loss 'least_square'"
    assert error.value.notes[0] == "similar: 'least-squares'"
    assert error.value.notes[-1] == "there are: least-squares"
    assert (
        "acme-gan 0.3 failed to load and may provide it; see `ganforge doctor acme-gan`"
        in error.value.notes
    )
    with pytest.raises(NotFound) as error:
        registry.find("loss", "soft-hinge")
    assert "there is a hook of this name (from p)" in error.value.notes


def test_an_unknown_distribution_is_told() -> None:
    registry = Registry((loss("soft-hinge", "acme-gan"),))
    with pytest.raises(NotFound) as error:
        registry.find("loss", "other-gan/soft-hinge")
    assert "no plugin 'other-gan' is installed" in error.value.notes
    with pytest.raises(NotFound) as error:
        registry.find("loss", "mine.py/soft-hinge")
    assert "it came from a plugin file; add `--plugin-file mine.py`" in error.value.notes


# --- recipes --------------------------------------------------------------------------------------

SHIPPING = """
from pathlib import Path
from ganforge.plugin import hookimpl

@hookimpl
def ganforge_recipes():
    return Path(__file__).parent
"""


def test_shipped_recipes_are_found_by_name() -> None:
    recipes = Registry.load().recipes()
    assert recipes["cyclegan-horse2zebra"].name == "cyclegan_horse2zebra.toml"
    assert recipes["cyclegan-horse2zebra"].is_file()


def test_recipes_of_plugins_never_hide_those_of_ganforge(make_plugin: MakePlugin) -> None:
    for name in ("acme-gan", "other-gan"):
        package = make_plugin(name, SHIPPING)
        for recipe in ("vanilla_mnist", "faces", package):
            (make_plugin.site / package / f"{recipe}.toml").write_text("recipe = 1\n")
    recipes = Registry.load().recipes()
    assert recipes["vanilla-mnist"].parent.name == "recipes"
    assert recipes["acme-gan/vanilla-mnist"].parent.name == "acme_gan"
    assert recipes["acme-gan"] == recipes["acme-gan/acme-gan"]
    assert "faces" not in recipes
    assert "other-gan/faces" in recipes


# --- the class behind a component -----------------------------------------------------------------


def test_the_class_behind_a_component_is_loaded(make_plugin: MakePlugin) -> None:
    make_plugin()
    registry = Registry.load()
    cls = registry.load_target(registry.find("loss", "soft-hinge"))
    assert cls.__name__ == "Hinge"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ("", "AttributeError: module 'acme_gan.losses' has no attribute 'Hinge'"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("class Hinge: pass", "acme_gan.losses:Hinge is not a ganforge.Loss"),
        ("Hinge = 3", "acme_gan.losses:Hinge is not a ganforge.Loss"),
        ("raise SystemExit(1)", "it called sys.exit(1)"),
    ],
)
def test_a_target_that_cannot_be_used_is_one_line(
    make_plugin: MakePlugin, losses: str, expected: str
) -> None:
    make_plugin(files={"losses": losses})
    registry = Registry.load()
    with pytest.raises(PluginError) as error:
        registry.load_target(registry.find("loss", "soft-hinge"))
    assert str(error.value).startswith("loss 'soft-hinge' of acme-gan 0.3")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_every_target_of_the_built_ins_can_be_loaded() -> None:
    registry = Registry.load()
    for component in registry.components:
        assert isinstance(registry.load_target(component), type)
    assert not registry.failures


# --- plugin files ---------------------------------------------------------------------------------

MY_LOSS = RecipeText('''
from ganforge import Loss
from ganforge.plugin import option

class SoftHinge(Loss):
    """A hinge with a round corner.

    More about it.
    """

    class Options:
        sharpness: float = option(4.0, above=0, help="how sharp")
        mean: bool = True

    def generator(self, fake_scores):
        return -fake_scores

class _Base(Loss):
    pass

class WGANLoss(_Base):
    def discriminator(self, real_scores, fake_scores):
        return fake_scores - real_scores

class Unrelated:
    pass
''')


def write(folder: Path, text: str, name: str = "my_loss.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_each_public_class_of_a_plugin_file_is_a_component(tmp_path: Path) -> None:
    registry = Registry.load(plugin_files=[write(tmp_path, MY_LOSS)])
    soft = registry.find("loss", "soft-hinge")
    assert soft.summary == "A hinge with a round corner."
    assert soft.id == "my_loss.py/soft-hinge"
    assert len(soft.version) == 12
    assert soft.options(sharpness=2.0).sharpness == 2.0
    assert ids(registry, "my_loss.py") == ["my_loss.py/soft-hinge", "my_loss.py/wgan-loss"]
    cls = registry.load_target(soft)
    assert cls(soft.options()).options.mean is True
    assert registry.plugin_files[0].text == MY_LOSS


def test_a_plugin_file_leaves_no_bytecode_beside_it_and_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = write(tmp_path, MY_LOSS)
    first = Registry.load(plugin_files=[path])
    times = (path.stat().st_atime, path.stat().st_mtime)
    write(tmp_path, MY_LOSS.replace("4.0", "5.0"))
    os.utime(path, times)  # the same size and time: cached bytecode would be taken for its own
    second = Registry.load(plugin_files=[path])
    assert first.find("loss", "soft-hinge").version != second.find("loss", "soft-hinge").version
    assert second.find("loss", "soft-hinge").options().sharpness == 5.0
    assert [p.name for p in tmp_path.iterdir()] == ["my_loss.py"]


def test_a_plugin_file_does_not_take_over_a_built_in_name(tmp_path: Path) -> None:
    text = MY_LOSS.replace("SoftHinge", "LeastSquares")
    registry = Registry.load(plugin_files=[write(tmp_path, text)])
    assert registry.find("loss", "least-squares").provider == "ganforge"
    assert registry.find("loss", "my_loss.py/least-squares").provider == "my_loss.py"


def test_the_hooks_of_a_plugin_file_work_too(tmp_path: Path) -> None:
    hook = """
from ganforge.plugin import Component, hookimpl

@hookimpl
def ganforge_components():
    return [Component("loss", "other", f"{__name__}:SoftHinge")]
"""
    registry = Registry.load(plugin_files=[write(tmp_path, MY_LOSS + hook)])
    other = registry.find("loss", "other")
    assert registry.load_target(other).__name__ == "SoftHinge"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ny = z\n", "{path}:2: NameError: name 'z' is not defined"),
        ("x = (\n", "{path}:1: SyntaxError: '(' was never closed"),
        ("import sys\n\nsys.exit(1)", "{path}:3: it called sys.exit(1)"),
        ("x = 1", "plugin file {path} offers nothing: it has no public subclass of"),
        (
            "from ganforge import Dataset\n\nclass Mine(Dataset):\n    pass\n",
            "{path}:3: dataset Mine defines no count, item",
        ),
        (
            "from ganforge import Loss\nclass A(Loss):\n    class Options:\n"
            "        weight: float = 1.0\n",
            "plugin file {path}: loss 'a': the option name 'weight' is reserved",
        ),
        (
            "from ganforge import Loss\nclass A(Loss):\n    Options = 3\n",
            "{path}:2: Options of A is not a class",
        ),
    ],
)
def test_a_mistake_in_a_plugin_file_is_one_line_with_its_place(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PluginError) as error:
        Registry.load(plugin_files=[path])
    assert expected.replace("{path}", str(path)) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_plugin_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = [write(tmp_path, MY_LOSS), write(tmp_path / "other", MY_LOSS)]
    with pytest.raises(PluginError, match="have the same name"):
        Registry.load(plugin_files=paths)
    assert len(Registry.load(plugin_files=[paths[0], paths[0]]).plugin_files) == 1


def test_a_plugin_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"none\.py: No such file"):
        Registry.load(plugin_files=[tmp_path / "none.py"])
