"""The records of a comparison: written and read without loss, refused where they do not fit together."""

import gzip
from pathlib import Path

import pytest

from mva_ray.compare.results import ComparisonResult, read_result, write_result
from mva_ray.errors import ConfigError
from mva_ray.run_dir.store import File
from mva_ray.run_dir.stores import store_at
from tests.support.comparisons import make_result


@pytest.mark.parametrize("name", ["result.json", "result.json.gz"])
def test_a_result_survives_the_disk(tmp_path: Path, name: str) -> None:
    result = make_result(("brief", "thorough", "plain"), prompts=5, layers=2)
    write_result(result, File(store_at(tmp_path), name))
    assert read_result(tmp_path / name) == result
    first = (tmp_path / name).read_bytes()
    write_result(result, File(store_at(tmp_path), name))
    assert (tmp_path / name).read_bytes() == first


def test_rewards_that_do_not_fit_the_prompts_are_named() -> None:
    content = make_result(prompts=5, layers=1).model_dump()
    content["methods"][0]["candidates"][1]["rewards"]["brief"].pop()
    del content["base"]["thorough"]
    with pytest.raises(ValueError, match="base: rewards need exactly the values brief, thorough with 5") as error:
        ComparisonResult.model_validate(content)
    assert "mva, seed 11, " in str(error.value)


def test_rewards_must_be_finite(tmp_path: Path) -> None:
    content = make_result(prompts=5, layers=1).model_dump()
    content["base"]["brief"][2] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        ComparisonResult.model_validate(content)


def test_what_is_no_result_is_refused_in_one_line_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text('{"values": ["one"]}')
    with pytest.raises(ConfigError) as error:
        read_result(tmp_path / "empty.json")
    assert any(problem.startswith("values: ") for problem in error.value.problems)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"{}")[:-9])
    for name in ("cut.json.gz", "missing.json"):
        with pytest.raises(ConfigError, match="no comparison result can be read"):
            read_result(tmp_path / name)
