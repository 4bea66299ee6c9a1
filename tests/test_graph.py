"""Addresses taken apart and put together, and walks over the graph of generators."""

import pytest
from attrs import frozen

from ganforge.interfaces.addresses import (
    Address,
    made_by,
    name_of,
    of_augmentor,
    of_discriminator,
    of_generator,
    of_loss,
)
from ganforge.planning import graph
from ganforge.plugin import ImageSpec, NoiseSpec

NOISE, IMAGE = NoiseSpec(4), ImageSpec(1, 8, 8)


@pytest.mark.parametrize(
    ("text", "parts", "described"),
    [
        (of_generator("main"), ("generators", "main", ""), "generator 'main'"),
        (of_discriminator("zebra"), ("discriminators", "zebra", ""), "discriminator 'zebra'"),
        (of_loss("r1"), ("losses", "r1", ""), "loss 'r1'"),
        (of_loss("r1", "a"), ("losses", "r1", "a"), "loss 'r1' on discriminator 'a'"),
        (
            of_augmentor("flip", "a"),
            ("augmentors", "flip", "a"),
            "augmentor 'flip' on discriminator 'a'",
        ),
    ],
)
def test_an_address_is_taken_apart_and_put_together(text, parts, described):
    address = Address.parse(text)
    assert (address.kind, address.name, address.discriminator) == parts
    assert str(address) == text
    assert address.described == described


def test_a_source_is_a_domain_or_what_a_generator_makes():
    assert made_by("generators.coarse") == "coarse" and made_by("noise") is None
    assert name_of("generators.coarse") == "coarse" and name_of("noise") == "noise"


@frozen
class Edge:
    sources: tuple[str, ...]
    target: str
    side: str = "generator"

    @property
    def source_specs(self):
        return tuple(NOISE if source == "noise" else IMAGE for source in self.sources)


# Text is encoded in D's turn; `fine` enlarges what `coarse` makes of both, `check` reads all.
EDGES = {
    "check": Edge(("generators.fine", "generators.coarse"), "big"),
    "encoder": Edge(("text",), "code", side="discriminator"),
    "coarse": Edge(("noise", "generators.encoder"), "small"),
    "fine": Edge(("generators.coarse", "grey"), "big"),
    "there": Edge(("horse",), "zebra"),
    "back": Edge(("zebra",), "horse"),
}


def test_a_chain_names_each_generator_once_after_those_that_it_reads():
    assert graph.chain(EDGES, "check") == ["encoder", "coarse", "fine", "check"]
    assert graph.chain(EDGES, "there") == ["there"]


def test_gradients_of_gs_turn_stop_at_what_learns_in_ds():
    assert graph.learning_chain(EDGES, "check") == ["coarse", "fine", "check"]
    assert graph.learning_chain(EDGES, "encoder") == []


def test_leaves_are_the_domains_that_are_read_through_others_too():
    assert list(graph.leaves(EDGES, EDGES["fine"])) == [
        ("noise", NOISE),
        ("text", IMAGE),
        ("grey", IMAGE),
    ]


def test_ends_are_read_by_no_other():
    assert list(graph.ends(EDGES)) == ["check", "there", "back"]


def test_an_inverse_leads_back_to_the_first_source():
    assert graph.inverse(EDGES, EDGES["there"]) == "back"
    assert graph.inverse(EDGES, EDGES["fine"]) is None
