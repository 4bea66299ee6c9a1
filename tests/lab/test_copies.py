"""Nearest training images, and whether a generator copies them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipes import CYCLE, PLAIN, draw_pictures, write_recipe

import ganforge
from ganforge.cli.nearest import _conclusion
from ganforge.lab import features
from ganforge.lab.nearest import Copying, copying, nearest
from ganforge.runs.run import Run

TRAINING, OTHERS = 50, 300


def drawn(count, seed, blur=1):
    """Images [N, 1, 8, 8] of one kind."""
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) / 2
    return torch.nn.functional.avg_pool2d(noise, blur, 1, blur // 2).clamp(-1, 1)


def test_the_nearest_come_first():
    training = torch.tensor([[0.0], [10.0], [4.0]])
    distances, rows = nearest(torch.tensor([[3.0], [11.0]]), training, 2)
    assert rows.tolist() == [[2, 0], [1, 2]]
    assert distances.tolist() == [[1, 3], [1, 7]]
    assert nearest(torch.tensor([[3.0]]), training, 9)[1].shape == (1, 3)


def test_copies_are_told_from_images_of_the_same_kind():
    training, held_out = drawn(TRAINING, 0), drawn(OTHERS, 1)
    copies = training[torch.arange(OTHERS) % TRAINING] + 0.05 * drawn(OTHERS, 2)
    found = copying(copies, held_out, training, features.pixels())
    assert found.memorised and found.score > 0.99 and found.p < 1e-30
    alike = copying(drawn(OTHERS, 3), held_out, training, features.pixels())
    assert not alike.memorised and alike.score == pytest.approx(0.5, abs=0.07)


def test_blurred_images_are_no_copies():
    """They are nearer to every training image, and to none in particular."""
    training, held_out = drawn(TRAINING, 0), drawn(OTHERS, 1)
    blurred = drawn(OTHERS, 4, blur=3)
    eye = features.pixels()
    plain = [nearest(eye.see(x), eye.see(training), 1)[0].mean() for x in (blurred, held_out)]
    assert plain[0] < 0.9 * plain[1]
    assert not copying(blurred, held_out, training, eye).memorised


def test_large_images_are_compared_at_32_px():
    images = torch.rand(2, 3, 128, 96)
    assert features.pixels().see(images).shape == (2, 3 * 32 * 24)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with pictures held out."""
    folder = tmp_path_factory.mktemp("nearest")
    for split, count in (("train", 30), ("test", 20)):
        draw_pictures(folder / "data" / split, count=count)
    text = PLAIN.replace('root = "pictures"', f'root = "{(folder / "data").as_posix()}"')
    return ganforge.train(write_recipe(folder, text), out=folder / "runs" / "plain")


def test_nearest_shows_them_and_finds_no_copies(ganforge_cli, run, workdir):
    answer = ganforge_cli("nearest", str(run.folder.path), "--count", "3", "--out", "n.png")
    assert answer.status == 0
    assert "no sign of copying: samples lie " in answer.out
    with Image.open("n.png") as sheet:
        assert sheet.size == (2 * (6 * 8 + 5 * 2) + 12, 3 * 8 + 2 * 2)
        shown = np.asarray(sheet)
    training = run.training("image", 30)
    _, rows = nearest(run.sample(1).flatten(1), training.flatten(1), 1)
    expected = ((training[rows[0, 0]] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(shown[:8, 10:18].squeeze(), expected.squeeze())


def test_nearest_flags_a_generator_that_copies(ganforge_cli, run, workdir, monkeypatch):
    pictures = run.training("image", 30)
    monkeypatch.setattr(
        Run, "sample", lambda self, count, **asked: pictures[torch.arange(count) % 30]
    )
    answer = ganforge_cli("nearest", str(run.folder.path), "--json")
    told = json.loads(answer.out)
    assert told["memorised"] is True and told["score"] == 1.0
    assert "the generator copies" in ganforge_cli("nearest", str(run.folder.path)).out


def test_without_held_out_images_nothing_is_said_of_copies(ganforge_cli, workdir):
    ganforge.train(write_recipe(workdir, PLAIN), out="runs/plain")
    assert "no images are held out" in ganforge_cli("nearest").out


def test_a_translator_is_refused_in_a_line(ganforge_cli, workdir):
    ganforge.train(write_recipe(workdir, CYCLE), out="runs/cycle")
    answer = ganforge_cli("nearest", "--generator", "cat2dog")
    assert answer.status == 2 and "ganforge translate" in answer.err
    answer = ganforge_cli("nearest", "--out", "a.gif")
    assert answer.status == 2 and "--out takes FILE.png" in answer.err


def verdict(**figures: float) -> str:
    counts = {"samples": 1000, "held_out": 200, "training": 900, "seen_by": "pixels"}
    return _conclusion(Copying(**figures, **counts))


def test_the_verdict_says_what_decides_it():
    blurred = verdict(score=0.85, p=7e-22, copies=0.03)
    assert blurred.startswith(
        "no sign of copying: samples lie nearer to training images as a whole (score 0.85 where "
        "0.5 is chance, p 7e-22), but not to single ones, which decides: 3% are nearer to one "
        "image than 99% of held-out images are, and copying takes more than 10%"
    )
    assert verdict(score=0.98, p=1e-30, copies=0.96).startswith("the generator copies: ")
    alike = verdict(score=0.52, p=0.3, copies=0.02)
    assert "samples lie no nearer to training images than held-out images do (score 0.52" in alike
