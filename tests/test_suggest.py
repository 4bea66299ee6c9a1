"""Slips of the pen find the name that was meant; strangers' words lead to ours."""

import attrs
import pytest

from ganforge.cli.main import COMMANDS
from ganforge.interfaces.settings import Adam, NoiseSettings, TrainSettings
from ganforge.plugin import ImageOptions
from ganforge.recipes.suggestions import _COMMANDS, _FOREIGN, foreign, nearest


@pytest.mark.parametrize(
    ("word", "candidates", "found"),
    [
        ("wieght", ["weight", "every", "on"], ["weight"]),
        ("leastsquares", ["least-squares", "minimax"], ["least-squares"]),
        ("gradient_image", ["gradient-image", "image-pool"], ["gradient-image"]),
        ("Gradient-Images", ["gradient-image", "flip"], ["gradient-image"]),
        ("loss", ["data", "losses"], ["losses"]),
        ("cycle", ["identity", "cycle-consistency"], ["cycle-consistency"]),
        ("mnist", ["dcgan_mnist", "lsgan_mnist", "dcgan_folder"], ["dcgan_mnist", "lsgan_mnist"]),
        ("dcgn_mnist", ["vanilla_mnist", "dcgan_mnist"], ["dcgan_mnist", "vanilla_mnist"]),
        ("hinge", ["non-saturating", "least-squares"], []),
        ("x", ["y"], []),
        ("", ["a"], []),
        ("a", [], []),
    ],
)
def test_the_nearest_names_best_first(word, candidates, found):
    assert nearest(word, candidates) == found


def test_no_more_than_asked_for():
    names = ["loss-1", "loss-2", "loss-3", "loss-4"]
    assert len(nearest("loss", names)) == 3
    assert len(nearest("loss", names, most=1)) == 1


def test_a_name_that_differs_only_in_its_dashes_comes_first():
    assert nearest("image_pool", ["image_pools2", "image-pool"])[0] == "image-pool"


@pytest.mark.parametrize(
    ("word", "where", "ours"),
    [
        ("n_critic", "train", "discriminator_steps"),
        ("critic_steps", "", "train.discriminator_steps"),
        ("d-steps", "hooks", "train.discriminator_steps"),
        ("batch_size", "train", "batch"),
        ("batch_size", "data", "train.batch"),
        ("z_dim", "generators", "noise.dim"),
        ("nz", "noise", "dim"),
        ("latent_dim", "", "noise.dim"),
        ("image_size", "data", "size"),
        ("resolution", "generators", "data.size"),
        ("ngf", "generators", "width"),
        ("ndf", "discriminators.main", "width"),
        ("base_channels", "", "generator.width"),
        ("learning_rate", "optimizer", "lr"),
        ("learning_rate", "generators", "optimizer.lr"),
        ("beta1", "optimizer", "betas"),
        ("n_epochs", "train", "epochs"),
        ("max_steps", "", "train.steps"),
        ("niter", "train", "steps"),
        ("lambda_cycle", "", "losses.cycle-consistency.weight"),
        ("lambda_A", "losses", "weight"),
        ("lambda", "losses", "weight"),
        ("pool_size", "", "augmentors.image-pool.size"),
        ("pool_size", "augmentors", "size"),
        ("gan_mode", "", "losses.adversarial.use"),
        ("dataset", "", "data"),
        ("dataset", "data", "use"),
        ("dataroot", "", "data.root"),
        ("checkpoint_interval", "train", "hooks.checkpoint.every"),
        ("sample_interval", "", "hooks.samples.every"),
        ("interval", "hooks", "every"),
        ("model", "generators", "use"),
        ("callbacks", "", "hooks"),
        ("critic", "", "discriminator"),
        ("source", "generators", "from"),
        ("condition", "discriminators", "given"),
        ("lr_scheduler", "optimizer", "schedule"),
        ("fp16", "train", "precision"),
        ("gpu_ids", "train", "device"),
        ("train", "command", "run"),
        ("resume", "command", "run"),
        ("generate", "command", "sample"),
        ("validate", "command", "check"),
        ("batch_size", "command", None),
        ("tune", "command", "sweep"),
        ("interpolate", "command", "walk"),
        ("download", "command", "data"),
        ("train", "losses", None),
        ("rainbow", "data", None),
    ],
)
def test_words_of_other_frameworks(word, where, ours):
    assert foreign(word, where) == ours


@pytest.mark.parametrize(
    ("word", "where", "ours"),
    [
        ("batch", "data", "train.batch"),
        ("size", "train", "data.size"),
        ("dim", "train", "noise.dim"),
    ],
)
def test_words_of_ours_in_the_wrong_table(word, where, ours):
    assert foreign(word, where) == ours


def test_every_answer_exists():
    """An address that leads into a table of the core names a key of it."""
    tables = {
        "train": TrainSettings,
        "data": ImageOptions,
        "noise": NoiseSettings,
        "optimizer": Adam,
    }
    others = {"data.use", "data.root", "optimizer.use", "optimizer.schedule"}
    for address in _FOREIGN:
        table, _, key = address.partition(".")
        if key and table in tables and address not in others:
            assert key in {attribute.name for attribute in attrs.fields(tables[table])}, address


def test_every_command_is_known_by_the_words_of_other_tools():
    assert set(_COMMANDS) == set(COMMANDS)
    words = [word for aliases in _COMMANDS.values() for word in aliases.split()]
    assert len(words) == len(set(words))  # one word leads to one command
    assert not set(words) & set(COMMANDS)
