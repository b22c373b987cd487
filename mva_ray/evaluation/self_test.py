"""A test of every model that our engine loads: what it computes of a few tokens against the model's own forward pass.

So an architecture that nobody has seen, a new kind of positions or of layers is refused before anything is computed.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from mva_ray.adapters.architecture import architecture_problems, positions, refusal
from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.lora import LoraFactors
from mva_ray.errors import RunError, last_line
from mva_ray.evaluation.engine import Engine, Request
from mva_ray.evaluation.row_cache import Unfit

LENGTHS = (7, 4)
PASSES = ((5, 2), (1, 1))
"""Tokens of each text in one forward pass: a prompt, then one. The last is not computed, for nothing follows it."""

_UNSCORED, _WINDOW, _RULED_OUT = 3, 3, 1e4
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_COARSE = 0.25
"""How far logits may be from the model's own, root mean square in units of their spread; `_COARSE` where products have
8 bits, which moves those of SmolLM2 by 0.05 to 0.1. What is wrong moves them by about 1."""


def checked_engine(
    name: str, model: PreTrainedModel, adapters: Sequence[LoraFactors], products: torch.dtype | None, **options: Any
) -> Engine:
    """An engine that was seen to compute what the model itself computes, with and without its adapters.

    Args:
        name: of the model, for the error.
        model: as it was loaded; it is changed.
        adapters: n sets of factors.
        products: what linear layers multiply in, see `BlendedModel`.
        options: of the engine.

    Raises:
        RunError: it does not, or cannot be run at all.
    """
    try:
        return _tested(model, adapters, products, **options)
    except Exception as error:  # whatever a model's own code raises where it is run in a way it does not know
        problem = str(error) if isinstance(error, Unfit) else f"raises {type(error).__name__}: {last_line(error)}"
        raise RunError(f"base_model: {name}: {refusal(type(model), problem)}") from error


def _tested(
    model: PreTrainedModel, adapters: Sequence[LoraFactors], products: torch.dtype | None, **options: Any
) -> Engine:
    if problems := list(architecture_problems(type(model), model.config)):
        raise Unfit(", ".join(problems))
    requests = _requests(model.config, len(adapters))
    with _short_windows(model):
        expected = _own(model, adapters, requests)
        engine = Engine(BlendedModel(model, adapters, products), **options)
        found = engine.logits(requests, [counts * (len(requests) // len(counts)) for counts in PASSES])
    tolerance = _tolerance(products or model.dtype)
    for wanted, computed, of_base in zip(expected, found, cycle(expected[: len(LENGTHS)]), strict=False):
        _compare(computed, wanted, tolerance * max(1.0, 2 * _error(wanted, of_base)), blended=wanted is not of_base)
    return engine


def _compare(found: Tensor, wanted: Tensor, tolerance: float, blended: bool) -> None:
    """Adapters that change a model much also make more of rounding, so the tolerance grows with what they do."""
    if not (error := _error(found, wanted)) <= tolerance:
        model = "blended" if blended else "base"
        raise Unfit(f"gives other logits there than by itself ({model} model: by {error:.2g} of their spread)")


def _requests(config: PreTrainedConfig, n: int) -> list[Request]:
    """Two texts of the base model, and where there are adapters the same of one candidate.

    The first tokens are not scored, so that logits are asked for at chosen places, as always.
    """
    special = set(_token_ids(config.to_dict()))
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(config.get_text_config().vocab_size, (1000,), generator=draw).tolist()
    ordinary = (token for token in drawn if token not in special)
    texts = [tuple(islice(ordinary, length)) for length in LENGTHS]
    candidate = tuple((-1) ** i * (i + 1) / (n + 1) for i in range(n))
    candidates = [(0.0,) * n, candidate] if n else [()]
    return [Request(text, w, scored=len(text) - _UNSCORED) for w in candidates for text in texts]


def _token_ids(config: Mapping[str, Any]) -> Iterator[int]:
    """What special tokens a config names, those of images too: not all of them can stand anywhere."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _token_ids(value)
        elif str(key).endswith(("token_id", "token_index")):
            yield from value if isinstance(value, list) else [value]


@torch.inference_mode()
def _own(model: PreTrainedModel, adapters: Sequence[LoraFactors], requests: Sequence[Request]) -> list[Tensor]:
    """By the model's own attention over whole sequences, and one adapter after the other: [scored, vocabulary] each.

    Raises:
        Unfit: a row depends on its companions.
    """
    model.set_attn_implementation("eager")
    texts = len(LENGTHS)
    tokens = [[*request.tokens, *request.tokens[: max(LENGTHS) - len(request.tokens)]] for request in requests[:texts]]
    forward = partial(model, input_ids=torch.tensor(tokens, device=model.device), use_cache=False)
    logits = [*forward().logits]
    if not logits[0].isfinite().any():
        raise Unfit("gives logits that are not finite")
    _refuse_companions(model.config, forward, logits[0])
    for request in requests[texts::texts]:
        with _adapted(model, adapters, request.coefficients):
            logits += forward().logits
    scored = (slice(_UNSCORED - 1, len(request.tokens) - 1) for request in requests)
    return [of_row[places] for of_row, places in zip(logits, scored, strict=True)]


def _refuse_companions(config: PreTrainedConfig, forward: Callable[..., Any], expected: Tensor) -> None:
    """Let the second row be at the last positions: the first one's logits must stay what they are."""
    if longest := positions(config):
        first = torch.arange(max(LENGTHS), device=expected.device)
        found = forward(position_ids=torch.stack([first, first + longest - len(first)])).logits[0]
        if not _error(found, expected) <= _tolerance(expected.dtype):
            raise Unfit("counts positions not from 0, or by those of other rows")


@contextmanager
def _adapted(model: PreTrainedModel, adapters: Sequence[LoraFactors], coefficients: Sequence[float]) -> Iterator[None]:
    """Add w * scaling * B A x to what each adapted module gives."""

    def add(
        factors: LoraFactors, weight: float, name: str, module: Any, inputs: tuple[Tensor], output: Tensor
    ) -> Tensor:
        a, b = (half[name].to(inputs[0]) for half in (factors.a, factors.b))
        return output + weight * factors.scaling * (inputs[0] @ a.T @ b.T)

    hooks = [
        model.get_submodule(name).register_forward_hook(partial(add, factors, weight, name))
        for factors, weight in zip(adapters, coefficients, strict=True)
        for name in factors.a
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _short_windows(model: PreTrainedModel) -> Iterator[None]:
    """Let the windows of attention end within the texts of the test, if they are shorter than a row may be."""
    longest = positions(model.config) or sys.maxsize
    holders: list[Any] = [model.config, model.config.get_text_config(), *model.modules()]
    found = [(holder, vars(holder).get("sliding_window")) for holder in holders]
    windows = [(holder, window) for holder, window in found if isinstance(window, int) and window < longest]
    for holder, _ in windows:
        holder.sliding_window = _WINDOW
    try:
        yield
    finally:
        for holder, window in windows:
            holder.sliding_window = window


def _error(found: Tensor, wanted: Tensor) -> float:
    """The root mean square of the differences, in units of the spread of the logits of a token; those of tokens that
    the model rules out are left out."""
    possible = (wanted.abs() < _RULED_OUT).all(0)
    found, wanted = found[:, possible].double(), wanted[:, possible].double()
    return float((found - wanted).square().mean().sqrt() / wanted.var(-1).mean().sqrt())


def _tolerance(dtype: torch.dtype) -> float:
    return _TOLERANCE.get(dtype, _COARSE)
