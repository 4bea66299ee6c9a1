"""What filters answer to: on networks made by hand, of which the answer is known."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image
from small_recipes import CYCLE, DIGITS
from torch import nn
from torch.nn import functional as F
from untrained_runs import RECIPES, built, small_plan, train_small

import ganforge
from ganforge.game.networks import build_networks
from ganforge.interfaces.draws import Draws
from ganforge.lab import filter_networks, filter_responses, filters
from ganforge.lab.filter_networks import Subject
from ganforge.lab.filter_responses import layers_of
from ganforge.lab.guided_backprop import Guided, guided_modules


def reading(network, images):
    return Subject("network", network.eval(), images, True, lambda image, rows: network(image))


def making(network, noise):
    network.eval()
    with torch.no_grad():
        images = network(noise)
    return Subject("network", network, images, False, lambda image, rows: network(noise[rows]))


# --- fields ---------------------------------------------------------------------------------------


class Branched(nn.Module):
    """Two ways that join, one of which sees no more than a pixel; a norm over the whole image."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, image):
        x = F.leaky_relu(F.instance_norm(self.first(image)), 0.2)
        return self.last(torch.cat([torch.tanh(self.second(x)), x], 1))


def test_a_unit_sees_what_arithmetic_of_strides_says():
    chain = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.Conv2d(4, 3, 4, 2, 1),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(3 * 4 * 4, 2),
    )
    subject = reading(chain, torch.zeros(2, 1, 16, 16))
    first, second, dense = layers_of(subject)
    assert [layer.shape for layer in (first, second, dense)] == [(4, 8, 8), (3, 4, 4), (2,)]
    # Output i reads 2 i - 1 .. 2 i + 2, and below it 2 (2 i - 1) - 1 .. 2 (2 i + 2) + 2.
    assert filter_responses.fields(subject, first, [(1, 8 * 3 + 5)]) == [(5, 9, 9, 13)]
    assert filter_responses.fields(subject, second, [(0, 4 * 1 + 2), (2, 0), (1, 6)]) == [
        (1, 5, 11, 15),
        (0, 0, 7, 7),  # cut at the edge
        (1, 5, 11, 15),
    ]
    assert filter_responses.fields(subject, dense, [(1, 0)]) == [(0, 0, 16, 16)]


def test_the_widest_way_counts_and_norms_do_not():
    subject = reading(Branched(), torch.zeros(1, 1, 9, 9))
    _, second, last = layers_of(subject)
    for layer in (second, last):
        assert filter_responses.fields(subject, layer, [(0, 9 * 4 + 4)]) == [(2, 2, 7, 7)]


def test_dead_and_zero_weights_do_not_narrow_a_field():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(-1)
        network[2].weight.zero_()
    subject = reading(network, torch.zeros(1, 1, 7, 7))
    assert filter_responses.fields(subject, layers_of(subject)[1], [(0, 7 * 3 + 3)]) == [
        (1, 1, 6, 6)
    ]


def test_a_unit_of_a_generator_reaches_what_its_kernels_cover():
    network = nn.Sequential(
        nn.Linear(3, 8),
        nn.Unflatten(1, (2, 2, 2)),
        nn.ConvTranspose2d(2, 2, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(2, 1, 4, 2, 1),
        nn.Hardtanh(),
    )
    subject = making(network, torch.randn(4, 3))
    dense, first, last = layers_of(subject)
    # Input i reaches 2 i - 1 .. 2 i + 2.
    assert filter_responses.fields(subject, first, [(1, 4 * 1 + 2)]) == [(1, 3, 5, 7)]
    assert filter_responses.fields(subject, last, [(0, 0)]) == [(0, 0, 1, 1)]
    assert filter_responses.fields(subject, dense, [(0, 0), (7, 0)]) == [(0, 0, 7, 7), (1, 1, 8, 8)]


# --- patches --------------------------------------------------------------------------------------


def test_the_patch_that_excites_a_filter_is_the_one_it_was_made_for():
    cross = torch.tensor([[-1.0, 1, -1], [1, 1, 1], [-1, 1, -1]])
    network = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU())
    with torch.no_grad():
        network[0].weight[0, 0] = cross
        network[0].weight[1, 0] = -cross
    images = torch.zeros(20, 1, 12, 12)
    images[13, 0, 4:7, 2:5] = cross
    images[5, 0, 8:11, 9:12] = cross / 2
    images[7, 0, 0:3, 0:3] = -cross
    subject = reading(network, images)
    (layer,) = layers_of(subject)
    (peaks,) = filter_responses.peaks(subject, [layer])
    found = filter_responses.answers(subject, layer, peaks, filters=2, each=2)
    assert found.rows[0].tolist() == [13, 5] and found.rows[1, 0] == 7
    assert found.boxes[0] == ((4, 2, 7, 5), (8, 9, 11, 12))
    assert found.strength[0].tolist() == [9, 4.5]
    assert found.patches.shape == (2, 2, 1, 3, 3)
    assert torch.equal(found.patches[0, 0, 0], cross)
    assert torch.equal(found.patches[1, 0, 0], -cross)
    assert torch.equal(found.marks[0, 1, 0], cross)  # a gradient of a linear layer: its weights


def test_patches_at_an_edge_are_grey_where_there_is_no_image():
    image = torch.ones(1, 4, 4)
    cut = filter_responses._cut(image, (0, 2, 2, 4), (3, 3))
    assert cut.tolist() == [[[0, 0, 0], [1, 1, 0], [1, 1, 0]]]


# --- guided backpropagation -----------------------------------------------------------------------


class Rectified(nn.Module):
    """x -> W x, a rectifier, U of it."""

    def __init__(self, rectify):
        super().__init__()
        self.rectify = rectify
        self.inner, self.outer = nn.Linear(4, 6, bias=False), nn.Linear(6, 1, bias=False)

    def forward(self, image):
        return self.outer(self.rectify(self.inner(image.flatten(1))))


class OwnElu(nn.Module):
    """A rectifier that computes by itself."""

    def forward(self, x):
        return torch.where(x > 0, x, x.exp() - 1)


RECTIFIERS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "leaky": nn.LeakyReLU(0.2, inplace=True),
    "function": F.relu,
    "method": torch.Tensor.relu,
    "method in place": torch.Tensor.relu_,
    "leaky function": lambda x: F.leaky_relu(x, 0.2),
    "by its name": OwnElu(),
}


@pytest.mark.parametrize("rectify", RECTIFIERS.values(), ids=RECTIFIERS)
def test_guided_backpropagation_passes_what_is_positive_both_ways(rectify):
    """R = W^T ((f > 0) (u > 0) u), arXiv:1412.6806, section 3.4."""
    torch.manual_seed(0)
    network = Rectified(rectify)
    images = torch.randn(5, 1, 2, 2)
    subject = reading(network, images)
    layer = layers_of(subject)[-1]
    rows, zeros = torch.arange(5), torch.zeros(5, dtype=torch.long)
    found = filter_responses.guided(subject, layer, rows, zeros, zeros).flatten(1)
    inner, outer = network.inner.weight.detach(), network.outer.weight.detach()[0]
    before = images.flatten(1) @ inner.T
    expected = ((before > 0) * (outer > 0) * outer) @ inner
    assert torch.allclose(found, expected, atol=1e-6)
    plain = ((before > 0) * outer) @ inner
    assert not torch.allclose(found, plain, atol=1e-2)


def test_guided_modes_leave_values_as_they_are():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.LeakyReLU(0.2, True), nn.ReLU(True)).eval()
    images = torch.randn(2, 1, 5, 5)
    plain = network(images)
    with Guided(), guided_modules(network):
        assert torch.equal(network(images), plain)


# --- generators -----------------------------------------------------------------------------------


def test_what_a_unit_adds_is_its_stamp_times_what_it_has_over_its_mean():
    network = nn.Sequential(
        nn.Linear(2, 3), nn.Linear(3, 4, bias=False), nn.Unflatten(1, (1, 2, 2))
    )
    noise = torch.randn(10, 2)
    subject = making(network, noise)
    first, _ = layers_of(subject)
    (peaks,) = filter_responses.peaks(subject, [first])
    found = filter_responses.answers(subject, first, peaks, filters=3, each=1)
    units = network[0](noise)
    for number in range(3):
        over = units[:, number].max() - units[:, number].mean()
        stamp = network[1].weight[:, number].view(2, 2)
        assert torch.allclose(found.marks[number, 0, 0], over * stamp, atol=1e-6)


def test_dropout_that_stays_on_is_off():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 4)

        def forward(self, noise):
            return F.dropout(self.layer(noise), 0.5).unflatten(1, (1, 2, 2))

    network = Dropping()
    subject = making(network, torch.randn(6, 2))
    twice = [filter_responses.peaks(subject, layers_of(subject))[0].most for _ in range(2)]
    assert torch.equal(*twice)


# --- weights --------------------------------------------------------------------------------------


def test_weights_are_those_that_meet_pixels():
    images = torch.zeros(1, 3, 8, 8)
    convolution = nn.Conv2d(5, 4, 3)  # three of pixels, two of a condition
    beside = torch.zeros(1, 2, 8, 8)
    subject = Subject(
        "n",
        convolution,
        images,
        True,
        lambda image, rows: convolution(torch.cat([image, beside], 1)),
    )
    _, weights = filter_responses.weights_of(subject, layers_of(subject))
    assert torch.equal(weights, convolution.weight[:, :3])
    dense = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    subject = reading(dense, images)
    _, weights = filter_responses.weights_of(subject, layers_of(subject))
    assert torch.equal(weights.flatten(1), dense[1].weight)


def test_a_generator_shows_what_its_last_layer_paints():
    network = nn.Sequential(
        nn.Linear(2, 5), nn.Unflatten(1, (5, 1, 1)), nn.ConvTranspose2d(5, 3, 4), nn.Tanh()
    )
    subject = making(network, torch.randn(3, 2))
    layer, weights = filter_responses.weights_of(subject, layers_of(subject))
    assert layer.number == 2 and torch.equal(weights, network[2].weight)
    dense = nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2)))
    subject = making(dense, torch.randn(3, 2))
    _, weights = filter_responses.weights_of(subject, layers_of(subject))
    assert torch.equal(weights.flatten(1), dense[1].weight.T)


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("filters"), digits=DIGITS, cycle=CYCLE)


@pytest.fixture
def runs(trained, workdir):
    shutil.copytree(trained / "runs", workdir / "runs")
    return workdir / "runs"


def test_the_untrained_network_is_that_of_step_0_and_nothing_changes(runs):
    run = ganforge.open_run("digits")
    before = {k: v.clone() for k, v in run.discriminator().state_dict().items()}
    trained, untrained = filter_networks.subjects(run, "discriminators.main")
    built = build_networks(run.plan, run.registry, Draws(run.plan.train.seed))
    for key, value in built["discriminators.main"].state_dict().items():
        assert torch.equal(untrained.network.state_dict()[key], value)
        assert not torch.equal(before[key], value)
    found = filters.look(run, "discriminators.main")
    filters.sheet(found)
    assert not run.discriminator().training
    assert all(torch.equal(v, before[k]) for k, v in run.discriminator().state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.network.modules())


def test_an_overview_is_written_and_told(ganforge_cli, runs):
    answer = ganforge_cli("filters", "digits", "--json", "--out", "f.png")
    assert (answer.status, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert told["network"] == "discriminators.main" and told["images"] == 8
    assert [layer["kind"] for layer in told["layers"]] == ["Linear", "Linear"]
    assert told["shown"][0]["layer"] == 2
    assert told["shown"][0]["trained"][0][0]["box"] == [0, 0, 8, 8]
    with Image.open("f.png") as sheet:
        assert min(sheet.size) > 50


@pytest.mark.parametrize("network", ["generator", "generators.main"])
def test_a_generator_with_labels_is_looked_into(ganforge_cli, runs, network):
    answer = ganforge_cli("filters", "digits", "--network", network, "--layer", "1")
    assert answer.status == 0
    assert answer.out.endswith("generators.main of digits at step 4: digits-filters.png\n")


def test_translators_and_patch_discriminators_are_looked_into(ganforge_cli, runs):
    for network in ("cat2dog", "discriminators.dog"):
        answer = ganforge_cli("filters", "cycle", "--network", network, "--filters", "2")
        assert (answer.status, answer.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--network", "nobody"], "there is no network of images 'nobody'; there are: discrimi"),
        (["--network", "main"], "'main' may be several; there are: discriminators.main, gen"),
        (["--layer", "9"], "discriminators.main has the layers 1 to 2, not 9"),
        (["--out", "f.gif"], "cannot write f.gif: --out takes FILE.png"),
    ],
)
def test_mistakes_get_a_line(ganforge_cli, runs, arguments, said):
    answer = ganforge_cli("filters", "digits", *arguments)
    assert answer.status == 2 and said in answer.err and "Traceback" not in answer.err


def test_without_its_data_a_discriminator_is_refused_in_a_line(ganforge_cli, runs):
    resolved = runs / "digits" / "resolved.toml"
    text = resolved.read_text(encoding="utf-8")
    resolved.write_text(text.replace("/pictures", "/gone"), encoding="utf-8")
    answer = ganforge_cli("filters", "digits")
    assert answer.status == 2 and "gone" in answer.err and answer.err.count("\n") <= 3
    assert ganforge_cli("filters", "digits", "--network", "generator").status == 0


# --- every shipped recipe -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen():
    """Games that were looked into, by their networks."""
    return set()


@pytest.mark.parametrize("name", RECIPES)
def test_the_networks_of_each_recipe_are_looked_into(name, data, tmp_path, seen):
    plan = small_plan(name, data)
    kind = tuple((part.component.id, repr(part.options)) for part in plan.networks.values())
    if kind in seen:
        return  # another recipe has the same networks
    seen.add(kind)
    there = [address for address, part in plan.networks.items() if filter_networks._of_images(part)]
    run = built(plan, tmp_path) if there else None
    for address in there:
        found = filters.look(run, address, filters=2, images=8, deeper=1)
        assert found.weights is not None  # every one of them reads or makes pixels
        for one in (found.compared[0].trained, found.compared[0].untrained):
            assert one.patches.shape == one.marks.shape and one.marks.isfinite().all()
            assert one.marks.abs().amax() > 0 or found.subject.reads
        assert filters.sheet(found).std() > 5


def test_a_network_of_texts_is_refused_in_a_line(data, tmp_path):
    run = built(small_plan("sequence-times", data), tmp_path)
    with pytest.raises(ganforge.GanforgeError, match="no network of run judges or makes images"):
        filter_networks.address_of(run, None)
