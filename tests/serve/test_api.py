"""Questions over HTTP: the same rows as by the command line and in Python, and what is wrong in one shape."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import CliRunner

from mva_ray.cli import app
from mva_ray.errors import ConfigError
from mva_ray.service.diff import diff
from mva_ray.service.history import history
from mva_ray.service.query import Query, ask
from mva_ray.service.render import records
from mva_ray.service.steps import steps
from mva_ray.service.tradeoffs import tradeoffs
from mva_ray.service.wish_text import WishText
from tests.support.served import CANDIDATES, Served, serving


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("api"), tiny_model) as found:
        yield found


def get(served: Served, path: str = "", **parameters: Any) -> httpx2.Response:
    return httpx2.get(f"{served.url}/api/v1/runs/demo{path}", params=parameters, timeout=60)


NUMBERS = st.floats(0.01, 1, allow_nan=False).map(lambda number: f"{number:.3f}")
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "split": st.sampled_from(["held_out", "search"]),
        "where": st.sampled_from(["positive > 0.2", "w_brief < 1", "brief >= 0.1 and positive >= 0.1", "false"]),
        "limit": st.integers(0, 4),
    },
)
RANKED = st.one_of(
    st.just({}),
    st.just({"all": True}),
    st.sampled_from(["positive", "-brief", "candidate"]).map(lambda column: {"sort": column}),
    NUMBERS.map(lambda number: {"prefer": f"positive={number},brief=0.5"}),
    NUMBERS.map(lambda number: {"at": f"positive={number}"}),
    NUMBERS.map(lambda number: {"from": "middle", "improve": "brief", "allow": f"positive={number}"}),
    st.floats(0, 60).map(lambda share: {"presets": round(share, 1)}),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=OPTIONS, ranked=RANKED)
def test_three_doors_agree(served: Served, options: dict[str, Any], ranked: dict[str, Any]) -> None:
    asked = {**options, **ranked}
    wish = WishText(
        prefer=asked.get("prefer"),
        at=asked.get("at"),
        start=asked.get("from"),
        improve=asked.get("improve"),
        allow=asked.get("allow"),
    )
    query = Query(
        asked.get("split"),
        asked.get("all", False),
        asked.get("where"),
        asked.get("sort"),
        limit=asked.get("limit"),
        wish=wish if wish.options else None,
        presets=asked.get("presets"),
    )
    words = [f"--{name}" if given is True else f"--{name}={given}" for name, given in asked.items()]
    by_command = CliRunner().invoke(app, ["pareto", str(served.run), "--format", "json", *words])
    by_http = get(served, "/evaluations", **asked)
    found = _rows_or_problem(served, query)
    if isinstance(found, str):
        assert (by_http.status_code, by_http.json()["error"]["message"]) == (400, found)
        assert str(by_command.exception) == found
    else:
        assert by_http.json()["rows"] == found == json.loads(by_command.stdout)


def _rows_or_problem(served: Served, query: Query) -> list[dict[str, Any]] | str:
    try:
        return list(json.loads(json.dumps(records(ask(served.run, query)))))
    except ConfigError as error:
        return str(error)


def test_a_run_and_how_far_it_is(served: Served) -> None:
    [run] = httpx2.get(f"{served.url}/api/v1/runs").json()
    assert (run["name"], run["values"]) == ("demo", ["positive", "brief"])


@pytest.mark.parametrize(
    ("wish", "candidate"),
    [({"prefer": "brief=1"}, "right"), ({"at": "positive=0.85"}, "left"), ({"preset": "knee"}, "middle")],
)
def test_one_candidate_for_a_wish(served: Served, wish: dict[str, str], candidate: str) -> None:
    assert get(served, "/select", **wish).json() == {"candidate": candidate}


def test_recorded_completions(served: Served) -> None:
    found = get(served, "/candidates/left/completions").json()
    assert [one["prompt"] for one in found] == ["Hi?", "Why?"]
    assert [one["prompt"] for one in get(served, "/candidates/left/completions", contains="QUOTED").json()] == ["Hi?"]


def test_what_is_known_of_a_front_is_what_the_functions_say(served: Served) -> None:
    """Trade-offs, differences and history, field by field."""
    assert get(served, "/tradeoffs").json() == as_json(tradeoffs(served.run))
    assert get(served, "/tradeoffs", **{"from": "left"}).json() == as_json(tradeoffs(served.run, start="left"))
    assert get(served, "/diff", first="left", second="right").json() == as_json(diff(served.run, "left", "right"))
    assert get(served, "/steps", towards="left", of=3).json() == as_json(steps(served.run, ["left"], 3))
    assert get(served, "/history", split="held_out").json() == as_json(history(served.run, "held_out"))


def as_json(found: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(found)))


def test_an_export_is_what_the_command_writes(served: Served, tmp_path: Path) -> None:
    answer = get(served, "/candidates/left/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="demo-left.zip"'
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path)
    found = load_file(tmp_path / "demo-left" / "adapter_model.safetensors")
    assert (
        CliRunner()
        .invoke(app, ["export", str(served.run), "--candidate", "left", "--out", str(tmp_path / "own")])
        .exit_code
        == 0
    )
    own = load_file(tmp_path / "own" / "adapter_model.safetensors")
    assert found.keys() == own.keys()
    assert all(found[name].equal(own[name]) for name in own)
    assert not list(Path("/tmp").glob(f"mva-export-*/{'demo-left'}"))


@pytest.mark.parametrize(
    ("path", "parameters", "status", "words"),
    [
        ("/evaluations", {"sort": "nothing"}, 400, "no column 'nothing'"),
        ("/evaluations", {"where": "nothing = 1"}, 400, "columns are"),
        ("/evaluations", {"where": "candidate in (select content from read_text('/etc/passwd'))"}, 400, ""),
        ("/evaluations", {"prefer": "kind=1"}, 400, "choose from positive, brief"),
        ("/evaluations", {"prefer": "brief=1", "sort": "brief"}, 400, "--sort"),
        ("/evaluations", {"split": "train"}, 400, "split"),
        ("/evaluations", {"limit": -1}, 400, "limit"),
        ("/select", {}, 400, "--prefer"),
        ("/select", {"candidate": "nothing"}, 400, "no such candidate"),
        ("/candidates/nothing/completions", {}, 404, "no completions"),
        ("/candidates/..%2F..%2Frun.json/completions", {}, 404, ""),
        ("/steps", {"towards": "nothing"}, 400, "within reach"),
        ("/steps", {"of": 0}, 400, "of"),
        ("/diff", {"first": "left"}, 400, "second"),
        ("/diff", {"first": "left", "second": "nothing"}, 400, "no such candidate"),
        ("/candidates/left/export", {"as": "pickle"}, 400, "as"),
        ("/candidates/left/export", {"as": "compressed"}, 400, "--rank"),
        ("/../nothing/evaluations", {}, 404, ""),
    ],
)
def test_what_is_wrong_is_a_4xx(served: Served, path: str, parameters: dict[str, Any], status: int, words: str) -> None:
    answer = get(served, path, **parameters)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert "root:" not in answer.text


def test_there_is_no_such_run(served: Served) -> None:
    answer = httpx2.get(f"{served.url}/api/v1/runs/other/evaluations")
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "run")


def test_the_documentation_names_every_call(served: Served) -> None:
    paths = httpx2.get(f"{served.url}/openapi.json").json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/api/v1/runs/{run}/evaluations"} <= set(paths)


def test_all_candidates_are_there(served: Served) -> None:
    rows = get(served, "/evaluations", all=True).json()["rows"]
    assert {*CANDIDATES, "mixed", "base"} == {row["candidate"] for row in rows}
