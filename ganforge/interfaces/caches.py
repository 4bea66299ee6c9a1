"""Where what is made once and used again is kept, beside all runs. Light."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder of this name below GANFORGE_CACHE, or below the user's cache folder.

    Who has no home (a container's user without a name) has it among the temporary files.
    """
    chosen = os.environ.get("GANFORGE_CACHE")
    return (Path(chosen) if chosen else _of_the_user()).absolute() / name


def _of_the_user() -> Path:
    import platformdirs

    try:
        path = platformdirs.user_cache_path("ganforge", appauthor=False)
    except (RuntimeError, KeyError):  # no HOME, and no entry among the users
        path = Path("~")
    homeless = path.parts[0].startswith("~")  # as it is given back where nobody knows the home
    return Path(tempfile.gettempdir()) / f"ganforge-{os.getuid()}" if homeless else path
