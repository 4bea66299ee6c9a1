"""Checks that every component must pass, as tests of a plugin and without pytest.

    from ganforge.testing import conformance

    test_conformance = conformance("acme-hinge")

`ganforge check --plugin acme-hinge` runs the same ones; docs/first-plugin.md lists them. This room
is public. It imports every room but `sweeps` and `cli`; only `cli` imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ganforge.testing.cases import Case, Failed, NotTried, cases_of

__all__ = ["Case", "Failed", "NotTried", "cases_of", "conformance"]


def conformance(
    provider: str, examples: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[Case], None]:
    """A pytest test with a case per component of a plugin and check.

    provider: the distribution's name. examples: `kind/name` -> values of options, for components
    that cannot be tried with their defaults alone.
    """
    import pytest

    found = cases_of(provider, examples or {})

    @pytest.mark.parametrize("case", found, ids=[str(case) for case in found])
    def test(case: Case) -> None:
        try:
            case.run()
        except NotTried as reason:
            pytest.skip(str(reason))

    return test
