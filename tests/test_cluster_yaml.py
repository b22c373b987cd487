"""cluster.yaml passes Ray's own schema and fits the project; nothing is started."""

import copy
import importlib.util
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


def test_gpus_come_when_work_waits_and_spot_before_on_demand(cluster: dict[str, Any]) -> None:
    types = {name: of for name, of in cluster["available_node_types"].items() if name != cluster["head_node_type"]}
    assert all(of["min_workers"] == 0 < of["max_workers"] <= cluster["max_workers"] for of in types.values())
    spot = {name for name, of in types.items() if of["node_config"].get("InstanceMarketOptions")}
    priorities = {name: of["priority"] for name, of in types.items()}
    assert len(spot) > 1
    assert max(priorities[name] for name in types.keys() - spot) < min(priorities[name] for name in spot)


def test_every_node_may_use_the_bucket_and_has_a_driver(cluster: dict[str, Any]) -> None:
    """Ray's own image is of 2018."""
    for of in cluster["available_node_types"].values():
        assert "nvidia-driver-gpu" in of["node_config"]["ImageId"]
        assert of["node_config"]["IamInstanceProfile"]["Name"].startswith("mva-ray-")


def test_the_image_has_what_is_pinned() -> None:
    """And nodes install nothing when they start."""
    image = (ROOT / "Dockerfile").read_text()
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f"FROM rayproject/ray:{pinned[1]}-py311\n" in image
    assert "--constraint constraints.txt '.[cluster]'" in image
    copied = [word for line in re.findall(r"^COPY --chown=\S+ (.+) \S+$", image, re.MULTILINE) for word in line.split()]
    assert copied
    assert all((ROOT / name).exists() for name in copied)


def test_nodes_install_nothing(cluster: dict[str, Any]) -> None:
    commands = [command for key in cluster if key.endswith("_commands") for command in cluster[key]]
    assert commands
    assert not any("install" in command for command in commands)


def test_workers_hear_that_they_are_taken_away(cluster: dict[str, Any]) -> None:
    [command] = [line for line in cluster["worker_start_ray_commands"] if "spot" in line]
    [module] = re.findall(r"python -m (\S+)", command)
    assert importlib.util.find_spec(module)
