"""Whether every node of the cluster sees the run: what trains or answers there reads and writes it."""

import uuid

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mva_ray.errors import RunError, last_line
from mva_ray.run_dir.place import is_url
from mva_ray.run_dir.store import Store

ANSWER_S = 120.0
"""A node may have to start a process first."""


def check_visible(store: Store) -> None:
    """
    Raises:
        RunError: a node that is there now does not see what this one writes.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not others:
        return
    probe = f"probe-{uuid.uuid4().hex}"
    store.write(probe, probe.encode())
    try:
        asked = [(node["NodeManagerHostname"], _ask(node["NodeID"], store, probe)) for node in others]
        blind = {name: problem for name, answer in asked if (problem := _problem(answer)) is not None}
    finally:
        store.remove(probe)
    if blind:
        nodes = ", ".join(f"{name} ({problem})" for name, problem in blind.items())
        raise RunError(f"the run directory {store.place} is not visible from node {nodes}: {_remedy(store)}")


def _remedy(store: Store) -> str:
    if is_url(store.place):
        return "each node needs mva_ray, and in its environment the store's address and credentials, or a role"
    return "give --run a URL or a shared path"


def _ask(node: str, store: Store, probe: str) -> ray.ObjectRef:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(_sees).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(store, probe)


def _sees(store: Store, probe: str) -> bool:
    return store.read(probe) == probe.encode()


def _problem(answer: ray.ObjectRef) -> str | None:
    """Why a node does not see the probe."""
    try:
        return None if ray.get(answer, timeout=ANSWER_S) else "it has a disk of its own"
    except GetTimeoutError:
        return f"it has not answered for {ANSWER_S:g} s"
    except RayError as error:
        return last_line(error)
