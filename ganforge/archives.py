"""Archives of data that are known by name, and options of datasets that may fetch one. Light."""

from ganforge.data.archives import (
    ARCHIVES,
    Archive,
    FetchOptions,
    RemoteFile,
    known,
)

__all__ = [
    "ARCHIVES",
    "Archive",
    "FetchOptions",
    "RemoteFile",
    "known",
]
