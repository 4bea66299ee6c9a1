"""ganforge: games between networks, composed from plugins by recipes.

The public names are loaded when they are first used, so that `import ganforge` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Augmentor": "interfaces",
    "AttributeSpec": "specs",
    "DataError": "errors",
    "DataDescription": "plugin",
    "Dataset": "interfaces",
    "Discriminator": "interfaces",
    "Draw": "draws",
    "Draws": "draws",
    "Dropout": "dropout",
    "GanforgeError": "errors",
    "Generator": "interfaces",
    "Hook": "interfaces",
    "ImageOptions": "plugin",
    "ImageSpec": "specs",
    "LabelSpec": "specs",
    "Loss": "interfaces",
    "LossContext": "interfaces",
    "Made": "interfaces",
    "Measurement": "measuring",
    "Metric": "interfaces",
    "Names": "names",
    "NoiseSpec": "specs",
    "Run": "runs",
    "Spec": "specs",
    "TextSpec": "specs",
    "Training": "trainer",
    "VectorSpec": "specs",
    "Verdict": "interfaces",
    "as_maps": "interfaces",
    "as_one_hot": "interfaces",
    "as_vectors": "interfaces",
    "map_channels": "interfaces",
    "open_run": "runs",
    "train": "runs",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ganforge' has no attribute {name!r}")
    value = getattr(import_module(f"ganforge.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
