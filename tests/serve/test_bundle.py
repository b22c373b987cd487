"""The page as one file: without a server and without a network it shows, chooses, walks and saves."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from mva_ray.cli import app
from mva_ray.errors import ConfigError
from mva_ray.serve.bundle import bundle_at
from mva_ray.service.select import select
from mva_ray.service.wish_text import WishText
from tests.support.browsers import chromium, drag, needs_chromium, watched_page
from tests.support.evaluations import VALUES, answered, make_run
from tests.support.served import serving

EVIL = '</script><script>document.title = "owned"</script>'


def many_valued(run: Path, n: int) -> Path:
    """A run of n values with a candidate that is best in each, and one in the middle of all."""
    names = VALUES[:n]

    def row(candidate: str, means: list[float]) -> Any:
        rewards = [
            {
                value: mean + sign * 0.05 * (place + 1)
                for place, (value, mean) in enumerate(zip(names, means, strict=True))
            }
            for sign in (-1, 1, 0.5)
        ]
        return answered(candidate, dict.fromkeys(names, 0.5), rewards, [EVIL, f"{candidate} said this", ""])

    rows = [row(f"best-{value}", [1.0 if one == value else 0.1 for one in names]) for value in names]
    rows += [row("middle", [0.6] * n), row("behind", [0.0] * n)]
    make_run(run, rows, names)
    settings: dict[str, Any] = {"base_model": "org/tiny", "name": "demo", "search": {"candidates": 9}}
    settings |= {"values": [{"name": value, "pairs": None, "adapter": None} for value in names]}
    for value in names:
        (run / "adapters" / f"{value}-key").mkdir(parents=True)
    stages = {f"adapter '{value}'": "key" for value in names}
    (run / "plan.json").write_text(json.dumps({"stages": stages, "settings": settings}))
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def opened(browser: Any, run: Path, **options: Any) -> Any:
    file = run / "page.html"
    if not file.exists():
        file.write_text(bundle_at(str(run)), encoding="utf-8")
    return watched_page(browser, file.as_uri(), offline=True, **options)


def test_it_names_no_other_place(tmp_path: Path) -> None:
    text = bundle_at(str(many_valued(tmp_path, 2)))
    assert "/assets/" not in text.partition("<body>")[0]
    assert re.search(r"default-src 'none'; script-src 'nonce-[\w-]+'", text)
    assert EVIL not in text


@needs_chromium
def test_two_values_without_a_server(browser: Any, tmp_path: Path) -> None:
    run = many_valued(tmp_path, 2)
    with opened(browser, run) as page:
        page.goto((run / "page.html").as_uri())
        page.get_by_text("Chosen: middle").wait_for()
        assert not page.get_by_label("Your prompt").is_visible()
        assert not page.get_by_text("Download as a PEFT adapter").is_visible()
        page.get_by_text("3 completions of middle").wait_for()
        assert EVIL in page.locator("#recorded").inner_text()
        page.get_by_placeholder("a word").fill("said this")
        page.get_by_text("1 completions of middle").wait_for()
        page.get_by_label("against").select_option("best-brief")
        page.get_by_text("best-brief minus middle on 3 prompts").wait_for()
        page.get_by_text("I do not know").click()
        for _ in range(4):
            page.get_by_role("button", name="Towards best-positive").click()
        page.get_by_text("Chosen: best-positive").wait_for()
        with page.expect_download() as loading:
            page.get_by_role("button", name="Save as CSV").click()
        loading.value.save_as(tmp_path / "saved.csv")
        rows = list(csv.DictReader((tmp_path / "saved.csv").read_text().splitlines()))
        assert {row["candidate"] for row in rows} == {"best-positive", "best-brief", "middle"}
        assert page.title() == "mva_ray"


@needs_chromium
def test_wishes_choose_what_the_server_would(browser: Any, tmp_path: Path) -> None:
    run = many_valued(tmp_path, 3)
    with opened(browser, run) as page:
        page.goto((run / "page.html").as_uri())
        page.get_by_text("Chosen: middle").wait_for()
        for levels in ((1.0, 0.1, 0.1), (0.1, 0.1, 1.0), (0.55, 0.6, 0.5), (0.2, 0.9, 0.15), (0.3, 0.3, 0.9)):
            for place, level in enumerate(levels):
                page.locator("#wishes input").nth(place).fill(f"{level:.4f}")
            wished = dict(part.split("=") for part in re.findall(r"\w+=[\d.]+", page.evaluate("wishText()")))
            at = ",".join(f"{value}={level}" for value, level in wished.items())
            page.get_by_text(f"Chosen: {select(run, WishText(at=at))}", exact=True).wait_for()


@needs_chromium
def test_three_scatters_are_linked(browser: Any, tmp_path: Path) -> None:
    """What is selected in one is selected in the others."""
    run = many_valued(tmp_path, 3)
    with opened(browser, run) as page:
        page.goto((run / "page.html").as_uri())
        page.get_by_text("Chosen: middle").wait_for()
        assert page.locator("#plot .nsewdrag").count() == 3
        drag(page, (0.75, 0.99), (0.6, 0.99), place=0)
        page.get_by_text("1 of 4 are selected").wait_for()
        kept = page.evaluate("$('plot').data.map((one) => one.selectedpoints.map((at) => one.customdata[at]))")
        assert kept == [["best-positive"]] * 3


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_more_values_are_parallel_coordinates(browser: Any, tmp_path: Path, scheme: str) -> None:
    """Ranges of several axes narrow what is left; in a narrow window too."""
    run = many_valued(tmp_path, 5)
    viewport = {"width": 400, "height": 900}
    with opened(browser, run, viewport=viewport, color_scheme=scheme) as page:
        page.goto((run / "page.html").as_uri())
        page.get_by_text("Chosen: middle").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        drag(page, (0.0, 0.2), (0.2, 0.99))
        page.get_by_text("5 of 6 are selected").wait_for()
        drag(page, (0.8, 0.99), (0.2, 0.99))
        page.get_by_text("4 of 6 are selected").wait_for()
        page.get_by_text("The same as a table").click()
        assert "best-positive" not in page.locator("#rows").inner_text()
        with page.expect_download() as loading:
            page.get_by_role("button", name="Save as PNG").click()
        assert loading.value.suggested_filename == "demo.png"
        page.get_by_role("button", name="Show all again").click()
        assert page.locator("#rows tbody tr").count() == 6


def test_the_command_and_the_server_write_it(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model) as served:
        answer = httpx2.get(f"{served.url}/api/v1/runs/demo/page", timeout=60)
        assert answer.headers["content-disposition"] == 'attachment; filename="demo.html"'
    out = tmp_path / "front.html"
    assert CliRunner().invoke(app, ["page", str(tmp_path / "run"), "--out", str(out)]).exit_code == 0
    found, written = (_recording(text) for text in (answer.text, out.read_text(encoding="utf-8")))
    assert found == written
    assert _refused(tmp_path / "run", out) == f"--out: {out} is there already: give another name, or delete it first"


def test_nothing_is_written_of_a_run_without_a_front(tmp_path: Path) -> None:
    many_valued(tmp_path, 2)
    state = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(state | {"context": "new"}))
    assert "no candidate on the front" in _refused(tmp_path, tmp_path / "front.html")
    assert not (tmp_path / "front.html").exists()


def _refused(run: Path, out: Path) -> str:
    error = CliRunner().invoke(app, ["page", str(run), "--out", str(out)]).exception
    assert isinstance(error, ConfigError)
    return str(error)


def _recording(text: str) -> Any:
    found = re.search(r'id="recording">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])
