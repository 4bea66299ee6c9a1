"""The auxiliary classifier of ACGAN (arXiv:1610.09585, equations 2 and 3)."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganforge import DiscriminatorOutput, Loss, LossContext

DEVIATION = 0.02  # of initial weights


class AuxiliaryClassifier(Loss):
    """A second head on D's features says the class; D and G both want it to be right.

    It owns that head, so it plays beside any adversarial loss and on any discriminator that shows
    its features. The class term is E[-log p(y | x)], by log-softmax on logits.
    """

    head: nn.Linear

    def build(self, context: LossContext) -> None:
        """The head: one row of weights a class, over all features or, pooled, over channels."""
        features = context.output.features
        assert features is not None and context.labels is not None, "composition refused this"
        self.head = nn.Linear(self.vector(features).shape[1], context.labels.classes)
        nn.init.normal_(self.head.weight, 0.0, DEVIATION)
        nn.init.zeros_(self.head.bias)

    def vector(self, features: Tensor) -> Tensor:
        """Features [N, F] or maps [N, C, ...] -> [N, F], or pooled [N, C]"""
        if self.options.pool and features.dim() > 2:
            return features.flatten(2).mean(2)
        return features.flatten(1)

    def discriminator(
        self,
        labelled_features: Tensor,
        labelled_labels: Tensor,
        fake_features: Tensor | None = None,
        fake_labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Features [N, ...], int64 [N] -> -log p(y | x) of real data and of fakes, each [N]"""
        terms = {"real": self.error(labelled_features, labelled_labels)}
        if fake_features is not None and fake_labels is not None:  # unless `fakes = false`
            terms["fake"] = self.error(fake_features, fake_labels)
        return terms

    def generator(self, fake_features: Tensor, fake_labels: Tensor) -> Tensor:
        """-log p(y | G(z, y)), [N]"""
        return self.error(fake_features, fake_labels)

    def error(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [N, ...], int64 [N] -> the cross-entropy of each item, [N]"""
        return cross_entropy(self.head(self.vector(features)), labels, reduction="none")

    def class_scores(self, output: DiscriminatorOutput) -> Tensor | None:
        """Logits [N, classes] of what D returned."""
        if output.features is None:
            return None
        return self.head(self.vector(output.features.float()))

    def class_rows(self) -> Tensor:
        """The row of each class: the rows of the head's weight, [classes, F]."""
        return self.head.weight
