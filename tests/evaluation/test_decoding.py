"""Decoding steps that are recorded: few shapes, inputs that change, and nothing that only an eager step could do."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM

from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.lora import LoraFactors
from mva_ray.evaluation.decoding import FILL, Compute, Decoding, _few
from mva_ray.evaluation.engine import Engine, Row
from mva_ray.evaluation.row_cache import RowCache
from tests.support.architectures import CONFIGS, NEW_TOKENS, Tiny, tiny

LENGTHS = (40, 1, 7, 33, 2, 17, 16, 64, 5, 30) * 3


class Recorder:
    """Records as CUDA graphs do: a replay computes from the same inputs into the same result, and knows no shapes."""

    def __init__(self, factor: float = 1.0) -> None:
        self.recorded = self.replayed = 0
        self._factor = factor

    def __call__(self, compute: Compute) -> tuple[Callable[[], object], Tensor]:
        self.recorded += 1
        result = compute().clone()

        def replay() -> None:
            self.replayed += 1
            result.copy_(compute() * self._factor)

        return replay, result


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny("llama", tmp_path_factory.mktemp("llama"), 3)


def recorded_engine(model: Tiny, recorder: Any, rows: int = 20) -> Engine:
    engine = model.engine(rows)
    engine._decoding = Decoding(engine._blend, engine._cache, recorder)
    return engine


def answers(rows: Sequence[Row]) -> list[list[int]]:
    assert [row.failure for row in rows] == [None] * len(rows)
    return [row.answer for row in rows]


def test_recorded_steps_say_what_steps_say(llama: Tiny) -> None:
    """Thirty rows of all candidates that come and go; a second round finds all it needs recorded."""
    requests, recorder = llama.requests(LENGTHS), Recorder()
    expected = answers(llama.engine(20).answer(requests))
    engine = recorded_engine(llama, recorder)
    assert answers(engine.answer(requests)) == expected
    recorded = recorder.recorded
    assert 0 < recorded < NEW_TOKENS, "steps share recordings"
    assert answers(engine.answer(requests)) == expected
    assert recorder.recorded == recorded
    assert recorder.replayed > recorded, "and they are used"


def test_a_cache_that_moved_is_recorded_anew(llama: Tiny) -> None:
    """A recording knows where keys and values were: a longer prompt makes another cache of them."""
    short, long = llama.requests((5,) * 10), llama.requests((100,) * 10)
    recorder = Recorder()
    engine = recorded_engine(llama, recorder)
    for requests in (short, long, short):
        assert answers(engine.answer(requests)) == answers(llama.engine(20).answer(requests))
    moved = recorder.recorded
    answers(engine.answer(short))
    assert recorder.recorded == moved


@pytest.mark.parametrize(
    "recorder", [Recorder(factor=0.5), lambda compute: (_ for _ in ()).throw(RuntimeError("not while it is captured"))]
)
def test_what_cannot_be_recorded_is_computed_step_by_step(
    llama: Tiny, recorder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Code of a model that waits for the GPU raises; a recording that computes something else is not believed."""
    requests = llama.requests(LENGTHS)
    engine = recorded_engine(llama, recorder)
    assert answers(engine.answer(requests)) == answers(llama.engine(20).answer(requests))
    assert [record.message for record in caplog.records if "without recordings" in record.message]
    assert engine._decoding._record is None


def test_memory_that_runs_out_while_recording_halves_the_rows(llama: Tiny) -> None:
    recorder, full = Recorder(), [True]

    def record(compute: Compute) -> tuple[Callable[[], object], Tensor]:
        if full.pop() if full else False:
            raise torch.OutOfMemoryError("out of memory")
        return recorder(compute)

    requests = llama.requests(LENGTHS)
    engine = recorded_engine(llama, record)
    assert answers(engine.answer(requests)) == answers(llama.engine(20).answer(requests))
    assert engine._limit.rows == 10
    assert recorder.replayed


@given(st.integers(1, 5000), st.sampled_from([16, 32]))
def test_there_are_few_shapes(number: int, step: int) -> None:
    """At most a quarter more than needed, beyond the least step."""
    found = _few(number, step, 10**6)
    assert number <= found < max(number + step, number * 1.5)
    assert found % step == 0
    assert _few(found, step, 10**6) == found


def test_a_shape_fits_what_there_is_room_for() -> None:
    """`slots` are the most rows and `FILL` more, so all of them fit."""
    assert _few(200, FILL, 200 + FILL) == 208
    assert _few(129, FILL, 150) == 144


class _Watch(TorchFunctionMode):
    """Calls that send numbers to the device: tensors made of Python's, and lists of indices."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indexes = func in (Tensor.__getitem__, Tensor.__setitem__)
        index = args[1] if indexes and isinstance(args[1], tuple) else args[1:2] if indexes else ()
        if func in (torch.tensor, torch.as_tensor) or any(isinstance(part, list | tuple) for part in index):
            self.sent.append(f"{func.__name__} {args[1:]}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "llama, longrope"])
def test_a_step_neither_asks_the_device_nor_sends_to_it(name: str) -> None:
    """A recording can do neither. On torch's meta device reading a number raises, and sending one is seen."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
        modules = [module for module in ("q_proj", "qkv_proj", "c_attn") if hasattr(_attention_of(model), module)]
        adapters = [_factors(model, modules[0], rank) for rank in (2, 3)]
    blend = BlendedModel(model, adapters)
    cache = RowCache(model)
    cache.reserve(32, 64)
    decoding = Decoding(blend, cache, None)
    with torch.inference_mode():
        inputs = torch.zeros(2, 16, dtype=torch.long, device="meta"), torch.zeros(16, 2, device="meta")
        decoding._compute(*inputs, 32)
        with _Watch() as watch:
            assert decoding._compute(*inputs, 32).shape == (16, model.config.vocab_size)
    assert watch.sent == []


def _attention_of(model: Any) -> Any:
    layer = next(module for module in model.modules() if hasattr(module, "self_attn") or hasattr(module, "attn"))
    return getattr(layer, "self_attn", None) or layer.attn


def _factors(model: Any, name: str, rank: int) -> LoraFactors:
    found = {path: module for path, module in model.named_modules() if path.endswith(name)}
    shapes = {
        path: module.weight.shape[::-1] if name == "c_attn" else module.weight.shape for path, module in found.items()
    }
    return LoraFactors(
        {path: torch.empty(rank, shape[1]) for path, shape in shapes.items()},
        {path: torch.empty(shape[0], rank) for path, shape in shapes.items()},
        2.0,
    )
