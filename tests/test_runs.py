"""A run opened to be looked at: which one, which step, what its generators make."""

import shutil
from pathlib import Path

import pytest
import torch
from attrs import evolve
from recipe_text import RecipeText
from safetensors.torch import load_file
from small_recipes import CYCLE, DIGITS, write_recipe

import ganforge
from ganforge.interfaces.errors import GanforgeError, RunError
from ganforge.interfaces.specs import LabelSpec, NoiseSpec
from ganforge.recipes.problems import RecipeError
from ganforge.runs.run import Run, class_number, noise_of
from ganforge.training.launch import Request, launch

AVERAGED = DIGITS.replace("hidden = [6]", "hidden = [6]\nema = 0.9", 1).replace(
    "[hooks.samples]",
    "[hooks.progress]\noff = true\n[hooks.checkpoint]\nevery = 2\n[hooks.samples]",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two finished runs: digits (four steps), then cats-and-dogs (two)."""
    folder = tmp_path_factory.mktemp("trained")
    for text in (AVERAGED, CYCLE):
        path = write_recipe(folder, text)
        name = "digits" if text is AVERAGED else "cats-and-dogs"
        launch(Request(recipe=path, out=folder / "runs" / name), lambda line: None)
    return folder


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


# --- which ----------------------------------------------------------------------------------------


def test_a_run_is_opened_by_folder_by_name_or_as_the_newest(here):
    assert ganforge.open_run("digits").folder.path == Path("runs/digits")
    assert ganforge.open_run(here / "runs" / "digits").folder.path == here / "runs" / "digits"
    assert ganforge.open_run().folder.name == "cats-and-dogs"
    assert repr(ganforge.open_run("digits")) == "<run digits at step 4>"


def test_a_name_that_no_run_has_is_told_with_the_nearest(here):
    with pytest.raises(RunError, match="there is no run 'didgits'; did you mean 'digits'"):
        ganforge.open_run("didgits")


def test_a_step_is_the_last_or_one_that_was_kept(here):
    assert ganforge.open_run("digits").step == 4
    assert ganforge.open_run("digits", step="last").step == 4
    assert ganforge.open_run("digits", step=2).step == 2
    assert ganforge.open_run("digits", step="2").step == 2
    with pytest.raises(RunError) as caught:
        ganforge.open_run("digits", step=3)
    kept = f"{Path('runs/digits')} has no checkpoint of step 3; there are: 2, 4, last"
    assert str(caught.value).replace(" 0, 2", " 2") == kept
    with pytest.raises(RunError, match="no best step, since no metric was asked to choose one"):
        ganforge.open_run("digits", step="best")


def test_steps_differ_in_what_they_make(here):
    first, last = (ganforge.open_run("digits", step=step).sample(2) for step in (2, 4))
    assert not torch.equal(first, last)


def test_a_run_without_a_checkpoint_is_told(here, tmp_path):
    copy = shutil.copytree(here / "runs" / "digits", tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(RunError) as caught:
        ganforge.open_run(copy)
    assert str(caught.value) == f"{copy} has no checkpoint yet"


# --- sampling -------------------------------------------------------------------------------------


def test_image_i_of_a_seed_is_image_0_of_that_seed_plus_i(here):
    run = ganforge.open_run("digits")
    several = run.sample(6, seed=10)
    assert several.shape == (6, 3, 8, 8) and several.dtype == torch.float32
    assert several.min() >= -1 and several.max() <= 1
    for place in range(6):
        alone = run.sample(1, seed=10 + place)[0]
        torch.testing.assert_close(several[place], alone, atol=1e-6, rtol=0)  # sums in other order
        assert (several[place] - run.sample(1, seed=99)[0]).abs().max() > 1e-3


def test_what_is_drawn_for_a_seed_depends_on_nothing_else(here):
    run = ganforge.open_run("digits")
    plan = run.generator_plan()
    noise, labels = run.sources(plan, range(5, 9))
    for place, seed in enumerate(range(5, 9)):
        alone, label = run.sources(plan, [seed])
        assert torch.equal(noise[place], alone[0]) and labels[place] == label[0]
    assert labels.tolist() == [1, 0, 1, 0]  # the classes take turns


def test_many_images_are_those_of_several_batches(here):
    run = ganforge.open_run("digits")
    many = run.sample(70, seed=3)
    torch.testing.assert_close(many[66:68], run.sample(2, seed=69), atol=1e-6, rtol=0)


def test_labels_go_by_number_or_name(here):
    run = ganforge.open_run("digits")
    cats, dogs = (run.sample(3, label=label) for label in ("cats", "dogs"))
    assert torch.equal(cats, run.sample(3, label=0)) and torch.equal(dogs, run.sample(3, label="1"))
    assert not torch.equal(cats, dogs)
    with pytest.raises(GanforgeError) as caught:
        run.sample(3, label="cow")
    assert str(caught.value) == "there is no label 'cow'; there are: cats, dogs"


@pytest.mark.parametrize("label", [3, -1, "3", "x", "-1", "²"])
def test_a_label_that_is_not_there_is_told(label):
    with pytest.raises(GanforgeError, match="there are: 0 to 2"):
        class_number(LabelSpec(3), label)


def test_a_number_is_no_label_where_classes_are_called_by_other_numbers():
    numbered = LabelSpec(11, tuple(str(number) for number in range(1, 12)))
    assert [class_number(numbered, label) for label in ("1", 11, "11")] == [0, 10, 10]
    for label in ("0", 0, "01"):
        with pytest.raises(GanforgeError, match=f"no label '{label}'; there are: 1, 2, 3"):
            class_number(numbered, label)
    named = LabelSpec(3, ("cat", "dog", "emu"))
    assert [class_number(named, label) for label in ("emu", 0, "1")] == [2, 0, 1]


def test_noise_of_a_seed_follows_its_distribution():
    seeds = range(2_000)
    normal = torch.stack([noise_of(NoiseSpec(8), "noise", seed) for seed in seeds])
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.05
    uniform = torch.stack([noise_of(NoiseSpec(8, "uniform"), "noise", seed) for seed in seeds])
    assert uniform.min() >= -1 and uniform.max() <= 1
    assert abs(uniform.std() - 3**-0.5) < 0.02
    assert not torch.equal(normal[0], noise_of(NoiseSpec(8), "style", 0))


def test_the_sheet_shows_the_seeds_from_zero(here):
    run = ganforge.open_run("digits", step=2)
    snapshot = load_file(here / "runs/digits/snapshots/step-000002.safetensors")
    saved = run.generator().state_dict()
    for name, tensor in snapshot.items():
        assert torch.equal(saved[name.removeprefix("ema.generators.main/")], tensor)


# --- generators -----------------------------------------------------------------------------------


def test_a_generator_is_averaged_frozen_and_in_eval_mode(here):
    run = ganforge.open_run("digits")
    generator = run.generator()
    assert generator is run.generator("main")
    assert not any(module.training for module in generator.modules())
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    saved = load_file(here / "runs/digits/checkpoints/step-00000004/networks.safetensors")
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, saved[f"ema.generators.main/{name}"])
    weights = [name for name in generator.state_dict() if name.endswith("weight")]
    assert any(
        not torch.equal(saved[f"generators.main/{n}"], generator.state_dict()[n]) for n in weights
    )


def test_sampling_changes_nothing_in_the_folder(here):
    before = {p: p.stat().st_mtime_ns for p in (here / "runs").rglob("*")}
    run = ganforge.open_run("digits")
    assert torch.equal(run.sample(4), run.sample(4))
    assert {p: p.stat().st_mtime_ns for p in (here / "runs").rglob("*")} == before


def test_of_several_generators_one_must_be_named(here):
    run = ganforge.open_run("cats-and-dogs")
    with pytest.raises(GanforgeError) as caught:
        run.generator()
    assert str(caught.value) == "say which generator: cat2dog, dog2cat (`--generator NAME`)"
    with pytest.raises(GanforgeError) as caught:
        run.generator("cat2dgo")
    assert str(caught.value) == "there is no generator 'cat2dgo'; there are: cat2dog, dog2cat"


def test_translators_translate_and_others_sample(here):
    translator, sampler = ganforge.open_run("cats-and-dogs"), ganforge.open_run("digits")
    images = translator.held_out("cat", 2)
    made = translator.translate(images, "cat2dog")
    assert made.shape == images.shape
    torch.testing.assert_close(made[1:], translator.translate(images[1:], "cat2dog"))
    with pytest.raises(GanforgeError, match="use `ganforge translate cats-and-dogs INPUT"):
        translator.sample(2, generator="cat2dog")
    with pytest.raises(GanforgeError, match="use `ganforge sample digits`"):
        sampler.translate(images)


def test_a_run_that_was_moved_needs_neither_data_nor_recipe(here, tmp_path, monkeypatch):
    expected = ganforge.open_run("digits").sample(4)
    moved = shutil.copytree(here / "runs" / "digits", tmp_path / "gone" / "faces")
    (moved / "recipe.toml").unlink()
    text = (moved / "resolved.toml").read_text(encoding="utf-8")
    lost = text.replace((here / "pictures").as_posix(), "/nowhere/pictures")
    assert lost != text
    (moved / "resolved.toml").write_text(lost, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = ganforge.open_run(moved)
    assert torch.equal(run.sample(4), expected)
    assert run.plan.data.description.counts == {"train": {"image": 8, "label": 8}}


def test_weights_of_another_version_of_a_plugin_are_one_line(here, tmp_path):
    copy = shutil.copytree(here / "runs" / "digits", tmp_path / "copy")
    text = (copy / "resolved.toml").read_text(encoding="utf-8")
    altered = text.replace("    6,", "    7,")
    assert altered != text
    (copy / "resolved.toml").write_text(altered, encoding="utf-8")
    with pytest.raises(RunError, match=r"^ganforge/mlp .* does not fit the weights in .*version"):
        ganforge.open_run(copy).generator()


def test_a_component_that_is_not_installed_is_told(here, tmp_path):
    copy = shutil.copytree(here / "runs" / "digits", tmp_path / "copy")
    text = (copy / "resolved.toml").read_text(encoding="utf-8")
    (copy / "resolved.toml").write_text(text.replace("ganforge/mlp", "acme/mlp"), encoding="utf-8")
    with pytest.raises(RecipeError, match="there is no generator 'acme/mlp'"):
        ganforge.open_run(copy).sample(1)


# --- figures and pictures -------------------------------------------------------------------------


def test_metrics_are_the_lines_that_were_written(here):
    lines = ganforge.open_run("digits").metrics()
    assert [line["step"] for line in lines] == [1, 4]
    assert "loss/adversarial/generator" in lines[0]


def test_in_a_notebook_a_run_shows_its_newest_sheet(here, tmp_path):
    run = ganforge.open_run("digits")
    assert run._repr_png_() == (here / "runs/digits/samples/step-000004.png").read_bytes()
    copy = shutil.copytree(here / "runs" / "digits", tmp_path / "copy")
    shutil.rmtree(copy / "samples")
    assert ganforge.open_run(copy)._repr_png_() is None


def test_the_data_of_a_run_is_at_hand_where_it_lies(here):
    run = ganforge.open_run("digits")
    assert run.dataset().count("train", "image") == 8
    assert run.held_out("image", 2).shape == (2, 3, 8, 8)


# --- from Python ----------------------------------------------------------------------------------


def test_training_from_python_gives_the_opened_run(workdir, capsys):
    recipe = write_recipe(workdir, DIGITS)
    settings = {
        "train.steps": 3,
        "noise.distribution": "uniform",
        "generator.optimizer.betas": [0.0, 0.9],
        "hooks.progress.off": True,
        "discriminator": {"dropout": 0.25, "hidden": [5, 4]},
        "data.root": Path("pictures"),
    }
    run = ganforge.train(recipe, set=settings, out="runs/mine")
    assert isinstance(run, Run) and (run.step, run.folder.path) == (3, Path("runs/mine"))
    assert run.plan.domains["noise"].spec == NoiseSpec(3, "uniform")
    assert run.plan.generators["main"].settings.optimizer.options.betas == (0.0, 0.9)
    assert run.plan.discriminators["main"].options.dropout == 0.25
    assert run.plan.discriminators["main"].options.hidden == [5, 4]
    assert run.sample(2).shape == (2, 3, 8, 8)
    assert ganforge.train(recipe, set={**settings, "train.steps": 5}, out="runs/mine").step == 5


def test_a_preview_from_python(workdir):
    run = ganforge.train(write_recipe(workdir, DIGITS), preview=True)
    assert (run.folder.path, run.step) == (Path("runs/digits-preview"), 2)


def test_mistakes_from_python_are_raised_as_one_error(workdir):
    recipe = write_recipe(workdir, DIGITS)
    with pytest.raises(RecipeError) as caught:
        ganforge.train(recipe, set={"train.batch": "four", "generator.widht": 3})
    assert len(caught.value.problems) == 2


# --- what looking does without --------------------------------------------------------------------

SOFT = RecipeText("""
from ganforge import Loss
from torch.nn.functional import softplus

class SoftHinge(Loss):
    def discriminator(self, real_scores, fake_scores):
        return softplus(1 - real_scores) + softplus(1 + fake_scores)

    def generator(self, fake_scores):
        return -fake_scores
""")


def test_a_run_is_looked_at_without_the_plugin_that_brought_its_loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "soft_hinge.py").write_text(SOFT, encoding="utf-8")
    run = ganforge.train(
        write_recipe(tmp_path, DIGITS),
        set={"losses.adversarial.use": "soft-hinge"},
        out="runs/soft",
        plugin_files=["soft_hinge.py"],
    )
    alone = ganforge.open_run("soft")
    assert torch.equal(alone.sample(3), run.sample(3))
    kept = tmp_path / "runs" / "soft" / "plugin-files" / "soft_hinge.py"
    assert kept.read_text(encoding="utf-8") == SOFT


def test_a_changed_plugin_file_is_told_when_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "soft_hinge.py"
    file.write_text(SOFT, encoding="utf-8")
    request = Request(
        recipe=write_recipe(tmp_path, DIGITS),
        sets=("losses.adversarial.use=soft-hinge", "train.steps=2"),
        out=tmp_path / "run",
        plugin_files=(file,),
    )
    launch(request, lambda line: None)
    file.write_text(SOFT.replace("1 -", "2 -"), encoding="utf-8")
    said = []
    launch(evolve(request, sets=(request.sets[0], "train.steps=3")), said.append)
    assert any("soft_hinge.py" in line and "not bit-exact" in line for line in said)


def test_a_chain_of_generators_is_sampled_from_its_beginning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = DIGITS.replace("[generator]", "[generators.main]").replace(
        "[discriminator]",
        '[generators.finer]\nuse = "mlp"\nhidden = [6]\nfrom = "generators.main"\n[discriminator]',
    )
    run = ganforge.train(write_recipe(tmp_path, text), out="runs/chain")
    first = run.sample(2, generator="main")
    with torch.no_grad():
        expected = run.generator("finer")(first)
    torch.testing.assert_close(run.sample(2, generator="finer"), expected)
    torch.testing.assert_close(run.sample(2), expected)  # the end of the chain


# --- classifiers ----------------------------------------------------------------------------------

CLASSIFIED = DIGITS.replace("hidden = [6]\n[losses", "hidden = [6]\ndropout = 0.0\n[losses") + (
    "[losses.auxiliary-classifier]\n[hooks.progress]\noff = true\n"
)


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """A finished run whose discriminator has a class head, on pictures of two classes."""
    folder = tmp_path_factory.mktemp("classified")
    path = write_recipe(folder, CLASSIFIED)
    launch(Request(recipe=path, out=folder / "run"), lambda line: None)
    return Run(ganforge.runs.run.RunFolder(folder / "run"))


def test_a_discriminator_of_a_run_is_frozen_and_in_eval_mode(classified):
    network = classified.discriminator()
    assert network is classified.discriminator("main") and not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    saved = load_file(classified.folder.checkpoints / "step-00000004" / "networks.safetensors")
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, saved[f"discriminators.main/{name}"])
    with pytest.raises(GanforgeError, match="there is no discriminator 'other'; there are: main"):
        classified.discriminator("other")


def test_a_head_that_a_loss_owns_classifies_with_its_trained_weights(classified):
    images = classified.sample(70)
    scores = classified.class_scores(images)
    assert scores.shape == (70, 2) and scores.dtype == torch.float32
    saved = load_file(classified.folder.checkpoints / "step-00000004" / "networks.safetensors")
    head = "losses.auxiliary-classifier@main/head"
    features = classified.discriminator()(images).features
    by_hand = features @ saved[f"{head}.weight"].T + saved[f"{head}.bias"]
    torch.testing.assert_close(scores, by_hand)


def test_every_class_is_made_from_the_same_noise(classified):
    styles = classified.by_class(3, seed=5)
    assert styles.shape[:2] == (3, 2)
    for number in range(2):
        column = classified.sample(3, label=number, seed=5)
        torch.testing.assert_close(styles[:, number], column)


def test_what_does_not_classify_is_told(here):
    with pytest.raises(GanforgeError, match="neither discriminator 'main' nor a loss on it class"):
        ganforge.open_run("digits").class_scores(torch.zeros(1, 3, 8, 8))
    with pytest.raises(GanforgeError, match="the data of discriminator 'cat' has no labels"):
        ganforge.open_run("cats-and-dogs").class_scores(torch.zeros(1, 3, 8, 8), "cat")
    with pytest.raises(GanforgeError, match="generator 'cat2dog' is given no label"):
        ganforge.open_run("cats-and-dogs").by_class(2, generator="cat2dog")


def test_a_further_output_for_fakes_is_left_out_and_few_labels_are_remembered(tmp_path, here):
    from making_data import make_mnist

    make_mnist(tmp_path / "mnist")
    sets = (
        f"data.root={tmp_path / 'mnist'}",
        "data.labelled=10",
        "train.steps=2",
        "train.batch=4",
        "train.precision=fp32",
        "train.device=cpu",
        "generator.hidden=[6]",
        "discriminator.hidden=[6]",
        'discriminator.head="classes-and-fake"',
        "metrics.classifier-accuracy.off=true",
        "hooks.progress.off=true",
    )
    request = Request(recipe="semi-supervised-mnist", sets=sets, out=tmp_path / "run")
    run = Run(launch(request, lambda line: None).folder)
    assert run.plan.labelled("main") == "labelled-image"
    images = run.held_out("labelled-image", 5)
    output = run.discriminator()(images)
    assert output.class_scores.shape == (5, 11)
    torch.testing.assert_close(run.class_scores(images), output.class_scores[:, :10])
