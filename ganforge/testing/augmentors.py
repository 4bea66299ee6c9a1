"""What augmentors must satisfy, tried on random images of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ganforge.interfaces.components import Augmentor
from ganforge.interfaces.draws import Draw, Draws
from ganforge.interfaces.manifest import Impossible
from ganforge.interfaces.specs import ImageSpec, Spec
from ganforge.testing.cases import Failed, NotTried, Subject
from ganforge.testing.situations import IMAGES, items

ROWS = 5


def views(subject: Subject) -> None:
    """What it returns has the specs that its manifest declares, and is finite."""
    for spec in _specs(subject):
        declared = subject.component.views
        expected = declared(subject.options, spec) if declared else {"plain": spec}
        shown = _shown(subject, spec, items(spec, ROWS, 0), 0)
        if declared and shown.keys() != expected.keys():
            raise Failed(f"shows the views {sorted(shown)}; its manifest has {sorted(expected)}")
        for name, value in shown.items():
            promised = expected.get(name, spec)
            if value.shape != (ROWS, *promised.shape):
                raise Failed(
                    f"view '{name}' of {spec} has shape {list(value.shape[1:])}, not "
                    f"{list(promised.shape)} ({promised})"
                )
            if not value.isfinite().all():
                raise Failed(f"view '{name}' of {spec} is not finite")


def keeps_range(subject: Subject) -> None:
    """Images stay in [-1, 1], unless it says `keeps_range = False`."""
    if not getattr(subject.cls, "keeps_range", True):
        return
    for spec in _specs(subject):
        if not isinstance(spec, ImageSpec):
            continue
        for seed in range(4):
            extremes = items(spec, ROWS, seed).sign()
            for data in (items(spec, ROWS, seed), extremes):
                for name, value in _shown(subject, spec, data, seed).items():
                    if float(value.detach().abs().max()) > 1 + 1e-5:
                        raise Failed(
                            f"view '{name}' of {spec} reaches {float(value.abs().max()):.3f}; "
                            "images lie in [-1, 1], or the class says `keeps_range = False`"
                        )


def differentiable(subject: Subject) -> None:
    """G learns through it: the gradient reaches the images, and is finite also where they are
    flat."""
    for spec in _specs(subject):
        for data in (items(spec, ROWS, 0), torch.zeros(ROWS, *spec.shape)):
            data.requires_grad_()
            total = sum(v.square().sum() + v.sum() for v in _shown(subject, spec, data, 0).values())
            assert isinstance(total, Tensor)
            if not total.requires_grad:
                raise Failed(f"no gradient passes it ({spec})")
            (gradient,) = torch.autograd.grad(total, data)
            if not gradient.isfinite().all():
                raise Failed(f"the gradient through it is not finite ({spec})")


def one_draw(subject: Subject) -> None:
    """What it does follows from its draw alone, so real and fake change alike."""
    for spec in _specs(subject):
        data = items(spec, ROWS, 0)
        first, second = (_shown(subject, spec, data, 3) for _ in range(2))
        if any(not torch.equal(first[name], second[name]) for name in first):
            raise Failed("with the same draw it returns something different: draw from `draw` only")


def untouched(subject: Subject) -> None:
    """Neither `view` nor `replay` changes the tensor that it is given."""
    for spec in _specs(subject):
        augmentor = _built(subject, spec)
        for call in range(4):  # a pool fills first and replaces then
            data = items(spec, ROWS, call)
            before = data.clone()
            augmentor.view(data, _draw(call))
            replayed = augmentor.replay(data, _draw(call))
            if not torch.equal(data, before):
                raise Failed("changes its input in place")
            if replayed.shape != data.shape or replayed.dtype != data.dtype:
                raise Failed(f"replay turns {list(data.shape)} into {list(replayed.shape)}")


def kept(subject: Subject) -> None:
    """Its state is all in its buffers: another instance with them continues identically."""
    for spec in _specs(subject)[:1]:
        first, second = _built(subject, spec), _built(subject, spec)
        for call in range(3):
            first.replay(items(spec, ROWS, call), _draw(call))
        second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
        data = items(spec, ROWS, 9)
        if not torch.equal(first.replay(data, _draw(9)), second.replay(data, _draw(9))):
            raise Failed("replays something different after its state was saved and loaded")


def off(subject: Subject) -> None:
    """With the options that its class calls `off`, it changes nothing."""
    options = getattr(subject.cls, "off", None)
    if options is None:
        raise NotTried("its class names no options that switch it off (`off = {...}`)")
    switched_off = Subject(subject.component, subject.registry, {**subject.example, **options})
    for spec in _specs(switched_off):
        data = items(spec, ROWS, 0)
        shown = _shown(switched_off, spec, data, 0)
        if not all(
            value.shape == data.shape and torch.equal(value, data) for value in shown.values()
        ):
            raise Failed(f"changes {spec}, although it is off ({dict(options)})")
        if not torch.equal(_built(switched_off, spec).replay(data, _draw(0)), data):
            raise Failed(f"replays other fakes, although it is off ({dict(options)})")


def _specs(subject: Subject) -> list[Spec]:
    """The images that it accepts, according to its manifest."""
    found: list[Spec] = []
    for spec in IMAGES[:4]:
        try:
            if subject.component.views is not None:
                subject.component.views(subject.options, spec)
            if subject.component.check is not None:
                subject.component.check(subject.options, spec, ())
        except Impossible as error:
            refusal = error
            continue
        found.append(spec)
    if not found:
        raise NotTried(f"its manifest refuses every image that the kit tries: {refusal}")
    return found


def _built(subject: Subject, spec: Spec) -> Augmentor:
    augmentor = subject.cls(subject.options, spec)
    assert isinstance(augmentor, Augmentor)
    return augmentor


def _shown(subject: Subject, spec: Spec, data: Tensor, seed: int) -> Mapping[str, Tensor]:
    result = _built(subject, spec).view(data, _draw(seed))
    return {"plain": result} if isinstance(result, Tensor) else result


def _draw(seed: int) -> Draw:
    generator = Draws(seed).generator("conformance")
    return Draw(generator, ROWS, slice(None), torch.device("cpu"))


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of an augmentor."""
    return views, keeps_range, differentiable, one_draw, untouched, off, kept
