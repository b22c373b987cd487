"""The Ray that a run joins or starts, and what there is to run on."""

import logging
import os
import signal
import socket
import threading
from pathlib import Path

from mva_ray.errors import NO_SPACE, RunError, last_line, out_of_space
from mva_ray.placement.capacity import Bundle, Capacity, NodeType, read_types

ANSWER_S = 5.0
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the head of a cluster alone."""

BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` leaves the cluster's config on its head."""


def cluster_address() -> str:
    """Of the cluster that a run joins: the one that RAY_ADDRESS names, or that was started on this machine; else ""."""
    from ray._private.utils import read_ray_address

    address = os.environ.get("RAY_ADDRESS") or read_ray_address() or ""
    return "" if address == "local" else address


def on_cluster() -> bool:
    """Whether a run joins a cluster, which may grow: what it lacks now it may have later."""
    return bool(cluster_address())


def capacity_there() -> Capacity:
    """Of the cluster that a run would join, else of this machine.

    Raises:
        RunError: the cluster cannot be joined.
    """
    return _joined_capacity() if on_cluster() else Capacity((local_resources(),))


def local_resources() -> dict[str, float]:
    """What a Ray started on this machine would find: its own way of counting knows of containers."""
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    found = ResourceAndLabelSpec().resolve(is_head=True)
    return {"CPU": found.num_cpus, "GPU": found.num_gpus}


def _joined_capacity() -> Capacity:
    import ray

    join_ray()
    try:
        return capacity_now()
    finally:
        ray.shutdown()


def capacity_now() -> Capacity:
    """Of the Ray that this process has joined."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    return Capacity(tuple(node["Resources"] for node in nodes), () if started_here() else _types(nodes))


def free_now() -> Bundle:
    """What nobody has reserved, by resource."""
    import ray

    free: dict[str, float] = ray.available_resources()
    return free


def started_here() -> bool:
    """Whether this process has started the Ray that it uses: then the whole machine is its own."""
    from ray._private import worker

    node = worker._global_node
    return node is not None and bool(node.is_head())


def _types(nodes: list[dict]) -> tuple[NodeType, ...] | None:  # type: ignore[type-arg]
    """What the autoscaler told Ray; `ray up` leaves it in a file on the head, which is where drivers run."""
    from ray._private.state import state

    if config := state.get_cluster_config():
        most = (group.max_count if group.max_count >= 0 else 10_000 for group in config.node_group_configs)
        groups = zip(config.node_group_configs, most, strict=True)
        return tuple(NodeType(dict(group.resources), count) for group, count in groups)
    on_head = any(node["NodeID"] == own_node() and HEAD in node["Resources"] for node in nodes)
    return read_types(BOOTSTRAP_FILE.expanduser()) if on_head else None


def own_node() -> str:
    """The id of this process's node."""
    import ray

    node: str = ray.get_runtime_context().get_node_id()
    return node


def own_resource() -> str:
    """What Ray gives one of to every node, by the node's own name: those who reserve a little of it cost nothing."""
    import ray

    [names] = (list[str](node["Resources"]) for node in ray.nodes() if node["NodeID"] == own_node())
    return next(name for name in names if name.startswith("node:") and name != HEAD)


def join_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or that was started on this machine, else start a local one.

    SIGTERM stays ours: Ray's handler ends the driver without a word, its compiled code with a crash.

    Raises:
        RunError: nobody answers there, or Ray does not start.
    """
    import ray
    from ray._private import utils

    _check_answers(address := os.environ.get("RAY_ADDRESS", ""))
    before = signal.getsignal(signal.SIGTERM)
    theirs, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda handler: None
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except Exception as error:  # whatever of its parts does not start
        what = f"the Ray at RAY_ADDRESS={address} cannot be joined" if address else "Ray does not start on this machine"
        raise RunError(f"{what}: {NO_SPACE if out_of_space(error) else last_line(error)}") from error
    finally:
        utils.set_sigterm_handler = theirs
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_answers(address: str) -> None:
    """Ray itself tries a dead address for two minutes without a word."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, local, or another of Ray's own words
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            pass
    except (OSError, OverflowError) as error:
        raise RunError(
            f"nobody answers at RAY_ADDRESS={address} ({last_line(error)}): start a cluster there, or unset it to run "
            "on this machine"
        ) from error
