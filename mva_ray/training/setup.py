"""How torch computes in every training worker."""

import os

import torch

from mva_ray.adapters.base_model import allow_bfloat16_products


def prepare_torch(threads: int, on_gpu: bool = False) -> None:
    """The threads and the precision of products; without a GPU of its own a process must not take one that is there."""
    torch.set_num_threads(threads)
    allow_bfloat16_products()
    os.environ["ACCELERATE_USE_CPU"] = str(not on_gpu).lower()
