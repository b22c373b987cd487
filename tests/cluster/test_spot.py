"""The notice of a spot instance, against a metadata service that answers as AWS documents."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from mva_ray.cluster.spot import EVERY_S, seconds_left, watch

TOKEN = "a token"


class Metadata:
    """Gives no notice for a while, and then one; asks for the token of version 2 first."""

    def __init__(self, notice: str | None) -> None:
        self.notice = notice

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PUT" and request.url.path == "/latest/api/token":
            assert int(request.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
            return httpx2.Response(200, text=TOKEN)
        if request.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            return httpx2.Response(401)
        if request.url.path == "/latest/meta-data/spot/instance-action" and self.notice:
            return httpx2.Response(200, json={"action": "terminate", "time": self.notice})
        return httpx2.Response(404)


@pytest.fixture
def metadata() -> Iterator[tuple[Metadata, httpx2.Client]]:
    service = Metadata(None)
    with httpx2.Client(base_url="http://metadata", transport=httpx2.MockTransport(service)) as client:
        yield service, client


def test_no_notice_and_then_one(metadata: tuple[Metadata, httpx2.Client]) -> None:
    service, client = metadata
    assert seconds_left(client) is None
    service.notice = (datetime.now(UTC) + timedelta(seconds=120)).strftime("%Y-%m-%dT%H:%M:%SZ")
    left = seconds_left(client)
    assert left is not None
    assert 117 < left <= 120
    service.notice = "2026-01-01T00:00:00Z"
    assert seconds_left(client) == 0.0


def test_the_node_is_drained_once_whatever_happens_before() -> None:
    """No notice, no answer, and then a notice of 90 seconds."""
    answers: Iterator[float | Exception | None] = iter([None, httpx2.ConnectError("gone"), 90.0])

    def left() -> float | None:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    drained: list[float] = []
    waits: list[float] = []
    watch(left, drained.append, waits.append)
    assert (drained, waits) == ([90.0], [EVERY_S, EVERY_S])
