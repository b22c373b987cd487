"""Beside every worker on AWS: tells Ray that its instance is taken away, so that training saves and nothing new comes.

python -m mva_ray.cluster.ray_spot_watcher
"""

import subprocess

from mva_ray.cluster.spot import watch_this_instance


def drain(seconds: float) -> None:
    """Have Ray move everything off this node, as a preemption and no failure."""
    import ray

    ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    node = ray.get_runtime_context().get_node_id()
    ray.shutdown()
    options = {
        "--node-id": node,
        "--reason": "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message": "the spot instance is taken away",
        "--deadline-remaining-seconds": str(max(1, int(seconds))),
    }
    subprocess.run(["ray", "drain-node", *(word for option in options.items() for word in option)], check=True)


if __name__ == "__main__":
    watch_this_instance(drain)
