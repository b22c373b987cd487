"""The engine that asks an OpenAI server, against a real HTTP server that loads what is exported and generates."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from mva_ray.adapters.hashes import adapter_hash
from mva_ray.config import RunConfig
from mva_ray.config.engine import OpenAiServer
from mva_ray.config.generation import GenerationSettings, Sampling
from mva_ray.errors import CandidateFailure, ConfigError, RunError
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.exports import Exports
from mva_ray.evaluation.generator import make_generator
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.evaluation.openai import OpenAiGenerator
from mva_ray.records import AdapterRef, Coefficients, Generation
from tests.support.openai_server import MODEL, OpenAiTestServer, Refusal, serving
from tests.support.tiny import PROMPTS, SENTENCES, make_gpt2, make_llama, random_adapter

ALL = (*PROMPTS, *SENTENCES[:2])
CANDIDATES = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (-0.8, 1.7, 0.3), (0.0, 0.0, -1.2), (1.0, 1.0, 1.0))
BASE, ONE, *_ = CANDIDATES
ENDS = (1, 40, 71, 113, 205)
SETTINGS = GenerationSettings(max_new_tokens=10)
Make = Callable[..., OpenAiGenerator]
pytestmark = pytest.mark.usefixtures("float32_products")


def references(root: Path, model: Path, **options: Any) -> list[AdapterRef]:
    paths = [
        random_adapter(root / "a", model, seed=1, r=4, alpha=8, **options),
        random_adapter(root / "b", model, seed=2, r=2, alpha=3, use_rslora=True, **options),
        random_adapter(root / "c", model, seed=3, r=3, alpha=3, **options),
    ]
    return [AdapterRef(path.name, str(path), adapter_hash(path)) for path in paths]


@pytest.fixture(scope="module")
def model(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model that ends some of its answers, by an end token that only its generation settings name."""
    directory = make_llama(tmp_path_factory.mktemp("model"))
    GenerationConfig(eos_token_id=list(ENDS)).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    return references(tmp_path_factory.mktemp("adapters"), model)


@pytest.fixture
def make(model: Path, adapters: list[AdapterRef], tmp_path: Path) -> Iterator[Make]:
    """A generator that asks a server; further arguments are settings of the server."""
    stack = ExitStack()

    def generator(
        server: OpenAiTestServer, generation: GenerationSettings = SETTINGS, **settings: Any
    ) -> OpenAiGenerator:
        given = {"base_url": server.url, "model": MODEL, "adapters_dir": str(tmp_path / "exports")} | settings
        return stack.enter_context(OpenAiGenerator(OpenAiServer(**given), str(model), adapters, generation))

    with stack:
        yield generator


def ours(
    model: Path, adapters: Sequence[AdapterRef], requests: Sequence[tuple[Coefficients, str]], settings: Any = SETTINGS
) -> list[Answer]:
    """What our own engine answers."""
    answers = LocalGenerator(str(model), adapters, settings).answer(requests)
    assert not failures(answers)
    return [answer for answer in answers if isinstance(answer, Generation)]


MIXED = [(coefficients, prompt) for prompt in ALL for coefficients in CANDIDATES]


def test_answers_are_those_of_our_own_engine(
    make: Make, model: Path, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    """Token by token, whoever is asked in between; afterwards nothing is left, in the server or on the disk."""
    with serving(model) as server:
        generator = make(server)
        answers = generator.answer(MIXED)
        assert not server.adapters
    assert answers == ours(model, adapters, MIXED)
    assert {answer.truncated for answer in answers if isinstance(answer, Generation)} == {True, False}
    assert len({answer.completion for answer in answers if isinstance(answer, Generation)}) > len(ALL) * 3
    assert not list((tmp_path / "exports").iterdir())
    assert len(server.bodies("load_lora_adapter")) == len(server.bodies("unload_lora_adapter")) == len(CANDIDATES) - 1
    assert all(body["temperature"] == 0 for body in server.bodies("completions"))


def test_gpt2_without_a_chat_template(one_thread: None, tmp_path: Path) -> None:
    model = make_gpt2(tmp_path / "model")
    adapters = references(tmp_path, model, target_modules=("c_attn", "c_fc"), fan_in_fan_out=True)
    with serving(model) as server:
        settings = OpenAiServer(base_url=server.url, model=MODEL, adapters_dir=str(tmp_path / "exports"))
        with OpenAiGenerator(settings, str(model), adapters, SETTINGS) as generator:
            answers = generator.answer(MIXED)
    assert answers == ours(model, adapters, MIXED)


def test_the_system_prompt_reaches_the_model(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    kind = GenerationSettings(max_new_tokens=10, system_prompt="Be kind.")
    with serving(model) as server:
        answers = make(server, kind).answer(MIXED[:8])
    assert answers == ours(model, adapters, MIXED[:8], kind) != ours(model, adapters, MIXED[:8])


def test_no_more_adapters_at_once_than_the_server_holds(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    with serving(model) as server:
        answers = make(server, max_loras=2, concurrency=8).answer(MIXED)
    assert answers == ours(model, adapters, MIXED)
    assert server.most_loaded == 2


def test_no_more_requests_at_once_than_allowed(make: Make, model: Path) -> None:
    barrier = threading.Barrier(3)

    def together(path: str, body: dict[str, Any]) -> None:
        barrier.wait(timeout=10)

    with serving(model, before=together) as server:
        make(server, concurrency=3).answer([(BASE, prompt) for prompt in ALL])
    assert server.busiest == 3


def test_the_limits_hold_for_calls_that_overlap(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    """The search asks for one candidate a call, and for several candidates at once."""
    calls = [MIXED[start :: len(CANDIDATES)] for start in range(len(CANDIDATES))]
    with serving(model) as server:
        generator = make(server, max_loras=2, concurrency=3)
        with ThreadPoolExecutor(len(calls)) as pool:
            answers = list(pool.map(generator.answer, calls))
    assert answers == [ours(model, adapters, call) for call in calls]
    assert server.most_loaded == 2
    assert server.busiest <= 3 + 2, "three prompts, and an adapter of each candidate at most"


def test_an_adapter_that_is_refused_fails_its_candidate_alone(
    make: Make, model: Path, adapters: list[AdapterRef], tmp_path: Path
) -> None:
    """vLLM says 500 where the rank is too high for it: 4 + 2 + 3. It is not asked a second time."""
    with serving(model, max_lora_rank=8) as server:
        answers = make(server).answer(MIXED)
        names = [body["lora_name"] for body in server.bodies("load_lora_adapter")]
        assert len(names) == len(set(names))
    fitting = [index for index, (coefficients, _) in enumerate(MIXED) if sum(map(bool, coefficients)) < 3]
    assert [answers[index] for index in fitting] == ours(model, adapters, [MIXED[index] for index in fitting])
    refused = [answer for index, answer in enumerate(answers) if index not in fitting]
    assert {str(failure) for failure in refused} == {
        "generation_raised: its adapter is refused: HTTP 500 Internal Server Error: "
        "Call to add_lora method failed: Worker failed with error 'LoRA rank 9 is greater than max_lora_rank 8.'"
    }
    assert not list((tmp_path / "exports").iterdir())


def test_what_a_killed_run_left_is_unloaded_and_deleted(make: Make, model: Path, tmp_path: Path) -> None:
    """Not what somebody holds, or has just made."""
    abandoned, young = (tmp_path / "exports" / f"mva-{name}" for name in ("abandoned", "young"))
    for directory in (abandoned, young):
        directory.mkdir(parents=True)
    os.utime(abandoned, (0, 0))
    with serving(model) as server, Exports(str(tmp_path / "exports")).new() as held:
        os.utime(held, (0, 0))
        server.adapters["mva-abandoned"] = None
        make(server)
        assert not server.adapters
        assert set((tmp_path / "exports").iterdir()) == {held, young}


def failures(answers: Sequence[Answer]) -> list[str]:
    return [answer.message for answer in answers if isinstance(answer, CandidateFailure)]


def test_a_directory_that_the_server_does_not_see(make: Make, model: Path) -> None:
    def elsewhere(path: str, body: dict[str, Any]) -> None:
        body["lora_path"] = "/nowhere"

    with serving(model, before=elsewhere) as server:
        base, one = make(server).answer([(BASE, "Hi"), (ONE, "Hi")])
    assert isinstance(base, Generation)
    [message] = failures([one])
    assert "HTTP 404 Not Found: Loading lora mva-" in message
    assert message.endswith("failed: No adapter found for /nowhere")


def test_a_failure_that_passes_is_tried_again(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    """Of every kind of request: each path fails once."""
    failed: set[str] = set()

    def once(path: str, body: dict[str, Any]) -> None:
        if path not in failed:
            failed.add(path)
            raise Refusal(500, "try again")

    with serving(model, before=once) as server:
        answers = make(server, concurrency=1).answer(MIXED[:5])
    assert answers == ours(model, adapters, MIXED[:5])
    assert len(failed) == 3
    assert not server.adapters


def test_a_silent_server_is_asked_again(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    asked: list[str] = []

    def silent_at_first(path: str, body: dict[str, Any]) -> None:
        asked.append(path)
        if len(asked) == 1:
            time.sleep(1)

    with serving(model, before=silent_at_first) as server:
        assert make(server, timeout=0.5).answer(MIXED[:1]) == ours(model, adapters, MIXED[:1])
    assert len(asked) == 2


def test_an_adapter_whose_load_was_not_heard_of_is_loaded(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    """The second attempt meets its own adapter."""

    def loads_and_fails(path: str, body: dict[str, Any]) -> None:
        if path.endswith("/load_lora_adapter") and body["lora_name"] not in server.adapters:
            server.load(body["lora_name"], body["lora_path"])
            raise Refusal(503, "busy")

    with serving(model, before=loads_and_fails) as server:
        assert make(server).answer([(ONE, "Hi")]) == ours(model, adapters, [(ONE, "Hi")])
    assert len(server.bodies("load_lora_adapter")) == 2


def test_an_adapter_that_is_lost_fails_its_candidate_alone(
    make: Make, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def forget(path: str, body: dict[str, Any]) -> None:
        if path.endswith("/completions"):
            server.adapters.clear()

    with serving(model, before=forget) as server, caplog.at_level(logging.WARNING):
        base, one = make(server).answer([(BASE, "Hi"), (ONE, "Hi")])
    assert isinstance(base, Generation)
    [message] = failures([one])
    assert message.startswith("a prompt is refused: HTTP 404 Not Found: The model `mva-")
    assert "cannot be found" in caplog.text


def test_a_prompt_that_is_refused_fails_alone(make: Make, model: Path) -> None:
    """The broker makes a failed candidate of it: one that has not answered all prompts."""

    def short_only(path: str, body: dict[str, Any]) -> None:
        if len(body.get("prompt", [])) > 30:
            raise Refusal(400, "This model's maximum context length is 30 tokens.")

    with serving(model, before=short_only) as server:
        found, refused = make(server).answer([(ONE, "Hi"), (ONE, "Hi " * 40)])
    assert isinstance(found, Generation)
    assert failures([refused]) == [
        "a prompt is refused: HTTP 400 Bad Request: This model's maximum context length is 30 tokens."
    ]


def test_a_server_that_starts_again_is_waited_for(
    make: Make, model: Path, adapters: list[AdapterRef], caplog: pytest.LogCaptureFixture
) -> None:
    """It answers one call, is gone for longer than all attempts take, and comes back; said once."""
    gone_until: list[float] = []

    def away(path: str, body: dict[str, Any]) -> None:
        if gone_until and time.monotonic() < gone_until[0]:
            raise Refusal(503, "no healthy upstream")

    with serving(model, before=away) as server, caplog.at_level(logging.WARNING):
        generator = make(server, attempts=1, restart_timeout=60)
        assert generator.answer(MIXED[:2]) == ours(model, adapters, MIXED[:2])
        gone_until.append(time.monotonic() + 2)
        assert generator.answer(MIXED[:6]) == ours(model, adapters, MIXED[:6])
    said = [record.message for record in caplog.records if "the server at" in record.message]
    assert ["is gone; it has 60 s to come back" in said[0], "answers again" in said[1], len(said)] == [True, True, 2]


def test_a_server_that_does_not_come_back_ends_the_run(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    gone: list[bool] = []

    def away(path: str, body: dict[str, Any]) -> None:
        if gone:
            raise Refusal(503, "no healthy upstream")

    with serving(model, before=away) as server:
        generator = make(server, attempts=1, restart_timeout=1)
        assert generator.answer(MIXED[:1]) == ours(model, adapters, MIXED[:1])
        gone.append(True)
        with pytest.raises(RunError, match="HTTP 503"):
            generator.answer(MIXED[:1])


@pytest.mark.parametrize("requests", [[(BASE, "Hi")], MIXED])
def test_nobody_there_is_an_error(make: Make, model: Path, tmp_path: Path, requests: list[Any]) -> None:
    with serving(model) as server:
        pass
    with pytest.raises(RunError, match=r"^the server at http://127.0.0.1:\d+/v1 fails: ConnectError: .*refused$"):
        make(server, attempts=1).answer(requests)
    assert not list((tmp_path / "exports").iterdir())


def test_a_server_that_breaks_down_ends_the_call_early(make: Make, model: Path, tmp_path: Path) -> None:
    def breaks(path: str, body: dict[str, Any]) -> None:
        if len(server.bodies("completions")) > 3:
            raise Refusal(500, "EngineDeadError")

    many = [(coefficients, prompt) for coefficients in CANDIDATES for prompt in ALL * 50]
    with serving(model, before=breaks) as server, pytest.raises(RunError, match=r"HTTP 500 .*: EngineDeadError"):
        make(server, attempts=1, concurrency=2).answer(many)
    assert len(server.bodies("completions")) < len(many) / 10, "the requests that wait are not asked"
    assert not list((tmp_path / "exports").iterdir())


def test_the_key_comes_from_the_environment(make: Make, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(model, key="sesame") as server:
        monkeypatch.setenv("A_KEY", "sesame")
        assert not failures(make(server, api_key_env="A_KEY").answer(MIXED[:2]))
        monkeypatch.setenv("A_KEY", "wrong")
        with pytest.raises(RunError, match="HTTP 401 Unauthorized"):
            make(server, api_key_env="A_KEY").answer(MIXED[1:2])
        monkeypatch.delenv("A_KEY")
        with pytest.raises(ConfigError, match=r"engine\.openai\.api_key_env: .* A_KEY is not set"):
            make(server, api_key_env="A_KEY")


def test_a_server_that_loads_no_adapters_says_what_is_missing(make: Make, model: Path) -> None:
    """Without its environment variable, vLLM does not have the call at all."""

    def none(path: str, body: dict[str, Any]) -> None:
        if path.endswith("/load_lora_adapter"):
            raise Refusal(404, body={"detail": "Not Found"})

    with serving(model, before=none) as server, pytest.raises(RunError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"):
        make(server).answer([(ONE, "Hi")])


def test_another_models_name_is_an_error_of_the_run(make: Make, model: Path) -> None:
    with serving(model) as server, pytest.raises(RunError, match="404 Not Found: The model `other` does not exist"):
        make(server, model="other").answer([(BASE, "Hi")])


@pytest.mark.parametrize("body", [[], {"choices": []}, {"choices": [{"text": "a", "finish_reason": "stop"}]}])
def test_a_server_that_speaks_something_else_is_an_error(make: Make, model: Path, body: Any) -> None:
    def other(path: str, request: dict[str, Any]) -> None:
        raise Refusal(200, body=body or "no json")

    with serving(model, before=other) as server, pytest.raises(RunError, match="does not speak the OpenAI protocol"):
        make(server).answer([(BASE, "Hi")])


def test_an_answer_that_was_aborted_is_none(make: Make, model: Path) -> None:
    def aborted(path: str, request: dict[str, Any]) -> None:
        choice = {"text": "a", "finish_reason": "abort"}
        raise Refusal(200, body={"choices": [choice], "usage": {"completion_tokens": 1}})

    with serving(model, before=aborted) as server:
        assert failures(make(server).answer([(BASE, "Hi")])) == ["the server ended an answer with 'abort'"]


def test_a_server_that_gives_no_ids_is_named_once_and_its_texts_are_tokenised_as_they_came(
    make: Make, model: Path, adapters: list[AdapterRef], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(model) as server, caplog.at_level(logging.WARNING):
        server.gives_ids = False
        answers = make(server).answer(MIXED)
    assert caplog.text.count("returns no token ids") == 1
    own = ours(model, adapters, MIXED)
    assert [replace_ids(answer) for answer in answers] == [replace_ids(answer) for answer in own]
    whole = [answer for answer in answers if isinstance(answer, Generation) and not answer.truncated]
    assert whole
    assert all(answer.ids and answer.ids[-1] in ENDS for answer in whole)


def replace_ids(answer: Answer) -> Any:
    """What is left of an answer without its ids."""
    assert isinstance(answer, Generation)
    return replace(answer, ids=None)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"finish_reason": "stop", "token_ids": [9, 8, 40], "stop_reason": 40}, (9, 8, 40)),
        ({"finish_reason": "stop", "token_ids": [9, 8], "stop_reason": 40}, (9, 8, 40)),
        ({"finish_reason": "stop", "token_ids": [9, 8], "stop_reason": None}, (9, 8, 1)),
        ({"finish_reason": "stop", "token_ids": []}, (1,)),
        ({"finish_reason": "length", "token_ids": [9, 8]}, (9, 8)),
    ],
)
def test_ids_end_with_the_end_token_whether_the_server_counts_it_or_not(
    make: Make, model: Path, said: dict[str, Any], expected: tuple[int, ...]
) -> None:
    """vLLM names a stop token, and leaves out which one it was where it is the tokenizer's own."""

    def saying(path: str, body: dict[str, Any]) -> None:
        assert body["return_token_ids"] is True
        raise Refusal(200, body={"choices": [{"text": " a ", **said}], "usage": {"completion_tokens": 3}})

    with serving(model, before=saying) as server:
        [answer] = make(server).answer([(BASE, "Hi")])
    assert isinstance(answer, Generation)
    assert (answer.ids, answer.completion) == (expected, "a")


def test_samples_are_reproducible_and_differ(make: Make, model: Path) -> None:
    sampling = Sampling(completions_per_prompt=3)
    with serving(model) as server:
        generator = make(server)
        samples = generator.sample(ALL, sampling, seed=7)
        assert generator.sample(ALL[::-1], sampling, seed=7) == samples[::-1]
        assert generator.sample(ALL, sampling, seed=8) != samples
    assert [[sample.prompt for sample in row] for row in samples] == [[prompt] * 3 for prompt in ALL]
    assert all(len({sample.completion for sample in row}) > 1 for row in samples)


def test_the_sampling_settings_reach_the_model(make: Make, model: Path, adapters: list[AdapterRef]) -> None:
    """Among one token, or next to no temperature, there is nothing to choose: samples are the greedy answer."""
    greedy = ours(model, adapters, [(BASE, prompt) for prompt in ALL])
    with serving(model) as server:
        generator = make(server)
        for sampling in (Sampling(top_k=1), Sampling(temperature=0.001, top_k=0)):
            for answer, samples in zip(greedy, generator.sample(ALL, sampling, seed=3), strict=True):
                assert samples == [answer] * sampling.completions_per_prompt
    assert {body["top_k"] for body in server.bodies("completions")} == {1, -1}


def test_samples_that_are_refused_end_the_run(make: Make, model: Path) -> None:
    def refuse(path: str, body: dict[str, Any]) -> None:
        raise Refusal(400, "too long")

    with serving(model, before=refuse) as server, pytest.raises(RunError, match=r"no samples: .*too long"):
        make(server).sample(ALL, Sampling(), seed=1)


def test_a_directory_that_cannot_be_made_is_an_error_of_the_config(make: Make, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serving(model) as server, pytest.raises(ConfigError, match=r"engine\.openai\.adapters_dir: .* cannot be made"):
        make(server, adapters_dir=str(tmp_path / "file" / "exports"))


def test_the_config_says_which_engine_answers(model: Path, adapters: list[AdapterRef], tmp_path: Path) -> None:
    splits = {split: {"path": f"{split}.jsonl"} for split in ("train", "search", "held_out")}
    values = [{"name": name, "reward": "mva_ray.rewards:brief"} for name in ("one", "other")]
    given = {"name": "demo", "base_model": str(model), "prompts": splits, "values": values}
    own = RunConfig.model_validate(given)
    server = {"base_url": "http://localhost:1/v1", "model": MODEL, "adapters_dir": str(tmp_path / "exports")}
    asking = RunConfig.model_validate(given | {"engine": {"openai": server}})
    assert isinstance(make_generator(own, str(model), adapters), LocalGenerator)
    assert isinstance(make_generator(asking, str(model), adapters), OpenAiGenerator)


def test_it_is_imported_without_torch() -> None:
    modules = "mva_ray.evaluation.openai, mva_ray.evaluation.generator"
    code = f"import sys, {modules}; print({{'torch', 'ray'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
