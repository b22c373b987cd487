"""What there is to run on, asked without starting anything."""

import logging
import os


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

    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        resources: dict[str, float] = ray.cluster_resources()
        return resources
    finally:
        ray.shutdown()
