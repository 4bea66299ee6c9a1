"""Feature matching (arXiv:1606.03498): an objective for G that reads D's features."""

from ganforge.plugin import Component, hookimpl


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "feature-matching",
            "ganforge_feature_matching.losses:FeatureMatching",
            summary="G matches the batch means of D's features; D learns from another loss",
            paper="arXiv:1606.03498",
            needs={"generator": ("real_features", "fake_features")},
        )
    ]
