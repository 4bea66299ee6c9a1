"""Run folders as a training leaves them, written in milliseconds, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from PIL import Image

from ganforge.storage.run_folder import RunFolder


def make_run(
    path: Path,
    *,
    seed: int = 0,
    lr: float = 2e-4,
    steps: int = 100,
    done: int | None = None,
    name: str = "digits",
    figures: Mapping[str, float] | None = None,
    protocol: str = "100 samples",
    sheets: Sequence[int] = (0, 50, 100),
    tables: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    recipe: str = "recipe = 1\n",
    lines: Sequence[Mapping[str, Any]] | None = None,
    side: int = 16,
) -> RunFolder:
    """A run of a GAN on made-up digits. done: steps that a checkpoint is of; None: all.

    figures: of a metric `distance`. The sheet of a step is as grey as the step is late.
    """
    path.mkdir(parents=True)
    done = steps if done is None else done
    resolved = {
        "recipe": 1,
        "name": name,
        "data": {"use": "ganforge/mnist", "size": side},
        "train": {"steps": steps, "batch": 4, "seed": seed, "device": "cpu", "precision": "fp32"},
        "noise": {"dim": 3},
        "generators": {
            "main": {"use": "ganforge/mlp", "from": ["noise"], "to": "image", "lr": lr},
        },
        "discriminators": {"main": {"use": "ganforge/mlp", "on": "image"}},
        "losses": {"adversarial": {"use": "ganforge/non-saturating"}},
        "lock": {"versions": {"ganforge": "0.1.0", "torch": "2.9"}},
        **(tables or {}),
    }
    (path / "resolved.toml").write_text(tomli_w.dumps(resolved), encoding="utf-8")
    (path / "recipe.toml").write_text(recipe, encoding="utf-8")
    if lines is None:
        lines = [_line(step, seed) for step in range(10, done + 1, 10)]
    write_lines(path / "metrics.jsonl", lines)
    if figures is not None:
        measured = {"step": done, "metric": "distance", "figures": figures, "protocol": protocol}
        write_lines(path / "evaluations.jsonl", [measured])
    (path / "samples").mkdir()
    for step in sheets:
        write_sheet(path / "samples" / f"step-{step:06d}.png", step * 255 // steps, side)
    write_sheet(path / "samples" / "real.png", 200, side)
    if done:
        kept = path / "checkpoints" / f"step-{done:08d}"
        kept.mkdir(parents=True)
        saved = {"step": done, "seconds": 42.5, "images": 4 * done, "torch": "2.9.1", "hooks": {}}
        saved["machine"] = {"device": "cpu", "precision": "fp32", "threads": 1}
        (kept / "state.json").write_text(json.dumps({**saved, **(state or {})}), encoding="utf-8")
    return RunFolder(path)


def _line(step: int, seed: int) -> dict[str, Any]:
    fall = 1 / (1 + step / 20) + 0.05 * np.sin(step + seed)
    return {
        "step": step,
        "images": 4 * step,
        "seconds": step / 2,
        "loss/adversarial/discriminator": 0.5 + fall / 2,
        "loss/adversarial/generator": 2 - fall,
        "score/real": 1 + fall,
        "score/fake": -1 + fall,
        "accuracy": 0.75,
    }


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_sheet(path: Path, grey: int, side: int = 16) -> None:
    """Two by two tiles of noise around a grey, two white pixels apart."""
    draws = np.random.default_rng(grey)
    sheet = np.full((2 * side + 2, 2 * side + 2), 255, np.uint8)
    for top in (0, side + 2):
        for left in (0, side + 2):
            tile = np.clip(draws.normal(grey, 30, (side, side)), 0, 255)
            sheet[top : top + side, left : left + side] = tile.astype(np.uint8)
    Image.fromarray(sheet).save(path)
