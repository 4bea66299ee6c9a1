"""Every check of the conformance kit passes what is whole and finds what is broken."""

import json
from contextlib import suppress
from pathlib import Path

import broken
import pytest
from attrs import evolve

import ganforge
from ganforge.interfaces.errors import GanforgeError
from ganforge.registry.registry import Registry
from ganforge.testing import Failed, NotTried, cases_of
from ganforge.testing.cases import promises

BUILT_IN = Registry.load(only=())

WHOLE = {
    "generator": "Maker",
    "discriminator": "Judge",
    "loss": "Objective",
    "augmentor": "Halver",
    "hook": "Watcher",
    "dataset": "Noise",
    "metric": "Mean",
}

# (kind, class, facts, the check that finds it, what it says)
BROKEN = [
    ("loss", "Objective", {"summary": ""}, "complete", "has no summary"),
    ("loss", "Objective", {"options": broken.Unbounded}, "complete", "without bounds"),
    ("loss", "Objective", {"options": broken.Undocumented}, "complete", "has no help text"),
    ("loss", "Missing", {}, "loadable", "cannot be loaded"),
    ("loss", "Judge", {}, "loadable", "is not a ganforge.Loss"),
    ("generator", "WrongShape", {}, "shapes", "expected"),
    ("generator", "OutOfRange", {}, "shapes", r"images lie in \[-1, 1\]"),
    ("generator", "NotFinite", {}, "shapes", "not finite"),
    ("generator", "Growing", {}, "bounded", "times as large it reaches"),
    ("generator", "NeverAlone", {}, "shapes", "needs two"),
    ("generator", "UnusedWeights", {}, "gradients", "'spare.weight' gets no gradient"),
    ("generator", "HiddenWeights", {}, "saved", "returns something different"),
    ("generator", "SharedCopies", {}, "copied", "shares 'layer.weight'"),
    ("generator", "OwnDice", {}, "seeded", "built from one seed differ"),
    ("discriminator", "SilentFeatures", {}, "offers", "returns nothing beside scores"),
    ("discriminator", "FirstOrderOnly", {}, "double-backward", "does not depend on the weights"),
    ("discriminator", "FalselyApart", {}, "independent-rows", "depend on other rows"),
    ("generator", "WakingMaker", {}, "frozen", "'norm.running_mean' is frozen, but changed"),
    ("generator", "CarelessMaker", {"check": broken.images}, "one-row", "for one row alone"),
    ("discriminator", "DriftingJudge", {}, "frozen", "'scale' is frozen, but changed"),
    ("discriminator", "CarelessJudge", {"check": broken.images}, "one-row", "for one row alone"),
    ("loss", "WakingObjective", {"needs": broken.FAKES_TOO}, "frozen", "'norm.running_mean' is fr"),
    ("loss", "OneNumber", {}, "values", "declare mixes_batch"),
    ("loss", "InfiniteLoss", {}, "values", "not finite"),
    ("loss", "WrongWay", {}, "signs", "moves fake_scores the wrong way"),
    ("loss", "Misdeclared", {}, "needs", "needs of the generator side"),
    ("loss", "InPlace", {}, "pure", "changes fake_scores|a different value"),
    ("loss", "Counting", {}, "pure", "changes 'count'|a different value"),
    ("loss", "Meddling", {}, "observes", "changes parameter 'weight'"),
    ("loss", "Remembering", {}, "observes", "what it keeps belongs in buffers"),
    ("loss", "Collapsing", {}, "plays", "not finite"),
    ("augmentor", "WrongView", {}, "views", "has shape"),
    ("augmentor", "Brightens", {}, "keeps-range", "keeps_range = False"),
    ("augmentor", "Rounds", {}, "differentiable", "no gradient passes"),
    ("augmentor", "Infinite", {}, "differentiable", "not finite"),
    ("augmentor", "OwnDraws", {}, "one-draw", "draw from `draw` only"),
    ("augmentor", "Overwrites", {}, "untouched", "in place"),
    ("augmentor", "NeverOff", {}, "off", "although it is off"),
    ("augmentor", "Forgetful", {}, "kept", "something different after its state"),
    ("hook", "Misspelt", {}, "moments", "did you mean 'step_ended'"),
    ("hook", "Secretive", {}, "watches", "changes_weights = True"),
    ("hook", "NoJson", {}, "kept", "is not JSON"),
    ("hook", "Amnesiac", {}, "kept", "returns something other"),
    ("dataset", "Noise", {"describe": None}, "described", "does not describe"),
    ("dataset", "TooMany", {}, "described", "describes 5 rows"),
    ("dataset", "FloatImages", {}, "items", "uint8"),
    ("dataset", "HighLabels", {}, "items", "below 2"),
    ("dataset", "Moody", {}, "by-index", "differs when it is read again"),
    ("dataset", "OtherRows", {}, "by-index", r"rows\(\) and item\(\) differ"),
    ("metric", "Unstable", {}, "measures", "when measured again"),
    ("metric", "Shouting", {}, "measures", "lower-case words"),
    ("metric", "NotANumber", {}, "measures", "is nan"),
    ("metric", "Drawing", {}, "leaves-alone", "global generator"),
    ("metric", "Miscounts", {}, "closed-forms", "one and one: 2.0, but it must be 3.0"),
    ("metric", "Verbose", {}, "protocol", "one line"),
]


def cases_for(component):
    registry = evolve(BUILT_IN, components=(*BUILT_IN.components, component))
    return cases_of("broken", registry=registry)


@pytest.mark.parametrize(("kind", "cls"), WHOLE.items())
def test_what_is_whole_passes_every_check(kind, cls):
    cases = cases_for(broken.component(kind, cls))
    assert len({case.check for case in cases}) == len(cases) > 3
    for case in cases:
        with suppress(NotTried):  # there is no distribution behind it, for one
            case.run()


@pytest.mark.parametrize(
    ("kind", "cls", "facts", "check", "message"),
    BROKEN,
    ids=[f"{kind}-{cls}-{check}" for kind, cls, _, check, _ in BROKEN],
)
def test_what_is_broken_is_found(kind, cls, facts, check, message):
    (case,) = (c for c in cases_for(broken.component(kind, cls, **facts)) if c.check == check)
    with pytest.raises((Failed, GanforgeError, ValueError), match=message):
        case.run()


def test_options_without_defaults_need_an_example():
    component = broken.component("loss", "Objective", options=broken.Required)
    (case,) = (c for c in cases_for(component) if c.check == "values")
    with pytest.raises(NotTried, match="needs values for margin to be tried: conformance"):
        case.run()


def test_every_check_of_every_kind_is_seen_to_fail():
    seen = {(kind, check) for kind, _, _, check, _ in BROKEN}
    checks = {
        (kind, case.check)
        for kind, cls in WHOLE.items()
        for case in cases_for(broken.component(kind, cls))
    }
    common = {"light", "complete", "loadable"}  # the same code for every kind
    of_networks = {"shapes", "gradients", "saved", "copied", "seeded"}
    missing = {
        (kind, check)
        for kind, check in checks - seen
        if check not in common and not (kind == "discriminator" and check in of_networks)
    }
    # `offers` of generators concerns log-probabilities only.
    assert missing == {("generator", "offers")}


def test_a_manifest_that_imports_torch_or_takes_long_is_found(tmp_path, monkeypatch):
    from ganforge.testing import manifests

    for name, text in (("heavy_manifest", "import torch"), ("slow_manifest", SLOW)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (case,) = (c for c in cases_for(broken.component("loss", "Objective")) if c.check == "light")
    with pytest.raises(NotTried):
        case.run()
    for name, message in (("heavy_manifest", "imports torch"), ("slow_manifest", "at most 50 ms")):
        monkeypatch.setattr(manifests, "_manifest", lambda subject, name=name: name)
        with pytest.raises(Failed, match=message):
            case.run()


SLOW = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"


def test_a_plugin_that_is_not_there_is_said():
    with pytest.raises(GanforgeError, match="no plugin 'acme' with components"):
        cases_of("acme")


def test_an_example_for_nothing_is_said():
    registry = evolve(BUILT_IN, components=(broken.component("loss", "Objective"),))
    with pytest.raises(GanforgeError, match="an example is for loss/other; there are: loss/obj"):
        cases_of("broken", {"loss/other": {}}, registry)


FILE = """
from ganforge import Loss
from torch.nn.functional import softplus


class Soft(Loss):
    \"\"\"A soft hinge.\"\"\"

    def discriminator(self, real_scores, fake_scores):
        return softplus(1 - real_scores) + softplus(1 + fake_scores)

    def generator(self, fake_scores):
        return {sign}fake_scores
"""


@pytest.mark.parametrize(("sign", "status"), [("-", 0), ("", 1)])
def test_the_command_tries_a_plugin_file(workdir, ganforge_cli, sign, status):
    (workdir / "soft.py").write_text(FILE.format(sign=sign), encoding="utf-8")
    answer = ganforge_cli("check", "--plugin", "soft.py", "--plugin-file", "soft.py")
    assert answer.status == status
    assert "loss/soft" in answer.out
    assert ("1 failed" in answer.out) == bool(status)
    as_json = ganforge_cli("check", "--plugin", "soft.py", "--plugin-file", "soft.py", "--json")
    report = json.loads(as_json.out)
    assert report["ok"] is not bool(status)
    results = {check["check"]: check["result"] for check in report["checks"]}
    assert results["signs"] == ("failed" if status else "passed")


def test_the_command_takes_a_recipe_or_a_plugin(ganforge_cli):
    answer = ganforge_cli("check")
    assert answer.status == 2
    assert "name a recipe, or a plugin" in answer.err


def test_the_docs_list_every_check():
    text = (Path(ganforge.__file__).parents[1] / "docs" / "first-plugin.md").read_text("utf-8")
    listed = text.partition("<!-- conformance: begin")[2].partition("-->\n")[2]
    listed = listed.partition("<!-- conformance: end")[0]
    lines = ["| of | check | what it holds |", "|---|---|---|"]
    for kind, checks in promises().items():
        lines += [f"| {kind or 'every kind'} | `{c}` | {text} |" for c, text in checks.items()]
    assert listed.strip() == "\n".join(lines)
