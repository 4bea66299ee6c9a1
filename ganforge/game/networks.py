"""Networks by themselves: built from a plan in the right order, initialised from the seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import attrs
import torch
from torch import Tensor, nn

from ganforge.game.error_attribution import blaming, defined_at
from ganforge.game.output_checks import verdict_of
from ganforge.interfaces.components import (
    Augmentor,
    Discriminator,
    Generator,
    Loss,
    LossContext,
    Verdict,
)
from ganforge.interfaces.draws import Draws
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.specs import Spec
from ganforge.planning.plan import DiscriminatorPlan, GeneratorPlan, LossPlan, Plan
from ganforge.registry.parameter_names import takes_labels
from ganforge.registry.registry import Registry

_ITEMS = 2  # that a discriminator is tried on


def build_networks(plan: Plan, registry: Registry, draws: Draws) -> dict[str, nn.Module]:
    """Every network of a plan, on the CPU, initialised from the seed; what `Ref`s name first."""
    plans = plan.networks
    built: dict[str, nn.Module] = {}
    waiting = list(plans)
    while waiting:
        ready = [a for a in waiting if set(plans[a].settings.refs.values()) <= built.keys()]
        if not ready:
            raise PluginError(f"these networks are made from each other: {', '.join(waiting)}")
        for address in ready:
            built[address] = build_network(plans[address], registry, draws, built)
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
    with blaming(plan.component):
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
    init = plan.settings.init
    if init is not None and init.normal is not None:
        initialise(network, init.normal)
    return network


def build_views(plan: Plan, registry: Registry) -> dict[str, Augmentor]:
    """The augmentors that derived domains are seen through, by domain."""
    return {
        name: registry.load_target(domain.view.component)(domain.view.options, domain.resized)
        for name, domain in plan.domains.items()
        if domain.view is not None
    }


def build_loss(
    plan: LossPlan, registry: Registry, draws: Draws, guard: DiscriminatorPlan, network: nn.Module
) -> Loss:
    """The instance of a loss of contests that plays on one discriminator."""
    cls = registry.load_target(plan.component)
    with blaming(plan.component):
        loss: Loss = cls(plan.options)
    if type(loss).build is not Loss.build:
        with blaming(guard.component):
            verdict = meta_verdict(network, guard)
        draws.seed_networks("init", f"losses.{plan.name}@{guard.name}")
        with blaming(plan.component):
            loss.build(
                LossContext(
                    discriminator=guard.name,
                    judged=guard.judged,
                    verdict=verdict,
                    labels=guard.labels,
                )
            )
    return loss


@torch.no_grad()
def initialise(network: nn.Module, deviation: float) -> None:
    """Weights N(0, deviation), weights of norms N(1, deviation), biases 0 (DCGAN, section 4)."""
    norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith("bias"):
                parameter.zero_()
            elif isinstance(module, norms):
                parameter.normal_(1.0, deviation)
            elif parameter.dim() > 1:
                parameter.normal_(0.0, deviation)


def meta_verdict(network: nn.Module, plan: DiscriminatorPlan) -> Verdict:
    """What a discriminator returns, as meta tensors of two items.

    A copy judges two items of zeros, which moves nothing and draws nothing of anybody's. On the
    meta device it would cost less, but that imports the compiler.
    """
    shadow = copy.deepcopy(network)
    device = next(network.parameters(), torch.empty(0)).device
    given = tuple(_zeros(spec).to(device) for spec in plan.given_specs)
    judged = torch.zeros((_ITEMS, *plan.judged.played), device=device)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        verdict = shadow(judged, **({"given": given} if given else {}))
    verdict = verdict_of(verdict, _ITEMS, plan.component)
    values = attrs.astuple(verdict, recurse=False)
    return Verdict(*(None if value is None else value.to("meta") for value in values))


def _zeros(spec: Spec) -> Tensor:
    dtype = torch.int64 if spec.kind in ("label", "text") else torch.float32
    return torch.zeros((_ITEMS, *spec.shape), dtype=dtype)
