"""The engine against models that were really merged, one request at a time by transformers' own `generate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mva_ray.adapters.architecture import positions
from mva_ray.evaluation.engine import CANCELLED, Engine, Request, Row
from tests.support.architectures import CANDIDATES, END, NEW_TOKENS, POSITIONS, VOCABULARY, Tiny, tiny

LENGTHS = (40, 1, 7, 33, 2, 17, 16, 64, 5, 30)
ATOL = 1e-4
MODELS = [
    ("llama", 2),
    ("llama", 3),
    ("llama", 5),
    ("qwen2", 3),
    ("qwen3", 2),
    ("mistral", 5),
    ("gemma2", 3),
    ("gemma3", 2),
    ("phi3", 2),
    ("olmo2", 3),
    ("gpt2", 5),
]


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny("llama", tmp_path_factory.mktemp("llama"), 3)


@pytest.fixture(scope="module")
def alone(llama: Tiny) -> list[Row]:
    """Each of `mixed` on its own, one after the other."""
    engine = llama.engine(rows=1)
    return [engine.answer([request])[0] for request in mixed(llama)]


def mixed(model: Tiny) -> list[Request]:
    """Greedy and scored requests of all candidates; many prompts begin alike."""
    greedy = model.requests(LENGTHS, common=10)
    return [*greedy, *(replace(request, scored=min(12, len(request.tokens) - 1)) for request in greedy[::2])]


def answers(rows: Sequence[Row]) -> list[list[int]]:
    assert [row.failure for row in rows] == [None] * len(rows)
    return [row.answer for row in rows]


def said(rows: Sequence[Row]) -> list[tuple[list[int], list[float]]]:
    """All that rows say, to the last bit."""
    return [(row.answer, row.log_probabilities) for row in rows]


@pytest.mark.parametrize(("name", "n"), MODELS)
def test_every_answer_is_that_of_the_merged_model(one_thread: None, tmp_path: Path, name: str, n: int) -> None:
    """Whatever the number of rows and the pieces that prompts are computed in; log-probabilities are right, too."""
    model = tiny(name, tmp_path, n)
    requests = model.requests(LENGTHS, common=10)
    expected = [model.greedy(request) for request in requests]
    assert len({len(answer) for answer in expected}) > 1, "some end early, some are cut off"
    for rows, budget in ((1, 1024), (3, 24), (16, 8), (16, 1024)):
        assert answers(model.engine(rows, budget).answer(requests)) == expected, (rows, budget)
    scored = [
        replace(request, tokens=(*request.tokens, *answer), scored=len(answer))
        for request, answer in zip(requests, expected, strict=True)
    ]
    for row in model.engine(rows=4, token_budget=24).answer(scored):
        assert row.answer == []
        assert row.log_probabilities == pytest.approx(model.log_probabilities(row.request), abs=ATOL)


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2"])
def test_an_adapted_output_layer_is_that_of_the_rows_own_candidate(one_thread: None, tmp_path: Path, name: str) -> None:
    """It sees last tokens only, or those that are scored; tied to the embeddings or not."""
    model = tiny(name, tmp_path, 3, "lm_head")
    assert model.model.config.tie_word_embeddings == (name != "llama")
    requests = model.requests(LENGTHS, common=10)
    expected = [model.greedy(request) for request in requests]
    for rows, budget in ((1, 1024), (3, 24), (16, 1024)):
        assert answers(model.engine(rows, budget).answer(requests)) == expected, (rows, budget)
    scored = [replace(request, scored=len(request.tokens) - 1) for request in requests]
    for row in model.engine(rows=4, token_budget=24).answer(scored):
        assert row.log_probabilities == pytest.approx(model.log_probabilities(row.request), abs=ATOL)
    without = tiny(name, tmp_path, 3)
    assert expected != [without.greedy(request) for request in requests], (
        "the adapters of the output layer do something"
    )


def test_rows_keep_to_the_positions_at_which_longrope_changes_for_all(one_thread: None, tmp_path: Path) -> None:
    """A row beyond them would change what every other one says; up to them all are exact."""
    model = tiny("llama, longrope", tmp_path, 2)
    longest = positions(model.model.config)
    assert longest == 32
    *fitting, beyond = model.requests((16, 5, 12, 17))
    *rows, refused = model.engine(longest=longest).answer([*fitting, beyond])
    assert answers(rows) == [model.greedy(request) for request in fitting]
    assert refused.failure == "prompt and answer may take 33 tokens, the model has 32 positions"
    *scored, longer = (replace(request, scored=4) for request in model.requests((32, 5, 12, 33)))
    expected = [pytest.approx(model.log_probabilities(request), abs=ATOL) for request in scored]
    *rows, _ = model.engine(longest=longest).answer([*scored, longer])
    assert [row.log_probabilities for row in rows] == expected
    *rows, _ = model.engine(longest=None).answer([*scored, longer])
    assert [row.log_probabilities for row in rows] != expected, "or the test shows nothing"


def test_the_candidates_say_different_things(llama: Tiny) -> None:
    """Guards the tests of this file: adapters too small to change anything would pass them."""
    [prompt, *_] = llama.requests(LENGTHS[:1])
    candidates = {request.coefficients for request in llama.requests(LENGTHS)}
    rows = llama.engine().answer([replace(prompt, coefficients=weights) for weights in candidates])
    assert len({tuple(row.answer) for row in rows}) == len(candidates) == 5


@pytest.mark.parametrize(("rows", "budget"), [(2, 1024), (3, 8), (5, 17), (16, 1024), (64, 64)])
def test_companions_order_and_limits_change_no_bit(llama: Tiny, alone: list[Row], rows: int, budget: int) -> None:
    requests = mixed(llama)
    engine = llama.engine(rows, budget)
    assert said(engine.answer(requests)) == said(alone)
    assert said(engine.answer(requests[::-1])[::-1]) == said(alone), "in another order, by an engine that was used"


def test_bfloat16_products_do_not_depend_on_companions_either(llama: Tiny) -> None:
    """The CPU's bfloat16 kernels sum in blocks of their own."""
    requests = mixed(llama)
    one = llama.engine(rows=1, products=torch.bfloat16)
    expected = said([one.answer([request])[0] for request in requests])
    assert said(llama.engine(rows=16, products=torch.bfloat16).answer(requests)) == expected


def test_requests_that_come_while_others_are_at_work(llama: Tiny, alone: list[Row]) -> None:
    """They take the places that become free, and whoever came first is not disturbed."""
    requests, engine = mixed(llama), llama.engine(rows=3)
    rows: list[Row] = []
    while engine.busy or len(rows) < len(requests):
        rows += engine.submit(requests[len(rows) : len(rows) + 2])
        engine.step()
        engine.step()
    assert all(row.done for row in rows)
    assert said(rows) == said(alone)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_requests_at_any_limits_are_answered_as_one_by_one(
    llama: Tiny, alone: list[Row], data: st.DataObject
) -> None:
    order = data.draw(st.lists(st.integers(0, len(alone) - 1), min_size=1, max_size=12), "requests")
    rows, budget = data.draw(st.integers(1, 9), "rows"), data.draw(st.integers(1, 100), "token budget")
    requests = mixed(llama)
    together = llama.engine(rows, budget).answer([requests[place] for place in order])
    assert said(together) == said([alone[place] for place in order])


def test_what_prompts_of_a_candidate_begin_with_is_computed_once(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two candidates, three prompts each, 20 in common: 40 tokens first, then 4 * 10 + 2 * 6."""
    requests = llama.requests([30] * 10, common=20)
    requests = [request for request in requests if request.coefficients in (CANDIDATES[1][:3], CANDIDATES[2][:3])]
    requests += [replace(request, tokens=(*request.tokens[:25], 7)) for request in requests[:2]]
    engine, lengths = llama.engine(), []
    forward = engine._cache.forward

    def counted(tokens: torch.Tensor, *arguments: Any) -> torch.Tensor:
        lengths.append(len(tokens))
        return forward(tokens, *arguments)

    monkeypatch.setattr(engine._cache, "forward", counted)
    rows = engine.submit(requests)
    engine.step()
    assert lengths == [48, 64], "filled up to multiples of 16"
    while engine.busy:
        engine.step()
    assert answers(rows) == [llama.greedy(request) for request in requests]


def test_prompts_that_are_the_same_are_answered_as_one_by_one(llama: Tiny) -> None:
    """All but their last token is shared; so is a prompt that another one goes on from."""
    [request] = llama.requests((30,))
    request = replace(request, coefficients=CANDIDATES[2][:3])
    longer = replace(request, tokens=(*request.tokens, 5, 6))
    same = [request, longer, request, replace(request, scored=12), request]
    one = llama.engine(rows=1)
    expected = said([one.answer([request])[0] for request in same])
    assert said(llama.engine().answer(same)) == expected


def test_the_base_model_alone(one_thread: None, tmp_path: Path) -> None:
    """Samples are drawn before there are adapters."""
    model = tiny("llama", tmp_path, 0)
    requests = model.requests(LENGTHS)
    assert answers(model.engine(rows=4).answer(requests)) == [model.greedy(request) for request in requests]


def test_nothing_asked_is_nothing_answered(llama: Tiny) -> None:
    engine = llama.engine()
    assert engine.answer([]) == []
    engine.step()
    assert not engine.busy


def test_an_end_token_ends_an_answer_and_belongs_to_it(llama: Tiny, alone: list[Row]) -> None:
    greedy = [row.answer for row in alone if not row.request.scored]
    assert {answer[-1] in END for answer in greedy} == {True, False}
    assert all(token not in END for answer in greedy for token in answer[:-1])
    assert all(len(answer) == NEW_TOKENS for answer in greedy if answer[-1] not in END)


def test_a_request_that_is_too_long_fails_alone_and_at_once(llama: Tiny) -> None:
    """A prompt that just fits is answered; a scored request needs no room for an answer."""
    fits, beyond, scored, hopeless = llama.requests(
        (POSITIONS - NEW_TOKENS, POSITIONS - NEW_TOKENS + 1, POSITIONS, POSITIONS + 1)
    )
    engine = llama.engine()
    rows = engine.submit([fits, beyond, replace(scored, scored=3), replace(hopeless, scored=3)])
    assert [row.done for row in rows] == [False, True, False, True]
    assert rows[1].failure == "prompt and answer may take 129 tokens, the model has 128 positions"
    while engine.busy:
        engine.step()
    assert rows[0].answer == llama.greedy(fits)
    assert (len(rows[2].log_probabilities), rows[2].failure) == (3, None)


def test_a_request_without_tokens_fails_alone(llama: Tiny) -> None:
    """A tokenizer without a start token makes none of an empty prompt; there is nothing to continue then."""
    [request, *_] = llama.requests((5,))
    rows = llama.engine().answer([replace(request, tokens=()), request, replace(request, tokens=(4,), scored=1)])
    assert [row.failure for row in rows] == ["the prompt has no tokens", None, "the prompt has no tokens"]
    assert rows[1].answer == llama.greedy(request)


def test_a_token_that_the_model_has_no_embedding_for_fails_alone_and_at_once(llama: Tiny) -> None:
    """On a GPU the pass would leave the device unusable for all that come after it."""
    [request, *_] = llama.requests((5,))
    rows = llama.engine().submit([request, replace(request, tokens=(4, VOCABULARY, 5))])
    assert [row.done for row in rows] == [False, True]
    assert rows[1].failure == f"the prompt has token {VOCABULARY}, the model has embeddings of {VOCABULARY}"


def poisoned(request: Request) -> Request:
    """Coefficients so large that float32 overflows."""
    return replace(request, coefficients=tuple(3e38 for _ in request.coefficients))


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_logits_that_are_not_finite_fail_their_row_alone(llama: Tiny, alone: list[Row], rows: int) -> None:
    """Also where another row takes the place that the failed one leaves: nothing of it may be left there."""
    requests = mixed(llama)
    order = [request for pair in zip(map(poisoned, requests), requests, strict=True) for request in pair]
    engine = llama.engine(rows, token_budget=24)
    done = engine.answer(order)
    assert {row.failure for row in done[::2]} == {"the logits are not finite"}
    assert said(done[1::2]) == said(alone)
    assert said(engine.answer(requests)) == said(alone)


CULPRIT = 3


@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize("after", [0, 5], ids=["in its prompt", "in its answer"])
def test_an_error_of_the_model_fails_the_row_that_it_is_raised_over(
    llama: Tiny, alone: list[Row], rows: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others start again, those that wait come after them, and all say what they say alone."""
    requests, engine = mixed(llama), llama.engine(rows)
    done = engine.submit(requests)
    passes = Raising(engine, lambda: any(row is done[CULPRIT] and len(row.answer) >= after for row in engine._active))
    monkeypatch.setattr(engine._cache, "forward", passes.forward)
    while engine.busy:
        engine.step()
    assert done[CULPRIT].failure == "ValueError: a kernel is missing"
    assert said(done[:CULPRIT] + done[CULPRIT + 1 :]) == said(alone[:CULPRIT] + alone[CULPRIT + 1 :])
    assert passes.raised <= rows.bit_length(), "it is found by halving"


def test_an_error_that_does_not_come_again_fails_nobody(
    llama: Tiny, alone: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama.engine(rows=4)
    passes = Raising(engine, lambda: not passes.raised)
    monkeypatch.setattr(engine._cache, "forward", passes.forward)
    assert said(engine.answer(mixed(llama))) == said(alone)
    assert passes.raised == 1


def test_a_model_that_always_raises_fails_every_row(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = llama.engine(rows=16)
    passes = Raising(engine, lambda: True)
    monkeypatch.setattr(engine._cache, "forward", passes.forward)
    rows = engine.answer(mixed(llama))
    assert {row.failure for row in rows} == {"ValueError: a kernel is missing"}
    assert passes.raised < 2 * len(rows)


@dataclass
class Raising:
    """Forward passes of an engine, some of which raise."""

    engine: Engine
    when: Callable[[], bool]
    raised: int = 0

    def __post_init__(self) -> None:
        self._forward = self.engine._cache.forward

    def forward(self, *arguments: Any) -> torch.Tensor:
        if self.when():
            self.raised += 1
            raise ValueError("a kernel is missing")
        return self._forward(*arguments)


CPU_ALLOCATOR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_ALLOCATOR)])
def test_where_memory_runs_out_fewer_rows_go_on(
    llama: Tiny,
    alone: list[Row],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Everything is answered all the same, and the log says what happened."""
    engine = llama.engine(rows=12)
    memory_for(3, engine, error, monkeypatch)
    assert said(engine.answer(mixed(llama))) == said(alone)
    assert [record.getMessage() for record in caplog.records] == [
        f"out of memory: from now on {rows} rows at once" for rows in (6, 3)
    ]


def test_one_row_that_does_not_fit_into_memory_fails(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = llama.engine(rows=4)
    memory_for(0, engine, torch.OutOfMemoryError("CUDA out of memory"), monkeypatch)
    rows = engine.answer(llama.requests(LENGTHS[:3]))
    assert [row.failure for row in rows] == ["OutOfMemoryError: CUDA out of memory"] * 3


def memory_for(rows: int, engine: Engine, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine run out of memory where more rows are at work."""
    forward = engine._cache.forward

    def limited(*arguments: object) -> torch.Tensor:
        if len(engine._active) > rows:
            raise error
        return forward(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._cache, "forward", limited)


def test_each_answer_has_its_own_length(llama: Tiny) -> None:
    """Answers that may take fewer tokens, or more than the engine's, are the beginnings of one another."""
    requests = llama.requests((7, 20, 3))
    whole = [llama.engine(max_new_tokens=3 * NEW_TOKENS).answer([request])[0].answer for request in requests]
    lengths = (1, 5, 3 * NEW_TOKENS)
    rows = llama.engine().answer(
        [replace(request, max_new_tokens=length) for request, length in zip(requests, lengths, strict=True)]
    )
    assert answers(rows) == [answer[:length] for answer, length in zip(whole, lengths, strict=True)]


def test_the_likeliest_tokens_are_told_beside_each(llama: Tiny) -> None:
    """Against the merged model's own log-probabilities, of generated and of scored tokens alike."""
    [request] = llama.requests((12,))
    [row] = llama.engine().answer([replace(request, alternatives=3)])
    whole = replace(request, tokens=(*request.tokens, *row.answer), scored=len(row.answer), alternatives=3)
    [scored] = llama.engine().answer([whole])
    logits = llama.logits(whole.tokens, request.coefficients)[len(request.tokens) - 1 : -1].log_softmax(-1)
    for found in (row, scored):
        assert found.log_probabilities == pytest.approx(llama.log_probabilities(whole), abs=ATOL)
        for told, expected in zip(found.alternatives, logits, strict=True):
            assert [token for token, _ in told] == expected.topk(3).indices.tolist()
            assert [number for _, number in told] == pytest.approx(expected.topk(3).values.tolist(), abs=ATOL)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_rows_that_are_given_up_leave_the_others_as_they_are(llama: Tiny, steps: int) -> None:
    """Waiting or at work: nothing of them stays behind, and what the others say is what they say alone."""
    engine, requests = llama.engine(rows=3), llama.requests(LENGTHS)
    expected = answers(llama.engine(rows=1).answer(requests))
    rows = engine.submit(requests)
    for _ in range(steps):
        engine.step()
    given_up = rows[::2]
    before = [row.failure for row in given_up if row.done]
    engine.cancel(given_up)
    assert all(row.done for row in given_up)
    assert [row.failure for row in given_up if row.failure != CANCELLED] == before
    while engine.busy:
        engine.step()
    assert answers(rows[1::2]) == expected[1::2]
    assert not engine.busy
