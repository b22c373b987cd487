"""Many mixtures served at once, against the same requests one after the other.

python -m benchmarks.serving runs/quickstart --output docs/results/serving.json

Starts `mva-ray serve` on a run and asks it as users do, with the openai client: `--clients` clients, each with a
mixture of its own. Every greedy answer must be what the mixture says alone. Then the time to the first token and
between tokens for 1, 4 and 16 clients, and with `--soak SECONDS` clients that ask, leave and sample without a pause:
memory, errors, rows left behind.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import openai
import psutil

PROMPTS = (
    "Why is the sky blue?",
    "How do I boil an egg?",
    "What should I say to a friend who is angry with me?",
    "Tell me about the moon.",
)
CLIENTS = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--screenshot", type=Path, help="of the page, and nothing else is done; needs playwright")
    parser.add_argument("--walk", action="store_true", help="only the walk of docs/serving.md, in a browser")
    arguments = parser.parse_args()
    if arguments.walk:
        print(json.dumps(walk(arguments.run), indent=2))
        return
    with served(arguments.run) as (url, process):
        if arguments.screenshot:
            screenshot(url, arguments.screenshot)
            return
        found = asyncio.run(measured(url, process, arguments))
    print(json.dumps(found, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


@contextlib.contextmanager
def served(run: str) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "mva_ray", "serve", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"models at (http://\S+)/v1/models", line):
                break
        else:
            sys.exit("the server has not started")
        try:
            yield match[1], psutil.Process(process.pid)
        finally:
            process.terminate()


async def measured(url: str, process: psutil.Process, arguments: argparse.Namespace) -> dict[str, Any]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600) as client:
        run, values = await described(url)
        mixtures = drawn(values, arguments.clients)
        await answer(client, run, mixtures[0], PROMPTS[0], 4)
        found: dict[str, Any] = {"cpu": cpu(), "clients": arguments.clients, "tokens": arguments.tokens}
        found |= await together(client, run, mixtures, arguments.tokens)
        found["latency"] = [await latency(client, run, mixtures[:count], arguments.tokens) for count in CLIENTS]
        if arguments.soak:
            found["soak"] = await soak(client, url, run, mixtures, process, arguments.soak)
    return found


async def described(url: str) -> tuple[str, list[str]]:
    async with httpx2.AsyncClient() as client:
        [run, *_] = (await client.get(f"{url}/api/v1/runs")).json()
    return str(run["name"]), list(run["values"])


def drawn(values: Sequence[str], count: int) -> list[dict[str, float]]:
    rng = random.Random(0)
    return [{value: round(rng.uniform(-0.5, 1.5), 3) for value in values} for _ in range(count)]


async def answer(
    client: openai.AsyncOpenAI, run: str, mixture: dict[str, float], prompt: str, tokens: int, **options: Any
) -> Any:
    messages: list[Any] = [{"role": "user", "content": prompt}]
    return await client.chat.completions.create(
        model=run, messages=messages, max_tokens=tokens, extra_body={"mixture": mixture}, **options
    )


async def together(
    client: openai.AsyncOpenAI, run: str, mixtures: Sequence[dict[str, float]], tokens: int
) -> dict[str, Any]:
    """The same requests one after the other and at once, twice each in turn; the better time of each."""
    asked = [(mixture, PROMPTS[place % len(PROMPTS)]) for place, mixture in enumerate(mixtures)]
    alone: list[str] = []
    at_once: list[str] = []
    seconds: dict[str, list[float]] = {"one_after_the_other": [], "at_once": []}
    for _ in range(2):
        started = time.perf_counter()
        alone = [text(await answer(client, run, mixture, prompt, tokens)) for mixture, prompt in asked]
        seconds["one_after_the_other"].append(time.perf_counter() - started)
        started = time.perf_counter()
        tasks = (answer(client, run, mixture, prompt, tokens) for mixture, prompt in asked)
        at_once = [text(one) for one in await asyncio.gather(*tasks)]
        seconds["at_once"].append(time.perf_counter() - started)
    best = {name: min(of) for name, of in seconds.items()}
    equal = sum(one == other for one, other in zip(alone, at_once, strict=True))
    return {
        "seconds": best,
        "times_faster_at_once": best["one_after_the_other"] / best["at_once"],
        "equal_answers": f"{equal} of {len(asked)}",
        "different_answers": len(set(alone)),
    }


def text(answered: Any) -> str:
    return str(answered.choices[0].message.content)


async def latency(
    client: openai.AsyncOpenAI, run: str, mixtures: Sequence[dict[str, float]], tokens: int
) -> dict[str, float]:
    """Medians over the clients: seconds to the first token, and between tokens."""
    streams = (
        times(client, run, mixture, PROMPTS[place % len(PROMPTS)], tokens) for place, mixture in enumerate(mixtures)
    )
    found = await asyncio.gather(*streams)
    between = [later - earlier for moments in found for earlier, later in pairwise(moments[1:])]
    return {
        "clients": len(mixtures),
        "first_token_s": median(moments[1] - moments[0] for moments in found),
        "between_tokens_s": median(between),
    }


async def times(
    client: openai.AsyncOpenAI, run: str, mixture: dict[str, float], prompt: str, tokens: int
) -> list[float]:
    """When it was asked, and when each piece of text came."""
    moments = [time.perf_counter()]
    async for event in await answer(client, run, mixture, prompt, tokens, stream=True):
        if event.choices and event.choices[0].delta.content:
            moments.append(time.perf_counter())
    return moments


async def soak(
    client: openai.AsyncOpenAI,
    url: str,
    run: str,
    mixtures: Sequence[dict[str, float]],
    process: psutil.Process,
    seconds: float,
) -> dict[str, Any]:
    """All clients ask without a pause; every fourth answer is left before its end."""
    end, errors, counts = time.monotonic() + seconds, [], {"answered": 0, "left": 0}

    async def ask_on(place: int) -> None:
        rng = random.Random(place)
        while time.monotonic() < end:
            stream = await answer(
                client, run, mixtures[place], rng.choice(PROMPTS), rng.randint(8, 120), stream=True, temperature=1.0
            )
            leaves = rng.random() < 0.25
            async for _ in stream:
                if leaves:
                    break
            await stream.close()
            counts["left" if leaves else "answered"] += 1

    memory = [asyncio.create_task(collect(process, end))]
    for one in await asyncio.gather(*map(ask_on, range(len(mixtures))), return_exceptions=True):
        if isinstance(one, BaseException):
            errors.append(f"{type(one).__name__}: {one}")
    sizes = (await asyncio.gather(*memory))[0]
    await asyncio.sleep(2)
    async with httpx2.AsyncClient() as plain:
        left_behind = re.search(r"^mva_ray_completions (\S+)$", (await plain.get(f"{url}/metrics")).text, re.M)
    third = max(1, len(sizes) // 3)
    return counts | {
        "seconds": seconds,
        "errors": errors,
        "rows_left_behind": float(left_behind[1]) if left_behind else None,
        "memory_mb": {"after_a_third": median(sizes[third : 2 * third]), "last_third": median(sizes[-third:])},
    }


async def collect(process: psutil.Process, end: float) -> list[float]:
    sizes = []
    async for _ in ticks(end):
        sizes.append(process.memory_info().rss / 2**20)
    return sizes


async def ticks(end: float) -> AsyncIterator[None]:
    while time.monotonic() < end:
        yield
        await asyncio.sleep(1)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """The page in a browser; needs playwright."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        page = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page(
            viewport={"width": 1280, "height": 1150}
        )
        page.set_default_timeout(60_000)
        page.goto(url)
        yield page


def walk(run: str) -> dict[str, Any]:
    """The clicks of docs/serving.md on a finished run, from the command to an answer and a file: seconds until each."""
    started, seconds = time.perf_counter(), {}

    def done(what: str) -> None:
        seconds[what] = round(time.perf_counter() - started, 1)

    with served(run) as (url, _):
        done("the server answers")
        with opened(url) as page:
            page.locator("#export[href]").wait_for()
            done("the page shows the front")
            first = page.locator("#chosen").inner_text()
            page.locator("#wishes input").first.focus()
            page.keyboard.press("End")
            page.wait_for_function("first => document.getElementById('chosen').textContent !== first", arg=first)
            chosen = page.locator("#chosen").inner_text()
            done("a model is chosen")
            page.get_by_role("button", name="Put beside the others").click()
            page.get_by_label("Your prompt").fill(PROMPTS[1])
            page.get_by_role("button", name="Answer").click()
            wait_for_answers(page)
            said = page.locator("#answers article").filter(has_text=chosen).locator(".text").inner_text()
            done("it has answered")
            with page.expect_download() as loading:
                page.get_by_role("link", name="Download as a PEFT adapter").click()
            size = loading.value.path().stat().st_size
            done("its adapter is on disk")
    return {"cpu": cpu(), "chosen": chosen, "said": said, "adapter_bytes": size, "seconds": seconds}


def wait_for_answers(page: Any) -> None:
    for column in range(page.locator("#answers article").count()):
        page.locator("#answers .told").nth(column).get_by_text("tokens").wait_for()


def screenshot(url: str, file: Path) -> None:
    """The page with an answer of the base, of the chosen one and of a mixture of one's own, side by side."""
    with opened(url) as page:
        page.locator("#export[href]").wait_for()
        page.get_by_text("A mixture of your own").click()
        page.locator("#mixture input").last.fill("1.8")
        page.get_by_role("button", name="Put this mixture beside the others").click()
        page.get_by_text("A mixture of your own").click()
        page.get_by_label("Your prompt").fill("Why is the sky blue? Answer in one sentence.")
        page.get_by_role("button", name="Answer").click()
        wait_for_answers(page)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=file)


def cpu() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return f"{names[0]}, {len(names)} cores" if names else "unknown"


if __name__ == "__main__":
    main()
