"""Semi-supervised objectives: D is a classifier that knows "fake" as one more class.

Class scores are logits [N, K + 1], fake last, or [N, K] where the logit of fake is held at 0. The
two are the same family, since a softmax does not change when all logits do by the same amount
(arXiv:1606.03498, section 5).
"""

from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import cross_entropy, softplus

from ganforge import GanforgeError, Loss, LossContext


class OverClasses(Loss):
    """What the objectives share: which of the class scores are real classes."""

    decision_threshold = 0.0  # scores are the logit of being real (of_classes)
    classes: int

    def build(self, context: LossContext) -> None:
        """Take the number of classes from the data. Owns nothing."""
        scores = context.output.class_scores
        assert context.labels is not None and scores is not None, "composition refused this"
        self.classes = context.labels.classes
        if scores.dim() != 2 or scores.shape[1] - self.classes not in (0, 1):
            raise GanforgeError(
                f"discriminator '{context.discriminator}' returns class scores "
                f"{list(scores.shape[1:])} per item; {self.classes} classes need one each, or one "
                "more for fakes"
            )

    def real(self, class_scores: Tensor) -> Tensor:
        """The logits of the real classes, [N, K]."""
        return class_scores[:, : self.classes]

    def with_fake(self, class_scores: Tensor) -> Tensor:
        """The logits of all classes, [N, K + 1], fake last."""
        return F.pad(class_scores, (0, self.classes + 1 - class_scores.shape[1]))

    def realness(self, class_scores: Tensor) -> Tensor:
        """The logit of being real, log p(real | x) - log p(fake | x), [N]."""
        fake = self.with_fake(class_scores)[:, self.classes]
        return self.real(class_scores).logsumexp(1) - fake


class Classification(OverClasses):
    """D classifies real data and does not see fakes: a classifier alone."""

    def discriminator(self, labelled_class_scores: Tensor, labelled_labels: Tensor) -> Tensor:
        """Class scores, int64 [N] -> -log p(y | x, real), [N]"""
        return cross_entropy(self.real(labelled_class_scores), labelled_labels, reduction="none")


class Odena(OverClasses):
    """Labelled data are of their class, fakes of class K (arXiv:1606.01583, algorithm 1).

    G wants its fakes to be real ("real"), or to be of the class that it was asked for ("class").
    """

    def discriminator(
        self, labelled_class_scores: Tensor, labelled_labels: Tensor, fake_class_scores: Tensor
    ) -> dict[str, Tensor]:
        """Class scores, int64 [N] -> -log p(y | x) and -log p(K | G(z)), each [N]"""
        labelled = self.with_fake(labelled_class_scores)
        fake = self.with_fake(fake_class_scores)
        fake_class = labelled_labels.new_full(fake.shape[:1], self.classes)
        return {
            "labelled": cross_entropy(labelled, labelled_labels, reduction="none"),
            "fake": cross_entropy(fake, fake_class, reduction="none"),
        }

    def generator(self, fake_class_scores: Tensor, fake_labels: Tensor | None = None) -> Tensor:
        """Class scores, int64 [N] -> -log(1 - p(K | G(z))), or -log p(y | G(z, y)), [N]"""
        if fake_labels is None:  # as the manifest states for "real"
            return softplus(-self.realness(fake_class_scores))
        return cross_entropy(self.with_fake(fake_class_scores), fake_labels, reduction="none")


class Salimans(OverClasses):
    """Unlabelled data are of some real class, fakes of none (arXiv:1606.03498, section 5).

    L = -E log p(y | x, real) - 1/2 E log p(real | x) - 1/2 E log p(fake | G(z)). It says nothing
    of G, which learns by feature matching there.
    """

    def discriminator(
        self,
        labelled_class_scores: Tensor,
        labelled_labels: Tensor,
        real_class_scores: Tensor,
        fake_class_scores: Tensor,
    ) -> dict[str, Tensor]:
        """Class scores, int64 [N] -> the three terms, each [N]"""
        labelled = self.real(labelled_class_scores)
        return {
            "labelled": cross_entropy(labelled, labelled_labels, reduction="none"),
            "real": softplus(-self.realness(real_class_scores)) / 2,
            "fake": softplus(self.realness(fake_class_scores)) / 2,
        }
