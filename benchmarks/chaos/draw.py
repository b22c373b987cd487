"""Which faults strike which exploration: all of it drawn from a seed."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

STAGES = ("pairs", "training", "search", "held_out")

ENDS = ("driver", "sigterm", "ctrl_c", "broker", "queue", "controller", "raylet", "disk_full", "cancel", "head_empty")
"""Kinds that end the driver, which is then started again. All others have to be survived."""

ANYTIME = ("driver", "sigterm", "ctrl_c")
KINDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "disk": {
        "pairs": (*ANYTIME, "raylet", "generator", "disk_full"),
        "training": (*ANYTIME, "raylet", "trainer", "controller", "disk_full"),
        "search": (*ANYTIME, "raylet", "generator", "reward", "broker", "queue", "trial", "disk_full"),
        "held_out": (*ANYTIME, "raylet", "generator", "reward", "broker", "disk_full"),
    },
    "s3": {
        "pairs": (*ANYTIME, "raylet", "generator", "store_silent", "store_away"),
        "training": (*ANYTIME, "raylet", "trainer", "controller", "store_silent", "store_away"),
        "search": (*ANYTIME, "generator", "reward", "broker", "queue", "trial", "store_silent", "store_away"),
        "held_out": (*ANYTIME, "generator", "reward", "broker", "store_silent", "store_away"),
    },
    "hosts": {
        "pairs": ("driver", "worker", "partition", "store_away", "generator"),
        "training": ("driver", "worker", "partition", "store_away", "trainer"),
        "search": ("driver", "cancel", "worker", "partition", "head_empty", "store_away", "generator", "reward"),
        "held_out": ("driver", "worker", "head_empty", "store_away", "generator"),
    },
}
"""What may break, by the place of the run and the stage it is in."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        kind: what breaks.
        stage: when: as soon as `share` of the stage's answers (or training steps) of an undisturbed run are done, and
            `delay` seconds later.
        victim: which of several processes or hosts, as a share of them.
        seconds: how long what comes back is away.
    """

    stage: str
    share: float
    kind: str
    delay: float
    victim: float
    seconds: float

    @property
    def ends_driver(self) -> bool:
        return self.kind in ENDS


@dataclass(frozen=True)
class Exploration:
    """A run at a place (`disk`, `s3` or `hosts`), with a budget in answers or without, and its faults in order."""

    number: int
    place: str
    answers: bool
    faults: tuple[Fault, ...]


def draw(
    seed: int, number: int, places: Sequence[str], n_faults: int, only: Collection[str] | None = None
) -> Exploration:
    """The exploration of this number, equal for equal arguments; with faults of some kinds only."""
    drawn = random.Random(f"{seed} {number}")
    place, answers = drawn.choice(list(places)), drawn.random() < 0.5
    faults = [_fault(drawn, _of_kinds(KINDS[place], only)) for _ in range(n_faults)]
    return Exploration(number, place, answers, tuple(sorted(faults, key=lambda f: (STAGES.index(f.stage), f.share))))


def _of_kinds(kinds: Mapping[str, Sequence[str]], only: Collection[str] | None) -> dict[str, list[str]]:
    return {stage: [kind for kind in some if only is None or kind in only] for stage, some in kinds.items()}


def _fault(drawn: random.Random, kinds: Mapping[str, Sequence[str]]) -> Fault:
    stage = drawn.choice([stage for stage in STAGES if kinds[stage]])
    kind = drawn.choice(kinds[stage])
    return Fault(stage, drawn.random(), kind, drawn.uniform(0, 1), drawn.random(), drawn.uniform(2, 20))
