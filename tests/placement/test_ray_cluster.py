"""What only a cluster of several nodes shows: where processes run, who waits for whom, what a lost node takes along.

The head has no CPU, as one has that only drives; the nodes beside it have more than enough.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.actor import ActorHandle
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import ClusterConfig

from mva_ray.config.reward import Resources
from mva_ray.config.training import Training
from mva_ray.errors import NoRoom, RunError
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.ray_actors import EngineActor
from mva_ray.evaluation.ray_broker import Broker, evaluate_all, start_broker
from mva_ray.evaluation.ray_clients import RayGenerator
from mva_ray.placement.capacity import NodeType
from mva_ray.placement.ray_cluster import capacity_now, own_node, started_here
from mva_ray.placement.ray_group import Group, Place
from mva_ray.placement.ray_reserved import reserved, threads_of_each
from mva_ray.records import Coefficients, Evaluation
from mva_ray.search.ray_search import run_search
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds
from mva_ray.training.job import TrainingJob
from mva_ray.training.ray_exchange import start_board
from mva_ray.training.ray_training import train_on_ray
from tests.support.brokers import CANDIDATES, VALUES, PlainReward, length, make_setting, vowels
from tests.support.generators import SlowWords, Words
from tests.support.surfaces import make as make_proposer

MEMORY = 100 * 2**20
CPUS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two workers, joined. It is not written down as the one that others on this machine should join."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray._private.utils.write_ray_address", lambda *args, **options: None)
        nodes = Cluster()
        nodes.add_node(num_cpus=0, include_dashboard=False, object_store_memory=MEMORY)
        for _ in range(2):
            nodes.add_node(num_cpus=CPUS, num_gpus=1, object_store_memory=MEMORY)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(autouse=True)
def joined(cluster: Cluster) -> None:
    """Every test here runs on it."""


class Where:
    """Says on which node it is, and what it has there."""

    def node(self) -> str:
        return own_node()

    def reserved(self, threads: int | None = None) -> Any:
        return reserved(threads)


def start(place: Place, kind: type = Where, *arguments: Any) -> ActorHandle:
    return ray.remote(kind).options(**place.options, max_concurrency=100).remote(*arguments)


def wait_until(reached: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def node_of(actor: ActorHandle) -> str:
    """Of an actor that has no method to say it."""
    ray.get(actor.__ray_ready__.remote())
    return str(ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"])


def test_what_holds_state_is_beside_the_driver(tmp_path: Path) -> None:
    """Though nodes beside it have CPUs to spare: what it writes would be on their disks."""
    broker = start_broker({"search": make_setting()}, [Words()], rewards(), lambda rows: None, KnownAnswers())
    assert {node_of(actor) for actor in (broker, start_board())} == {own_node()}


def rewards() -> dict[str, PlainReward]:
    return {"first": PlainReward(length), "second": PlainReward(vowels)}


def test_trials_run_beside_the_driver_which_has_no_cpu(tmp_path: Path) -> None:
    broker = start_broker({"search": make_setting()}, [Words()], rewards(), lambda rows: None, KnownAnswers())
    rounds = Rounds(make_proposer("random", [(0, 1.5)] * 2, 6, seed=3))
    seen: list[set[str]] = []

    def on_candidate() -> None:
        alive = [row for row in ray._private.state.actors().values() if row["State"] == "ALIVE"]
        seen.append({row["Address"]["NodeID"] for row in alive})

    run_search(rounds, Reader(VALUES), broker, 2, 4, tmp_path, on_candidate)
    assert len(rounds.proposals) == len(seen) == 6
    assert set.union(*seen) == {own_node()}


def test_a_process_knows_what_it_has_reserved() -> None:
    with Group([{"CPU": 3}, {"CPU": 0.5}, {"CPU": 0.5, "GPU": 1}], 60) as group:
        *cpus, gpu = group.places
        three, half = map(start, cpus)
        assert ray.get(three.reserved.remote()).n_threads == 3
        assert ray.get(half.reserved.remote()).n_threads == 1
        assert ray.get(half.reserved.remote(2)).n_threads == 2
        evaluator = RayGenerator(lambda: start(gpu, EngineActor, Words, None), gpu.there)
        with pytest.raises(RunError) as raised:
            asyncio.run(evaluator.answer([]))
    assert str(raised.value).startswith("the evaluator does not start: 1 GPU is reserved on ")


def test_two_that_want_more_than_half_do_not_start_by_halves(capfd: pytest.CaptureFixture[str]) -> None:
    """The second has nothing until the first has ended, and says what it waits for."""
    wanted = [{"CPU": 2.0}] * 3
    with Group(wanted, 60):
        before = ray.available_resources()["CPU"]
        with pytest.raises(RunError, match=r"waited 2 seconds .* for 6 CPU: the cluster has 8 \(2 of them free\)"):
            Group(wanted, 2).__enter__()
        assert ray.available_resources()["CPU"] == before
    assert "waiting for 6 CPU: the cluster has 8 (2 of them free)\n" in capfd.readouterr().err
    with Group(wanted, 60):
        assert ray.available_resources()["CPU"] == before


def by_candidate(rows: Sequence[Evaluation]) -> dict[Coefficients, dict[str, float]]:
    return {tuple(row.coefficients.values()): row.reward_mean for row in rows if row.status == "ok"}


def evaluate(broker: Broker) -> dict[Coefficients, dict[str, float]]:
    return by_candidate(list(evaluate_all(broker, "search", CANDIDATES)))


def test_what_a_lost_node_was_asked_is_answered_by_another(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its bundle waits, visibly, for a node with room; then evaluations are as without the loss."""
    quiet = start_broker({"search": make_setting()}, [Words()], rewards(), lambda rows: None, KnownAnswers())
    expected = evaluate(quiet)
    large = {"num_cpus": 2 * CPUS, "object_store_memory": MEMORY}
    lost, log = cluster.add_node(**large), tmp_path / "pids"
    with Group([{"CPU": 2.0 * CPUS}], 60) as group:
        [place] = group.places
        generator = RayGenerator(lambda: start(place, SlowWords, log), place.there)
        broker = start_broker({"search": make_setting()}, [generator], rewards(), lambda rows: None, KnownAnswers())
        pending = [broker.evaluate.remote("search", row) for row in CANDIDATES]
        wait_until(log.exists)
        cluster.remove_node(lost, allow_graceful=False)
        said = ""
        while f"waiting for {2 * CPUS} CPU: the cluster has {2 * CPUS}" not in said:
            said += capfd.readouterr().err
            time.sleep(0.1)
        found = cluster.add_node(**large)
        done = [partial.evaluation for partial in ray.get(pending)]
    cluster.remove_node(found)
    assert by_candidate(done) == expected
    assert len(set(log.read_text().split())) == 2


def test_training_is_waited_for_visibly_and_not_for_ever(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    training = Training(resources=Resources(num_cpus=3 * CPUS))
    job = TrainingJob("job", "no model", None, (), (), training, 0, str(tmp_path / "out"))
    with pytest.raises(NoRoom, match=r"waited 2 seconds \(resources_timeout\) for 12 CPU: the cluster has 8"):
        train_on_ray([job], tmp_path / "ray", lambda name, row: None, patience=2)
    assert "waiting for 12 CPU: the cluster has 8 (8 of them free)\n" in capfd.readouterr().err


def test_the_cluster_is_counted_with_what_its_autoscaler_may_start() -> None:
    """Last: from now on it says so in every wait."""
    assert not started_here()
    assert threads_of_each(2) is None
    there = capacity_now()
    assert (there.there("CPU"), there.there("GPU"), there.types) == (2 * CPUS, 2, None)
    config = ClusterConfig()
    config.node_group_configs.add(resources={"CPU": CPUS, "GPU": 1}, max_count=5)
    ray._private.worker.global_worker.gcs_client.report_cluster_config(config.SerializeToString())
    growing = capacity_now()
    assert growing.types == (NodeType({"CPU": CPUS, "GPU": 1}, 5),)
    assert growing.describe("GPU") == "2 GPU (3 more may be started)"
