"""The page in a real browser, as a user would use it; skipped where there is no Chromium or no playwright."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.served import Served, serving

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
SECONDS = 30_000


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("page"), tiny_model) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """Nothing may go wrong in the page, and nothing may come from another address."""
    page = browser.new_page(accept_downloads=True)
    page.set_default_timeout(SECONDS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda one: None if one.url.startswith((served.url, "data:", "blob:")) else wrong.append(one.url)
    )
    page.goto(served.url)
    page.get_by_text("Chosen: middle").wait_for()
    yield page
    page.close()
    assert wrong == []


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
