"""Make images, or texts, with the generators in this folder. Needs torch and safetensors, no more.

    python generate.py --count 64 --seed 0 --out samples.png
    python generate.py --input horse.png --out zebras

config.json says what there is, networks.py holds the generators as plain calls, weights.safetensors
their weights. Image i of seed S is image 0 of seed S + i, as in the run that this came from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

BATCH = 64  # items made at once
TRANSLATED = 8  # pictures translated at once


class Mistake(Exception):
    """What a person can put right."""


# --- what is drawn --------------------------------------------------------------------------------

_WORD = 2**64 - 1


def key_of(seed: int, *address: str) -> int:
    """A number of 128 bits for what a seed draws at an address."""
    text = repr((seed, *address)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def philox(key: int) -> Iterator[int]:
    """Words of 64 bits: Philox 4x64 with 10 rounds (Salmon et al. 2011), counting from 1."""
    count = 0
    while True:
        count += 1
        a, b, c, d = count, 0, 0, 0
        low, high = key & _WORD, key >> 64
        for _ in range(10):
            one, other = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
            a, b, c, d = (other >> 64) ^ b ^ low, other & _WORD, (one >> 64) ^ d ^ high, one & _WORD
            low, high = low + 0x9E3779B97F4A7C15 & _WORD, high + 0xBB67AE8584CAA73B & _WORD
        yield from (a, b, c, d)


def halves(words: Iterator[int]) -> Iterator[int]:
    """Each word as two of 32 bits, the lower first."""
    for word in words:
        yield word & 0xFFFFFFFF
        yield word >> 32


def uniform(count: int, key: int) -> Tensor:
    """Uniform in [-1, 1), float32 [count]"""
    words = philox(key)
    numbers = [2 * ((next(words) >> 11) * 2.0**-53) - 1 for _ in range(count)]
    return torch.tensor(numbers, dtype=torch.float64).float()


def normal(count: int, key: int) -> Tensor:
    """N(0, 1), float32 [count], by the ziggurat of 256 strips (Marsaglia and Tsang 2000)."""
    words = halves(philox(key))
    return torch.tensor([_normal(words) for _ in range(count)], dtype=torch.float32)


_RIGHT, _AREA = 3.6541528853610088, 0.00492867323399  # where the tail begins; of each strip
_BITS = 2.0**23


@cache
def _strips() -> tuple[list[int], list[float], list[float]]:
    """Of each strip: below which number its bits are accepted at once, its width a bit, the density
    at its edge."""
    edges = [_RIGHT]
    for _ in range(254):
        edges.append(math.sqrt(-2 * math.log(_AREA / edges[-1] + math.exp(-(edges[-1] ** 2) / 2))))
    edges = edges[::-1]  # of strips 1 to 255
    base = _AREA / math.exp(-(_RIGHT**2) / 2)
    accepted = [round(_RIGHT / base * _BITS), 0]
    accepted += [round(below / edge * _BITS) for below, edge in pairwise(edges)]
    widths = [_single(edge / _BITS) for edge in [base, *edges]]
    density = [1.0, *(_single(math.exp(-(edge**2) / 2)) for edge in edges)]
    return accepted, widths, density


def _single(value: float) -> float:
    """Rounded to 32 bits."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _normal(words: Iterator[int]) -> float:
    accepted, widths, density = _strips()
    while True:
        word = next(words)
        strip, negative, bits = word & 0xFF, word >> 8 & 1, word >> 9 & 0x7FFFFF
        value = _single(bits * widths[strip]) * (-1 if negative else 1)
        if bits < accepted[strip]:
            return value
        if strip == 0:
            return _tail(words, bits)
        step = _single(density[strip - 1] - density[strip])
        if _single(_single(step * _share(words)) + density[strip]) < math.exp(-value * value / 2):
            return value


def _tail(words: Iterator[int], bits: int) -> float:
    inverse = _single(1 / _RIGHT)
    while True:
        beyond = _single(-inverse * _single(math.log1p(-_share(words))))
        other = -_single(math.log1p(-_share(words)))
        if _single(other + other) > _single(beyond * beyond):
            value = _single(_single(_RIGHT) + beyond)
            return -value if bits >> 8 & 1 else value


def _share(words: Iterator[int]) -> float:
    return (next(words) >> 8) * 2.0**-24


# --- generators -----------------------------------------------------------------------------------


class Exported:
    """The generators of a folder.

    generators: name -> what config.json says of it. rows: held-out rows of what is read besides
    noise and classes, such as texts, which take turns.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.generators: dict[str, Any] = config["generators"]
        self.usual: str | None = config["usual"]
        self.weights: dict[str, dict[str, Tensor]] = {name: {} for name in self.generators}
        for address, value in load_file(folder / "weights.safetensors").items():
            name, _, weight = address.partition("/")
            self.weights[name][weight] = value.clone()  # laid out as torch lays out its own
        kept = folder / "rows.safetensors"
        self.rows: dict[str, Tensor] = load_file(kept) if kept.exists() else {}
        spec = spec_from_file_location("networks", folder / "networks.py")
        assert spec is not None and spec.loader is not None
        networks = module_from_spec(spec)
        spec.loader.exec_module(networks)
        self.made_by: dict[str, Callable[..., Tensor]] = networks.GENERATORS

    def chosen(self, name: str | None) -> str:
        """A generator's name; the usual one's without."""
        name = name or self.usual
        if name in self.generators:
            return str(name)
        message = f"there is no generator '{name}'" if name else "say which generator"
        raise Mistake(f"{message}: {', '.join(self.generators)} (--generator NAME)")

    @torch.no_grad()
    def sample(
        self,
        count: int,
        seed: int = 0,
        label: str | None = None,
        text: str | None = None,
        generator: str | None = None,
    ) -> Tensor:
        """Images float32 [count, C, H, W] in [-1, 1]; of a generator of text, token numbers."""
        name = self.chosen(generator)
        made = []
        for start in range(seed, seed + count, BATCH):
            seeds = range(start, min(start + BATCH, seed + count))
            made.append(self._made(name, self._sources(name, seeds, label, text, None), seeds))
        data = torch.cat(made)
        return data.argmax(2) if self.generators[name]["target"]["kind"] == "text" else data

    @torch.no_grad()
    def translate(self, images: Tensor, generator: str | None = None) -> Tensor:
        """What a generator makes of images [N, C, H, W] in [-1, 1]."""
        name = self.chosen(generator)
        pictures = dict.fromkeys(s["name"] for s in self.leaves(name) if s["kind"] == "image")
        if len(pictures) > 1:
            raise Mistake(
                f"generator '{name}' reads several pictures ({', '.join(pictures)}): call "
                "Exported.make from Python"
            )
        made = []
        for start in range(0, len(images), TRANSLATED):
            part = images[start : start + TRANSLATED]
            seeds = range(start, start + len(part))
            made.append(self._made(name, self._sources(name, seeds, None, None, part), seeds))
        return torch.cat(made)

    @torch.no_grad()
    def make(self, *sources: Tensor, generator: str | None = None) -> Tensor:
        """What a generator makes of all that it reads, each [N, ...], in the order of its sources
        in config.json."""
        return self._made(self.chosen(generator), sources, range(len(sources[0])))

    def reads_images(self, name: str) -> bool:
        return any(s["kind"] == "image" and "by" not in s for s in self.leaves(name))

    def leaves(self, name: str) -> list[dict[str, Any]]:
        """What a generator reads, also through others."""
        found: list[dict[str, Any]] = []
        for source in self.generators[name]["sources"]:
            found += self.leaves(source["by"]) if "by" in source else [source]
        return found

    def texts_read(self, name: str, seeds: Sequence[int]) -> list[str] | None:
        """The texts that take turns for these seeds; None where a generator reads none."""
        source = next((s for s in self.leaves(name) if s["kind"] == "text"), None)
        if source is None:
            return None
        rows = self.rows[source["name"]]
        return [decoded(rows[seed % len(rows)], source) for seed in seeds]

    def _sources(
        self,
        name: str,
        seeds: Sequence[int],
        label: str | None,
        text: str | None,
        images: Tensor | None,
    ) -> list[Tensor]:
        values = []
        for source in self.generators[name]["sources"]:
            kind, where = source["kind"], source["name"]
            if "by" in source:
                read = self._sources(source["by"], seeds, label, text, images)
                values.append(self._made(source["by"], read, seeds))
            elif kind == "noise":
                drawn = uniform if source["distribution"] == "uniform" else normal
                keys = [key_of(seed, "sample", where) for seed in seeds]
                values.append(torch.stack([drawn(source["dim"], key) for key in keys]))
            elif kind == "label":
                number = class_number(source, label)
                turns = [s % source["classes"] if number is None else number for s in seeds]
                values.append(torch.tensor(turns))
            elif kind == "text" and text is not None:
                values.append(torch.tensor([encoded(text, source)] * len(seeds)))
            elif kind == "image":
                if images is None:
                    raise Mistake(f"generator '{name}' turns pictures into others: give --input")
                values.append(images)
            elif where in self.rows:
                rows = self.rows[where]
                values.append(rows[[seed % len(rows) for seed in seeds]])
            else:
                raise Mistake(f"no rows of '{where}' came with this generator: give --text")
        return values

    def _made(self, name: str, sources: Sequence[Tensor], seeds: Sequence[int]) -> Tensor:
        make, weights = self.made_by[name], self.weights[name]
        if not self.generators[name]["draws_itself"]:
            if self.generators[name]["together"]:
                return make(weights, *sources)
            ones = range(len(sources[0]))
            return torch.cat([make(weights, *(s[n : n + 1] for s in sources)) for n in ones])
        made = []
        for row, seed in enumerate(seeds):
            torch.manual_seed(key_of(seed, "sample", f"generators.{name}") & 0xFFFFFFFF)
            made.append(make(weights, *(source[row : row + 1] for source in sources)))
        return torch.cat(made)


def class_number(spec: dict[str, Any], label: str | None) -> int | None:
    if label is None:
        return None
    names = spec["names"]
    if label in names:
        return int(names.index(label))
    counted = not any(name.isdecimal() for name in names)
    if counted and label.isdecimal() and int(label) < spec["classes"]:
        return int(label)
    there = ", ".join(names) if names else f"0 to {spec['classes'] - 1}"
    raise Mistake(f"there is no label '{label}'; there are: {there}")


def encoded(text: str, spec: dict[str, Any]) -> list[int]:
    """Token numbers, filled up with 0."""
    tokens = text.lower().split() if spec["unit"] == "word" else list(text.strip())
    numbers = {token: number for number, token in enumerate(spec["vocabulary"])}
    unknown = [token for token in dict.fromkeys(tokens) if not numbers.get(token)]
    if unknown:
        raise Mistake(f"unknown in '{text}': {', '.join(unknown)}")
    if not 1 <= len(tokens) <= spec["length"]:
        raise Mistake(f"a text has 1 to {spec['length']} {spec['unit']}s, not {len(tokens)}")
    return [numbers[token] for token in tokens] + [0] * (spec["length"] - len(tokens))


def decoded(numbers: Tensor, spec: dict[str, Any]) -> str:
    tokens = [spec["vocabulary"][number] for number in numbers.tolist()]
    return (" " if spec["unit"] == "word" else "").join(takewhile(bool, tokens))


# --- pictures -------------------------------------------------------------------------------------


def pixels_of(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C]; other channels than 1, 3 and 4 side by
    side, by threes in colour where they can be counted by threes, else each in grey."""
    count, channels, height, width = images.shape
    if channels not in (1, 3, 4):
        each = 1 if channels % 3 else 3
        parts = images.reshape(count, channels // each, each, height, width)
        images = parts.permute(0, 2, 3, 1, 4).reshape(count, each, height, -1)
    return images.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def grid(images: Tensor, columns: int) -> Tensor:
    """Images as one sheet, uint8 [H', W', C], two white pixels apart."""
    tiles = pixels_of(images)
    count, height, width, channels = tiles.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    shape = (rows * (height + 2) - 2, columns * (width + 2) - 2, channels)
    sheet = torch.full(shape, 255, dtype=torch.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + 2), number % columns * (width + 2)
        sheet[top : top + height, left : left + width] = tile
    return sheet


_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's number of what they are
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_png(path: Path, pixels: Tensor) -> None:
    """uint8 [H, W, C] as a PNG file."""
    height, width, channels = pixels.shape
    lines = torch.zeros(height, 1 + width * channels, dtype=torch.uint8)  # 0: lines as they are
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">2I5B", width, height, 8, _COLOURS[channels], 0, 0, 0)
    data = zlib.compress(_bytes(lines))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


def _bytes(values: Tensor) -> bytes:
    return bytes(values.flatten().tolist())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_png(path: Path, channels: int, height: int, width: int) -> Tensor:
    """A PNG file as an image [C, H, W] in [-1, 1]. Raises Mistake where it is not of this size."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Mistake(f"cannot read {path}: {error.strerror}") from error
    if data[:8] != _SIGNATURE:
        raise Mistake(f"{path} is not a PNG file")
    across, down, depth, colours, _, _, interlaced = struct.unpack(">2I5B", data[16:29])
    found = next((c for c, number in _COLOURS.items() if number == colours), 0)
    if not found or depth != 8 or interlaced:
        raise Mistake(
            f"{path} is not a plain PNG of 8 bits a channel; save it again without a palette"
        )
    if (down, across) != (height, width):
        raise Mistake(f"{path} has {across} x {down} px; this generator reads {width} x {height}")
    image = _unfiltered(zlib.decompress(_parts(data)), down, across * found, found)
    image = image.view(down, across, found).permute(2, 0, 1)
    if found != channels and found in (2, 4):  # alpha, which the generator does not read
        image = image[:-1]
    if len(image) not in (1, channels):
        raise Mistake(f"{path} has {found} channels; this generator reads {channels}")
    return image.expand(channels, -1, -1).float() / 127.5 - 1


def _parts(data: bytes) -> bytes:
    """The compressed lines."""
    found, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            found += data[at + 8 : at + 8 + length]
        at += length + 12
    return found


def _unfiltered(data: bytes, lines: int, length: int, step: int) -> Tensor:
    """Lines as they were before each was written as differences (PNG, section 9)."""
    above, pixels = bytearray(length), bytearray()
    for number in range(lines):
        kind, *line = data[number * (length + 1) : (number + 1) * (length + 1)]
        for at in range(length):
            left = line[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            if kind:
                line[at] = line[at] + _guess(kind, left, above[at], corner) & 255
        above = bytearray(line)
        pixels += above
    return torch.tensor(list(pixels), dtype=torch.uint8)


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (left, up, (left + up) // 2)[kind - 1]
    nearness = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
    return (left, up, corner)[nearness.index(min(nearness))]


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    folder = Path(__file__).parent
    about = (__doc__ or "").partition("\n\n")[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, help="how many [64]")
    parser.add_argument("--seed", type=int, default=0, help="of the first [0]")
    parser.add_argument("--label", help="one class, by number or name; by default all in turn")
    parser.add_argument("--text", help="what to show; by default held-out texts in turn")
    parser.add_argument("--input", type=Path, nargs="+", default=[], help="PNG files to translate")
    parser.add_argument("--generator", help="which one, if there are several")
    parser.add_argument(
        "--out", type=Path, help="FILE.png: a grid; FILE.safetensors: a tensor; else a folder"
    )
    asked = parser.parse_args(arguments)
    try:
        _answer(Exported(folder), asked)
    except (Mistake, OSError) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


def _answer(exported: Exported, asked: argparse.Namespace) -> None:
    name = exported.chosen(asked.generator)
    plan = exported.generators[name]
    if asked.count is not None and asked.count < 1:
        raise Mistake("there is no image to make: --count takes 1 or more")
    if plan["target"]["kind"] == "text":
        _print(exported, name, asked)
        return
    if plan["target"]["kind"] != "image":
        raise Mistake(f"generator '{name}' makes no images: call Exported.sample from Python")
    sources = exported.leaves(name)
    classes = next((s["classes"] for s in sources if s["kind"] == "label"), 0)
    if exported.reads_images(name):
        spec = next(source for source in sources if source["kind"] == "image")
        size = (spec["channels"], spec["height"], spec["width"])
        if not asked.input:
            raise Mistake(f"generator '{name}' turns pictures into others: give --input")
        images = exported.translate(
            torch.stack([read_png(path, *size) for path in asked.input]), name
        )
    else:
        count = asked.count or 64
        images = exported.sample(count, asked.seed, asked.label, asked.text, name)
    in_turn = asked.label is None and 1 < classes <= min(len(images), 20)
    columns = classes if in_turn else math.ceil(math.sqrt(len(images)))
    out = asked.out or Path(f"{name}-seed{asked.seed}.png")
    _write(out, images, columns, [path.stem for path in asked.input])
    print(f"{len(images)} images: {out}")


def _print(exported: Exported, name: str, asked: argparse.Namespace) -> None:
    count = asked.count or 20
    tokens = exported.sample(count, asked.seed, asked.label, asked.text, name)
    seeds = range(asked.seed, asked.seed + count)
    read = None if asked.text is not None else exported.texts_read(name, seeds)
    for number, row in enumerate(tokens):
        line = decoded(row, exported.generators[name]["target"])
        print(f"{read[number]}\t{line}" if read else line)


def _write(out: Path, images: Tensor, columns: int, names: Sequence[str]) -> None:
    if out.suffix == ".png":
        write_png(out, grid(images, columns))
    elif out.suffix == ".safetensors":
        _write_tensor(out, images)
    else:
        for number, image in enumerate(pixels_of(images)):
            write_png(out / f"{names[number] if names else f'{number:06}'}.png", image)


def _write_tensor(out: Path, images: Tensor) -> None:
    """The format is a length, JSON, and numbers in a row."""
    data = images.contiguous().view(torch.uint8)
    entry = {"dtype": "F32", "shape": list(images.shape), "data_offsets": [0, data.numel()]}
    head = json.dumps({"images": entry}).encode()
    head += b" " * (-len(head) % 8)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(struct.pack("<Q", len(head)) + head + _bytes(data))


if __name__ == "__main__":
    sys.exit(main())
