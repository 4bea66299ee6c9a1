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
    "DiscriminatorOutput": "interfaces.components",
    "Draw": "interfaces.draws",
    "Draws": "interfaces.draws",
    "Dropout": "game.dropout",
    "GanforgeError": "interfaces.errors",
    "Generator": "interfaces.components",
    "GeneratorOutput": "interfaces.components",
    "Hook": "interfaces.components",
    "ImageOptions": "interfaces.manifest",
    "ImageSpec": "interfaces.specs",
    "LabelSpec": "interfaces.specs",
    "Loss": "interfaces.components",
    "LossContext": "interfaces.components",
    "Measurement": "runs.measurement",
    "Metric": "interfaces.components",
    "Names": "data.file_names",
    "NoiseSpec": "interfaces.specs",
    "Run": "runs.run",
    "Spec": "interfaces.specs",
    "TextSpec": "interfaces.specs",
    "Training": "training.trainer",
    "VectorSpec": "interfaces.specs",
    "as_maps": "interfaces.components",
    "as_one_hot": "interfaces.components",
    "as_vectors": "interfaces.components",
    "map_channels": "interfaces.components",
    "open_run": "runs.run",
    "train": "training.launch",
}

# Names of 0.1.0 that still work, with a warning.
_RENAMED = {"Made": "GeneratorOutput", "Verdict": "DiscriminatorOutput"}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        from warnings import warn

        new = _RENAMED[name]
        warn(f"ganforge.{name} is called {new} now", DeprecationWarning, stacklevel=2)
        return __getattr__(new)
    if name not in _HOME:
        raise AttributeError(f"module 'ganforge' has no attribute {name!r}")
    value = getattr(import_module(f"ganforge.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
