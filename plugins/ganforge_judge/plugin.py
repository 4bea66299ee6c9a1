"""A classifier trained on a run's own labelled data, which judges what its generators make."""

from ganforge.plugin import Component, hookimpl, option, options


@options
class ClassAccuracyOptions:
    count: int = option(10_000, at_least=2, help="samples, and real images to compare them with")
    seed: int = option(0, at_least=0, help="seed of the first sample; the others follow")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "metric",
            "class-accuracy",
            "ganforge_judge.metric:ClassAccuracy",
            ClassAccuracyOptions,
            summary="Classes, variety and nearness of samples, as a classifier of the data sees",
        )
    ]
