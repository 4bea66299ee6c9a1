"""Semi-supervised objectives against the softmax over K + 1 classes written out."""

import inspect
import math

import pytest
import torch
from ganforge_semi_supervised import losses
from ganforge_semi_supervised.accuracy import ClassifierAccuracy, class_figures
from ganforge_semi_supervised.networks import GaussianNoise, NoisyMlp
from ganforge_semi_supervised.plugin import (
    ClassifierAccuracyOptions,
    NoisyMlpOptions,
    OdenaOptions,
    ganforge_components,
)
from playing import CYCLE, ONE_PAIR, training_of

from ganforge import DiscriminatorOutput, GanforgeError, ImageSpec, LabelSpec, LossContext, TextSpec
from ganforge.plugin import Impossible
from ganforge.recipes.problems import RecipeError

COMPONENTS = {(c.kind, c.name): c for c in ganforge_components()}
LABELS = torch.tensor([0, 2])
LABELLED = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 2.0]])  # logits of 3 classes
REAL = torch.tensor([[3.0, 0.0, 0.0], [-4.0, -4.0, -4.0]])
FAKE = torch.tensor([[0.0, 0.0, 0.0], [-2.0, 1.0, 0.0]])


def context(class_scores, classes=3):
    return LossContext(
        discriminator="main",
        judged=ImageSpec(1, 4, 4),
        output=DiscriminatorOutput(class_scores=torch.empty(2, class_scores, device="meta")),
        labels=LabelSpec(classes),
    )


def loss(name, class_scores=3, **options):
    component = COMPONENTS["loss", name]
    cls = getattr(losses, component.target.partition(":")[2])
    instance = cls(component.options(**options))
    instance.build(context(class_scores))
    return instance


def probabilities(logits, fake):
    """[N, K + 1]: the softmax over the classes and fake, written out."""
    powers = torch.cat([logits, torch.full((len(logits), 1), fake)], 1).double().exp()
    return powers / powers.sum(1, keepdim=True)


def with_fake(logits, fake):
    return torch.cat([logits, torch.full((len(logits), 1), fake)], 1)


close = torch.testing.assert_close


def test_classification_is_the_cross_entropy_over_the_real_classes():
    softmax = LABELLED.double().exp()
    softmax /= softmax.sum(1, keepdim=True)
    expected = -torch.stack([softmax[0, 0], softmax[1, 2]]).log()
    value = loss("classification").discriminator(LABELLED, LABELS)
    close(value, expected.float())
    assert value[0].item() == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)))
    also = loss("classification", 4).discriminator(with_fake(LABELLED, 7.0), LABELS)
    close(also, value)


def test_odena_labels_real_data_by_class_and_fakes_by_the_last():
    terms = loss("odena", 4).discriminator(with_fake(LABELLED, 0.5), LABELS, with_fake(FAKE, -1.0))
    real, fake = probabilities(LABELLED, 0.5), probabilities(FAKE, -1.0)
    close(terms["labelled"], -torch.stack([real[0, 0], real[1, 2]]).log().float())
    close(terms["fake"], -fake[:, 3].log().float())


def test_odena_lets_g_want_its_class_or_any_but_fake():
    fake = probabilities(FAKE, -1.0)
    scores = with_fake(FAKE, -1.0)
    wanted = loss("odena", 4).generator(scores, LABELS)
    close(wanted, -torch.stack([fake[0, 0], fake[1, 2]]).log().float())
    real = loss("odena", 4, generator="real").generator(scores)
    close(real, -(1 - fake[:, 3]).log().float())


def test_odena_reads_labels_of_fakes_only_where_g_wants_its_class():
    needs = COMPONENTS["loss", "odena"].needs
    assert needs(OdenaOptions())["generator"] == ("fake_class_scores", "fake_labels")
    assert needs(OdenaOptions(generator="real"))["generator"] == ("fake_class_scores",)


def test_salimans_terms_are_those_of_a_softmax_whose_fake_logit_is_0():
    """Equations of section 5; 1/2 E log p is each half of the unsupervised loss."""
    terms = loss("salimans").discriminator(LABELLED, LABELS, REAL, FAKE)
    labelled, real, fake = (probabilities(x, 0.0) for x in (LABELLED, REAL, FAKE))
    given_real = labelled[:, :3] / labelled[:, :3].sum(1, keepdim=True)
    close(terms["labelled"], -torch.stack([given_real[0, 0], given_real[1, 2]]).log().float())
    close(terms["real"], -(1 - real[:, 3]).log().float() / 2)
    close(terms["fake"], -fake[:, 3].log().float() / 2)
    assert terms["fake"][0].item() == pytest.approx(math.log(4) / 2)


@pytest.mark.parametrize("name", ["odena", "salimans"])
def test_a_fake_logit_of_its_own_is_the_same_family(name):
    """Adding a number to all K + 1 logits changes nothing: K logits are K + 1 with a 0."""

    def terms(shift):
        inputs = {"labelled": LABELLED, "real": REAL, "fake": FAKE}
        if shift is not None:
            inputs = {key: with_fake(value + shift, shift) for key, value in inputs.items()}
        reads = {f"{key}_class_scores": value for key, value in inputs.items()}
        instance = loss(name, 3 if shift is None else 4)
        names = inspect.signature(instance.discriminator).parameters
        reads = {key: value for key, value in reads.items() if key in names}
        return instance.discriminator(labelled_labels=LABELS, **reads)

    for key, value in terms(None).items():
        close(terms(3.0)[key], value)


@pytest.mark.parametrize("name", ["odena", "salimans"])
def test_huge_logits_stay_finite(name):
    far = torch.tensor([[300.0, -300.0, 0.0], [-300.0, -300.0, -300.0]], requires_grad=True)
    instance = loss(name)
    names = inspect.signature(instance.discriminator).parameters
    scores = {key: far for key in names if key.endswith("class_scores")}
    total = sum(v.sum() for v in instance.discriminator(labelled_labels=LABELS, **scores).values())
    total.backward()
    assert total.isfinite() and far.grad.isfinite().all()


def test_class_scores_that_fit_no_number_of_classes_are_refused():
    with pytest.raises(GanforgeError, match=r"class scores \[6\] per item; 3 classes need one"):
        losses.Salimans(None).build(context(6))


@pytest.mark.parametrize("name", ["classification", "odena", "salimans"])
def test_needs_are_the_parameters_of_the_methods(name):
    component = COMPONENTS["loss", name]
    for side, needs in component.needed(component.options()).items():
        cls = getattr(losses, component.target.partition(":")[2])
        assert tuple(inspect.signature(getattr(cls, side)).parameters)[1:] == tuple(needs)


# --- the discriminator ----------------------------------------------------------------------------


def noisy_mlp(labels=LabelSpec(3), judged=ImageSpec(1, 4, 4), **options):  # noqa: B008
    options = {"hidden": [8, 6]} | options
    return NoisyMlp(NoisyMlpOptions(**options), judged, (), labels)


@pytest.mark.parametrize(("head", "outputs"), [("classes", 3), ("classes-and-fake", 4)])
def test_a_class_head_also_scores_how_real_an_image_is(head, outputs):
    network = noisy_mlp(head=head).eval()
    output = network(torch.randn(5, 1, 4, 4))
    assert output.class_scores.shape == (5, outputs) and output.features.shape == (5, 6)
    fake = output.class_scores[:, 3] if outputs == 4 else torch.zeros(5)
    share = probabilities(output.class_scores[:, :3] - fake[:, None], 0.0)
    close(output.scores.sigmoid(), (1 - share[:, 3]).float())


def test_a_head_without_classes_gives_one_score():
    output = noisy_mlp(head="score", labels=None)(torch.randn(5, 1, 4, 4))
    assert output.scores.shape == (5,) and output.class_scores is None


def test_noise_is_added_in_training_only_and_not_to_the_features_themselves():
    network = noisy_mlp()
    images = torch.randn(5, 1, 4, 4)
    one, other = network(images), network(images)
    assert not torch.equal(one.class_scores, other.class_scores)
    network.eval()
    assert torch.equal(network(images).class_scores, network(images).class_scores)
    noise = GaussianNoise(0.5)
    added = noise(torch.zeros(100_000))
    assert added.std().item() == pytest.approx(0.5, abs=0.01)
    assert abs(added.mean().item()) < 0.01
    quiet = noisy_mlp(input_noise=0.0)  # then only the noise after the features differs
    shallow = noisy_mlp(input_noise=0.0, hidden=[6])
    assert torch.equal(shallow(images).features, shallow(images).features)
    assert not torch.equal(quiet(images).features, quiet(images).features)


def test_each_row_is_judged_by_itself():
    network = noisy_mlp().eval()
    images = torch.randn(5, 1, 4, 4)
    assert network.independent_rows
    close(network(images).class_scores[2:3], network(images[2:3]).class_scores)


def test_weights_are_normalised_or_not():
    names = {name for name, _ in noisy_mlp().named_parameters()}
    assert any("parametrizations.weight" in name for name in names)
    assert not any("parametrizations" in n for n, _ in noisy_mlp(norm="none").named_parameters())


def test_check_refuses_what_cannot_be():
    check = COMPONENTS["discriminator", "noisy-mlp"].check
    image = ImageSpec(1, 4, 4)
    check(NoisyMlpOptions(), image, (), LabelSpec(3))
    check(NoisyMlpOptions(head="score"), image, (), None)
    for options, given, labels, key in (
        (NoisyMlpOptions(), (), None, "head"),
        (NoisyMlpOptions(hidden=[]), (), LabelSpec(3), "hidden"),
        (NoisyMlpOptions(), (TextSpec(("a",), 4),), LabelSpec(3), None),
    ):
        with pytest.raises(Impossible) as caught:
            check(options, image, given, labels)
        assert caught.value.key == key


# --- in a game ------------------------------------------------------------------------------------

GAME = (
    ONE_PAIR.replace('use = "dots"', 'use = "dots"\nlabelled = 9')
    .replace('[discriminator]\nuse = "mlp"', '[discriminator]\nuse = "noisy-mlp"')
    .replace("dropout = 0.0\n", "")
    .replace('use = "non-saturating"', 'use = "salimans"')
    + "[losses.feature-matching]\n"
)


def test_salimans_game_looks_once_and_moves_both_sides(tmp_path):
    training = training_of(tmp_path, GAME)
    looked = []
    judge = training.game.networks["discriminators.main"]
    judge.register_forward_hook(lambda module, data, out: looked.append(len(data[0])))
    before = {p.address: [q.clone() for q in p.parameters] for p in training.game.trained_modules}
    training.run()
    assert looked == [18, 6, 6] * 4  # labelled, unlabelled and fakes together; then G's turn
    for trained_module in training.game.trained_modules:
        moved = [
            not torch.equal(a, b)
            for a, b in zip(before[trained_module.address], trained_module.parameters, strict=True)
        ]
        assert all(moved), trained_module.address
    figures = training.gauges()
    assert {f"loss/adversarial/discriminator/{t}" for t in ("labelled", "real", "fake")} <= set(
        figures
    )
    assert 0 <= figures["accuracy"] <= 1


def test_odena_needs_a_labelled_generator_only_where_it_is_to_make_classes(tmp_path):
    odena = GAME.replace('"salimans"', '"odena"').replace("[losses.feature-matching]\n", "")
    with pytest.raises(RecipeError, match="asks for 'fake_labels', but generator 'main' is given"):
        training_of(tmp_path, odena)
    training_of(tmp_path, odena, sets=['losses.adversarial.generator="real"']).run()
    labelled = odena.replace("[generator]\n", '[generator]\nfrom = ["noise", "label"]\n')
    training_of(tmp_path, labelled).run()


def test_a_dcgan_can_be_the_classifier(tmp_path):
    text = GAME.replace('"noisy-mlp"\nhidden = [12]', '"dcgan"\nwidth = 4\nhead = "classes"')
    text = text.replace('use = "dots"', 'use = "dots"\nsize = 16')
    training = training_of(tmp_path, text)
    training.run()
    output = training.game.networks["discriminators.main"](torch.randn(2, 1, 16, 16))
    assert output.class_scores.shape == (2, 3)
    share = probabilities(output.class_scores, 0.0)
    close(output.scores.sigmoid(), (1 - share[:, 3]).float())
    both = text.replace('head = "classes"', 'head = "classes-and-fake"')
    output = training_of(tmp_path, both).game.networks["discriminators.main"](
        torch.randn(2, 1, 16, 16)
    )
    assert output.class_scores.shape == (2, 4)
    with pytest.raises(RecipeError, match='head = "classes" needs data with labels'):
        pairs = text.replace("labelled = 9", "pair = true").replace(
            "[generator]\n", "[generator]\nto='light'\n"
        )
        training_of(tmp_path, pairs)


# --- the metric -----------------------------------------------------------------------------------


def test_accuracy_is_over_the_classes_of_held_out_data():
    scores = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]])
    figures = class_figures(scores, torch.tensor([0, 1, 1, 1]))
    assert figures["accuracy"] == 0.75
    assert figures["smallest-accuracy"] == pytest.approx(2 / 3)
    terms = [math.log(1 + math.exp(d)) for d in (-1, -1, 3, -0.5)]
    assert figures["cross-entropy"] == pytest.approx(sum(terms) / 4)


@pytest.mark.parametrize("sets", [[], ["data.labelled=40"]])
def test_a_classifier_learns_and_is_measured_on_held_out_rows(tmp_path, sets):
    text = GAME.replace("labelled = 9\n", "")
    sets = [
        *sets,
        "train.steps=200",
        "discriminator={hidden=[64], noise=0.0, input_noise=0.0, optimizer={lr=0.003}}",
        'losses.adversarial.use="classification"',
        "losses.feature-matching.off=true",
        "generator.freeze=true",
    ]
    training = training_of(tmp_path, text, sets=sets)
    metric = ClassifierAccuracy(ClassifierAccuracyOptions())
    with training.looking() as run:
        before = metric.measure(run)["accuracy"]
    training.run()
    with training.looking() as run:
        figures = metric.measure(run)
    assert figures["accuracy"] > 0.8 > before
    assert metric.protocol().startswith("first 6 held-out rows of dots, unaugmented; accuracy = ")


def test_data_without_labels_cannot_be_measured(tmp_path):
    training = training_of(tmp_path, CYCLE)
    with training.looking() as run, pytest.raises(GanforgeError, match="a discriminator of label"):
        ClassifierAccuracy(ClassifierAccuracyOptions()).measure(run)
