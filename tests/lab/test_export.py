"""Exported generators make what the run makes, without ganforge."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save
from small_recipes import CYCLE, DIGITS, PLAIN, write_recipe
from torch import nn
from untrained_runs import RECIPES, built, small_plan, train_small

import ganforge
from ganforge import GanforgeError
from ganforge.interfaces.draws import Draws
from ganforge.interfaces.specs import ImageSpec, TextSpec
from ganforge.lab import export_folder, generate
from ganforge.lab.export_folder import export
from ganforge.lab.python_code import traced

# --- draws ----------------------------------------------------------------------------------------


def test_normal_draws_are_numpys():
    for seed in range(60):
        ours = generate.normal(700, generate.key_of(seed, "sample", "noise"))
        theirs = Draws(seed).generator("sample", "noise").standard_normal(700, dtype=np.float32)
        assert np.array_equal(ours.numpy(), theirs)
    assert generate.normal(20_000, 5).abs().max() > 3.7  # the tail was among them


def test_uniform_draws_are_numpys():
    ours = generate.uniform(500, generate.key_of(3, "sample", "code"))
    theirs = Draws(3).generator("sample", "code").uniform(-1, 1, 500).astype(np.float32)
    assert np.array_equal(ours.numpy(), theirs)


# --- every shipped recipe -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done():
    """Generators that were exported, by what they are built from."""
    return set()


@pytest.mark.parametrize("name", RECIPES)
def test_the_generators_of_each_recipe_are_exported_and_make_the_same(name, data, tmp_path, done):
    plan = small_plan(name, data)
    kind = tuple(
        (part.component.id, repr(part.options), part.source_specs, part.target_spec)
        for part in plan.generators.values()
    )
    if kind in done:
        return  # another recipe has the same networks
    done.add(kind)
    run = built(plan, tmp_path)
    with torch.no_grad():  # as if it were trained
        for plan in run.plan.generators.values():
            for value in run.generator(plan.name).state_dict().values():
                if value.is_floating_point() and value.dim() > 1:
                    value.add_(torch.randn(value.shape) * 0.05)
    export(run, tmp_path / "out")
    exported = export_folder._opened(tmp_path / "out")
    for plan in run.plan.generators.values():
        if any(isinstance(spec, ImageSpec) for _, spec in run.leaves(plan)):
            images = torch.rand(9, *plan.source_specs[0].shape) * 2 - 1
            # The run's own batches of 8, as `ganforge translate` has them.
            parts = [run.translate(images[n : n + 8], plan.name, seed=n) for n in (0, 8)]
            ours = torch.cat(parts)
            theirs = exported.translate(images, plan.name)
        else:
            ours = run.sample(3, seed=7, generator=plan.name)
            theirs = exported.sample(3, seed=7, generator=plan.name)
        assert torch.equal(ours, theirs)
        if not isinstance(plan.target_spec, TextSpec) and len(ours) > 1:
            assert not torch.equal(ours[0], ours[1])


# --- what the folder does alone -------------------------------------------------------------------

# As an environment without ganforge and what it needs, other than torch and safetensors.
ALONE = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ganforge", "numpy", "PIL", "attrs", "attr", "torchvision"):
            raise ModuleNotFoundError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(folder: Path, *arguments: str, python: str = sys.executable, code: str = ALONE):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [python, "-W", "ignore", "-c", code, str(folder / "generate.py"), *arguments],
        capture_output=True,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
        cwd=folder.parent,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("export"), digits=DIGITS, plain=PLAIN, cycle=CYCLE)


@pytest.fixture
def runs(trained, workdir):
    (workdir / "runs").symlink_to(trained / "runs", target_is_directory=True)
    return workdir


@pytest.fixture(scope="module")
def exported(trained):
    """The folder to which the run `digits` was exported; only to be read."""
    opened = ganforge.open_run(trained / "runs" / "digits")
    export(opened, trained / "exported")
    return trained / "exported"


def same_pictures(one: Path, other: Path) -> bool:
    with Image.open(one) as a, Image.open(other) as b:
        return a.size == b.size and np.array_equal(np.asarray(a), np.asarray(b))


def test_without_ganforge_and_numpy_the_pixels_are_the_same(ganforge_cli, runs):
    answer = ganforge_cli("export", "digits", "--out", "out")
    assert answer.status == 0
    assert "digits at step 4: out (generate.py, networks.py, config.json, weights" in answer.out
    for arguments in (["--count", "11", "--seed", "5"], ["--label", "1", "--count", "4"]):
        told = alone(Path("out").resolve(), *arguments, "--out", "theirs.png")
        assert (told.returncode, told.stderr) == (0, "")
        ganforge_cli("sample", "digits", *arguments, "--out", "ours.png")
        assert same_pictures(Path("ours.png"), Path("theirs.png"))


def test_a_tensor_and_a_folder_are_written_as_well(ganforge_cli, runs):
    ganforge_cli("export", "plain", "--out", "out")
    folder = Path("out").resolve()
    assert alone(folder, "--count", "3", "--out", "t.safetensors").returncode == 0
    made = load_file("t.safetensors")["images"]
    assert torch.equal(made, ganforge.open_run("plain").sample(3))
    assert alone(folder, "--count", "3", "--out", "made").returncode == 0
    ganforge_cli("sample", "plain", "--count", "3", "--out", "ours")
    for number in range(3):
        name = f"00000{number}.png"
        assert same_pictures(Path("made", name), Path("ours", name))


def test_pictures_are_translated_as_the_run_does(ganforge_cli, runs, trained):
    assert ganforge_cli("export", "cycle", "--out", "out").status == 0
    inputs = [str(path) for path in sorted((trained / "pictures" / "cats").glob("*.png"))]
    arguments = ["--generator", "cat2dog", "--input", *inputs, "--out", "theirs"]
    told = alone(Path("out").resolve(), *arguments)
    assert (told.returncode, told.stderr) == (0, "")
    ganforge_cli("translate", "cycle", *inputs, "--to", "dog", "--out", "ours")
    for path in inputs:
        assert same_pictures(Path("theirs", Path(path).name), Path("ours", Path(path).name))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "tiger"], "there is no label 'tiger'; there are: cats, dogs"),
        (["--generator", "other"], "there is no generator 'other': main (--generator NAME)"),
        (["--count", 0], "there is no image to make: --count takes 1 or more"),
    ],
)
def test_mistakes_get_a_line(exported, workdir, arguments, said, capsys):
    module = export_folder._opened(exported)
    asked = generate.argparse.Namespace(
        count=1, seed=0, label=None, text=None, input=[], generator=None, out=Path("x.png")
    )
    for key, value in zip(arguments[::2], arguments[1::2], strict=True):
        setattr(asked, key[2:], value)
    with pytest.raises(Exception, match="there is no") as caught:
        generate._answer(module, asked)
    assert str(caught.value) == said


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pngs_of_other_programs_are_read(tmp_path, mode):
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    ramp = np.arange(40)[:, None, None] * 5 + np.arange(30)[None, :, None] * 2
    pixels = (ramp + np.arange(channels) * 7).astype(np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels.squeeze()).save(path)  # Pillow writes differences of every kind
    image = generate.read_png(path, channels, 40, 30)
    assert np.array_equal(generate.pixels_of(image[None])[0].numpy(), pixels)
    with pytest.raises(generate.Mistake, match="has 30 x 40 px; this generator reads 40 x 30"):
        generate.read_png(path, channels, 30, 40)


def test_texts_are_encoded_as_the_spec_does():
    spec = TextSpec(("", "a", "red", "circle"), 5)
    plain = {"vocabulary": list(spec.vocabulary), "length": 5, "unit": "word"}
    assert generate.encoded("a RED circle", plain) == spec.encode("a red circle")
    assert generate.decoded(torch.tensor([1, 2, 0, 3, 0]), plain) == spec.decode([1, 2, 0, 3, 0])
    with pytest.raises(generate.Mistake, match="unknown in 'a dog': dog"):
        generate.encoded("a dog", plain)


# --- what cannot be exported ----------------------------------------------------------------------


class Deciding(nn.Module):
    """Does one thing or another as numbers fall."""

    def forward(self, noise):
        return noise if noise.sum() > 0 else -noise


def test_what_cannot_be_followed_is_refused_in_a_line():
    with pytest.raises(
        GanforgeError, match=r"generator 'g' cannot be exported: torch\.export"
    ) as e:
        traced(Deciding(), [torch.randn(5, 3)], ["noise"], "generator 'g'")
    assert "\n" not in str(e.value)


def test_a_folder_that_is_there_is_left_alone(ganforge_cli, runs):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work", encoding="utf-8")
    answer = ganforge_cli("export", "plain", "--out", "mine")
    assert answer.status == 2 and "mine already exists" in answer.err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_a_line(ganforge_cli, runs):
    Path("file").write_text("", encoding="utf-8")
    answer = ganforge_cli("export", "plain", "--out", "file/out")
    assert answer.status == 2 and "cannot write" in answer.err and "Traceback" not in answer.err


def test_other_images_than_the_runs_are_refused(runs, monkeypatch):
    """What was written is tried; here its weights were changed on the way."""

    def spoilt(tensors, told):
        first = sorted(tensors)[0]
        return save(tensors | {first: tensors[first] + 0.1}, told)

    monkeypatch.setattr(export_folder, "save", spoilt)
    with pytest.raises(GanforgeError, match="makes different images than the run, by up to"):
        export(ganforge.open_run("plain"), Path("out"))


def test_config_says_what_the_run_was(exported):
    config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert (config["run"], config["step"], config["usual"]) == ("digits", 4, "main")
    noise, label = config["generators"]["main"]["sources"]
    assert noise == {"name": "noise", "kind": "noise", "dim": 3, "distribution": "normal"}
    assert label["names"] == ["cats", "dogs"]
    source = (exported / "networks.py").read_text(encoding="utf-8")
    assert "aten.linear.default(" in source and "import math" not in source


# --- ONNX -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "names"), [("digits", ["main"]), ("cycle", ["cat2dog", "dog2cat"])]
)
def test_onnx_gives_the_same_numbers(ganforge_cli, runs, run, names):
    pytest.importorskip("onnxscript", reason="ONNX is an extra: pip install ganforge[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="an extra: pip install ganforge[onnx]")
    answer = ganforge_cli("export", run, "--out", "out", "--onnx")
    assert answer.status == 0, answer.err
    opened = ganforge.open_run(run)
    for name in names:
        model = runtime.InferenceSession(f"out/{name}.onnx", providers=["CPUExecutionProvider"])
        plan = opened.generator_plan(name)
        for count in (2, 7):
            sources = export_folder.example(opened, plan, count, seed=2)
            given = {i.name: s.numpy() for i, s in zip(model.get_inputs(), sources, strict=True)}
            (theirs,) = model.run(None, given)
            ours = opened.generator(name)(*sources)
            assert np.allclose(theirs, ours.numpy(), atol=1e-5)


def test_without_the_extra_onnx_is_refused_in_a_line(ganforge_cli, runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    answer = ganforge_cli("export", "plain", "--out", "out", "--onnx")
    assert answer.status == 2 and "ONNX is an extra: `pip install ganforge[onnx]`" in answer.err


RESIZING = """
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from ganforge import Generator
from ganforge.plugin import option


class Resizing(Generator):
    class Options:
        how: Literal["scale", "size"] = option(help="how it is resized")

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.how = options.how
        self.dense = nn.Linear(sources[0].dim, 3 * 11 * 11)

    def forward(self, noise):
        x = torch.tanh(self.dense(noise)).view(-1, 3, 11, 11)
        if self.how == "scale":
            x = F.interpolate(x, scale_factor=0.75, mode="bilinear", antialias=True)
        else:
            smooth = F.interpolate(x, size=(7, 5), mode="bilinear", antialias=True)
            area = F.interpolate(x, size=(7, 5), mode="area")
            x = smooth - 2 * area + 3 * F.adaptive_avg_pool2d(x, (7, 5))
        return F.interpolate(x, size=(8, 8))
"""


def resizing(ganforge_cli, how: str) -> list[str]:
    """A run whose generator resizes; what follows `ganforge export`."""
    Path("resizing.py").write_text(RESIZING, encoding="utf-8")
    use = 'use = "mlp"\nhidden = [6]\n[discriminator]'
    own = f'use = "resizing"\nhow = "{how}"\n[discriminator]'
    assert use in PLAIN
    write_recipe(Path(), PLAIN.replace(use, own, 1))
    answer = ganforge_cli("run", "recipe.toml", "--plugin-file", "resizing.py")
    assert answer.status == 0, answer.err
    return ["export", "digits", "--out", "deep/out", "--plugin-file", "resizing.py"]


def test_onnx_of_what_is_resized_to_odd_sizes_is_tried_and_written(ganforge_cli, workdir):
    """In each of the ways that PyTorch resizes, of which a wrong one would change the sum."""
    pytest.importorskip("onnxruntime", reason="an extra: pip install ganforge[onnx]")
    answer = ganforge_cli(*resizing(ganforge_cli, "size"), "--onnx")
    assert answer.status == 0, answer.err
    assert Path("deep/out/main.onnx").exists()


def test_an_onnx_model_that_makes_something_else_is_refused_whole(ganforge_cli, workdir):
    """0.75 of 11 px is no whole number, which torch's exporter gets wrong with antialias."""
    pytest.importorskip("onnxruntime", reason="an extra: pip install ganforge[onnx]")
    words = resizing(ganforge_cli, "scale")
    before = sorted(Path().iterdir())
    answer = ganforge_cli(*words, "--onnx")
    assert answer.status == 2
    assert re.search(
        r"generator 'main' cannot be written as ONNX: what the exporter of torch wrote returns "
        r"different values of 1 item, by up to [0-9.]+ \(allowed",
        answer.err,
    )
    assert "Traceback" not in answer.err
    assert sorted(Path().iterdir()) == before  # not even the folders above
    answer = ganforge_cli(*words)
    assert answer.status == 0, answer.err


def test_an_export_that_is_refused_leaves_an_earlier_one_as_it_was(runs, monkeypatch):
    run = ganforge.open_run("plain")
    export(run, Path("out"))
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    monkeypatch.setattr(export_folder, "_try", refusing)
    with pytest.raises(GanforgeError, match="on purpose"):
        export(run, Path("out"))
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def refusing(*_: object) -> None:
    raise GanforgeError("on purpose")


# --- a fresh environment --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_fresh_environment_with_torch_and_safetensors_is_enough(ganforge_cli, runs, tmp_path):
    """Some minutes: torch is installed anew."""
    ganforge_cli("export", "digits", "--out", "out")
    place = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    version = torch.__version__.partition("+")[0]
    install = [str(python), "-m", "pip", "install", "-q", f"torch=={version}", "safetensors"]
    subprocess.run(install, check=True)
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
    )
    told = alone(
        Path("out").resolve(), "--count", "9", "--out", "t.png", python=str(python), code=code
    )
    assert told.returncode == 0, told.stderr
    ganforge_cli("sample", "digits", "--count", "9", "--out", "ours.png")
    assert same_pictures(Path("ours.png"), Path("t.png"))
    listed = subprocess.run([str(python), "-m", "pip", "list"], capture_output=True, text=True)
    assert "ganforge" not in listed.stdout and "numpy" not in listed.stdout
