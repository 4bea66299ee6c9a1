"""What networks and augmentors of plugins return is held against what they promise, in a line."""

import pytest
import torch

from ganforge import Augmentor, Discriminator, DiscriminatorOutput, Generator, GeneratorOutput
from ganforge.game import output_checks
from ganforge.interfaces.errors import PluginError
from ganforge.plugin import Component

ROWS = 4


def component(kind):
    return Component(kind, "odd", "nowhere:Odd", provider="tests", version="0")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("x", "returned a str as scores, not a tensor"),
        (None, "returned None as scores, not a tensor"),
        (torch.zeros(3), "returned scores of 3 items for 4: one row per item"),
        (torch.zeros(()), "returned one number as scores for 4 items: one row per item"),
        (DiscriminatorOutput(torch.zeros(4), torch.zeros(5, 2)), "class_scores of 5 items for 4"),
        (DiscriminatorOutput("x"), "returned a str as scores, not a tensor"),
    ],
)
def test_a_discriminator_that_returns_something_else_is_told(value, told):
    with pytest.raises(PluginError, match=f"discriminator 'odd' of tests .*{told}") as caught:
        output_checks.discriminator_output(value, ROWS, component("discriminator"))
    named = isinstance(value, DiscriminatorOutput) or "items" in told
    assert (", or a " in str(caught.value)) is not named  # what else it might have returned


@pytest.mark.parametrize("value", [torch.zeros(4), torch.zeros(4, 1, 3)])
def test_scores_may_be_numbers_or_maps(value):
    output = output_checks.discriminator_output(value, ROWS, component("discriminator"))
    assert output.scores is value and output.features is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "returned None, not a tensor"),
        ((1, 2), "returned a tuple, not a tensor"),
        (GeneratorOutput([1.0]), "returned a list, not a tensor"),
        (torch.zeros(()), r"a tensor of shape \[\] for 4 items: one row per item"),
        (torch.zeros(3, 2), r"a tensor of shape \[3, 2\] for 4 items"),
    ],
)
def test_a_generator_that_returns_something_else_is_told(value, told):
    with pytest.raises(PluginError, match=f"generator 'odd' of tests .*{told}") as caught:
        output_checks.generator_output(value, ROWS, component("generator"))
    named = isinstance(value, GeneratorOutput) or "item" in told
    assert (", or a " in str(caught.value)) is not named


@pytest.mark.parametrize("value", [torch.zeros(4), torch.zeros(4, 1, 3, 3)])
def test_a_row_may_be_a_number_or_an_image(value):
    assert output_checks.generator_output(value, ROWS, component("generator")).data is value


def test_an_augmentor_that_shows_nothing_or_no_tensor_is_told():
    odd = component("augmentor")
    with pytest.raises(PluginError, match="augmentor 'odd' of tests returned no view"):
        output_checks.views_of({}, ROWS, odd)
    with pytest.raises(PluginError, match="returned None as view 'edges', not a tensor"):
        output_checks.views_of({"plain": torch.zeros(4, 1), "edges": None}, ROWS, odd)
    shown = torch.zeros(4, 1)
    assert output_checks.views_of(shown, ROWS, odd) == {"plain": shown}


def test_what_an_augmentor_shows_in_the_place_of_fakes_has_their_shape():
    odd, fakes = component("augmentor"), torch.zeros(4, 1, 2, 2)
    with pytest.raises(PluginError, match=r"returned \[3, 1, 2, 2\] in the place of \[4, 1, 2, 2"):
        output_checks.replayed_of(fakes[:3], fakes, odd)
    with pytest.raises(PluginError, match=r"returned None in the place of \[4, 1, 2, 2\]"):
        output_checks.replayed_of(None, fakes, odd)
    shown = torch.ones(4, 1, 2, 2)
    assert output_checks.replayed_of(shown, fakes, odd) is shown


def test_where_the_method_stands_is_told(monkeypatch):
    """Of each kind, the one that returned it."""
    import sys

    class Odd(Augmentor, Discriminator, Generator):
        def view(self, data, draw):
            return None

        def replay(self, fakes, draw):
            return None

        def forward(self, *data):
            return None

    monkeypatch.setattr(sys.modules[__name__], "Odd", Odd, raising=False)
    own = Component("augmentor", "odd", f"{__name__}:Odd", provider="tests", version="0")
    for method, check in (
        ("view", lambda: output_checks.views_of(None, ROWS, own)),
        ("replay", lambda: output_checks.replayed_of(None, torch.zeros(1), own)),
        ("forward", lambda: output_checks.generator_output(None, ROWS, own)),
    ):
        with pytest.raises(PluginError, match=rf"test_output_checks\.py:\d+, {method}\)"):
            check()
