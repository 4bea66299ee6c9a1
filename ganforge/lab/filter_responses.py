"""What the filters of a layer answer to: the parts of images that excite them, and their weights.

A layer is a convolution or a dense layer, its filters are its outputs, and a unit is a filter at
one place. A network that reads images is shown real ones: the patches that a unit saw, and the
guided backpropagation of it (arXiv:1412.6806, section 3.4). A generator that reads none is shown
what it made: the patches that a unit reached, and what the unit adds there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.lab.filter_networks import AT_ONCE, Subject
from ganforge.lab.guided_backprop import Guided, Skeleton, Still, guided_modules, hooked

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_FAINT = 1e-2  # an input on which nothing that cuts large values off does so

Box = tuple[int, int, int, int]  # top, left, bottom, right, in px; the last two lie outside
Unit = tuple[int, int]  # filter and place, counted along the rows of a map; 0 in a dense layer


# --- layers and their fields ----------------------------------------------------------------------


@frozen(eq=False)
class Layer:
    """A layer. number: from 1, in the order in which they are called. shape: what it puts out for
    one item, [filters] or [filters, height, width]."""

    number: int
    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        return type(self.module).__name__.removeprefix("Parametrized")

    @property
    def filters(self) -> int:
        return self.shape[0]


def layers_of(subject: Subject) -> list[Layer]:
    """The layers on the way from the image that is read, or to the image that is made."""
    met: dict[str, Tensor] = {}
    modules = {m: name for name, m in subject.network.named_modules() if isinstance(m, _LAYERS)}

    def meeting(name: str) -> Callable[[Tensor], None]:
        def meet(made: Tensor) -> None:
            met[name] = made

        return meet

    hooks = {module: meeting(name) for module, name in modules.items()}
    with torch.enable_grad(), Skeleton(), hooked(hooks):
        subject(torch.zeros(1, dtype=torch.long), _faint(subject, 1))
    found = [(name, made) for name, made in met.items() if made.requires_grad or not subject.reads]
    return [
        Layer(number, name, subject.network.get_submodule(name), tuple(made.shape[1:]))
        for number, (name, made) in enumerate(found, 1)
    ]


def _faint(subject: Subject, count: int) -> Tensor | None:
    """What a network is shown that only says what is connected to what."""
    if not subject.reads:
        return None
    shape = (count, *subject.images.shape[1:])
    return torch.full(shape, _FAINT, device=subject.images.device, requires_grad=True)


def fields(subject: Subject, layer: Layer, units: Sequence[Unit]) -> list[Box]:
    """The part of the image that each unit can see, or reach."""
    # All filters of a map see the same from one place; those of a dense layer, which a generator
    # may lay out as a map, each have their own field.
    same = {unit: unit[1] if len(layer.shape) > 1 else unit[0] for unit in units}
    one = {key: unit for unit, key in same.items()}
    found = (_seen if subject.reads else _reached)(subject, layer, list(one.values()))
    by_key = dict(zip(one, found, strict=True))
    return [by_key[same[unit]] for unit in units]


def _seen(subject: Subject, layer: Layer, units: Sequence[Unit]) -> list[Box]:
    made: list[Tensor] = []
    image = _faint(subject, 1)
    assert image is not None
    found = []
    with torch.enable_grad(), Skeleton(), hooked({layer.module: made.append}):
        subject(torch.zeros(1, dtype=torch.long), image)
        for channel, place in units:
            unit = _flat(made[0])[0, channel, place]
            (share,) = torch.autograd.grad(unit, image, retain_graph=True)
            found.append(_box(share[0]))
    return found


@torch.no_grad()
def _reached(subject: Subject, layer: Layer, units: Sequence[Unit]) -> list[Box]:
    def image(unit: Unit | None) -> Tensor:
        def lit(made: Tensor) -> Tensor:
            changed = torch.zeros_like(made, dtype=torch.float64)
            if unit is not None:
                _flat(changed)[:, unit[0], unit[1]] = _FAINT
            return changed

        with Skeleton(), hooked({layer.module: lit}):
            made: Tensor = subject(torch.zeros(1, dtype=torch.long))[0]
        return made

    dark = image(None)
    return [_box(image(unit) - dark) for unit in units]


def _flat(made: Tensor) -> Tensor:
    """[N, filters] or [N, filters, h, w] -> a view [N, filters, places]"""
    return made[:, :, None] if made.dim() == 2 else made.flatten(2)


def _box(share: Tensor) -> Box:
    """Around everything that is not 0 in [C, H, W]; the whole where all of it is."""
    touched = (share != 0).any(0)
    rows, columns = (touched.any(dim).nonzero()[:, 0].tolist() for dim in (1, 0))
    if not rows:
        return (0, 0, *share.shape[1:])
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


# --- what excites them ----------------------------------------------------------------------------


@frozen(eq=False)
class Answers:
    """What some filters of a layer answer to most, the strongest first.

    patches: [filters, K, C, h, w] of images in [-1, 1], 0 beyond their edge. marks: of the same
    shape, the guided backpropagation of the unit, or what the unit adds to the image. rows: images
    [filters, K]; boxes: where in them; strength: what the layer put out there, before it is
    normalised or bent.
    """

    patches: Tensor
    marks: Tensor
    strength: Tensor
    rows: Tensor
    boxes: tuple[tuple[Box, ...], ...]


@frozen(eq=False)
class Peaks:
    """The most that each filter of a layer puts out on each image [N, filters], at which place
    [N, filters], and each filter's mean [filters]."""

    most: Tensor
    places: Tensor
    means: Tensor


@torch.no_grad()
def peaks(subject: Subject, layers: Sequence[Layer]) -> list[Peaks]:
    """The peaks of layers on all images."""
    found: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in layers]

    def looking(number: int) -> Callable[[Tensor], None]:
        def see(made: Tensor) -> None:
            flat = _flat(made).float()
            most, places = flat.max(2)
            found[number].append((most, places, flat.mean(2)))

        return see

    hooks = {layer.module: looking(number) for number, layer in enumerate(layers)}
    for rows in torch.split(torch.arange(len(subject.images)), AT_ONCE):
        with Still(), hooked(hooks):
            subject(rows)
    together = ([torch.cat(part) for part in zip(*parts, strict=True)] for parts in found)
    return [Peaks(most, places, means.mean(0)) for most, places, means in together]


def answers(subject: Subject, layer: Layer, peaks: Peaks, filters: int, each: int) -> Answers:
    """What the first `filters` filters of a layer answer to, on `each` images a filter."""
    filters, each = min(filters, layer.filters), min(each, len(subject.images))
    found = peaks.most[:, :filters].T.topk(each)  # [filters, K]
    rows, flat_rows = found.indices, found.indices.flatten()
    channels = torch.arange(filters, device=rows.device).repeat_interleave(each)
    at = peaks.places[flat_rows, channels]
    if subject.reads:
        marks = guided(subject, layer, flat_rows, channels, at)
    else:
        marks = added(subject, layer, flat_rows, channels, at, peaks.means)
    units = list(zip(channels.tolist(), at.tolist(), strict=True))
    middle = layer.shape[1] // 2 * layer.shape[2] + layer.shape[2] // 2 if layer.shape[1:] else 0
    *of_units, whole = fields(subject, layer, [*units, (0, middle)])  # not cut by an edge, perhaps
    size = tuple(max(b[2 + side] - b[side] for b in (*of_units, whole)) for side in (0, 1))
    cut = [
        torch.stack([_cut(image, box, size) for image, box in zip(images, of_units, strict=True)])
        for images in (subject.images[flat_rows], marks)
    ]
    patches, marks = (tiles.view(filters, each, *tiles.shape[1:]).float().cpu() for tiles in cut)
    lines = tuple(tuple(of_units[n * each : (n + 1) * each]) for n in range(filters))
    return Answers(patches, marks, found.values.cpu(), rows.cpu(), lines)


def guided(
    subject: Subject, layer: Layer, rows: Tensor, channels: Tensor, places: Tensor
) -> Tensor:
    """Guided backpropagation of one unit on one image each, [M, C, H, W]."""
    images = subject.images[rows].detach().clone().requires_grad_()
    units: list[Tensor] = []
    hooks = hooked({layer.module: units.append})
    with torch.enable_grad(), Guided(), guided_modules(subject.network), hooks:
        subject(rows, images)
        picked = _flat(units[0])[torch.arange(len(rows)), channels, places]
        (gradient,) = torch.autograd.grad(picked.sum(), images)
    return gradient.detach()


@torch.no_grad()
def added(
    subject: Subject, layer: Layer, rows: Tensor, channels: Tensor, places: Tensor, means: Tensor
) -> Tensor:
    """What one unit adds to one image each: the image less that with the unit at its filter's
    mean, [M, C, H, W]."""

    def quiet(made: Tensor) -> Tensor:
        changed = made.clone()
        _flat(changed)[torch.arange(len(rows)), channels, places] = means[channels].to(made.dtype)
        return changed

    with Still():
        whole: Tensor = subject(rows)
        with hooked({layer.module: quiet}):
            without: Tensor = subject(rows)
    return whole - without


def _cut(image: Tensor, box: Box, size: tuple[int, ...]) -> Tensor:
    """A part of an image [C, H, W] as [C, *size], the rest 0: at the side where the image ends."""
    top, left, bottom, right = box
    down, across = size[0] - (bottom - top), size[1] - (right - left)
    over = [across, 0] if left == 0 else [0, across]
    over += [down, 0] if top == 0 else [0, down]
    return F.pad(image[:, top:bottom, left:right], over)


# --- weights --------------------------------------------------------------------------------------


@torch.no_grad()
def weights_of(subject: Subject, layers: Sequence[Layer]) -> tuple[Layer, Tensor] | None:
    """The layer whose weights are pictures, and these, [filters, C, h, w]: the first one of what
    reads images, of a generator that reads none the last one, with what it paints for each of its
    inputs. None where that layer does not read or make pixels."""
    if not layers:
        return None
    layer = layers[0] if subject.reads else layers[-1]
    weight = cast(Tensor, layer.module.weight)
    turned = isinstance(layer.module, nn.ConvTranspose2d)  # its inputs come first
    if turned == subject.reads:
        weight = weight.transpose(0, 1)
    channels, height, width = subject.images.shape[1:]
    if isinstance(layer.module, nn.Linear):
        pixels = channels * height * width
        if weight.shape[1] < pixels or (not subject.reads and weight.shape[1] > pixels):
            return None
        return layer, weight[:, :pixels].reshape(-1, channels, height, width).float().cpu()
    if weight.shape[1] < channels or layer.module.groups != 1:
        return None
    return layer, weight[:, :channels].float().cpu()
