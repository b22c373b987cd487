"""What Ray has reserved for this process."""

import ray

from mva_ray.placement.ray_cluster import capacity_now, started_here
from mva_ray.placement.reserved import Reserved


def threads_of_each(processes: int) -> int | None:
    """The cores of this machine shared out, where the run has started its own Ray; None where a cluster is shared.

    To be called by the driver.
    """
    return max(1, int(capacity_now().there("CPU") or 1) // processes) if started_here() else None


def reserved(threads: int | None = None) -> Reserved:
    """What this process has.

    Raises:
        RunError: a GPU that torch cannot use.
    """
    context = ray.get_runtime_context()
    amounts = context.get_assigned_resources()
    node = str(ray.util.get_node_ip_address())
    found = Reserved(amounts.get("CPU", 0.0), amounts.get("GPU", 0.0), node, threads)
    if found.gpus:
        import torch

        found.check_cuda(torch.cuda.is_available())
    return found
