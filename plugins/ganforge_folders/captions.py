"""What is said of images: a text file beside each, or a vector for each in one file. Light.

Every function raises Impossible, which names the option at fault, where something is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from safetensors import SafetensorError, safe_open

from ganforge.images import stem_of
from ganforge.plugin import Impossible, TextSpec, VectorSpec

SHOWN = 3  # faults that are told
MARKS = ".,;:!?\"'()[]"  # stripped from the ends of words


@frozen
class Captions:
    """The caption of each image, in the order of the images."""

    texts: list[str]
    spec: TextSpec


def captions(paths: Sequence[Path], unit: Any) -> Captions:
    """The first line that says something in the .txt file beside each image; words in lower case
    without marks. The vocabulary holds what occurs, the length is that of the longest."""
    faults, texts = [], []
    for path in paths:
        text, fault = _caption(path.with_name(f"{stem_of(path.name)}.txt"), unit)
        texts.append(text)
        faults += [fault] if fault else []
    _refuse(faults, len(paths), "have no caption", "root")
    tokens = [text.split() if unit == "word" else list(text) for text in texts]
    vocabulary = ("", *sorted({token for each in tokens for token in each}))
    length = max(map(len, tokens))
    return Captions(texts, TextSpec(vocabulary, length, unit))


def _caption(path: Path, unit: str) -> tuple[str, str]:
    """(the caption, "") or ("", why there is none)"""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return "", f"{path} does not exist"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"{path} cannot be read as UTF-8 text ({error})"
    for line in lines:
        words = [word.lower().strip(MARKS) for word in line.split()]
        text = " ".join(word for word in words if word) if unit == "word" else line.strip()
        if text:
            return text, ""
    return "", f"{path} is empty"


def vector_spec(file: Path, names: Sequence[str]) -> VectorSpec:
    """What a safetensors file holds for these images: a vector under the name of each."""
    try:
        with safe_open(file, framework="numpy") as vectors:
            known = set(vectors.keys())
            shapes = {n: vectors.get_slice(n).get_shape() for n in names if n in known}
    except (OSError, SafetensorError) as error:
        raise Impossible(f"cannot read {file}: {error}", key="embeddings") from error
    missing = [f"'{name}' is not in {file}" for name in names if name not in shapes]
    _refuse(missing, len(names), "have no vector", "embeddings")
    first = shapes[names[0]]
    uneven = [
        f"'{name}' has the shape {shape}"
        for name, shape in shapes.items()
        if len(shape) != 1 or shape != first or not shape[0]
    ]
    _refuse(uneven, len(names), f"have no vector as '{names[0]}' has, {first}", "embeddings")
    return VectorSpec(first[0])


def name_of(file: str) -> str:
    """The name that an image goes by: its path below the folder, without its ending."""
    return stem_of(file)


def _refuse(faults: Sequence[str], total: int, what: str, key: str) -> None:
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise Impossible(
            f"{len(faults)} of {total} images {what}: {'; '.join(faults[:SHOWN])}{more}", key=key
        )
