"""Whatever a file holds, the answer is a clean error or what was meant, and comes soon.

A few cases of each kind run always, from fixed seeds; with `-m slow` thousands. A failing case is
told by its seed, and what was found lies in `FOUND`, as it was or as small as it could be made.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from fuzzing import (
    bytes_changed,
    composed,
    file_changed,
    lines_changed,
    recipes_crossed,
)
from PIL import Image
from playing import registry
from small_recipes import PLAIN, write_recipe

import ganforge
from ganforge import GanforgeError
from ganforge.images import image_size, read_image
from ganforge.lab.charts import read_log, usual_panels
from ganforge.planning.compose import compose
from ganforge.planning.plan import Plan
from ganforge.plugin import KINDS, option_names
from ganforge.recipes.problems import RecipeError, render, to_json
from ganforge.recipes.recipe import load
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))
TEXTS = {path.stem: path.read_bytes() for path in RECIPES}
SLOWEST = 2.0  # seconds that one recipe may take

# Texts that once gave a traceback, or took too long.
_GAME = b"""recipe = 1
name = "a"
[data]
use = "spoken-times"
[train]
%s
[domains.mine]
of = %s
[generators.other]
use = "seq2seq"
[discriminators.third]
use = "sequence-pairs"
on = %s
"""
FOUND: tuple[bytes, ...] = (
    _GAME % (b"epochs = 1e308", b'"time"', b'"wording"'),
    _GAME % (b"steps = 4", b'"time"', b"[0.5, 0.999]"),
    _GAME % (b"steps = 4", b"[0.5, 0.999]", b'"wording"'),
)


def few_or_many(few, many):
    """Numbers of cases: few always, many where `-m slow` asks for them."""
    return pytest.mark.parametrize(
        "count", [few, pytest.param(many, marks=pytest.mark.slow)], ids=["few", "many"]
    )


# ---------------------------------------------------------------- recipes


def answer(path: Path) -> Plan | None:
    """The plan of a recipe, or None for one that is refused. Anything else goes up."""
    try:
        return compose(load(path, preview="preview" in path.name), registry())
    except RecipeError as error:
        assert error.problems
        assert render(error.problems) and json.dumps(to_json(error.problems))
    except GanforgeError as error:
        assert str(error)
    return None


def try_texts(folder: Path, cases) -> dict[str, int]:
    """Every text is answered in time. Returns how many were plans and how many refused."""
    counts = {"plans": 0, "refused": 0}
    for seed, text in cases:
        path = folder / ("preview.toml" if seed % 3 == 0 else "recipe.toml")
        path.write_bytes(text)
        started = time.thread_time()  # which other processes do not slow down
        try:
            plan = answer(path)
        except BaseException as error:
            raise AssertionError(
                f"case {seed}: {type(error).__name__} {error}\n{text!r}"
            ) from error
        took = time.thread_time() - started
        assert took < SLOWEST, f"case {seed} took {took:.1f} s\n{text!r}"
        counts["refused" if plan is None else "plans"] += 1
    return counts


@pytest.fixture
def shipped(tmp_path):
    """A folder where `extends` of shipped recipes finds its parent."""
    for path in RECIPES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("text", FOUND, ids=range(len(FOUND)))
def test_what_was_found_is_answered(shipped, text):
    try_texts(shipped, [(1, text), (3, text)])


def dice_of(kind: str, count: int):
    """(seed, dice) of each case; the slow cases go on after the others."""
    return ((seed, random.Random(f"{kind} {seed}")) for seed in range(count))


@few_or_many(150, 8_000)
def test_recipes_with_bytes_changed_are_answered(shipped, count, record_property):
    cases = (
        (seed, bytes_changed(dice.choice(list(TEXTS.values())), dice))
        for seed, dice in dice_of("bytes", count)
    )
    record_property("cases", try_texts(shipped, cases))


@few_or_many(150, 8_000)
def test_recipes_with_lines_changed_are_answered(shipped, count, record_property):
    cases = (
        (seed, lines_changed(dice.choice(list(TEXTS.values())).decode(), dice).encode())
        for seed, dice in dice_of("lines", count)
    )
    record_property("cases", try_texts(shipped, cases))


@few_or_many(60, 3_000)
def test_recipes_crossed_with_others_are_answered(shipped, count, record_property):
    texts = [text.decode() for text in TEXTS.values()]
    cases = (
        (seed, recipes_crossed(*dice.sample(texts, 2), dice).encode())
        for seed, dice in dice_of("crossed", count)
    )
    counts = try_texts(shipped, cases)
    assert counts["plans"]  # what crossing makes is often a game
    record_property("cases", counts)


@few_or_many(60, 4_000)
def test_recipes_of_any_components_are_answered(shipped, count, record_property):
    known = {
        kind: [(c.name, list(option_names(c.options))) for c in registry().of(kind)]
        for kind in KINDS
    }
    cases = (
        (seed, composed(known, dice).encode("utf-8", "surrogatepass"))
        for seed, dice in dice_of("composed", count)
    )
    record_property("cases", try_texts(shipped, cases))


@few_or_many(40, 1_000)
def test_settings_on_the_command_line_are_answered(shipped, count):
    texts = [text.decode() for text in TEXTS.values()]
    lines = [line for text in texts for line in text.splitlines() if "=" in line]
    for seed, dice in dice_of("set", count):
        word = bytes_changed(dice.choice(lines).replace(" ", "").encode(), dice)
        try:
            compose(load(dice.choice(RECIPES), sets=[word.decode(errors="replace")]), registry())
        except GanforgeError:
            continue
        except BaseException as error:
            raise AssertionError(f"case {seed}: --set {word!r}") from error


# ---------------------------------------------------------------- images and digits


def pictures() -> list[tuple[str, bytes]]:
    """Small pictures of the formats that folders may hold."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    found = []
    for mode, name in (("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("P", "gif")):
        found.append((name, _saved(Image.fromarray(pixels).convert(mode), name)))
    found += [(name, _saved(Image.fromarray(pixels), name)) for name in ("jpeg", "bmp", "webp")]
    return found


def _saved(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


@few_or_many(200, 4_000)
def test_pictures_that_are_damaged_are_refused_or_read(tmp_path, count):
    known = pictures()
    for seed, dice in dice_of("pictures", count):
        ending, content = dice.choice(known)
        path = tmp_path / f"picture.{ending}"
        path.write_bytes(file_changed(content, dice))
        started = time.thread_time()
        try:
            image_size(path)
            pixels = read_image(path, height=8, width=8, channels=3)
            assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
        except GanforgeError:
            pass
        except BaseException as error:
            raise AssertionError(f"case {seed}: {ending} {path.read_bytes()!r}") from error
        assert time.thread_time() - started < SLOWEST, f"case {seed}"


@few_or_many(100, 2_000)
def test_digits_that_are_damaged_are_refused_or_read(tmp_path, count):
    from ganforge_mnist.idx import content

    whole = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 5, 4)) + bytes(60)
    for seed, dice in dice_of("digits", count):
        packed = dice.random() < 0.5
        path = tmp_path / ("digits.gz" if packed else "digits")
        if packed and dice.random() < 0.5:
            path.write_bytes(gzip.compress(file_changed(whole, dice)))
        else:
            path.write_bytes(file_changed(gzip.compress(whole) if packed else whole, dice))
        try:
            shape, pixels = content(path, 3)
            assert np.prod(shape) == len(pixels)
        except GanforgeError:
            continue
        except BaseException as error:
            raise AssertionError(f"case {seed}: {path.read_bytes()!r}") from error


# ---------------------------------------------------------------- run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small run with two checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    text = PLAIN.replace('root = "pictures"', f'root = "{(folder / "pictures").as_posix()}"')
    text += "[hooks.checkpoint]\nevery = 2\n"
    ganforge.train(write_recipe(folder, text), out=folder / "run")
    return folder / "run"


@few_or_many(60, 2_000)
def test_a_damaged_checkpoint_is_found_and_the_one_before_taken(finished, count):
    folder = RunFolder(finished)
    older, newer = checkpoint.steps(folder.checkpoints)
    good = {step: checkpoint.load(folder.checkpoints, step) for step in (older, newer)}
    target = folder.checkpoints / checkpoint.folder_name(newer)
    for seed, dice in dice_of("checkpoints", count):
        path = dice.choice(sorted(target.iterdir()))
        content = path.read_bytes()
        broken = file_changed(content, dice)
        try:
            path.write_bytes(broken)
            found, complaints = checkpoint.newest_whole(folder.checkpoints)
            assert found is not None
            if found.step == newer:
                same = found.state == good[newer].state
                assert same or broken == content, f"case {seed}: {path.name} {broken!r}"
            else:
                assert found.step == older and len(complaints) == 1
        except GanforgeError as error:
            raise AssertionError(f"case {seed}: {path.name}") from error
        finally:
            path.write_bytes(content)


@few_or_many(40, 1_500)
def test_a_damaged_run_is_opened_or_refused(finished, count):
    folder = RunFolder(finished)
    for seed, dice in dice_of("runs", count):
        path = dice.choice((folder.metrics, folder.resolved))
        content = path.read_bytes()
        try:
            path.write_bytes(file_changed(content, dice))
            try:
                list(folder.metric_lines())
                folder.state()
                run = ganforge.open_run(finished)
                run.metrics()
                if path == folder.metrics:
                    usual_panels([read_log(folder)])
                else:
                    run.sample(1)
            except GanforgeError:
                continue
            except BaseException as error:
                raise AssertionError(f"case {seed}: {path.name} {path.read_bytes()!r}") from error
        finally:
            path.write_bytes(content)


def test_mutations_change_and_follow_from_their_seed():
    for text in TEXTS.values():
        first, again = (bytes_changed(text, random.Random(4)) for _ in range(2))
        assert first == again != text
    assert any(
        lines_changed(text.decode(), random.Random(1)) != text.decode() for text in TEXTS.values()
    )
    tomllib.loads(
        recipes_crossed(*(t.decode() for t in list(TEXTS.values())[:2]), random.Random(3))
    )
