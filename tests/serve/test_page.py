"""The page in a real browser, as a user would use it; skipped where there is no Chromium or no playwright."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mva_ray.serve.explorations import Explorations
from tests.serve.test_watch import CONFIG, FakeLauncher
from tests.support.browsers import chromium, drag, needs_chromium, watched_page
from tests.support.runs import add_candidates
from tests.support.served import Served, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("page"), tiny_model) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    with watched_page(browser, served.url) as page:
        page.goto(served.url)
        page.get_by_text("Chosen: middle").wait_for()
        yield page


def test_wishes_choose_the_nearest_model(page: Any) -> None:
    """By the keyboard alone: as much as there is of one value, as little as there is of the other."""

    def wish(value: str, key: str) -> None:
        page.locator("#wishes").get_by_label(value).focus()
        page.keyboard.press(key)

    wish("positive", "End")
    wish("brief", "Home")
    page.get_by_text("Chosen: left").wait_for()
    assert "positive 1.50, brief -0.50" in page.locator("#facts").inner_text()
    wish("positive", "Home")
    wish("brief", "End")
    page.get_by_text("Chosen: right").wait_for()


def test_what_is_looked_at_is_kept_in_the_address(page: Any, browser: Any) -> None:
    page.get_by_text("The same as a table").click()
    page.get_by_role("button", name="right").click()
    page.get_by_text("Chosen: right").wait_for()
    other = browser.new_page()
    other.goto(page.url)
    other.get_by_text("Chosen: right").wait_for()
    other.close()


def test_models_answer_side_by_side(page: Any, served: Served) -> None:
    """The base, the chosen one and a mixture of one's own: each says what it says alone."""
    page.get_by_text("A mixture of your own").click()
    page.locator("#mixture input").nth(1).fill("2")
    page.get_by_role("button", name="Put this mixture beside the others").click()
    page.get_by_label("Your prompt").fill("Bread?")
    page.get_by_label("at most").fill("8")
    page.get_by_role("button", name="Answer").click()
    page.locator("#answers .told").nth(2).get_by_text("tokens").wait_for()
    texts = page.locator("#answers .text").all_inner_texts()
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Bread?"}], "max_tokens": 8}
    models: list[dict[str, Any]] = [{"model": "demo:base"}, {"model": "demo:middle"}]
    models.append({"model": "demo", "mixture": {"brief": 2.0}})
    for text, body in zip(texts, models, strict=True):
        whole = served.post("/v1/chat/completions", **asked, **body).json()["choices"][0]["message"]["content"]
        assert _printable(text) == _printable(whole)


def test_completions_are_text_and_searched(page: Any) -> None:
    """What a model said is never markup, whatever it says."""
    found = page.locator("#recorded tbody tr")
    page.get_by_text("2 completions of middle").wait_for()
    page.get_by_placeholder("a word").fill("quoted")
    page.get_by_text("1 completions of middle").wait_for()
    assert "\u2014 \u00e9" in found.first.inner_text()


def test_two_candidates_are_read_side_by_side(page: Any) -> None:
    page.get_by_label("against").select_option("left")
    page.get_by_text("middle minus left on 2 prompts").wait_for()


def test_what_a_step_costs_is_said_where_one_stands(page: Any) -> None:
    page.locator("#steps li").nth(1).wait_for()
    assert {text.split(":")[0] for text in page.locator("#steps li").all_inner_texts()} == {"left", "right"}


def test_what_is_shown_is_saved(page: Any, tmp_path: Path) -> None:
    with page.expect_download() as loading:
        page.get_by_role("button", name="Save as CSV").click()
    loading.value.save_as(tmp_path / "front.csv")
    rows = list(csv.DictReader((tmp_path / "front.csv").read_text().splitlines()))
    assert {row["candidate"] for row in rows} == {"left", "middle", "right"}
    assert {row["candidate"]: float(row["w_brief"]) for row in rows}["right"] == 2.0
    with page.expect_download() as loading:
        page.get_by_role("link", name="Download as a PEFT adapter").click()
    assert loading.value.suggested_filename == "demo-middle.zip"


def test_a_part_is_selected_everywhere(page: Any, tmp_path: Path) -> None:
    """What is dragged over is what the table shows, and what is saved; then all is again."""
    drag(page, (0.3, 0.7), (0.05, 0.95))
    page.get_by_text("1 of 3 are selected").wait_for()
    page.get_by_text("The same as a table").click()
    assert page.locator("#rows tbody button").all_inner_texts() == ["middle"]
    with page.expect_download() as loading:
        page.get_by_role("button", name="Save as CSV").click()
    loading.value.save_as(tmp_path / "part.csv")
    assert len((tmp_path / "part.csv").read_text().splitlines()) == 2
    page.get_by_role("button", name="Show all again").click()
    assert page.locator("#rows tbody tr").count() == 3


def test_the_plot_is_saved_as_an_image(page: Any, tmp_path: Path) -> None:
    with page.expect_download() as loading:
        page.get_by_role("button", name="Save as PNG").click()
    assert loading.value.suggested_filename == "demo.png"
    loading.value.save_as(tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_step_by_step_to_a_model(page: Any, browser: Any) -> None:
    """By the keyboard: each step has focus on the next choice; the address keeps the way."""
    page.get_by_text("I do not know").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Step 1 of 4").wait_for()
    page.get_by_role("button", name="Towards left").focus()
    for step in ("Step 2 of 4", "Step 3 of 4", "Step 4 of 4"):
        page.keyboard.press("Enter")
        page.get_by_text(step).wait_for()
        page.get_by_role("button", name="Towards left").focus()
    page.keyboard.press("Enter")
    page.get_by_text("arrived at left").wait_for()
    page.get_by_text("Chosen: left").wait_for()
    with watched_page(browser, page.url.partition("#")[0]) as other:
        other.goto(page.url)
        other.get_by_text("arrived at left").wait_for()
        other.get_by_role("button", name="One step back").click()
        other.get_by_text("Step 4 of 4").wait_for()


def test_a_mixture_answers_as_it_moves(page: Any, served: Served) -> None:
    page.get_by_text("A mixture of your own").click()
    page.get_by_label("Your prompt").fill("Bread?")
    page.get_by_label("at most").fill("8")
    page.get_by_label("answer as I move").check()
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Bread?"}], "max_tokens": 8, "model": "demo"}
    for weight in (0.5, 2.0):
        page.locator("#mixture input").nth(1).fill(str(weight))
        column = page.get_by_role("article", name="as you move")
        column.get_by_text(f"tokens; positive 0.00, brief {weight:.2f}").wait_for()
        body = served.post("/v1/chat/completions", **asked, mixture={"brief": weight}).json()
        said = body["choices"][0]["message"]["content"]
        assert _printable(column.locator(".text").inner_text()) == _printable(said)


def test_an_exploration_is_started_watched_and_ended(browser: Any, tiny_model: Path, tmp_path: Path) -> None:
    """A dry run first; then a row that arrives is seen without a reload, and is chosen."""
    launcher = FakeLauncher(tmp_path / "run")
    started = Explorations(tmp_path, str(tmp_path / "runs"), launcher)
    with (
        serving(tmp_path, tiny_model, explorations=started) as served,
        watched_page(browser, served.url) as page,
    ):
        page.goto(served.url)
        page.get_by_label("The config of a new one").fill(CONFIG)
        page.get_by_role("button", name="What would it do?").click()
        page.get_by_text(f"run: {tmp_path}/runs/fresh").wait_for()
        assert launcher.at_work == {}
        page.get_by_role("button", name="Start").click()
        page.locator("#explorations").get_by_text("fresh: running").wait_for()
        assert page.locator("#run").input_value() == "fresh"
        page.get_by_text("answer when it is served: mva-ray serve").wait_for()
        assert not page.get_by_label("Your prompt").is_visible()
        before = page.locator("#rows tbody tr").count()
        add_candidates(tmp_path / "runs" / "fresh", {"newest": ((0.5, 1.0), (0.3, 0.8))})
        page.locator("#rows tbody button", has_text="newest").wait_for(state="attached")
        assert page.locator("#rows tbody tr").count() == before + 1
        page.get_by_role("button", name="Cancel fresh").click()
        page.locator("#explorations").get_by_text("fresh: stopped").wait_for()
        page.get_by_role("button", name="What it printed").click()
        page.get_by_text("what it printed", exact=True).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_in_both_schemes(browser: Any, served: Served, scheme: str, tmp_path: Path) -> None:
    """Nothing is wider than the window."""
    page = browser.new_page(viewport={"width": 400, "height": 900}, color_scheme=scheme)
    page.goto(served.url)
    page.get_by_text("Chosen: middle").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    page.close()


def test_a_server_with_a_token_asks_for_it(browser: Any, tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model, token="secret") as guarded:
        page = browser.new_page()
        page.goto(guarded.url)
        page.get_by_role("textbox", name="Token").fill("secret")
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("Chosen: middle").wait_for()
        page.close()


def test_scripts_come_from_this_server_alone(served: Served) -> None:
    policy = httpx2.get(served.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src" not in policy, "so that it is what default-src says"


def _printable(text: str) -> str:
    """Without what a browser shows in its own way: white space and control characters."""
    return "".join(letter for letter in text if letter.isprintable() and not letter.isspace())
