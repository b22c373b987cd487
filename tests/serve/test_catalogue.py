"""What a model's name means: several runs, blocks of layers, and runs that are not what they were."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mva_ray.adapters.hashes import model_hash
from mva_ray.errors import ConfigError
from mva_ray.serve.catalogue import Catalogue
from mva_ray.serve.errors import Refused
from mva_ray.serve.requests import ChatRequest
from tests.support.runs import add_candidates, make_trained_run, move_to
from tests.support.tiny import random_adapter

MESSAGES = [{"role": "user", "content": "Hi"}]


def asked(model: str, **options: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": model, "messages": MESSAGES, **options})


def renamed(run: Path, name: str) -> Path:
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(state | {"name": name}))
    return run


@pytest.fixture
def two(tiny_model: Path, tmp_path: Path) -> Catalogue:
    for name in ("first", "second"):
        make_trained_run(tmp_path / name, tiny_model)
        add_candidates(tmp_path / name, {f"only-{name}": ((0.5, 0.25), (0.9, 0.9))})
    return Catalogue([renamed(tmp_path / name, name) for name in ("first", "second")])


def test_each_run_has_its_own_coefficients(two: Catalogue) -> None:
    """Those of the others are 0: a model of one run is what it is without them."""
    assert len(two.adapters) == 4
    assert two.resolve(asked("first:only-first")).coefficients == (0.5, 0.25, 0.0, 0.0)
    assert two.resolve(asked("second:only-second")).coefficients == (0.0, 0.0, 0.5, 0.25)
    assert two.resolve(asked("second", mixture={"brief": -2.0})).coefficients == (0.0, 0.0, 0.0, -2.0)
    assert {entry["id"].split(":")[0] for entry in two.models()} == {"first", "second"}
    with pytest.raises(Refused, match="does not exist"):
        two.resolve(asked("first:only-second"))


def test_at_a_url_the_base_model_is_the_runs_own_copy(tiny_model: Path, s3: str, tmp_path: Path) -> None:
    """Two jobs found it in folders of their own, on heads that are gone; it is one model, and fetched once."""
    places = [f"{s3}/{name}" for name in ("first", "second")]
    for place in places:
        model = shutil.copytree(tiny_model, tmp_path / place.rpartition("/")[2] / "model")
        make_trained_run(tmp_path / "run", model)
        move_to(place, renamed(tmp_path / "run", model.parent.name), model)
    found = Catalogue(places)
    assert model_hash(Path(found.base_model)) == model_hash(tiny_model)


def test_a_candidate_off_the_front_has_a_name_too(tiny_model: Path, tmp_path: Path) -> None:
    """Most candidates are scored on the search prompts alone; the beginning of a name is enough where it is alone."""
    make_trained_run(tmp_path, tiny_model)
    add_candidates(tmp_path, {"searched": ((0.2, 0.1), (0.0, 0.0))}, split="search")
    found = Catalogue([tmp_path]).resolve(asked("demo:sea"))
    assert (found.candidate, found.coefficients) == ("searched", (0.2, 0.1))


@pytest.mark.parametrize("name", ["preset99", "nothing", "PRESET1"])
def test_there_is_no_such_name(two: Catalogue, name: str) -> None:
    with pytest.raises(Refused) as found:
        two.resolve(asked(f"first:{name}"))
    assert (found.value.status, found.value.param) == (404, "model")


def test_runs_of_one_name_are_told_apart_by_nobody(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        make_trained_run(tmp_path / name, tiny_model)
    with pytest.raises(ConfigError, match="are both called 'demo'"):
        Catalogue([tmp_path / "first", tmp_path / "second"])


def test_runs_of_one_server_share_a_base_model(tiny_model: Path, tiny_gpt2: Path, tmp_path: Path) -> None:
    make_trained_run(tmp_path / "first", tiny_model)
    make_trained_run(tmp_path / "second", tiny_gpt2)
    with pytest.raises(ConfigError, match="share a base model"):
        Catalogue([tmp_path / "first", renamed(tmp_path / "second", "second")])


def test_every_problem_of_the_runs_at_once(tiny_model: Path, tmp_path: Path) -> None:
    make_trained_run(tmp_path / "first", tiny_model)
    random_adapter(tmp_path / "first" / "adapters" / "brief-key", tiny_model, 99, 2, 8)
    with pytest.raises(ConfigError) as found:
        Catalogue([tmp_path / "first", tmp_path / "nothing"])
    assert len(found.value.problems) == 2
    assert "not those that its candidates were evaluated with" in str(found.value)


def test_a_value_has_a_coefficient_in_each_block(tiny_model: Path, tmp_path: Path) -> None:
    """Named alone it means all of them, and a block has a name of its own."""
    blocks = {"positive_block1": 1.0, "positive_block2": 0.5, "brief_block1": -0.5, "brief_block2": 0.0}
    make_trained_run(tmp_path, tiny_model, blocks, blocks=2)
    catalogue = Catalogue([tmp_path])
    assert catalogue.resolve(asked("demo:mixed")).coefficients == (1.0, 0.5, -0.5, 0.0)
    assert catalogue.resolve(asked("demo:brief")).coefficients == (0.0, 0.0, 1.0, 1.0)
    assert catalogue.resolve(asked("demo", mixture={"brief": 0.3, "positive_block2": 2})).coefficients == (
        0,
        2,
        0.3,
        0.3,
    )
    assert catalogue.resolve(asked("demo", lora=[{"id": 1, "scale": 0.7}])).coefficients == (0, 0, 0.7, 0.7)


def test_a_run_without_a_front_has_its_values(tiny_model: Path, tmp_path: Path) -> None:
    """As one whose search has not begun."""
    make_trained_run(tmp_path, tiny_model)
    state = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(state | {"context": "new"}))
    catalogue = Catalogue([tmp_path])
    assert [entry["id"] for entry in catalogue.models()] == ["demo:base", "demo:positive", "demo:brief"]
    assert catalogue.resolve(asked("demo:brief")).coefficients == (0.0, 1.0)
    with pytest.raises(Refused):
        catalogue.resolve(asked("demo"))
    with pytest.raises(Refused):
        catalogue.resolve(asked("demo", preference={"brief": 1}))
