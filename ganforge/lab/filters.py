"""What the filters of a network answer to: their weights, and the patches that excite them most.

A layer is a convolution or a dense layer, its filters are its outputs, and a unit is a filter at
one place. A network that reads images is shown real ones: the patches that a unit saw, and the
guided backpropagation of it (arXiv:1412.6806, section 3.4). A generator that reads none is shown
what it made: the patches that a unit reached, and what the unit adds there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ganforge.draws import Draw, Draws
from ganforge.errors import GanforgeError
from ganforge.images import grid, tiled
from ganforge.interfaces import Augmentor, Made
from ganforge.networks import build_networks
from ganforge.plan import DiscriminatorPlan, GeneratorPlan
from ganforge.specs import ImageSpec

if TYPE_CHECKING:
    from ganforge.runs import Run

IMAGES = 256  # that filters are tried on
_AT_ONCE = 64
_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_FAINT = 1e-2  # an input on which nothing that cuts large values off does so

Box = tuple[int, int, int, int]  # top, left, bottom, right, in px; the last two lie outside
Unit = tuple[int, int]  # filter and place, counted along the rows of a map; 0 in a dense layer


# --- networks and what they are shown -------------------------------------------------------------


@frozen(eq=False)
class Subject:
    """A network with what it is shown.

    reads: whether `images` [N, C, H, W] are what it reads, or what it makes. call: (images or None,
    row numbers) -> what the network returns for these rows.
    """

    address: str
    network: nn.Module
    images: Tensor
    reads: bool
    call: Callable[[Tensor | None, Tensor], Any]

    def __call__(self, rows: Tensor, images: Tensor | None = None) -> Any:
        """What the network returns for rows; images [len(rows), C, H, W] take the rows' place."""
        if self.reads and images is None:
            images = self.images[rows]
        return self.call(images, rows)


def address_of(run: Run, name: str | None) -> str:
    """The address of a network of images, by its address, its name, or "discriminator" and
    "generator" where there is one of them; without a name the first discriminator's, else the
    first generator's. Raises GanforgeError."""
    there = [address for address, plan in run.plan.networks.items() if _of_images(plan)]
    if not there:
        raise GanforgeError(f"no network of {run.folder.name} judges or makes images")
    if name is None:
        return there[0]
    meant = [address for address in there if name in (address, address.partition(".")[2])]
    meant = meant or [address for address in there if address.startswith(f"{name}s.")]
    if len(meant) == 1:
        return meant[0]
    said = f"'{name}' may be several" if meant else f"there is no network of images '{name}'"
    raise GanforgeError(f"{said}; there are: {', '.join(meant or there)} (`--network NAME`)")


def _of_images(plan: GeneratorPlan | DiscriminatorPlan) -> bool:
    spec = plan.target_spec if isinstance(plan, GeneratorPlan) else plan.judged
    return isinstance(spec, ImageSpec)


def subjects(run: Run, address: str, count: int = IMAGES) -> tuple[Subject, Subject]:
    """A network as it is at the run's step, and as the seed had made it, both shown the same rows.

    What else they read (conditions, noise, what other generators make) is the trained run's.
    Raises GanforgeError where the data of a network that reads images is not at hand.
    """
    plan = run.plan.networks[address]
    untrained = build_networks(run.plan, run.registry, Draws(run.plan.train.seed))[address]
    untrained = untrained.to(run.device).eval().requires_grad_(False)
    if isinstance(plan, DiscriminatorPlan):
        images, given = _judged(run, plan, count)
        both = (run.discriminator(plan.name), untrained)
        one, other = (Subject(address, net, images, True, _judging(net, given)) for net in both)
        return one, other
    sources = _sources(run, plan, count)
    place = next((i for i, s in enumerate(plan.source_specs) if isinstance(s, ImageSpec)), None)
    both = (run.generator(plan.name), untrained)
    one, other = (_making(address, net, sources, place) for net in both)
    return one, other


def _judged(run: Run, plan: DiscriminatorPlan, count: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Real images as a discriminator sees them, and the conditions that belong to them."""
    images = run.training(plan.on, count)
    given = []
    for domain in plan.given:
        maker = run.plan.maker(domain)
        if maker is None:
            given.append(run.training(domain, count))
            continue
        sources = run.plan.generators[maker].sources
        rows = {source: run.training(source, count) for source in sources}
        given.append(run.made_of(rows, maker).to(run.device))
    if plan.judged != run.plan.domains[plan.on].spec:
        images = _viewed(run, plan, images)
    return images, tuple(given)


def _viewed(run: Run, plan: DiscriminatorPlan, images: Tensor) -> Tensor:
    """Images after augmentors that make something else of them, such as more channels."""
    spec = run.plan.domains[plan.on].spec
    views = {"plain": images}
    for name, part in run.plan.augmentors.items():
        if plan.name not in part.on:
            continue
        augmentor: Augmentor = run.registry.load_target(part.component)(part.options, spec)
        seen: dict[str, Tensor] = {}
        for view, data in views.items():
            draw = Draw(Draws(0).generator("view", name), len(data), slice(None), run.device)
            with torch.no_grad():
                found = augmentor.to(run.device).view(data, draw)
            seen |= {view: found} if isinstance(found, Tensor) else dict(found)
        views = seen
    return next(v for v in views.values() if tuple(v.shape[1:]) == plan.judged.shape)


def _sources(run: Run, plan: GeneratorPlan, count: int) -> list[Tensor]:
    """What a generator reads for seeds 0, 1, ..., images from the training rows."""
    domains = {name for name, spec in run.leaves(plan) if isinstance(spec, ImageSpec)}
    rows = {domain: run.training(domain, count) for domain in domains}
    count = min([count, *(len(images) for images in rows.values())])
    parts = [
        run.sources(
            plan,
            range(start, min(start + _AT_ONCE, count)),
            rows={domain: images[start : start + _AT_ONCE] for domain, images in rows.items()},
        )
        for start in range(0, count, _AT_ONCE)
    ]
    return [torch.cat(values).detach().to(run.device) for values in zip(*parts, strict=True)]


def _judging(
    network: nn.Module, given: tuple[Tensor, ...]
) -> Callable[[Tensor | None, Tensor], Any]:
    def call(images: Tensor | None, rows: Tensor) -> Any:
        beside = tuple(value[rows] for value in given)
        return network(images, **({"given": beside} if beside else {}))

    return call


def _making(
    address: str, network: nn.Module, sources: Sequence[Tensor], place: int | None
) -> Subject:
    def call(images: Tensor | None, rows: Tensor) -> Any:
        values = [value[rows] for value in sources]
        if place is not None and images is not None:
            values[place] = images
        made = network(*values)
        return (made.data if isinstance(made, Made) else made).float()

    if place is not None:
        return Subject(address, network, sources[place].float(), True, call)
    everything = torch.arange(len(sources[0]))
    with torch.no_grad(), Still():
        made = torch.cat([call(None, rows) for rows in torch.split(everything, _AT_ONCE)])
    return Subject(address, network, made, False, call)


# --- ways of passing a network --------------------------------------------------------------------

_RECTIFIERS = frozenset(
    getattr(where, name + end)
    for name in ("relu", "leaky_relu", "elu", "celu", "selu", "rrelu", "prelu", "relu6")
    for end in ("", "_")
    for where in (F, torch, Tensor)
    if hasattr(where, name + end)
)
_DROPOUT = frozenset({F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout})
_BENDS = frozenset(
    {F.tanh, F.sigmoid, F.hardtanh, F.softplus, F.gelu, F.silu, torch.tanh, torch.sigmoid}
    | {torch.tanh_, torch.sigmoid_, Tensor.tanh, Tensor.tanh_, Tensor.sigmoid, Tensor.sigmoid_}
)
_NORMS = frozenset(
    {F.batch_norm, F.instance_norm, F.group_norm, F.layer_norm, F.local_response_norm}
    | {torch.batch_norm, torch.instance_norm, torch.group_norm, torch.layer_norm}
)
_LINEAR = frozenset({F.conv1d, F.conv2d, F.conv_transpose1d, F.conv_transpose2d, F.linear})


class Still(TorchFunctionMode):
    """Nothing drops out, nothing is cut off from gradients, no activation works in place."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _DROPOUT or func is Tensor.detach:
            return args[0] if args else kwargs["input"]
        if func in _RECTIFIERS:
            return self.rectify(func, args, kwargs)
        return self.other(func, args, kwargs)

    def rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        kwargs.pop("inplace", None)
        return func(
            args[0].clone() if func.__name__.endswith("_") else args[0], *args[1:], **kwargs
        )

    def other(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class Guided(Still):
    """Gradients pass rectifiers only where these were given something positive and where the
    gradient is positive itself: R = (f > 0) (R > 0) R, leaky ones too."""

    def rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        passed = args[0] > 0
        return _guarded(super().rectify(func, args, kwargs), passed)


def _guarded(value: Tensor, passed: Tensor) -> Tensor:
    if value.requires_grad:
        value.register_hook(lambda g: g.clamp(min=0) * passed)  # type: ignore[no-untyped-call]
    return value


class Skeleton(Still):
    """Only what is connected to what: each weight is the same positive number, nothing is added,
    bent or normalised. Whatever a unit can see or reach has a positive share in it."""

    def rectify(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args[0]

    def other(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func in _BENDS or func in _NORMS:
            return args[0] if args else kwargs["input"]
        if func in (F.max_pool2d, torch.max_pool2d):
            return F.avg_pool2d(*args[:4])
        if func in _LINEAR:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            weight = given.pop("weight")
            same = torch.full_like(weight, 1 / weight[0].numel(), dtype=torch.float64)
            data = given.pop("input").double()
            given.pop("bias", None)
            return func(data, same, None, *args[3:], **given)
        return func(*args, **kwargs)


@contextmanager
def _hooked(hooks: Mapping[Any, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Call a function on what each of these modules returns when it is first called; what the
    function returns takes its place."""
    seen: set[nn.Module] = set()

    def first(module: nn.Module, given: Any, made: Tensor) -> Tensor | None:
        if module in seen:
            return None
        seen.add(module)
        return hooks[module](made)

    handles = [module.register_forward_hook(first) for module in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _guided_modules(network: nn.Module) -> Iterator[None]:
    """The rule of `Guided` for modules that are rectifiers by their name, however they compute."""
    met: dict[nn.Module, Tensor] = {}

    def before(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        met[module] = given[0] > 0

    def after(module: nn.Module, given: Any, made: Tensor) -> Tensor:
        return _guarded(made, met.pop(module))

    rectifiers = [m for m in network.modules() if type(m).__name__.lower().endswith("elu")]
    handles = [module.register_forward_pre_hook(before) for module in rectifiers]
    handles += [module.register_forward_hook(after) for module in rectifiers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
    with torch.enable_grad(), Skeleton(), _hooked(hooks):
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
    with torch.enable_grad(), Skeleton(), _hooked({layer.module: made.append}):
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

        with Skeleton(), _hooked({layer.module: lit}):
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
    for rows in torch.split(torch.arange(len(subject.images)), _AT_ONCE):
        with Still(), _hooked(hooks):
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
    hooks = _hooked({layer.module: units.append})
    with torch.enable_grad(), Guided(), _guided_modules(subject.network), hooks:
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
        with _hooked({layer.module: quiet}):
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


# --- all of it, and its picture -------------------------------------------------------------------


@frozen(eq=False)
class Weights:
    """Weights as pictures [filters, C, h, w], trained and as the seed made them."""

    layer: Layer
    trained: Tensor
    untrained: Tensor


@frozen(eq=False)
class Compared:
    """What a layer's filters answer to, trained and as the seed made them."""

    layer: Layer
    trained: Answers
    untrained: Answers


@frozen(eq=False)
class Look:
    """A network looked into."""

    subject: Subject
    step: int
    layers: tuple[Layer, ...]
    weights: Weights | None
    compared: tuple[Compared, ...]


DEEPER = 4  # layers shown where none is named
EACH = 4  # patches of a filter


def look(
    run: Run,
    address: str,
    number: int | None = None,
    *,
    filters: int = 8,
    images: int = IMAGES,
    deeper: int = DEEPER,
) -> Look:
    """Look into a network: one layer, or its weights and some of the deeper layers, the last among
    them. Raises GanforgeError for a layer that is not there."""
    trained, untrained = subjects(run, address, images)
    layers = layers_of(trained)
    if not layers:
        raise GanforgeError(f"{address} has no convolution or dense layer, so no filters to show")
    if number is not None and not 1 <= number <= len(layers):
        raise GanforgeError(f"{address} has the layers 1 to {len(layers)}, not {number}")
    beside = layers_of(untrained)
    pair = [weights_of(s, own) for s, own in ((trained, layers), (untrained, beside))]
    weights = None
    if pair[0] and pair[1] and number in (None, pair[0][0].number):
        weights = Weights(pair[0][0], pair[0][1], pair[1][1])
    others = [x for x in layers if weights is None or x.number != weights.layer.number]
    wanted = [x for x in layers if x.number == number] if number else _spread(others, deeper)
    both = [
        [
            answers(subject, layer, found, filters, EACH)
            for layer, found in zip(chosen, peaks(subject, chosen), strict=True)
        ]
        for subject, chosen in (
            (trained, wanted),
            (untrained, [beside[layer.number - 1] for layer in wanted]),
        )
    ]
    compared = [Compared(*one) for one in zip(wanted, *both, strict=True)]
    return Look(trained, run.step, tuple(layers), weights, tuple(compared))


def _spread(layers: Sequence[Layer], count: int) -> list[Layer]:
    """So many of them, evenly spread, the last among them."""
    count = min(count, len(layers))
    return [layers[(n + 1) * len(layers) // count - 1] for n in range(count)]


_SMALL, _LARGE = 32, 64  # px that a tile's longer side has, about
_SHOWN = 64  # weights
_LETTERS = 13  # px


def sheet(found: Look) -> np.ndarray:
    """Left the trained network, right the untrained one, layer by layer, under headings.

    Weights and guided backpropagation are grey where they are 0. All weights of a network share one
    scale; each guided backpropagation has its own.
    """
    columns = []
    for trained in (True, False):
        blocks = [_heading(f"step {found.step:,}" if trained else "untrained")]
        if found.weights is not None:
            weights = found.weights.trained if trained else found.weights.untrained
            blocks += [_heading(_told(found.weights.layer, "weights")), _of_weights(weights)]
        for one in found.compared:
            what = one.trained if trained else one.untrained
            height, width = what.patches.shape[3:]
            verb = "sees" if found.subject.reads else "reaches"
            blocks.append(_heading(_told(one.layer, f"{verb} {width} x {height} px")))
            blocks.append(_of_answers(what))
        columns.append(blocks)
    rows = [block for pair in zip(*_even(columns), strict=True) for block in pair]
    return tiled(rows, 2, down=6, across=24)


def _told(layer: Layer, what: str) -> str:
    return f"layer {layer.number}, {layer.kind}: {what}"


def _even(columns: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Blocks of the left column brought to one width, so that the right column stands in line."""
    width = max(block.shape[1] for block in columns[0])
    return [[_widened(block, width) for block in columns[0]], columns[1]]


def _widened(block: np.ndarray, width: int) -> np.ndarray:
    missing = ((0, 0), (0, width - block.shape[1]), *(((0, 0),) if block.ndim == 3 else ()))
    return np.pad(block, missing, constant_values=255)


def _heading(text: str) -> np.ndarray:
    from PIL import Image, ImageDraw

    width = int(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font_size=_LETTERS))
    picture = Image.new("L", (width + 2, _LETTERS + 4), 255)
    ImageDraw.Draw(picture).text((0, 1), text, fill=0, font_size=_LETTERS)
    return np.array(picture)


def _of_weights(weights: Tensor) -> np.ndarray:
    some = weights[:_SHOWN]
    some = _tiles(_visible(some / weights.abs().max().clamp_min(1e-12)))
    columns = max(1, 2 * EACH * _SMALL // some.shape[3])
    return grid(some, columns)


def _of_answers(what: Answers) -> np.ndarray:
    """A line a filter: the patches, then what the unit did there."""
    marks = what.marks / what.marks.abs().amax((2, 3, 4), keepdim=True).clamp_min(1e-12)
    blocks = [
        grid(_tiles(_visible(tiles.flatten(0, 1))), what.patches.shape[1])
        for tiles in (what.patches, marks)
    ]
    return tiled(blocks, 2, across=8)


def _visible(images: Tensor) -> Tensor:
    """The first channels as grey or colour; further ones are conditions or views."""
    return images[:, : 3 if images.shape[1] >= 3 else 1]


def _tiles(images: Tensor) -> Tensor:
    """Small ones enlarged by whole numbers, large ones averaged down."""
    longest = max(images.shape[2:])
    if longest > _LARGE:
        size = [max(1, round(side * _LARGE / longest)) for side in images.shape[2:]]
        return F.interpolate(images, size, mode="area")
    times = max(1, round(_SMALL / longest))
    return images.repeat_interleave(times, 2).repeat_interleave(times, 3)
