"""What a loss reads is known from its source, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.vocabulary import VOCABULARY
from ganforge.plugin import Component, option, options
from ganforge.registry.parameter_names import loss_needs
from ganforge.registry.registry import Registry

MakePlugin = Callable[..., str]
NUMBER = iter(range(1000))


@pytest.fixture
def needs(make_plugin: MakePlugin) -> Callable[..., dict[str, tuple[str, ...]]]:
    """The needs of `Hinge` in a package whose `losses` module has this text."""

    def read(losses: str, target: str = "losses:Hinge", **files: str) -> dict[str, tuple[str, ...]]:
        package = make_plugin(
            f"acme-{next(NUMBER)}",
            files={"__init__": "raise AssertionError('imported')", "losses": losses, **files},
        )
        joint = "" if target.startswith(":") else "."
        component = Component(
            "loss", "hinge", f"{package}{joint}{target}", provider=package, version="1"
        )
        found = dict(loss_needs(component))
        assert not any(name.startswith(package) for name in sys.modules)
        return found

    return read


def test_parameters_are_needs(needs: Callable[..., object]) -> None:
    losses = """
        import torch_that_is_missing
        class Hinge(Loss):
            def discriminator(self, real_scores, /, fake_scores, *, mixed_gradient): ...
            def generator(self, fake_scores, scale=1.0, *, eps=1e-8): ...
    """
    assert needs(losses) == {
        "discriminator": ("real_scores", "fake_scores", "mixed_gradient"),
        "generator": ("fake_scores",),
    }


def test_a_side_that_is_not_defined_is_missing(needs: Callable[..., object]) -> None:
    losses = "class Hinge(Loss):\n    def discriminator(self): ...\n    def observe(self, a): ..."
    assert needs(losses) == {"discriminator": ()}


def test_names_outside_the_vocabulary_are_returned_all_the_same(
    needs: Callable[..., object],
) -> None:
    assert needs("class Hinge:\n    def generator(self, fake_scoers): ...") == {
        "generator": ("fake_scoers",)
    }


def test_static_methods_have_no_self(needs: Callable[..., object]) -> None:
    losses = """
        class Hinge:
            @staticmethod
            def generator(fake_scores): ...
    """
    assert needs(losses) == {"generator": ("fake_scores",)}


def test_bases_are_followed_in_the_same_file(needs: Callable[..., object]) -> None:
    losses = """
        class _Root(Loss):
            def discriminator(self, real): ...
            def generator(self, fake): ...
        class _Middle(_Root):
            def generator(self, fake_scores): ...
        class Hinge(_Middle, Generic[T]):
            pass
    """
    assert needs(losses) == {"discriminator": ("real",), "generator": ("fake_scores",)}


@pytest.mark.parametrize(
    ("imported", "base"),
    [
        ("from .bases import Base", "Base"),
        ("from . import bases", "bases.Base"),
        ("from {package}.bases import Base as B", "B"),
        ("import {package}.bases", "{package}.bases.Base"),
        ("import {package}.bases as b", "b.Base"),
    ],
)
def test_bases_are_followed_into_other_files(
    needs: Callable[..., object], imported: str, base: str
) -> None:
    bases = "class Base(Loss):\n    def generator(self, fake): ..."
    losses = f"{imported}\nclass Hinge({base}):\n    def discriminator(self, real): ..."
    assert needs(losses, bases=bases) == {"discriminator": ("real",), "generator": ("fake",)}


def test_a_class_that_a_module_only_hands_on_is_found(needs: Callable[..., object]) -> None:
    inner = "class Hinge:\n    def generator(self, fake): ..."
    assert needs("from .inner import Hinge", inner=inner) == {"generator": ("fake",)}
    assert needs("", ":Hinge", __init__="from .inner import Hinge", inner=inner) == {
        "generator": ("fake",)
    }


def test_stated_needs_are_believed() -> None:
    component = Component("loss", "a", "nowhere:A", needs={"generator": ["fake"], "observe": ["x"]})
    assert loss_needs(component) == {"generator": ("fake",)}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ("class Hinge:\n    def generator(self, *args): ...", "Hinge.generator takes *args"),
        ("class Hinge:\n    def generator(self, **values): ...", "takes *values"),
        ("class Hinge:\n    generator = lambda self, fake: fake", "assigns generator"),
        ("class Other: ...", "there is no class Hinge"),
        ("class Hinge: ...", "Hinge defines neither discriminator(...) nor generator(...)"),
        ("class Hinge(", "cannot be read"),
        ("from .gone import Base\nclass Hinge(Base): ...", "there is no module"),
        ("class Hinge(Hinge): ...", "defines neither"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    needs: Callable[..., object], losses: str, expected: str
) -> None:
    with pytest.raises(PluginError) as error:
        needs(losses)
    assert expected in str(error.value)
    assert str(error.value).startswith("loss 'hinge' of acme_")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", ["nowhere_at_all.losses:A", "sys:A"])
def test_a_module_without_a_source_is_one_line(target: str) -> None:
    with pytest.raises(PluginError, match=r"there is no module nowhere_at_all|no Python source"):
        loss_needs(Component("loss", "a", target))


def test_a_loss_of_a_plugin_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "my_loss.py"
    path.write_text(
        "from ganforge import Loss\nclass Mine(Loss):\n    def generator(self, fake_scores): ...\n"
    )
    registry = Registry.load(plugin_files=[path])
    assert loss_needs(registry.find("loss", "mine")) == {"generator": ("fake_scores",)}


def test_the_needs_of_built_in_losses_are_in_the_vocabulary() -> None:
    losses = Registry.load().of("loss")
    for component in losses:
        needs = loss_needs(component)
        assert needs, component.name
        assert {name for names in needs.values() for name in names} <= set(VOCABULARY)
    assert losses


def test_needs_may_depend_on_options() -> None:
    @options
    class Wishes:
        twins: bool = option(False, help="reads twins")

    component = Component(
        "loss",
        "wishes",
        "nowhere:Wishes",
        Wishes,
        needs=lambda options: {"generator": ("second",) if options.twins else ("fake",)},
    )
    assert loss_needs(component) == {"generator": ("fake",)}
    assert loss_needs(component, Wishes(twins=True)) == {"generator": ("second",)}
