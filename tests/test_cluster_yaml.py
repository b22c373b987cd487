"""cluster.yaml passes Ray's own schema and fits the project; nothing is started."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cluster() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


def test_passes_rays_schema(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_rays_schema_rejects_a_wrong_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="max_wokers"):
        validate_config(prepare_config(cluster | {"max_wokers": 4}))


def test_gpu_workers_start_on_demand(cluster: dict[str, Any]) -> None:
    worker = cluster["available_node_types"]["gpu_worker"]
    assert (worker["min_workers"], worker["max_workers"]) == (0, 4)
    assert cluster["max_workers"] == 4
    assert cluster["head_node_type"] in cluster["available_node_types"]


def test_the_image_has_the_pinned_ray(cluster: dict[str, Any]) -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f":{pinned[1]}-py311" in cluster["docker"]["image"]


def test_setup_installs_the_mounted_package(cluster: dict[str, Any]) -> None:
    [target] = cluster["file_mounts"]
    assert any(target in command and "pip install" in command for command in cluster["setup_commands"])
