"""What there is and what may be started: counted from nodes and from the config that `ray up` leaves on a head."""

from pathlib import Path

import pytest

from mva_ray.placement.capacity import Capacity, NodeType, read_types, total

HEAD, GPU_NODE = {"CPU": 2.0, "memory": 1e9}, {"CPU": 8.0, "GPU": 1.0, "memory": 4e9}

BOOTSTRAP = """
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}, max_workers: 0}
  spot: {resources: {CPU: 8, GPU: 1}, min_workers: 0, max_workers: 10}
  large: {resources: {CPU: 32, GPU: 4}, min_workers: 0, max_workers: 1}
"""


def test_what_runs_already_is_not_started_again() -> None:
    capacity = Capacity((HEAD, GPU_NODE), (NodeType({"CPU": 8, "GPU": 1}, 4),))
    assert (capacity.there("GPU"), capacity.may_start("GPU"), capacity.possible("GPU")) == (1, 3, 4)
    assert (capacity.there("CPU"), capacity.may_start("CPU"), capacity.possible("CPU")) == (10, 24, 34)
    assert capacity.describe("GPU") == "1 GPU (3 more may be started)"


def test_a_cluster_of_which_nothing_is_known_is_what_it_is() -> None:
    capacity = Capacity((HEAD,), None)
    assert (capacity.possible("CPU"), capacity.possible("GPU")) == (2, 0)
    assert capacity.describe("GPU") == "0 GPU"


@pytest.mark.parametrize(
    ("bundle", "fits"),
    [({"CPU": 2}, True), ({"CPU": 8, "GPU": 1}, True), ({"CPU": 9}, False), ({"GPU": 2}, False), ({"TPU": 1}, False)],
)
def test_one_process_needs_one_node(bundle: dict[str, float], fits: bool) -> None:
    assert Capacity((HEAD,), (NodeType(GPU_NODE, 4),)).fits(bundle) is fits
    assert not Capacity((HEAD,), (NodeType(GPU_NODE, 0),)).fits({"GPU": 1})


def test_the_config_of_ray_up_says_what_may_be_started(tmp_path: Path) -> None:
    """No more of a kind than `max_workers` of the whole cluster; the head is there already."""
    path = tmp_path / "bootstrap.yaml"
    path.write_text(BOOTSTRAP)
    assert read_types(path) == (NodeType({"CPU": 8, "GPU": 1}, 3), NodeType({"CPU": 32, "GPU": 4}, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "[1]",
        "available_node_types: {a: 1}",
        "available_node_types: 3",
        BOOTSTRAP.replace("{CPU: 8, GPU: 1}", "{}"),
    ],
)
def test_a_file_that_says_nothing_is_nothing_known(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text)
    assert read_types(path) is None
    assert read_types(tmp_path / "none.yaml") is None


def test_sums_do_not_drift() -> None:
    assert total([{"CPU": 0.1}] * 3 + [{"GPU": 1}]) == {"CPU": 0.3, "GPU": 1}
