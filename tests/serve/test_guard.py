"""Who is let in, and how much: hosts, origins, tokens, sizes, slow bodies, and more than there is room for."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mva_ray.errors import ConfigError
from mva_ray.serve import guard
from mva_ray.serve.guard import is_loopback
from mva_ray.serve.run import serve
from tests.support.served import Served, serving

BODY: dict[str, Any] = {"model": "demo:middle", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a token, one row, and a tenth of a second for an answer of a request that asks for more."""
    with serving(tmp_path_factory.mktemp("guarded"), tiny_model, rows=1, token="secret") as found:
        yield found


def ask(served: Served, path: str = "/v1/models", **headers: str) -> httpx2.Response:
    return httpx2.get(served.url + path, headers=headers)


def test_only_with_the_token(served: Served) -> None:
    assert ask(served).status_code == 401
    assert ask(served, authorization="Bearer other").status_code == 401
    assert ask(served, authorization="Bearer secret").status_code == 200
    assert ask(served, "/health").status_code == 200
    assert "secret" not in ask(served).text


def test_names_of_other_machines_and_pages_of_other_origins_are_refused(served: Served) -> None:
    """A page that has its own name point to this machine (DNS rebinding) sends that name."""
    token = {"authorization": "Bearer secret"}
    assert ask(served, host="evil.example", **token).status_code == 403
    assert ask(served, host="", **token).status_code in (400, 403)
    assert ask(served, origin="http://evil.example", **token).status_code == 403
    assert ask(served, origin=served.url, **token).status_code == 200
    assert ask(served, host="localhost:1234", **token).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.3", "localhost.evil.example", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_others_are_let_in_with_a_token_only() -> None:
    with pytest.raises(ConfigError, match="set a token"):
        serve(["run"], "0.0.0.0", 0, None)


def test_bodies_that_are_too_large(served: Served) -> None:
    """By what they say of themselves, and by what comes."""
    large = b" " * (guard.LARGEST_BODY + 1)
    url, headers = f"{served.url}/v1/chat/completions", {"authorization": "Bearer secret"}
    headers |= {"content-type": "application/json"}
    assert httpx2.post(url, content=large, headers=headers).status_code == 413

    def pieces() -> Iterator[bytes]:
        yield from (large[start : start + 2**18] for start in range(0, len(large), 2**18))

    assert httpx2.post(url, content=pieces(), headers=headers).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    address = served.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=10) as slow:
        slow.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer secret\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert b" 408 " in slow.recv(1000)


def test_more_than_there_is_room_for_is_told_to_come_back(served: Served) -> None:
    """One row and four that wait: of twelve at once some are told so, the others are answered."""

    async def post(client: httpx2.AsyncClient) -> httpx2.Response:
        return await client.post("/v1/chat/completions", json=BODY | {"max_tokens": 40}, timeout=60)

    async def together() -> list[httpx2.Response]:
        headers = {"authorization": "Bearer secret"}
        async with httpx2.AsyncClient(base_url=served.url, headers=headers) as client:
            return await asyncio.gather(*(post(client) for _ in range(12)))

    found = asyncio.run(together())
    refused = [answer for answer in found if answer.status_code == 429]
    assert {answer.status_code for answer in found} == {200, 429}
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json()["error"]["type"] == "RateLimitError"
    many = httpx2.post(
        f"{served.url}/v1/chat/completions", json=BODY | {"n": 60}, headers={"authorization": "Bearer secret"}
    )
    assert (many.status_code, json.loads(many.text)["error"]["param"]) == (400, "n")
    assert asyncio.run(together())[0].status_code in (200, 429)
