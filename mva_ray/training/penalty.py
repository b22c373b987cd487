"""The decorrelation penalty of one adapter in training against the frozen ones before it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mva_ray.adapters.lora import LoraFactors
from mva_ray.config.training import PenaltySettings
from mva_ray.errors import RunError
from mva_ray.maths.decorrelation import Form, KernelHsic, LinearHsic, Orthogonal, PaperHsic
from mva_ray.maths.low_rank import Deltas

MakeForm = Callable[[Sequence[Deltas]], Form]


class Penalty(Protocol):
    """Maps the current factors to a scalar that is lower the less the adapters share.

    It is summed over modules and earlier adapters and not weighted; `step` counts from 0.
    """

    def __call__(self, factors: LoraFactors, step: int) -> Tensor: ...


def make_penalty(settings: PenaltySettings, earlier: Sequence[LoraFactors], seed: int) -> Penalty | None:
    """The penalty against frozen adapters, None where there is nothing to penalise.

    An earlier adapter may have another rank (not where rows of lora_A are paired) and other modules: the modules that
    both have are penalised.

    Args:
        settings: the form.
        earlier: the adapters that are not trained.
        seed: of the rows that are drawn at each step.

    Raises:
        RunError: by the penalty, when it is first called: an earlier adapter has no module, another shape of a module
            or, on lora_A, another rank than the one in training.
    """
    if settings.kind == "none" or not earlier:
        return None
    return ModulePenalty(
        earlier, _form(settings, seed), pairs_ranks=settings.kind == "paper" or settings.on == "lora_a"
    )


def penalty_weight(settings: PenaltySettings, step: int) -> float:
    """The paper's alpha at a step, which counts from 0: it rises from 0 in a straight line over `ramp_steps`."""
    return settings.weight * (min(1.0, step / settings.ramp_steps) if settings.ramp_steps else 1.0)


def _form(settings: PenaltySettings, seed: int) -> MakeForm:
    if settings.kind == "paper":
        return PaperHsic
    if settings.kind == "orthogonal":
        return Orthogonal
    if (settings.kernel, settings.on) == ("linear", "delta"):
        return lambda earlier: LinearHsic(earlier, settings.normalised)
    sigma = settings.sigma if settings.kernel == "rbf" else None
    rows = settings.rows if settings.on == "delta" else None
    return lambda earlier: KernelHsic(earlier, sigma, settings.normalised, rows, seed)


class ModulePenalty:
    """A form over all modules: those of one shape that the same earlier adapters have go in one batch.

    Args:
        earlier: at least one adapter; what the form needs of them is computed at the first call and kept.
        make_form: the form of one batch from its earlier factors.
        pairs_ranks: whether the form needs adapters of one rank.
    """

    def __init__(self, earlier: Sequence[LoraFactors], make_form: MakeForm, pairs_ranks: bool) -> None:
        self._earlier, self._make_form, self._pairs_ranks = earlier, make_form, pairs_ranks
        self._batches: list[tuple[list[str], Form]] = []

    def __call__(self, factors: LoraFactors, step: int) -> Tensor:
        """In float32, also under autocast: in bfloat16 a kernel would have two digits."""
        device = next(iter(factors.a.values())).device
        with torch.autocast(device.type, enabled=False):
            self._batches = self._batches or self._prepare(factors, device)
            return torch.stack([form(_stack(factors, modules), step) for modules, form in self._batches]).sum()

    @torch.no_grad()
    def _prepare(self, factors: LoraFactors, device: torch.device) -> list[tuple[list[str], Form]]:
        for earlier in self._earlier:
            _check_comparable(earlier, factors, self._pairs_ranks)
        groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
        for module, a in factors.a.items():
            ranks = tuple(len(earlier.a[module]) if module in earlier.a else 0 for earlier in self._earlier)
            groups[a.shape, factors.b[module].shape, ranks].append(module)
        return [
            (modules, self._make_form([_stack(earlier, modules, device) for earlier in sharing]))
            for modules in groups.values()
            if (sharing := [earlier for earlier in self._earlier if modules[0] in earlier.a])
        ]


def _check_comparable(earlier: LoraFactors, factors: LoraFactors, pairs_ranks: bool) -> None:
    shared = [module for module in factors.a if module in earlier.a]
    if not shared:
        raise RunError(
            "an earlier adapter has no module of this one, so there is nothing to decorrelate: it adapts "
            f"{next(iter(earlier.a))} and others, this one {next(iter(factors.a))} and others; "
            "train this one on those modules (training.lora.target_modules), or set training.penalty: none"
        )
    for module in shared:
        sizes = [(len(adapter.b[module]), adapter.a[module].shape[1]) for adapter in (earlier, factors)]
        if sizes[0] != sizes[1]:
            raise RunError(f"{module} is {sizes[0]} in an earlier adapter and {sizes[1]} here: of another base model?")
        ranks = len(earlier.a[module]), len(factors.a[module])
        if pairs_ranks and ranks[0] != ranks[1]:
            raise RunError(
                f"an earlier adapter has another rank ({ranks[0]}) than this one ({ranks[1]}), and this penalty pairs "
                "the rows of lora_A; give them one rank (training.lora.r), or use training.penalty: hsic"
            )


def _stack(factors: LoraFactors, modules: Sequence[str], device: torch.device | None = None) -> Deltas:
    a, b = (torch.stack([matrices[module] for module in modules]).to(device) for matrices in (factors.a, factors.b))
    return Deltas(a.float(), b.float(), factors.scaling)


def trainable_factors(model: Any) -> LoraFactors:
    """The factors in training of a PEFT model, by the names their modules have in the base model."""
    adapter = model.active_adapter
    modules = model.get_base_model().named_modules()
    layers = {name: module for name, module in modules if adapter in getattr(module, "lora_A", ())}
    return LoraFactors(
        {name: layer.lora_A[adapter].weight for name, layer in layers.items()},
        {name: layer.lora_B[adapter].weight for name, layer in layers.items()},
        next(iter(layers.values())).scaling[adapter],
    )
