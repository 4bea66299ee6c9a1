"""Networks by themselves: built from a plan in the right order, initialised from the seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import attrs
import torch
from torch import Tensor, nn

from ganforge.game.error_attribution import attributing_errors, defined_at
from ganforge.game.frozen import Frozen
from ganforge.game.output_checks import discriminator_output
from ganforge.interfaces import addresses
from ganforge.interfaces.components import (
    Augmentor,
    Discriminator,
    DiscriminatorOutput,
    Generator,
    Loss,
    LossContext,
)
from ganforge.interfaces.draws import Draws
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import Component
from ganforge.interfaces.specs import Spec
from ganforge.planning.plan import SIDES, DiscriminatorPlan, GeneratorPlan, LossPlan, Plan, Side
from ganforge.registry.parameter_names import takes_labels
from ganforge.registry.registry import Registry

_ITEMS = 2  # that a discriminator is tried on


def build_networks(
    plan: Plan, registry: Registry, draws: Draws, frozen: dict[str, Frozen] | None = None
) -> dict[str, nn.Module]:
    """Every network of a plan, on the CPU, initialised from the seed; what `Ref`s name first.

    frozen: is given what each one's author froze, by address.
    """
    plans = plan.networks
    built: dict[str, nn.Module] = {}
    waiting = list(plans)
    while waiting:
        ready = [a for a in waiting if set(plans[a].settings.refs.values()) <= built.keys()]
        if not ready:
            raise PluginError(f"these networks are made from each other: {', '.join(waiting)}")
        for address in ready:
            network = build_network(plans[address], registry, draws, built)
            if frozen is not None:  # now, before another network's constructor holds this one
                frozen[address] = Frozen.of(network, built.values())
            built[address] = network
        waiting = [address for address in waiting if address not in ready]
    return {address: built[address] for address in plans}


def build_network(
    plan: GeneratorPlan | DiscriminatorPlan,
    registry: Registry,
    draws: Draws,
    others: Mapping[str, nn.Module],
) -> nn.Module:
    """One network, initialised as its recipe says."""
    cls = registry.load_target(plan.component)
    refs = {option: others[address] for option, address in plan.settings.refs.items()}
    draws.seed_networks("init", plan.address)
    with attributing_errors(plan.component):
        if isinstance(plan, GeneratorPlan):
            network: nn.Module = cls(plan.options, plan.source_specs, plan.target_spec, **refs)
        else:
            beside = {"labels": plan.labels} if takes_labels(cls) else {}
            network = cls(plan.options, plan.judged, plan.given_specs, **beside, **refs)
    if not isinstance(network, (Generator, Discriminator)):
        raise PluginError(f"'{plan.component.id}' is neither a Generator nor a Discriminator")
    if any(isinstance(p, nn.UninitializedParameter) for p in network.parameters()):
        raise PluginError(
            f"{plan.component.kind} '{plan.component.name}' of {plan.component.provider} has lazy "
            f"layers, whose weights have no shape when it is built{defined_at(plan.component)}: "
            "size them from the specs"
        )
    _refuse_odd_state(network, plan.component)
    init = plan.settings.init
    if init is not None and init.normal is not None:
        initialise(network, init.normal)
    return network


def _refuse_odd_state(network: nn.Module, component: Component) -> None:
    """Raise PluginError for a network that cannot be placed or kept in a checkpoint."""
    with attributing_errors(component):
        state = network.state_dict()
    who = f"{component.kind} '{component.name}' of {component.provider}"
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise PluginError(
                f"{who} keeps {name} in its state, which is {_said_kind(value)}"
                f"{defined_at(component)}: checkpoints hold tensors"
            )
        if value.is_meta:
            raise PluginError(
                f"{who} leaves {name} without values, on the device 'meta'{defined_at(component)}: "
                "build it where its weights are drawn"
            )


def _said_kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def build_views(plan: Plan, registry: Registry) -> dict[str, Augmentor]:
    """The augmentors that derived domains are seen through, by domain."""
    return {
        name: registry.load_target(domain.view.component)(domain.view.options, domain.resized)
        for name, domain in plan.domains.items()
        if domain.view is not None
    }


def build_loss(
    plan: LossPlan,
    registry: Registry,
    draws: Draws,
    game: Plan,
    discriminator: DiscriminatorPlan | None = None,
    network: nn.Module | None = None,
) -> Loss:
    """An instance of a loss: of pairings, that of one discriminator, whose network is given; of any
    other, the only one."""
    cls = registry.load_target(plan.component)
    with attributing_errors(plan.component):
        loss: Loss = cls(plan.options)
    if type(loss).build is not Loss.build:
        context = _context(plan, game, discriminator, network)
        draws.seed_networks(
            "init", addresses.of_loss(plan.name, discriminator.name if discriminator else "")
        )
        with attributing_errors(plan.component):
            loss.build(context)
    return loss


def _context(
    plan: LossPlan, game: Plan, discriminator: DiscriminatorPlan | None, network: nn.Module | None
) -> LossContext:
    names = plan.on if discriminator is None else game.pairings(discriminator.name)
    made = {name: game.generators[name] for name in names}
    sources = {name: edge.source_specs for name, edge in made.items()}
    targets = {name: edge.target_spec for name, edge in made.items()}
    if discriminator is None or network is None:
        first = made[plan.on[0]]
        return LossContext(
            discriminator="",
            judged=first.target_spec,
            output=DiscriminatorOutput(),
            labels=game.labels_of(first.target),
            sources=sources,
            targets=targets,
        )
    rows = game.train.batch // min(game.train.accumulate, game.train.batch)
    return LossContext(
        discriminator=discriminator.name,
        judged=discriminator.judged,
        output=meta_output(network, discriminator, rows),
        labels=discriminator.labels,
        sources=sources,
        targets=targets,
    )


def learning_side(loss: Loss, plan: LossPlan) -> Side:
    """The side in whose turns the parameters of a loss learn. Raises PluginError where it has no
    part in the one that its class names."""
    played: list[Side] = [side for side in SIDES if side in plan.needs]
    side = loss.learns_with or played[0]
    if side not in played:
        raise PluginError(
            f"loss '{plan.component.id}' says `learns_with = {side!r}`, but plays on the "
            f"{played[0]}'s side only: its parameters can learn with the {played[0]}"
        )
    return side


@torch.no_grad()
def initialise(network: nn.Module, deviation: float) -> None:
    """Weights N(0, deviation), weights of norms N(1, deviation), biases 0 (DCGAN, section 4).

    What is frozen keeps the weights that it came with.
    """
    norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if name.endswith("bias"):
                parameter.zero_()
            elif isinstance(module, norms):
                parameter.normal_(1.0, deviation)
            elif parameter.dim() > 1:
                parameter.normal_(0.0, deviation)


def meta_output(
    network: nn.Module, plan: DiscriminatorPlan, rows: int = _ITEMS
) -> DiscriminatorOutput:
    """What a discriminator returns, as meta tensors of two items.

    A copy judges two items of zeros, which moves nothing and draws nothing of anybody's. On the
    meta device it would cost less, but that imports the compiler. One that cannot judge two items
    is shown as many as in a turn, `rows`.
    """
    with attributing_errors(plan.component):
        try:
            output = _judged_zeros(network, plan, _ITEMS)
        except Exception:  # of two rows; what it raises for a whole part of the batch is reported
            if rows <= _ITEMS:
                raise
            output = _judged_zeros(network, plan, rows)
    values = attrs.astuple(output, recurse=False)
    return DiscriminatorOutput(
        *(None if value is None else value.to("meta")[:_ITEMS] for value in values)
    )


def _judged_zeros(network: nn.Module, plan: DiscriminatorPlan, rows: int) -> DiscriminatorOutput:
    shadow = copy.deepcopy(network)
    device = next(network.parameters(), torch.empty(0)).device
    given = tuple(_zeros(spec, rows).to(device) for spec in plan.given_specs)
    judged = torch.zeros((rows, *plan.judged.played), device=device)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = shadow(judged, **({"given": given} if given else {}))
    return discriminator_output(output, rows, plan.component)


def _zeros(spec: Spec, rows: int) -> Tensor:
    dtype = torch.int64 if spec.kind in ("label", "text") else torch.float32
    return torch.zeros((rows, *spec.shape), dtype=dtype)
