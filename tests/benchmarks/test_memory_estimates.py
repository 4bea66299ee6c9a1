"""`check --build` foretells the memory of every shipped recipe within 30 %. Takes half an hour."""

import pytest
from making_data import REGISTRY
from memory import estimated, prepared, settings, taken


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("data"), None)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REGISTRY.recipes()))
def test_a_recipe_takes_the_estimated_memory(name, pictures, workdir):
    sets = settings(name, pictures)
    memory = estimated(name, sets, preview=False)
    assert 0.7 <= memory["peak"] / taken(name, sets, False, workdir) <= 1.3, memory
