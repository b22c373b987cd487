"""The Ray that a run lives in: joined or started, and asked whether it can ever do what the config wants."""

import logging
import os
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import ray
import torch
from ray.exceptions import RayError

from mva_ray.config import RunConfig
from mva_ray.config.search import TRIAL_CPU
from mva_ray.errors import NO_SPACE, MvaError, RunError, last_line, out_of_space
from mva_ray.signals import stop_plainly

ANSWER_S = 5.0

ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


class RaySession:
    """Ray from the first `start` to the end of the context: the cluster that RAY_ADDRESS names, else a local one.

    Workers of a local one keep their big buffers: glibc gives them back after every step and maps them again, a
    third of a DPO step on CPU.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._started = False

    def start(self) -> None:
        """
        Raises:
            RunError: where Ray does not start, nobody answers at RAY_ADDRESS, or a local Ray can never schedule what
                the config asks for.
        """
        if self._started:
            return
        self._started = True
        for name, setting in ENVIRONMENT.items():
            os.environ.setdefault(name, setting)
        join_ray()
        stop_plainly()
        if "RAY_ADDRESS" not in os.environ:
            _check_resources(self._config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Raises:
            RunError: one of Ray's processes failed, with its cause, or a disk is full.
        """
        if self._started:
            ray.shutdown()
        if isinstance(error, RayError):
            cause = getattr(error, "cause", None)
            if isinstance(cause, MvaError):
                raise cause from error
            raise RunError(f"a Ray process failed: {last_line(error)}") from error
        if error is not None and not isinstance(error, MvaError) and out_of_space(error):
            raise RunError(f"{NO_SPACE}: {last_line(error)}") from error


def join_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, else start a local one.

    Raises:
        RunError: nobody answers there, or Ray does not start.
    """
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


def _check_resources(config: RunConfig) -> None:
    """Refuse what would wait without a word; a cluster may grow, and there it waits."""
    if lines := shortages(config, ray.cluster_resources()):
        raise RunError("; ".join(lines))


def shortages(config: RunConfig, there: Mapping[str, float]) -> list[str]:
    """One line for each resource (`CPU`, `GPU`) that the config asks for at once and that is not there."""
    lines = []
    for setting, resources in needed_resources(config).items():
        for kind, amount in resources.items():
            if amount > there.get(kind, 0):
                lines.append(f"{setting} need {amount:g} {kind}, this machine has {there.get(kind, 0):g}")
    return lines


def needed_resources(config: RunConfig) -> dict[str, dict[str, float]]:
    """What runs at the same time, by the settings that ask for it."""
    search = config.search
    rewards = [reward.resources for reward in config.rewards.values()]
    concurrent = config.training.schedule == "concurrent"
    training = "training.schedule: concurrent, with a worker for each value," if concurrent else "training.num_workers"
    return {
        training: {"CPU": config.training_workers},
        "search.evaluators, the rewards' resources and the trials": {
            "CPU": round(
                search.evaluators * search.resources.num_cpus
                + sum(reward.num_cpus for reward in rewards)
                + search.trials * TRIAL_CPU,
                2,
            ),
            "GPU": search.evaluators * search.resources.num_gpus + sum(reward.num_gpus for reward in rewards),
        },
    }


def resources_there() -> dict[str, float]:
    """What there is to run on: the cluster that RAY_ADDRESS names, else this machine, without starting Ray on it."""
    if "RAY_ADDRESS" not in os.environ:
        return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
    join_ray()
    try:
        resources: dict[str, float] = ray.cluster_resources()
        return resources
    finally:
        ray.shutdown()
