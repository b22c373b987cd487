"""The judge of `benchmarks/chaos` sees what a run lost, did twice, or found otherwise."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.__main__ import Disturbed
from benchmarks.chaos.draw import ENDS, KINDS, STAGES, Exploration, Fault, draw
from benchmarks.chaos.judge import Journal, Strike, Verdict, judge
from benchmarks.chaos.work import prompts
from mva_ray.records import Evaluation
from tests.support.evaluations import START, make_run, trade_off

JOURNAL = Path(__file__).parents[1] / "benchmarks" / "chaos" / "journal"
ROWS = trade_off(2)
CLEAN = Verdict(len(ROWS), 0, 0, 0, 0, 0, 0, front_equal=True, table_equal=True)


def entry(at: float, what: str, *keys: str, pid: int = 1, rows: Sequence[Any] = ()) -> dict[str, Any]:
    return {"what": what, "at": at, "pid": pid, "host": "here", "keys": keys, "rows": rows}


def recorded(rows: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Rows as `make_run` appends them, each once."""
    names = [[row.split, row.candidate, START.timestamp() + i / 1000] for i, row in enumerate(rows)]
    return [entry(9, what, rows=names) for what in ("recording", "recorded")]


def strike(kind: str, pid: int | None = None) -> Strike:
    """A fault from second 5 to second 6."""
    victims = [("here", pid)] if pid else []
    return Strike(Fault("search", 0, kind, 0, 0, 0), 5, 6, "it", kind in ENDS, victims)


def judged(tmp_path: Path, entries: Sequence[dict[str, Any]], *strikes: Strike, rows: Any = ROWS) -> Verdict:
    path = tmp_path / "journal.jsonl"
    tmp_path.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in [*recorded(ROWS), *entries]) + '{"what": "beg')
    make_run(tmp_path / "run", rows, ("positive", "brief"))
    make_run(tmp_path / "undisturbed", ROWS, ("positive", "brief"))
    return judge(Journal(path), strikes, str(tmp_path / "run"), str(tmp_path / "undisturbed"))


def test_a_clean_run(tmp_path: Path) -> None:
    entries = [entry(1, "begun", "a"), entry(2, "answered", "a")]
    assert judged(tmp_path, entries) == CLEAN
    assert CLEAN.is_clean


@pytest.mark.parametrize(
    ("again_at", "kind", "pid", "beyond"),
    [
        (7.0, "driver", None, 0),  # in flight at the fault, for it was not recorded
        (7.0, "reward", None, 1),  # which does not touch answers
        (7.0, "generator", 1, 0),
        (7.0, "generator", 2, 1),  # another one had it
    ],
)
def test_an_answer_that_is_generated_again(
    tmp_path: Path, again_at: float, kind: str, pid: int | None, beyond: int
) -> None:
    entries = [entry(4, "begun", "a"), entry(again_at, "begun", "a", pid=3)]
    verdict = judged(tmp_path, entries, strike(kind, pid))
    assert (verdict.twice, verdict.twice_beyond) == (1, beyond)


def test_an_answer_that_was_recorded_before_the_fault_is_not_in_flight(tmp_path: Path) -> None:
    entries = [entry(1, "begun", "a"), entry(2, "answered", "a"), entry(3, "recorded", "a"), entry(7, "begun", "a")]
    assert judged(tmp_path, entries, strike("driver")).twice_beyond == 1


def test_an_answer_that_its_generator_had_handed_over_is_not_in_flight(tmp_path: Path) -> None:
    entries = [entry(1, "begun", "a"), entry(2, "answered", "a"), entry(7, "begun", "a", pid=3)]
    assert judged(tmp_path, entries, strike("generator", 1)).twice_beyond == 1


def test_rows_that_are_missing_and_rows_that_are_there_twice(tmp_path: Path) -> None:
    assert judged(tmp_path / "fewer", [], rows=ROWS[:-1]).lost == 1
    more = judged(tmp_path / "more", [], rows=[*ROWS, ROWS[0]])
    assert (more.rows_twice, more.not_in_table) == (1, 1)
    assert not more.is_clean


def test_a_front_that_differs_in_the_last_bit(tmp_path: Path) -> None:
    best = next(i for i, row in enumerate(ROWS) if row.candidate == "ones")
    other = {name: number + 1e-16 * 2 for name, number in ROWS[best].reward_mean.items()}
    assert other != ROWS[best].reward_mean
    verdict = judged(tmp_path, [], rows=[*ROWS[:best], replace(ROWS[best], reward_mean=other), *ROWS[best + 1 :]])
    assert (verdict.table_equal, verdict.is_clean) == (False, False)


class LateVictim:
    """A place, and its driver, where the victim of a fault begins when it has been looked for twice."""

    codes: Mapping[str, int] = {}

    def __init__(self, directory: Path) -> None:
        self.journal, self.run = directory / "journal.jsonl", str(directory / "run")
        self._looks = self._asked = 0

    def start(self) -> "LateVictim":
        return self

    def strike(self, fault: Fault, driver: Any) -> Strike | None:
        self._looks += 1
        return strike("trial") if self._looks > 2 else None

    def ended(self) -> int | None:
        self._asked += 1
        return 0 if self._looks > 2 or self._asked > 20 else None

    def output(self) -> str:
        return ""

    def mend(self) -> None: ...

    def close(self) -> None: ...

    def stop(self) -> None: ...


@pytest.mark.parametrize(("answered", "struck"), [(1, 1), (2, 0)])
def test_a_victim_that_has_not_begun_is_waited_for_as_long_as_the_stage_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: int, struck: int
) -> None:
    monkeypatch.setattr("benchmarks.chaos.__main__.POLL_S", 0)
    judged(tmp_path, [entry(1, "answered", f"[0.5] {prompt}") for prompt in prompts()["search"][:answered]])
    exploration = Exploration(0, "disk", False, (Fault("search", 0, "trial", 0, 0, 0),))
    outcome = Disturbed(exploration, LateVictim(tmp_path), {"search": 2}).to_the_end(str(tmp_path / "undisturbed"))
    assert (len(outcome.strikes), len(outcome.missed)) == (struck, 1 - struck)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    explorations = [draw(3, number, ("disk", "s3"), 4) for number in range(200)]
    assert explorations == [draw(3, number, ("disk", "s3"), 4) for number in range(200)]
    for place in ("disk", "s3"):
        faults = [fault for each in explorations if each.place == place for fault in each.faults]
        for stage in STAGES:
            assert {fault.kind for fault in faults if fault.stage == stage} == set(KINDS[place][stage])


def test_the_journal_is_written_by_a_process_that_imports_the_table(tmp_path: Path) -> None:
    """Whatever Python process it is, and without it where nobody asks."""
    script = (
        "import sys; from mva_ray.table import ParetoTable; from tests.support.evaluations import make_run, trade_off; "
        "make_run(sys.argv[1], trade_off(2), ('positive', 'brief'))"
    )
    environment = os.environ | {
        "PYTHONPATH": f"{JOURNAL}:{JOURNAL.parents[2]}",
        "CHAOS_JOURNAL": str(tmp_path / "journal.jsonl"),
    }
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], env=environment, check=True)
    entries = Journal(tmp_path / "journal.jsonl").entries()
    assert [each["what"] for each in entries] == ["recording", "recorded"]
    assert len(entries[1]["rows"]) == len(ROWS)
    assert "[0.0, 0.0] Hi?" in entries[1]["keys"]
