"""What others rely on changes only together with the changelog (docs/stability.md)."""

import pytest
from public_surface import ROOT, changelog, remembered, surface


@pytest.mark.skipif(not (ROOT / "CHANGELOG.md").is_file(), reason="needs a checkout")
def test_the_public_surface_is_the_remembered_one():
    fingerprint, before = remembered()
    now = surface()
    changed = [f"- {x}" for x in before if x not in now] + [
        f"+ {x}" for x in now if x not in before
    ]
    told = "run" if changelog() != fingerprint else "say so in CHANGELOG.md, then run"
    assert not changed, (
        "the public surface changed; "
        f"{told} `python tests/public_surface.py`:\n" + "\n".join(changed)
    )


def test_the_surface_holds_what_plugins_are_written_against():
    lines = surface()
    for line in (
        "class ganforge.Loss",
        "member ganforge.Loss.observe(self, side, values)",
        "field ganforge.plugin.Component.offers",
        "vocabulary fake_scores",
        "key losses.weight",
        "moment step_ended(self, training, step)",
        "command run --preview",
    ):
        assert line in lines
