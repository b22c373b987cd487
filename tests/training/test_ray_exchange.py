"""The exchange of factors between adapters that are trained at the same time."""

import time
from collections.abc import Iterator

import pytest
import ray
import torch
from ray.actor import ActorHandle

from mva_ray.adapters.lora import LoraFactors
from mva_ray.config.training import Training
from mva_ray.training.ray_exchange import exchange_on, start_board


@pytest.fixture(scope="module")
def one_cpu() -> Iterator[None]:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


class Worker:
    """Publishes factors too large to travel inside a message, so that they are objects of the store."""

    def publish(self, board: ActorHandle, number: float) -> None:
        factors = LoraFactors({"m": torch.full((4, 50_000), number)}, {"m": torch.ones(2, 4)}, 0.5)
        exchange_on(board, "a", [], Training())(0, factors)


@pytest.mark.usefixtures("one_cpu")
def test_what_a_worker_published_outlives_it() -> None:
    """A worker that starts again after a kill reads what the others published before their own death."""
    board = start_board()
    worker = ray.remote(Worker).options(num_cpus=0).remote()
    ray.get(worker.publish.remote(board, 7.0))
    ray.kill(worker)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(worker.publish.remote(board, 0.0))
    time.sleep(3)
    own = LoraFactors({"m": torch.zeros(4, 2)}, {"m": torch.zeros(2, 4)}, 0.5)
    [read], staleness = exchange_on(board, "b", ["a"], Training())(0, own)
    assert read.a["m"].eq(7.0).all()
    assert read.a["m"].shape == (4, 50_000)
    assert staleness == 0
