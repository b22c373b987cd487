"""Configs that are malformed or extreme in ways that users met or could meet; each is refused, and its key named."""

from tests.support.extreme.case import Case, write
from tests.support.extreme.files import FILES
from tests.support.extreme.models import MODELS
from tests.support.extreme.numbers import NUMBERS
from tests.support.extreme.rewards import REWARDS

EXTREME: dict[str, Case] = {**NUMBERS, **FILES, **MODELS, **REWARDS}

__all__ = ["EXTREME", "write"]
