"""The Ray that a run lives in: joined or started."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Self

from mva_ray.errors import NO_SPACE, MvaError, RunError, last_line, out_of_space
from mva_ray.placement.ray_cluster import join_ray
from mva_ray.run_dir.store import Store
from mva_ray.signals import catch_signals
from mva_ray.stages.ray_nodes import check_visible

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

    Every node has to see the store of the run. `beside` is a context entered as soon as there is Ray, such as metrics.

    Workers of a local one keep their big buffers: glibc gives them back after every step and maps them again, a
    third of a DPO step on CPU.
    """

    def __init__(self, store: Store, beside: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._store = store
        self._beside = beside
        self._stack = ExitStack()
        self._started = False

    def start(self) -> None:
        """
        Raises:
            RunError: nobody answers at RAY_ADDRESS, Ray does not start, or a node does not see the run.
        """
        if self._started:
            return
        self._started = True
        for name, setting in ENVIRONMENT.items():
            os.environ.setdefault(name, setting)
        join_ray()
        catch_signals()
        check_visible(self._store)
        self._stack.enter_context(self._beside())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Raises:
            RunError: one of Ray's processes failed, with its cause.
        """
        self._stack.close()
        if self._started:
            _end(error)
        if error is not None and not isinstance(error, MvaError) and out_of_space(error):
            raise RunError(f"{NO_SPACE}: {last_line(error)}") from error


def _end(error: BaseException | None) -> None:
    import ray
    from ray.exceptions import RayError

    ray.shutdown()
    if isinstance(error, RayError):
        cause = getattr(error, "cause", None)
        if isinstance(cause, MvaError):
            raise cause from error
        raise RunError(f"a Ray process failed: {last_line(error)}") from error
