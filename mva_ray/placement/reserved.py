"""What a process computes with: what it has reserved on its own node, not what is there."""

from dataclasses import dataclass

from mva_ray.errors import RunError


@dataclass(frozen=True)
class Reserved:
    """What one process has.

    Args:
        cpus: cores, or a share of one.
        gpus: GPUs, or a share of one.
        node: its address, as people look for it.
        threads: with which it computes where that is not for its cores to say.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    node: str = "this machine"
    threads: int | None = None

    @property
    def n_threads(self) -> int:
        return self.threads or max(1, int(self.cpus))

    def check_cuda(self, there: bool) -> None:
        """
        Raises:
            RunError: a GPU is reserved, and paid for, that torch cannot use.
        """
        if self.gpus and not there:
            raise RunError(
                f"{self.gpus:g} GPU is reserved on {self.node}, where torch finds no CUDA: install a torch with CUDA "
                "and the driver that it needs, or say `device: cpu`"
            )
