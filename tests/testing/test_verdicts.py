"""The conformance kit says of third parties' components what is true: passed, failed with the
reason, or not tried with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import third_party
from attrs import evolve

from ganforge.cli.plugin_check import Outcome, _outcome
from ganforge.registry.registry import Registry
from ganforge.testing import cases_of

BUILT_IN = Registry.load(only=())


def outcomes_of(kind: str, name: str) -> dict[str, Outcome]:
    """Check -> how it went."""
    component = third_party.component(kind, getattr(third_party, name))
    registry = evolve(BUILT_IN, components=(*BUILT_IN.components, component))
    return {case.check: _outcome("", case) for case in cases_of("acme", registry=registry)}


def results(kind: str, name: str) -> dict[str, str]:
    """Check -> its result, those apart that are alike for every component of a test."""
    found = outcomes_of(kind, name)
    assert found.pop("light").reason == "a plugin file has no manifest"
    if "frozen" in found and found["frozen"].reason == "it freezes nothing":
        del found["frozen"]
    return {check: outcome.result for check, outcome in found.items()}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("generator", "Clamped"),
        ("generator", "SaysSo"),
        ("generator", "Tall"),
        ("generator", "Published"),
        ("discriminator", "Spectral"),
        ("discriminator", "Square"),
        ("loss", "Balanced"),
    ],
)
def test_what_keeps_its_promises_passes(kind: str, name: str) -> None:
    assert set(results(kind, name).values()) == {"passed"}


@pytest.mark.parametrize(
    ("kind", "name", "check", "reason"),
    [
        ("generator", "Unbounded", "bounded", "images lie in [-1, 1]: end with tanh or a clamp"),
        ("discriminator", "SpectralBatch", "independent-rows", "scores depend on other rows"),
        ("loss", "BrokenTurn", "plays", "AttributeError: 'Turn' object has no attribute 'no_such"),
        ("loss", "Moving", "observes", "what it keeps belongs in buffers"),
    ],
)
def test_what_breaks_one_promise_fails_there_and_nowhere_else(
    kind: str, name: str, check: str, reason: str
) -> None:
    found = outcomes_of(kind, name)
    assert [c for c, outcome in found.items() if outcome.result == "failed"] == [check]
    assert reason in found[check].reason


def test_a_loss_that_reads_the_turn_is_played_and_not_made_up() -> None:
    found = results("loss", "WholeTurn")
    assert found["plays"] == "passed"
    made_up = ("values", "signs", "pure", "observes")
    assert {found[check] for check in made_up} == {"not tried"}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("generator", "Enormous", "needs images of 30,000 px a side"),
        ("augmentor", "Wide", "needs images of 512 x 512 px"),
        ("dataset", "FromFiles", "there is no folder /photos"),
        ("hook", "NeedsText", "watches games of text only"),
        ("metric", "NeedsPairs", "needs pairs"),
    ],
)
def test_what_cannot_be_tried_here_is_said_with_the_reason(
    kind: str, name: str, reason: str
) -> None:
    found = outcomes_of(kind, name)
    assert "failed" not in {outcome.result for outcome in found.values()}
    reasons = [o.reason for o in found.values() if o.result == "not tried"]
    assert any(reason in told for told in reasons)


def test_a_slip_in_a_plugin_is_told_with_its_own_file_and_line() -> None:
    found = outcomes_of("discriminator", "Raises")
    lines = Path(third_party.__file__).read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "self.bais" in text)
    assert found["shapes"].result == "failed"
    place = f"({third_party.__file__}:{line}, in looked_at)"
    assert "AttributeError" in found["shapes"].reason and place in found["shapes"].reason


def test_the_three_states_are_shown_apart(workdir, ganforge_cli) -> None:
    (workdir / "turn.py").write_text(FILE, encoding="utf-8")
    answer = ganforge_cli("check", "--plugin", "turn.py", "--plugin-file", "turn.py")
    assert answer.status == 1
    for line in ("passed     needs", "not tried  values", "failed     complete"):
        assert line in answer.out
    assert "reads the whole turn" in answer.out
    passed, failed, untried = (answer.out.count(f"  {w}") for w in ("passed ", "failed ", "not tr"))
    assert answer.out.endswith(f"{passed} checks passed, {failed} failed, {untried} not tried\n")


FILE = """
from ganforge import Loss
from torch.nn.functional import softplus


class Turning(Loss):
    def discriminator(self, turn, real_scores):
        return softplus(-real_scores)
"""
