"""Every loss with every discriminator and every augmentor: it plays, or is refused with the reason.

All of it is read from the registry, with those options that change what a component offers, needs
or shows, so that a new built-in is covered as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import pytest
import tomli_w
import torch
from attrs import frozen
from playing import registry

from ganforge import DiscriminatorOutput, GanforgeError
from ganforge.game.trained_module import TrainedModule
from ganforge.hardware.machine import decide
from ganforge.interfaces.vocabulary import split
from ganforge.planning.compose import compose
from ganforge.planning.plan import SIDES, Plan, Side
from ganforge.plugin import Component, ImageSpec, Impossible, LabelSpec, option_names
from ganforge.recipes.problems import RecipeError
from ganforge.recipes.recipe import ALWAYS_ON, load
from ganforge.registry.parameter_names import loss_needs, takes_labels
from ganforge.storage.run_folder import RunFolder
from ganforge.testing.situations import items
from ganforge.training.launch import build_training
from ganforge.training.trainer import Training

STEPS = 2  # the second begins with what the first has left
PIXELS = ImageSpec(1, 16, 16)
# Options of these names get these values.
SMALL = {"width": 4, "hidden": [8], "layers": 2, "blocks": 1, "code": 4, "dropout": 0.0}


# --- what there is --------------------------------------------------------------------------------


@frozen(eq=False)
class Variant:
    """A component with the options that make it another one for the rest of the game."""

    component: Component
    changed: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.component.name

    def __str__(self) -> str:
        values = "+".join(f"{key}={value}" for key, value in self.changed)
        return f"{self.name}({values})" if values else self.name

    @property
    def options(self) -> dict[str, Any]:
        return small_options(self.component) | dict(self.changed)


def small_options(component: Component) -> dict[str, Any]:
    """Options that make a network small; of the layers, as many as usual where it refuses fewer."""
    names = [name for name in SMALL if name in option_names(component.options)]
    small = {name: SMALL[name] for name in names}
    if component.kind == "discriminator" and component.check is not None:
        beside = {"labels": LabelSpec(3)} if takes_labels(component.check) else {}
        try:
            component.check(component.options(**small), PIXELS, (), **beside)
        except Impossible:
            small.pop("layers", None)
    return small


def variants(kind: str) -> Iterator[Variant]:
    """Every built-in component, and again with each choice that changes what it is to others."""
    for component in registry().of(kind):
        if component.provider != "ganforge":
            continue
        usual = Variant(component)
        seen = [facts(usual)]
        yield usual
        for name, choices in choices_of(component.options).items():
            for choice in choices:
                other = Variant(component, ((name, choice),))
                if facts(other) != seen[0]:
                    yield other


def choices_of(cls: type) -> Mapping[str, tuple[Any, ...]]:
    """The options that take one of a few values."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        if get_origin(hint) is Literal:
            found[name] = get_args(hint)
        elif hint is bool:
            found[name] = (False, True)
    return found


def facts(variant: Variant) -> Any:
    """What a component's manifest says of it to others."""
    component, options = variant.component, variant.component.options(**variant.options)
    if component.kind == "loss":
        return {side: set(names) for side, names in loss_needs(component, options).items()}
    if component.kind == "augmentor":
        return component.views(options, PIXELS) if component.views else None
    return component.offered(options)


LOSSES, DISCRIMINATORS = list(variants("loss")), list(variants("discriminator"))
AUGMENTORS: list[Variant | None] = [None, *variants("augmentor")]
GENERATORS = list(variants("generator"))
BOTH_SIDED = sorted(
    (loss for loss in LOSSES if set(facts(loss)) == set(SIDES) and not loss.changed),
    key=lambda loss: loss.name != "non-saturating",  # first, since most discriminators take it
)


# --- games ----------------------------------------------------------------------------------------

COMMON = {
    "recipe": 1,
    "name": "combination",
    "train": {"steps": STEPS, "batch": 4, "precision": "fp32", "device": "cpu"},
    "noise": {"dim": 3},
    "hooks": {name: {"off": True} for name in ALWAYS_ON},
}
FROM_LABELS = {"from": ["noise", "label"], "ema": 0.5}


@frozen
class Case:
    """What is combined. The first loss is the one in question, a second one plays beside it."""

    losses: tuple[Variant, ...]
    discriminator: Variant
    augmentor: Variant | None = None
    generator: Variant | None = None

    def tables(self) -> Iterator[dict[str, Any]]:
        """Recipes of one game each: from labels to images, with a condition, between images, from
        captions to images, of texts."""
        common = {
            **COMMON,
            "losses": {loss.name: table_of(loss) for loss in self.losses},
            "augmentors": {self.augmentor.name: table_of(self.augmentor)} if self.augmentor else {},
        }
        judge = {"use": self.discriminator.component.id, **self.discriminator.options}
        maker = {"use": "mlp", "hidden": [8]}
        if self.generator is not None:
            maker = {"use": self.generator.component.id, **self.generator.options}
        one = {"use": "dots", "size": 16, "count": 8}
        if any(need.startswith("labelled_") for x in self.losses for need in needs_of(x)):
            one["labelled"] = 4
        yield common | {
            "data": one,
            "generators": {"maker": maker | FROM_LABELS},
            "discriminators": {"main": judge},
        }
        yield common | {
            "data": one,
            "generators": {"maker": maker | FROM_LABELS},
            "discriminators": {"main": judge | {"given": "label"}},
        }
        if self.generator is None:
            maker = {"use": "resnet-translator", "width": 4, "blocks": 0, "downsamplings": 1}
        ways = {"l2d": ("light", "dark"), "d2l": ("dark", "light")}
        yield common | {
            "data": {"use": "dots", "size": 16, "count": 8, "pair": True},
            "generators": {
                n: maker | {"from": a, "to": b, "ema": 0.5} for n, (a, b) in ways.items()
            },
            "discriminators": {name: judge | {"on": name} for name in ("light", "dark")},
        }
        if self.generator is None:
            maker = {"use": "stackgan-1", "width": 4}
        encoder = {"use": "text-encoder", "width": 4, "from": "caption", "to": "embedding"}
        yield common | {
            "data": {"use": "captioned-shapes", "size": 48, "count": 8, "held_out": 4},
            "domains": {"embedding": {"vector": 4}, "wobble": {"dim": 4}},
            "generators": {
                "text": encoder,
                "maker": maker
                | {"from": ["noise", "wobble", "generators.text"], "to": "image", "ema": 0.5},
            },
            "discriminators": {"main": judge | {"on": "image", "given": "embedding"}},
        }
        if self.generator is None:
            maker = {"use": "seq2seq", "width": 4}
        yield common | {
            "data": {"use": "spoken-times", "held_out": 1430},
            "generators": {"maker": maker | {"from": ["time", "noise"], "to": "wording"}},
            "discriminators": {"main": judge | {"on": "wording", "given": "time"}},
        }


def needs_of(loss: Variant) -> set[str]:
    return set().union(*facts(loss).values())


def table_of(variant: Variant) -> dict[str, Any]:
    return {"use": variant.component.id, **variant.options}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory):
    """case -> the plan of the first game that it can play; otherwise every game's problems."""
    file = tmp_path_factory.mktemp("recipes") / "recipe.toml"

    @cache
    def played(case: Case) -> tuple[int, Plan | tuple[RecipeError, ...]]:
        """The number of that game as well. What cannot be played without an augmentor cannot with
        one either, so these games are not tried again."""
        plain = attrs.evolve(case, augmentor=None)
        first = played(plain)[0] if case.augmentor else 0
        errors = []
        for number, tables in enumerate(case.tables()):
            if number < first:
                continue
            file.write_text(tomli_w.dumps(tables), encoding="utf-8")
            try:
                return number, compose(load(file), registry())
            except RecipeError as error:
                errors.append(error)
        return 0, tuple(errors)

    return lambda case: played(case)[1]


def case_of(composed: Any, loss: Variant, discriminator: Variant) -> Case:
    """The loss alone where it teaches both sides; else beside one that teaches the other."""
    if set(facts(loss)) == set(SIDES):
        return Case((loss,), discriminator)
    others = [x for x in BOTH_SIDED if isinstance(composed(Case((x,), discriminator)), Plan)]
    cases = [Case((loss, other), discriminator) for other in others]
    cases = cases or [Case((loss,), discriminator)]  # one that judges no images takes none
    return next((case for case in cases if isinstance(composed(case), Plan)), cases[0])


# --- what a step may move -------------------------------------------------------------------------


def training_of(plan: Plan, folder: Path) -> Training:
    run = RunFolder(folder)
    return build_training(plan, registry(), decide(plan.train), run)


Values = dict[str, torch.Tensor]


def values_of(training: Training, side: str) -> Values:
    """Every tensor of a side, with those of the losses that train with it."""
    game = training.game
    found = {}
    for trained_module in game.trained_modules:
        if trained_module.side == side:
            for name, value in trained_module.module.state_dict().items():
                found[f"{trained_module.address}/{name}"] = value.clone()
    return found


def weights_of(training: Training, side: str) -> Values:
    """The parameters of a side alone: the running statistics of G move where its fakes are made."""
    trained_modules = [
        trained_module
        for trained_module in training.game.trained_modules
        if trained_module.side == side
    ]
    return {name: p.detach().clone() for x in trained_modules for p, name in x.names().items()}


def averages_of(training: Training) -> Values:
    return {
        f"average of {address}/{name}": value.clone()
        for address, average in training.game.ema.items()
        for name, value in average.named_parameters()
    }


def assert_same(now: Values, before: Values, when: str) -> None:
    moved = [name for name in before if not torch.equal(now[name], before[name])]
    assert not moved, f"{when}: {', '.join(moved)}"


def play(training: Training) -> None:
    """All steps. In its turn a side moves nothing but its own."""
    take_turn = training._play

    def watched(side: Side, *about: Any) -> None:
        others = others_of(training, side)
        averages = averages_of(training)
        take_turn(side, *about)
        assert_same(others_of(training, side), others, f"the {side}'s turn moved the other side")
        assert_same(averages_of(training), averages, "a turn moved the average of G")

    training._play = watched
    for step in range(1, STEPS + 1):
        training.take_step(step)


def others_of(training: Training, side: Side) -> Values:
    """What a side's turn leaves as it is: G's weights in D's turn, all that is D's in G's."""
    if side == "discriminator":
        return weights_of(training, "generator")
    return values_of(training, "discriminator")


QUANTITIES = {"scores", "class_scores", "features", "reconstruction"}


def should_move(training: Training) -> set[str]:
    """The weights (biases aside, which a loss may not notice) that what losses read depends on."""
    found = set()
    for trained_module in training.game.trained_modules:
        weights = {name for p, name in trained_module.names().items() if p.dim() > 1}
        if trained_module.address.startswith("discriminators."):
            deaf = weights - reached(training, trained_module, QUANTITIES)
            assert not deaf, f"nothing that is returned depends on {', '.join(sorted(deaf))}"
            weights &= reached(training, trained_module, read_of(training, trained_module))
        found |= weights
    return found


def read_of(training: Training, trained_module: TrainedModule) -> set[str]:
    """What the losses of D's turn read of a discriminator."""
    name = trained_module.address.removeprefix("discriminators.")
    losses = (loss for loss in training.plan.losses.values() if name in loss.on)
    read = {split(need)[1] for loss in losses for need in loss.needs.get("discriminator", ())}
    return read | ({"scores"} if "gradient" in read else set())


def reached(training: Training, trained_module: TrainedModule, quantities: set[str]) -> set[str]:
    """The parameters of a discriminator that these of its quantities depend on."""
    plan = training.plan.discriminators[trained_module.address.removeprefix("discriminators.")]
    trained_module.module.requires_grad_(True)
    beside = {"given": tuple(items(s, 4, 0) for s in plan.given_specs)} if plan.given else {}
    output = trained_module.module(torch.rand(4, *plan.judged.played), **beside)
    output = (
        output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(scores=output)
    )
    values = [getattr(output, name) for name in sorted(quantities & QUANTITIES)]
    total = sum((value * torch.rand_like(value)).sum() for value in values if value is not None)
    names = trained_module.names()
    gradients = torch.autograd.grad(total, list(names), allow_unused=True)
    return {
        name
        for name, gradient in zip(names.values(), gradients, strict=True)
        if gradient is not None and gradient.any()
    }


# --- the tests ------------------------------------------------------------------------------------

PAIRS = [
    pytest.param(loss, discriminator, id=f"{loss}-{discriminator}")
    for loss in LOSSES
    for discriminator in DISCRIMINATORS
]
JUDGES, MAKERS = ("main", "light", "dark"), ("maker", "l2d", "d2l")  # what they are in recipes


@pytest.mark.parametrize("mixed", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("loss", "discriminator"), PAIRS)
def test_a_loss_plays_with_a_discriminator_and_every_augmentor_or_is_refused_with_the_reason(
    composed, tmp_path, loss: Variant, discriminator: Variant, mixed: bool
) -> None:
    """mixed: those in which more than one component has other options than usual."""
    case = case_of(composed, loss, discriminator)
    if not isinstance(composed(case), Plan):
        assert_reason(composed(case), [loss.name], [discriminator.name, *JUDGES, *MAKERS])
        return
    for augmentor in AUGMENTORS:
        changed = [part for part in (loss, discriminator, augmentor) if part and part.changed]
        if (len(changed) > 1) != mixed:
            continue
        plan = composed(attrs.evolve(case, augmentor=augmentor))
        if not isinstance(plan, Plan):
            assert_reason(plan, [augmentor.name])
            continue
        try:
            assert_plays(training_of(plan, tmp_path))
        except Exception as error:
            error.add_note(f"augmentor: {augmentor}")
            raise


@pytest.mark.parametrize("discriminator", DISCRIMINATORS, ids=str)
@pytest.mark.parametrize("generator", GENERATORS, ids=str)
def test_a_generator_plays_against_a_discriminator_or_is_refused_with_the_reason(
    composed, tmp_path, generator: Variant, discriminator: Variant
) -> None:
    cases = [Case((loss,), discriminator, generator=generator) for loss in BOTH_SIDED]
    plans = [plan for case in cases if isinstance(plan := composed(case), Plan)]
    if not plans:
        assert_reason(composed(cases[0]), [generator.name])
        return
    try:
        training = training_of(plans[0], tmp_path)
    except GanforgeError as error:  # what only a look at the other network can tell
        assert str(error).startswith(generator.name) and "\n" not in str(error)
        return
    assert_plays(training)


def test_every_loss_discriminator_and_augmentor_plays_somewhere(composed) -> None:
    cases = [case_of(composed, loss, judge) for loss in LOSSES for judge in DISCRIMINATORS]
    playing = [case for case in cases if isinstance(composed(case), Plan)]
    assert {case.losses[0] for case in playing} == set(LOSSES)
    assert {case.discriminator for case in playing} == set(DISCRIMINATORS)
    for augmentor in AUGMENTORS:
        assert any(
            isinstance(composed(attrs.evolve(c, augmentor=augmentor)), Plan) for c in playing
        )


def assert_reason(
    errors: Iterable[RecipeError], these: Collection[str], those: Collection[str] = ()
) -> None:
    """Each problem is a clear line, and one of them names what does not go with what."""
    messages = [problem.message for error in errors for problem in error.problems]
    for message in messages:
        assert "\n" not in message and len(message) < 250, message
    named = [message for message in messages if mentions(message, these)]
    assert any(not those or mentions(message, those) for message in named), messages


def mentions(message: str, names: Iterable[str]) -> bool:
    return any(f"'{name}'" in message or message.startswith(f"{name} ") for name in names)


def assert_plays(training: Training) -> None:
    before = everything(training)
    play(training)
    gauges = training.gauges()  # raises where a loss was not finite in any step
    assert all(map(math.isfinite, gauges.values())), gauges
    now = everything(training)
    averages = {name for name, value in averages_of(training).items() if value.dim() > 1}
    moving = should_move(training) | averages
    stood = [name for name in moving if torch.equal(now[name], before[name])]
    assert not stood, f"nothing moved {', '.join(sorted(stood))}"


def everything(training: Training) -> Values:
    sides = [values_of(training, side) for side in SIDES]
    return {**sides[0], **sides[1], **averages_of(training)}
