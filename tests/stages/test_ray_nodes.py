"""A run that a node of the cluster does not see is refused at the start, in one line."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from mva_ray.errors import RunError
from mva_ray.run_dir.local import LocalStore
from mva_ray.stages.ray_nodes import check_visible


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


class DiskOfOneProcess(LocalStore):
    """What this process writes, no other one sees, as on hosts with disks of their own."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._owner = os.getpid()

    def read(self, name: str) -> bytes | None:
        return super().read(name) if os.getpid() == self._owner else None


@pytest.mark.usefixtures("two_nodes")
def test_every_node_has_to_see_the_run(tmp_path: Path) -> None:
    check_visible(LocalStore(tmp_path))
    with pytest.raises(RunError) as caught:
        check_visible(DiskOfOneProcess(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"the run directory {tmp_path} is not visible from node ")
    assert message.endswith(" (it has a disk of its own): give --run a URL or a shared path")
    assert list(tmp_path.iterdir()) == [], "the probe is left"
