"""Configs with one mistake each, and the exact messages that they get: (what is replaced, by what, *messages)."""

from tests.support.malformed.constraints import CONSTRAINTS
from tests.support.malformed.data import DATA
from tests.support.malformed.document import DOCUMENT
from tests.support.malformed.engine import ENGINE
from tests.support.malformed.rewards import REWARDS
from tests.support.malformed.search import SEARCH
from tests.support.malformed.training import TRAINING
from tests.support.malformed.types import TYPES
from tests.support.malformed.values import VALUES

MALFORMED: dict[str, tuple[str, ...]] = {
    **DOCUMENT,
    **TYPES,
    **VALUES,
    **REWARDS,
    **TRAINING,
    **DATA,
    **ENGINE,
    **CONSTRAINTS,
    **SEARCH,
}
