"""The networks whose filters are shown, and their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn

from ganforge.game.networks import build_networks
from ganforge.interfaces.addresses import Address
from ganforge.interfaces.components import Augmentor, GeneratorOutput
from ganforge.interfaces.draws import Draw, Draws
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.specs import ImageSpec
from ganforge.lab.guided_backprop import Still
from ganforge.planning.plan import DiscriminatorPlan, GeneratorPlan

if TYPE_CHECKING:
    from ganforge.runs.run import Run

IMAGES = 256  # that filters are tried on
AT_ONCE = 64


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
    meant = [address for address in there if name in (address, Address.parse(address).name)]
    meant = meant or [address for address in there if Address.parse(address).kind == f"{name}s"]
    if len(meant) == 1:
        return meant[0]
    message = f"'{name}' may be several" if meant else f"there is no network of images '{name}'"
    raise GanforgeError(f"{message}; there are: {', '.join(meant or there)} (`--network NAME`)")


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
            range(start, min(start + AT_ONCE, count)),
            rows={domain: images[start : start + AT_ONCE] for domain, images in rows.items()},
        )
        for start in range(0, count, AT_ONCE)
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
        return (made.data if isinstance(made, GeneratorOutput) else made).float()

    if place is not None:
        return Subject(address, network, sources[place].float(), True, call)
    everything = torch.arange(len(sources[0]))
    with torch.no_grad(), Still():
        made = torch.cat([call(None, rows) for rows in torch.split(everything, AT_ONCE)])
    return Subject(address, network, made, False, call)
