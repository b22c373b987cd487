"""What trained adapters share, module by module, read from their directories."""

import re
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from mva_ray.adapters.lora import load_factors
from mva_ray.compare.results import ModuleInterference
from mva_ray.maths.interference import delta_cka, delta_cosine


def interference(first: Path, second: Path) -> list[ModuleInterference]:
    """Cosine and debiased linear CKA of the deltas of every module that both adapters have."""
    one, other = load_factors(first), load_factors(second)
    found = []
    for module in (name for name in one.a if name in other.a):
        factors = ((one.a[module], one.b[module]), (other.a[module], other.b[module]))
        layer = re.search(r"\.(\d+)\.", module)
        found.append(
            ModuleInterference(
                module=module,
                layer=int(layer[1]) if layer else 0,
                type=module.rpartition(".")[2],
                cosine=delta_cosine(*factors).item(),
                cka=delta_cka(*factors).item(),
            )
        )
    return found


def means(modules: Iterable[ModuleInterference]) -> tuple[float, float]:
    """Mean cosine and mean CKA."""
    shared = list(modules)
    return fmean(one.cosine for one in shared), fmean(one.cka for one in shared)
