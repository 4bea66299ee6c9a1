"""Semi-supervised objectives against the softmax over K + 1 classes written out."""

import inspect
import math

import pytest
import torch
from ganforge_semi_supervised import losses
from ganforge_semi_supervised.plugin import OdenaOptions, ganforge_components

from ganforge import GanforgeError, ImageSpec, LabelSpec, LossContext, Verdict

COMPONENTS = {(c.kind, c.name): c for c in ganforge_components()}
LABELS = torch.tensor([0, 2])
LABELLED = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 2.0]])  # logits of 3 classes
REAL = torch.tensor([[3.0, 0.0, 0.0], [-4.0, -4.0, -4.0]])
FAKE = torch.tensor([[0.0, 0.0, 0.0], [-2.0, 1.0, 0.0]])


def context(class_scores, classes=3):
    return LossContext(
        discriminator="main",
        judged=ImageSpec(1, 4, 4),
        verdict=Verdict(class_scores=torch.empty(2, class_scores, device="meta")),
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
