"""The judge against a real HTTP server on this machine."""

import threading
from pathlib import Path
from typing import Any

import pytest

from mva_ray.compare.judge import Judge, Match, UnusableAnswer, Verdict, parse
from mva_ray.config.compare import JudgeSettings
from mva_ray.errors import ConfigError, RunError
from tests.support.judges import Reply, endpoint


def ask(url: str, cache: Path, matches: list[Match], **settings: Any) -> list[Verdict]:
    with Judge(JudgeSettings(base_url=url, model="m", **settings), "shorter is better.", cache) as judge:
        return judge.verdicts(matches)


def shorter(a: str, b: str, _: int) -> str:
    return "Thinking... [[A]] or [[B]]? " + ("[[C]]" if len(a) == len(b) else "[[A]]" if len(a) < len(b) else "[[B]]")


MATCHES = [Match("p1", "x", "long"), Match("p2", "long", "x"), Match("p3", "ab", "cd"), Match("p4", "same", "same")]


def test_both_orders_are_asked_and_winners_named_by_answer_not_by_position(tmp_path: Path) -> None:
    with endpoint(shorter) as server:
        verdicts = ask(server.url, tmp_path, MATCHES)
    assert verdicts == [Verdict("first"), Verdict("second"), Verdict("tie"), Verdict("tie")]
    assert len(server.asked) == 6  # equal answers are not asked about
    assert {request["path"] for request in server.asked} == {"/v1/chat/completions"}
    assert "shorter is better." in server.asked[0]["messages"][0]["content"]
    assert server.keys == {None}


def test_a_judge_that_prefers_a_position_makes_contradictory_ties(tmp_path: Path) -> None:
    with endpoint(lambda a, b, n: "[[A]]") as server:
        assert ask(server.url, tmp_path, MATCHES[:2]) == [Verdict("tie", contradictory=True)] * 2


def test_a_win_in_one_order_and_a_tie_in_the_other_is_a_tie(tmp_path: Path) -> None:
    with endpoint(lambda a, b, n: "[[A]]" if a == "x" else "[[C]]") as server:
        assert ask(server.url, tmp_path, MATCHES[:1]) == [Verdict("tie")]


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    with endpoint(shorter) as server:
        first = ask(server.url, tmp_path, MATCHES)
        n = len(server.asked)
        assert ask(server.url, tmp_path, MATCHES) == first
        assert len(server.asked) == n
        ask(server.url, tmp_path, MATCHES, request={"temperature": 0.5})
        assert len(server.asked) == 2 * n


def test_the_key_comes_from_the_environment_and_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sesame")
    with endpoint(shorter) as server:
        ask(server.url, tmp_path, MATCHES, api_key_env="A_KEY")
    assert server.keys == {"Bearer sesame"}
    assert not [path for path in tmp_path.iterdir() if "sesame" in path.read_text()]
    monkeypatch.delenv("A_KEY")
    with pytest.raises(ConfigError, match="A_KEY is not set"):
        ask(server.url, tmp_path, MATCHES, api_key_env="A_KEY")


def test_a_passing_failure_is_tried_again(tmp_path: Path) -> None:
    def flaky(a: str, b: str, n: int) -> Reply:
        return (429, {"Retry-After": "0"}) if n % 2 else shorter(a, b, n)

    with endpoint(flaky) as server:
        verdicts = ask(server.url, tmp_path, MATCHES[:2], concurrency=1)
    assert [verdict.winner for verdict in verdicts] == ["first", "second"]
    assert len(server.asked) == 8


@pytest.mark.parametrize("status", [401, 404, 302, 500])
def test_an_endpoint_that_fails_is_an_error_and_never_a_tie(tmp_path: Path, status: int) -> None:
    with (
        endpoint(lambda a, b, n: (status, {"Retry-After": "0"})) as server,
        pytest.raises(RunError, match=f"HTTP {status}"),
    ):
        ask(server.url, tmp_path, MATCHES * 50, attempts=2, concurrency=2)
    # Each of the two threads may begin another question before it hears of the failure; how many depends on the load.
    assert len(server.asked) < len(MATCHES * 50), "the questions that wait are not asked"


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with endpoint(shorter) as server:
        pass
    with pytest.raises(RunError, match="ConnectError"):
        ask(server.url, tmp_path, MATCHES, attempts=1)


def test_an_endpoint_that_speaks_something_else_is_an_error(tmp_path: Path) -> None:
    with endpoint(lambda a, b, n: 200) as server, pytest.raises(RunError, match="OpenAI protocol"):
        ask(server.url, tmp_path, MATCHES)


def test_answers_before_a_failure_are_kept(tmp_path: Path) -> None:
    with endpoint(lambda a, b, n: shorter(a, b, n) if n <= 2 else 404) as server, pytest.raises(RunError, match="kept"):
        ask(server.url, tmp_path, MATCHES, concurrency=1)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_question_that_cannot_be_asked_is_missing(tmp_path: Path) -> None:
    with endpoint(lambda a, b, n: 400 if "ab" in (a, b) else shorter(a, b, n)) as server:
        verdicts = ask(server.url, tmp_path, MATCHES)
    assert [verdict.winner for verdict in verdicts] == ["first", "second", None, "tie"]
    assert verdicts[2].error == "HTTP 400 Bad Request"


def test_an_answer_without_a_verdict_is_missing(tmp_path: Path) -> None:
    with endpoint(lambda a, b, n: "Both are lovely.") as server:
        (verdict,) = ask(server.url, tmp_path, MATCHES[:1])
    assert verdict.winner is None
    assert "Both are lovely." in (verdict.error or "")


def test_no_more_questions_at_once_than_allowed(tmp_path: Path) -> None:
    barrier = threading.Barrier(3)

    def together(a: str, b: str, n: int) -> str:
        barrier.wait(timeout=10)
        return "[[C]]"

    with endpoint(together) as server:
        ask(server.url, tmp_path, [Match(str(n), "a", "b") for n in range(6)], concurrency=3)
    assert server.busiest == 3


@pytest.mark.parametrize(
    ("answer", "verdict"), [("[[A]]", "A"), ("[[A]] no, [[B]]", "B"), (" C.\n", "C"), ("*B*", "B")]
)
def test_what_an_answer_says(answer: str, verdict: str) -> None:
    assert parse(answer) == verdict


@pytest.mark.parametrize("answer", ["", "A is better", "[A] or [B]", "[[D]]", "AB"])
def test_what_an_answer_does_not_say(answer: str) -> None:
    with pytest.raises(UnusableAnswer):
        parse(answer)
