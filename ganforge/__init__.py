"""ganforge: games between networks, composed from plugins by recipes.

The public names are loaded when they are first used, so that `import ganforge` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Augmentor": "interfaces.components",
    "AttributeSpec": "interfaces.specs",
    "DataError": "interfaces.errors",
    "DataDescription": "interfaces.manifest",
    "Dataset": "interfaces.components",
    "Discriminator": "interfaces.components",
    "Draw": "interfaces.draws",
    "Draws": "interfaces.draws",
    "Dropout": "game.dropout",
    "GanforgeError": "interfaces.errors",
    "Generator": "interfaces.components",
    "Hook": "interfaces.components",
    "ImageOptions": "interfaces.manifest",
    "ImageSpec": "interfaces.specs",
    "LabelSpec": "interfaces.specs",
    "Loss": "interfaces.components",
    "LossContext": "interfaces.components",
    "Made": "interfaces.components",
    "Measurement": "runs.measurement",
    "Metric": "interfaces.components",
    "Names": "data.file_names",
    "NoiseSpec": "interfaces.specs",
    "Run": "runs.run",
    "Spec": "interfaces.specs",
    "TextSpec": "interfaces.specs",
    "Training": "training.trainer",
    "VectorSpec": "interfaces.specs",
    "Verdict": "interfaces.components",
    "as_maps": "interfaces.components",
    "as_one_hot": "interfaces.components",
    "as_vectors": "interfaces.components",
    "map_channels": "interfaces.components",
    "open_run": "runs.run",
    "train": "training.launch",
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
