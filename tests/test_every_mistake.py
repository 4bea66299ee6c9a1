"""Every two mistakes together: each is told as it is alone, neither hides the other, and nothing is
told that would only follow from them.

Those that change what no other mistake needs, and need nothing themselves, are made many at once:
a game of them is one of all their pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from attrs import frozen
from playing import registry

from ganforge.planning.compose import compose
from ganforge.plugin import Component, Impossible, Ref, option, options
from ganforge.recipes.problems import RecipeError
from ganforge.recipes.recipe import load

GAME: dict[str, Any] = {
    "recipe": 1,
    "name": "game",
    "data": {"use": "dots"},
    "train": {"steps": 10, "batch": 6},
    "noise": {"dim": 5},
    "domains": {"other": {"dim": 3}},
    "generators": {"main": {"use": "mlp", "to": "image"}},
    "discriminators": {"main": {"use": "mlp", "on": "image"}},
    "losses": {"adversarial": {"use": "non-saturating", "on": "main"}},
    "hooks": {"samples": {"every": 5}},
    "metrics": {"sharpness": {"use": "class-accuracy"}},
    "augmentors": {"flip": {}},
}
REMOVED = object()


@options
class _Referring:
    partner: Ref = option(help="a network")


def _refuse(kind: str) -> Any:
    def check(*_: object) -> None:
        raise Impossible(f"the {kind} cannot be")

    return check


def _made_up(kind: Any, name: str, **facts: Any) -> Component:
    return Component(kind, name, "nowhere:Odd", provider="tests", version="0", **facts)


COMPONENTS = (
    _made_up("dataset", "refusing", describe=_refuse("dataset")),
    _made_up("loss", "classes", needs={"generator": ("fake_class_scores",)}),
    _made_up("loss", "strange", needs={"generator": ("fake_scoers",)}),
    _made_up("generator", "referring", options=_Referring),
    _made_up("hook", "refusing", check=_refuse("hook")),
    _made_up("metric", "refusing", check=_refuse("metric")),
)


@frozen(eq=False)
class Mistake:
    """A part of what is told, and what is changed in the game: a path of keys -> a value.

    needs: what must be known for it to be seen, such as "data"; where it is not, `otherwise` is
    told. spoils: what is not known where it is made.
    """

    told: str
    changes: Mapping[str, Any]
    needs: frozenset[str] = frozenset()
    otherwise: str = ""
    spoils: frozenset[str] = frozenset()

    def clashes(self, other: Mistake) -> bool:
        """Whether both change the same place."""
        pairs = itertools.product(self.changes, other.changes)
        return any(f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.") for a, b in pairs)


def mistake(
    told: str,
    changes: Mapping[str, Any],
    *,
    needs: str = "",
    otherwise: str = "",
    spoils: str = "",
) -> Mistake:
    return Mistake(told, changes, frozenset(needs.split()), otherwise, frozenset(spoils.split()))


D, G = "discriminators.main", "generators.main"
WHOLE = "losses phases generators guards"  # what must be known to say that nothing trains a network
MISTAKES = [
    # components that do not exist
    mistake("no dataset 'dotz'", {"data.use": "dotz"}, spoils="data size"),
    mistake("no generator 'mpl'", {f"{G}.use": "mpl"}, spoils="generator"),
    mistake("no discriminator 'mpl'", {f"{D}.use": "mpl"}, spoils="discriminator"),
    mistake("no loss 'hinj'", {"losses.adversarial.use": "hinj"}, spoils="losses adversarial"),
    mistake("no hook 'tensorbord'", {"hooks.tensorbord": {}}),
    mistake("no metric 'sharpnes'", {"metrics.sharpnes": {}}),
    mistake("no augmentor 'flop'", {"augmentors.flop": {}}, spoils="views"),
    mistake("no optimizer 'adamm'", {f"{D}.optimizer": {"use": "adamm"}}),
    mistake("no schedule 'cosin'", {f"{G}.schedule": {"use": "cosin"}}),
    # options that are wrong
    mistake("no option 'pare'", {"data.use": "dots", "data.pare": True}, spoils="data"),
    mistake("'size' must be", {"data.size": "big"}, spoils="data size"),
    mistake("the dataset cannot be", {"data.use": "refusing"}, needs="size", spoils="data"),
    mistake("'batch' must be", {"train.batch": 0}),
    mistake("'dim' must be", {"noise.dim": 0}),
    mistake("'lr' must be", {f"{D}.optimizer": {"lr": -1.0}}),
    mistake("'clip' must be", {f"{D}.clip": -1.0}),
    mistake("'floor' must be", {f"{G}.schedule": {"use": "cosine", "floor": 3.0}}),
    mistake("takes either `normal` or `run`", {f"{G}.init": {}}),
    mistake("'ema' of generator", {f"{G}.ema": 2.0}),
    mistake("no option 'widht'", {f"{G}.widht": 3}, needs="generator", spoils="generator"),
    mistake("no option 'hiden'", {f"{D}.hiden": [3]}, needs="discriminator"),
    mistake("no option 'margin'", {"losses.adversarial.margin": 1}, needs="adversarial"),
    mistake("weight of loss", {"losses.adversarial.weight": "x"}),
    mistake("'every' takes", {"losses.adversarial.every": 0}),
    mistake("never plays", {"losses.adversarial.start": 0.5, "losses.adversarial.stop": 0.2}),
    mistake("hook 'samples': 'every'", {"hooks.samples.every": -1}),
    mistake("no option 'smaples'", {"metrics.sharpness.smaples": 3}),
    mistake("augmentor 'flip' has no option 'prob'", {"augmentors.flip.prob": 3}, spoils="views"),
    mistake("domain 'other'", {"domains.other.dim": 0}),
    mistake("domain 'small'", {"domains.small": {"of": "image", "size": -1}}),
    # names of nothing
    mistake("no domain 'generators.mian'", {f"{G}.from": "generators.mian"}, spoils="sources"),
    mistake("no domain 'noize'", {f"{G}.from": "noize"}, needs="data", spoils="sources"),
    mistake(
        "no domain 'imge'",
        {f"{G}.to": "imge"},
        needs="data",
        otherwise="judges 'image', which no generator makes",
        spoils="generators",
    ),
    mistake(
        "no domain 'imag'",
        {f"{D}.on": "imag"},
        needs="data",
        otherwise="judges 'imag', which no generator makes",
        spoils="guards",
    ),
    mistake("no domain 'lable'", {f"{D}.given": "lable"}, needs="data"),
    mistake("no domain 'im'", {"domains.small": {"of": "im"}}, needs="data"),
    mistake("'given' takes a name", {f"{D}.given": 3}),
    mistake("judges 'other'", {f"{D}.on": "other"}, spoils="guards"),
    mistake("no discriminator 'mian'", {"augmentors.flip.on": "mian"}),
    mistake(
        "no discriminator 'mein'",
        {"losses.adversarial.on": "mein"},
        needs="adversarial",
        otherwise="no network 'mein'",
        spoils="losses",
    ),
    mistake("no network 'crtic'", {"train.phases.one": {"train": ["crtic"]}}, spoils="phases"),
    mistake(
        "no loss 'adverse'",
        {"train.phases.one": {"train": ["generator", "discriminator"], "losses": ["adverse"]}},
        spoils="phases",
    ),
    # what does not fit
    mistake("does not say how long", {"train.steps": REMOVED}),
    mistake("`steps` or `epochs`", {"train.steps": 10, "train.epochs": 3}),
    mistake("no class_scores", {"losses.classes": {}}, needs="discriminator", spoils="losses"),
    mistake("'fake_scoers'", {"losses.strange": {}}, spoils="losses"),
    mistake(
        "starts from noise",
        {"losses.cycle": {"use": "cycle-consistency"}},
        spoils="losses",
        needs="sources",
    ),
    mistake("no network 'x'", {"generators.odd": {"use": "referring", "partner": "x"}}),
    mistake("the hook cannot be", {"hooks.refusing": {}}),
    mistake("the metric cannot be", {"metrics.refusing": {}}),
    mistake(
        "no loss trains discriminator 'spare'",
        {"discriminators.spare": {"use": "mlp", "on": "image"}},
        needs=WHOLE,
    ),
]


@cache
def components() -> Any:
    return registry(*COMPONENTS)


def told(folder: Path, *mistakes: Mistake) -> list[str]:
    """Every message about the game with these mistakes, sorted."""
    game = deepcopy(GAME)
    for path, value in (change for m in mistakes for change in m.changes.items()):
        *above, key = path.split(".")
        table = game
        for name in above:
            table = table.setdefault(name, {})
        if value is REMOVED:
            del table[key]
        else:
            table[key] = value
    file = folder / "game.toml"
    file.write_text(tomli_w.dumps(game), encoding="utf-8")
    try:
        compose(load(file), components())
    except RecipeError as error:
        return sorted({problem.message for problem in error.problems})
    return []


def test_the_game_has_no_mistake(tmp_path: Path) -> None:
    assert told(tmp_path) == []


@pytest.mark.parametrize("one", MISTAKES, ids=lambda m: m.told)
def test_each_mistake_is_told_alone(tmp_path: Path, one: Mistake) -> None:
    (message,) = told(tmp_path, one)
    assert one.told in message


ALONE = [m for m in MISTAKES if not m.needs and not m.spoils]
ENTANGLED = [m for m in MISTAKES if m not in ALONE]


def games_of(mistakes: Iterable[Mistake]) -> list[list[Mistake]]:
    """Mistakes in as few games as may be, of which no two in a game change the same place."""
    games: list[list[Mistake]] = []
    for one in mistakes:
        free = (game for game in games if not any(one.clashes(other) for other in game))
        game = next(free, None)
        if game is None:
            games.append(game := [])
        game.append(one)
    return games


def assert_all_are_told(folder: Path, *mistakes: Mistake) -> None:
    spoiled = {m: frozenset().union(*(o.spoils for o in mistakes if o is not m)) for m in mistakes}
    expected = [m.otherwise if m.needs & spoiled[m] else m.told for m in mistakes]
    expected = [part for part in expected if part]
    messages = told(folder, *mistakes)
    made = [m.told for m in mistakes]
    assert len(messages) == len(expected), (made, messages)
    for part in expected:
        assert any(part in message for message in messages), (made, messages)


@pytest.mark.parametrize("one", ALONE, ids=lambda m: m.told)
def test_mistakes_that_concern_nothing_else_are_all_told_at_once(
    tmp_path: Path, one: Mistake
) -> None:
    others = [other for other in ALONE[ALONE.index(one) + 1 :] if not one.clashes(other)]
    for game in games_of(others):
        assert_all_are_told(tmp_path, one, *game)


@pytest.mark.parametrize("one", ENTANGLED, ids=lambda m: m.told)
def test_two_mistakes_are_both_told_and_nothing_else(tmp_path: Path, one: Mistake) -> None:
    for other in ENTANGLED[ENTANGLED.index(one) + 1 :]:
        if not one.clashes(other):
            assert_all_are_told(tmp_path, one, other)
    for game in games_of(other for other in ALONE if not one.clashes(other)):
        assert_all_are_told(tmp_path, one, *game)
