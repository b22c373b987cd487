"""The Ray that a run joins or starts, and what there is to run on."""

import logging
import os
import socket

from mva_ray.errors import NO_SPACE, RunError, last_line, out_of_space

ANSWER_S = 5.0


def on_cluster() -> bool:
    """Whether a run joins a cluster, which may grow: what it lacks now it may have later."""
    return "RAY_ADDRESS" in os.environ


def resources_there() -> dict[str, float]:
    """CPUs and GPUs of the cluster that RAY_ADDRESS names, else of this machine."""
    return cluster_resources() if on_cluster() else local_resources()


def local_resources() -> dict[str, float]:
    """What a Ray started on this machine would find: its own way of counting knows of containers."""
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    found = ResourceAndLabelSpec().resolve(is_head=True)
    return {"CPU": found.num_cpus, "GPU": found.num_gpus}


def cluster_resources() -> dict[str, float]:
    import ray

    join_ray()
    try:
        resources: dict[str, float] = ray.cluster_resources()
        return resources
    finally:
        ray.shutdown()


def join_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, else start a local one.

    Raises:
        RunError: nobody answers there, or Ray does not start.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS", "")
    _check_answers(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except Exception as error:  # whatever of its parts does not start
        what = f"the Ray at RAY_ADDRESS={address} cannot be joined" if address else "Ray does not start on this machine"
        raise RunError(f"{what}: {NO_SPACE if out_of_space(error) else last_line(error)}") from error


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
