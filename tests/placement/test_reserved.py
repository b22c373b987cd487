"""A process computes on what it has reserved."""

import pytest

from mva_ray.errors import RunError
from mva_ray.placement.reserved import Reserved


def test_threads_are_the_reserved_cores_unless_a_machine_is_shared_out() -> None:
    assert [Reserved(cpus).n_threads for cpus in (0.0, 0.75, 1.0, 3.5)] == [1, 1, 1, 3]
    assert Reserved(0.75, threads=2).n_threads == 2


def test_a_gpu_that_torch_cannot_use_is_no_cpu() -> None:
    with pytest.raises(RunError, match=r"1 GPU is reserved on 10\.0\.0\.7, where torch finds no CUDA"):
        Reserved(1.0, 1.0, "10.0.0.7").check_cuda(there=False)
    Reserved(1.0, 1.0).check_cuda(there=True)
    Reserved(1.0, 0.0).check_cuda(there=False)
