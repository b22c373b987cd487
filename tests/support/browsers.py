"""A headless Chromium of the system, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
SECONDS = 30_000


@contextmanager
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched_page(browser: Any, origin: str, **options: Any) -> Iterator[Any]:
    """A page in which nothing may go wrong, and into which nothing may come from another address."""
    context = browser.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda one: None if one.url.startswith((origin, "data:", "blob:")) else wrong.append(one.url))
    yield page
    context.close()
    assert wrong == []


def drag(page: Any, x: tuple[float, float], y: tuple[float, float], place: int = 0) -> None:
    """Over a part of a plot; shares of its width and height, from its upper left."""
    box = page.locator("#plot .nsewdrag").nth(place).bounding_box()
    page.mouse.move(box["x"] + box["width"] * x[0], box["y"] + box["height"] * y[0])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * x[1], box["y"] + box["height"] * y[1], steps=6)
    page.mouse.up()
