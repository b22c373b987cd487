"""Every extreme config is refused before anything is computed, and its message names what is wrong."""

from pathlib import Path

import pytest

from mva_ray.checks.check import check
from mva_ray.checks.subject import Purpose
from mva_ray.errors import ConfigError
from tests.support.extreme import EXTREME, write
from tests.support.extreme.case import Case

LONGEST_LINE = 600


def test_there_are_enough() -> None:
    assert len(EXTREME) >= 100


def test_without_what_is_extreme_the_config_is_right(tmp_path: Path, tiny_model: Path) -> None:
    check(write(tmp_path, tiny_model, Case("", lambda directory, settings: None)), Purpose.EXPLORE)


@pytest.mark.parametrize("case", EXTREME.values(), ids=EXTREME.keys())
def test_extreme_configs_are_refused_by_name(tmp_path: Path, tiny_model: Path, case: Case) -> None:
    path = write(tmp_path, tiny_model, case)
    with pytest.raises(ConfigError) as caught:
        check(path, Purpose.DATA_CHECK)
    assert caught.value.exit_code == 2
    assert any(case.key in problem for problem in caught.value.problems), caught.value.problems
    assert max(map(len, caught.value.problems)) < LONGEST_LINE
    assert not any("\n" in problem for problem in caught.value.problems)
