"""Every built-in component passes the checks that third parties' components are held to.

Networks are tried narrow, which changes none of the promises and saves a minute.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from making_data import make_mnist
from small_recipes import draw_pictures

from ganforge.plugin import option_names
from ganforge.registry.registry import Registry
from ganforge.testing import conformance

# Made when the tests run; the cases, which are made before, only need the place.
DATA = Path(tempfile.gettempdir()) / f"ganforge-conformance-{os.getpid()}"

NARROW = {"width": 4, "hidden": [8, 8], "blocks": 1}
EXAMPLES = {
    "generator/weight-sharing": {"discriminator": "mirrored"},
    "hook/early-stopping": {"watch": "loss/adversarial/generator"},
    "hook/lower-lr": {"watch": "loss/adversarial/generator"},
    "dataset/captioned-folder": {"root": DATA / "told"},
    "dataset/cifar10": {"root": DATA / "cifar10"},
    "dataset/image-folder": {"root": DATA / "photos"},
    "dataset/mnist": {"root": DATA / "mnist"},
    "dataset/paired-folders": {"root": DATA / "pairs", "domains": {"a": "trainA", "b": "trainB"}},
    "dataset/side-by-side": {"root": DATA / "photos"},
    "dataset/unpaired-folders": {
        "root": DATA / "pairs",
        "domains": {"a": "trainA", "b": "trainB"},
    },
}


def examples():
    """Values for what has no default, and small networks."""
    found = dict(EXAMPLES)
    for component in Registry.load(only=()).components:
        if component.kind in ("generator", "discriminator"):
            name = f"{component.kind}/{component.name}"
            small = {k: v for k, v in NARROW.items() if k in option_names(component.options)}
            found[name] = small | found.get(name, {})
    return found


@pytest.fixture(scope="module", autouse=True)
def data():
    make_mnist(DATA / "mnist", train=20, test=4)
    for name in ("photos", "told"):
        draw_pictures(DATA / name, count=5, size=(20, 24))
    for path in list((DATA / "told").iterdir()):
        path.with_suffix(".txt").write_text(f"picture {path.stem}", encoding="utf-8")
    for name in ("trainA", "trainB", "testA", "testB"):
        draw_pictures(DATA / "pairs" / name, count=3, size=(20, 24))
    folder = DATA / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = draws.integers(0, 256, (10, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(10)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    yield
    shutil.rmtree(DATA)


@pytest.fixture(autouse=True)
def judges_are_kept_apart(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


test_conformance = conformance("ganforge", examples())
