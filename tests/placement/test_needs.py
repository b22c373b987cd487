"""How many GPUs each process asks for where the config leaves it open."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mva_ray.config import RunConfig
from mva_ray.placement.capacity import Capacity, NodeType
from mva_ray.placement.needs import evaluator_needs, reward_needs, training_needs, with_gpus

NODE = {"CPU": 8.0, "GPU": 1.0}


def make(**settings: Any) -> RunConfig:
    files = {split: {"path": f"{split}.jsonl"} for split in ("train", "search", "held_out")}
    values = [{"name": name, "reward": f"mva_ray.rewards:{name}"} for name in ("brief", "plain")]
    return RunConfig.model_validate({"name": "t", "base_model": "o/m", "prompts": files, "values": values} | settings)


def asked(config: RunConfig, there: int = 0, more: int = 0) -> tuple[float, float]:
    """GPUs of each training worker and each evaluator."""
    capacity = Capacity((NODE,) * there + ({"CPU": 4.0},), (NodeType(NODE, there + more),))
    ready = with_gpus(config, capacity)
    assert ready.training.resources.num_cpus == config.training.resources.num_cpus
    return ready.training.resources.num_gpus, ready.search.resources.num_gpus


def test_auto_takes_gpus_that_are_there_or_may_be_started() -> None:
    assert asked(make()) == (0, 0)
    assert asked(make(), there=1) == (1, 1)
    assert asked(make(), more=1) == (1, 1)


def test_training_takes_whole_gpus_or_none_and_evaluators_share() -> None:
    config = make(training={"num_workers": 3}, search={"evaluators": 3})
    assert asked(config, there=2) == (0, 0.5)
    assert asked(config, there=2, more=1) == (1, 1)


@given(evaluators=st.integers(1, 40), gpus=st.integers(1, 12))
def test_the_shares_of_evaluators_fit_on_the_gpus(evaluators: int, gpus: int) -> None:
    _, share = asked(make(search={"evaluators": evaluators}), there=gpus)
    assert int(1 / share) * gpus >= evaluators
    assert 0 < share <= 1


def test_what_was_said_stays() -> None:
    config = make(training={"resources": {"num_gpus": 0.0}}, search={"resources": {"num_cpus": 2, "num_gpus": 0.7}})
    assert asked(config, there=4) == (0, 0.7)


def test_cpu_and_gpu_ask_for_that_whatever_there_is() -> None:
    assert asked(make(device="cpu"), there=4) == (0, 0)
    assert asked(make(device="gpu")) == (1, 1)


def test_evaluators_that_ask_a_server_need_no_gpu() -> None:
    server = {"base_url": "http://h/v1", "model": "m", "adapters_dir": "/x"}
    assert asked(make(device="gpu", engine={"openai": server}), there=1) == (1, 0)


def test_every_process_has_a_bundle_of_what_it_reserves() -> None:
    config = make(
        training={"schedule": "concurrent", "resources": {"num_cpus": 3}},
        search={"evaluators": 2, "resources": {"num_cpus": 0.5, "num_gpus": 1.0}},
    )
    assert training_needs(config) == [{"CPU": 3}] * 2
    assert evaluator_needs(config) == [{"CPU": 0.5, "GPU": 1.0}] * 2
    assert reward_needs(config, ["plain"]) == [{"CPU": 0.1}]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"device": "cpu", "search": {"resources": {"num_gpus": 1.0}}},
            "device is cpu, but search.resources.num_gpus is 1",
        ),
        ({"device": "gpu", "training": {"resources": {"num_gpus": 0.0}}}, "but training.resources.num_gpus is 0"),
        ({"search": {"resources": {"num_gpus": 2.0}}}, "needs a server (engine.openai)"),
        ({"training": {"resources": {"num_gpus": 2.0}}}, "a worker trains on one GPU"),
        ({"training": {"resources": {"num_cpus": 0.0}}}, "a worker has to reserve something"),
        ({"search": {"resources": {"num_gpus": 1.5}}}, "expected a share of one GPU or a whole number, got 1.5"),
    ],
)
def test_what_contradicts_itself_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**settings)
    assert problem in str(caught.value)
