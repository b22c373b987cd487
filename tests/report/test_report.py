"""The picture and the page: what they show, and that untrusted text stays text."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from mva_ray.constraints import Limit, Limits
from mva_ray.records import Evaluation, Generation, ScoredGeneration, coefficient_names
from mva_ray.report import write_report
from mva_ray.report.completions import compare, pick_candidates, pick_prompts
from mva_ray.report.points import candidate_label, number, select_points, staircase
from mva_ray.run_dir.run_state import RunState
from mva_ray.table import ParetoTable
from tests.support.evaluations import in_blocks

TWO = ("positive", "brief")
THREE = ("positive", "brief", "w")
FIVE = ("positive", "brief", "plain_language", "values", "honest_and_careful_0123456789abc")
ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
PROMPTS = [f"prompt {index}" for index in range(8)]


def evaluation(
    name: str,
    weights: dict[str, float],
    rewards: dict[str, float],
    split: str = "held_out",
    texts: Sequence[tuple[str, str]] = (),
    error: str | None = None,
) -> Evaluation:
    noise = random.Random(f"{name} {split}")
    generations = tuple(
        ScoredGeneration(
            Generation(prompt, text, tokens=12, truncated=index == 0),
            {value: mean + noise.gauss(0, 0.2) for value, mean in rewards.items()},
        )
        for index, (prompt, text) in enumerate(texts)
    )
    return Evaluation(
        candidate=name,
        context="context",
        split=split,
        prompts_hash=split,
        coefficients=weights,
        status="failed" if error else "ok",
        reward_mean={} if error else rewards,
        reward_se={} if error else dict.fromkeys(rewards, 0.02),
        n_prompts=len(PROMPTS),
        metrics={} if error else {"tokens": 12.0, "truncated": 0.125, "repetition": 0.0, "distinct": 0.5},
        base_model="tiny",
        generator="tiny 40",
        adapters=dict.fromkeys(weights, "sha"),
        rewards=dict.fromkeys(weights, "module:function"),
        seed=0,
        seconds=1.0,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        failure="reward_raised" if error else None,
        error=error,
        generations=generations,
    )


def candidates(values: Sequence[str], split: str, searched: int = 5) -> list[Evaluation]:
    """Base, singles, all ones, one convex combination, and searched ones with a negative coefficient."""
    zero = dict.fromkeys(values, 0.0)
    weights = {"base": zero, "ones": dict.fromkeys(values, 1.0), "convex": zero | {values[0]: 0.25, values[1]: 0.75}}
    weights |= {f"only-{value}": zero | {value: 1.0} for value in values}
    draw = random.Random(0)
    weights |= {f"s{index}": {value: draw.uniform(-0.5, 1.5) for value in values} for index in range(searched)}
    rows = []
    for name, row in weights.items():
        rewards = {value: 0.6 * row[value] - 0.2 * sum(row.values()) for value in values}
        rows.append(evaluation(name, row, rewards, split, [(prompt, f"{name} says {prompt}") for prompt in PROMPTS]))
    return rows


def make_run(
    run_dir: Path, values: Sequence[str], evaluations: Sequence[Evaluation], constraints: Limits | None = None
) -> Path:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    stamped = [
        Evaluation(**{**vars(row), "created_at": start + timedelta(seconds=index)})
        for index, row in enumerate(evaluations)
    ]
    ParetoTable(run_dir).append(stamped)
    prompts = {split: split for split in ("search", "held_out")}
    RunState("demo", tuple(values), "context", prompts, constraints or {}).save(run_dir)
    return run_dir


def add_side_files(run_dir: Path, values: Sequence[str]) -> None:
    def write(name: str, content: object) -> None:
        (run_dir / name).write_text(json.dumps(content), encoding="utf-8")

    write("adapters.json", {value: f"/moved/away/{value}-0f" for value in values})
    write("pairs.json", {value: {"prompts": 200, "pairs": 123, "ties": 77, "margin": 0.3} for value in values})
    write(
        "conflict.json", {"values": values, "samples": 640, "correlation": [[-0.456 for _ in values] for _ in values]}
    )
    write("timings.json", {"preference pairs": 61.0, "search": 30.0})
    for value in values:
        adapter = run_dir / "adapters" / f"{value}-0f"
        adapter.mkdir(parents=True)
        step = {"step": 1, "loss": 0.69, "hsic": 0.004, "reward_accuracy": 0.5, "reward_margin": 0.1}
        (adapter / "training.jsonl").write_text(f"{json.dumps(step)}\n{json.dumps({**step, 'step': 2})}\n")


class Page(HTMLParser):
    """The elements of a page, and the text and data a reader gets from it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.figures = json.loads(re.findall(r'id="figures">(.*?)</script>', html, re.DOTALL)[0])
        self.feed(html.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def headings(self) -> list[str]:
        return [heading for heading in SECTIONS if heading in self.text]


SECTIONS = (
    "Candidates on the front",
    "For comparison",
    "Side by side",
    "How much the values conflict",
    "Preference pairs",
    "Where the time went",
    "Failed candidates",
)


def read_page(path: Path | str) -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("values", "figures"),
    [(TWO, {"pair", "training"}), (THREE, {"space", "pair", "training"}), (FIVE, {"parallel", "pair", "training"})],
    ids=["two", "three", "five"],
)
def test_report_of_a_whole_run(tmp_path: Path, values: tuple[str, ...], figures: set[str]) -> None:
    failed = evaluation("broken", dict.fromkeys(values, -0.5), {}, "search", error="reward: wrong length")
    rows = [*candidates(values, "search", searched=9), failed, *candidates(values, "held_out")]
    run_dir = make_run(tmp_path, values, rows)
    add_side_files(run_dir, values)

    page_path = write_report(run_dir)

    page = read_page(page_path)
    assert page_path == str(run_dir / "report.html")
    assert set(page.figures) == figures
    assert page.headings == list(SECTIONS)
    assert "8 held-out prompts" in page.text
    assert "reward: wrong length" in page.text
    assert "−0.456" in page.text
    assert "1 min 31 s" in page.text
    assert "4 more have been scored on the search prompts only" in page.text
    assert not list(run_dir.glob(".*"))
    with Image.open(run_dir / "front.png") as image:
        image.verify()
        assert 1000 <= image.width <= 2600
        assert 500 <= image.height <= 2200


def test_search_split_only_and_no_side_files(tmp_path: Path) -> None:
    page = read_page(write_report(make_run(tmp_path, TWO, candidates(TWO, "search"))))

    assert page.headings == ["Candidates on the front", "For comparison", "Side by side"]
    assert "8 search prompts" in page.text
    assert set(page.figures) == {"pair"}


@pytest.mark.parametrize("failures", [0, 2])
def test_nothing_scored_is_said(tmp_path: Path, failures: int) -> None:
    rows = [evaluation(f"f{index}", {"positive": 0.1, "brief": 0.2}, {}, error="boom") for index in range(failures)]

    page = read_page(write_report(make_run(tmp_path, TWO, rows)))

    assert "No candidate has been scored" in page.text
    assert page.headings == (["Failed candidates"] if failures else [])
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_one_candidate_and_no_spread(tmp_path: Path) -> None:
    base = evaluation("base", {"positive": 0.0, "brief": 0.0}, {"positive": 0.5, "brief": 0.5}, texts=[("q", "a")])

    page = read_page(write_report(make_run(tmp_path, TWO, [base])))

    assert "Side by side" in page.text


LIMITS = {"truncated": Limit(max=0.5), "positive": Limit(min=-1.5)}


def left_out_run(run_dir: Path, values: Sequence[str], splits: Sequence[str]) -> Path:
    """Base and a searched candidate that are cut off too often, a partial one, one infeasible on search alone."""
    rows = [row for split in splits for row in candidates(values, split)]
    broken = {"base", "s1"}
    rows = [
        replace(row, metrics={**row.metrics, "truncated": 0.75}) if row.candidate in broken else row for row in rows
    ]
    weights = dict.fromkeys(values, 1.3)
    gone = evaluation("gone", weights, dict.fromkeys(values, 0.3), "search")
    gone = replace(gone, status="partial", n_prompts=3)
    poor = evaluation("poor", weights, dict.fromkeys(values, 0.4) | {"positive": -1.6}, "search")
    return make_run(run_dir, values, [*rows, gone, poor], LIMITS)


@pytest.mark.parametrize("values", [TWO, THREE, FIVE], ids=["two", "three", "five"])
@pytest.mark.parametrize("splits", [["search"], ["search", "held_out"]], ids=["search", "both"])
def test_infeasible_and_partial_candidates_are_shown_as_such(
    tmp_path: Path, values: tuple[str, ...], splits: list[str]
) -> None:
    page = read_page(write_report(left_out_run(tmp_path, values, splits)))

    assert "truncated ≤ 0.5, positive ≥ -1.5" in page.text
    assert "infeasible: truncated 0.75 is 0.25 above 0.5" in page.text
    assert "infeasible: positive -1.6 is 0.1 below -1.5" in page.text
    assert "answered 3 prompts only" in page.text
    assert ("a", {"href": "#left-out"}) in page.tags
    drawn = {trace["name"]: trace for trace in page.figures["pair"]["data"] if "name" in trace}
    assert len(drawn["infeasible"]["x"]) == 3
    assert len(drawn["some prompts only"]["x"]) == 1
    assert "base model" not in drawn, "an infeasible candidate has the marker of infeasible ones"
    assert "answered 3 prompts only" in drawn["some prompts only"]["text"][0]


def test_the_front_leaves_out_what_is_infeasible_but_compares_with_it(tmp_path: Path) -> None:
    frame = ParetoTable(left_out_run(tmp_path, TWO, ["search", "held_out"])).frame()
    points = select_points(frame)
    assert not {"base", "s1", "gone", "poor"} & set(points.front["candidate"])
    assert "base" in [row["candidate"] for row in pick_candidates(points, coefficient_names(TWO))]
    assert list(points.partial["candidate"]) == ["gone"]
    assert set(points.infeasible["candidate"]) == {"base", "s1", "poor"}
    assert not set(points.faint["candidate"])


def test_a_run_in_which_nothing_is_feasible(tmp_path: Path) -> None:
    rows = candidates(TWO, "search")
    page = read_page(write_report(make_run(tmp_path, TWO, rows, {"truncated": Limit(max=0.1)})))
    assert page.text.count("infeasible: truncated 0.125 is 0.025 above 0.1") >= len(rows)
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_a_run_without_constraints_says_nothing_of_them(tmp_path: Path) -> None:
    page = read_page(write_report(make_run(tmp_path, TWO, candidates(TWO, "search"))))
    assert [word for word in ("infeasible", "some prompts only", "Left out") if word in page.text] == []


def test_untrusted_text_stays_text(tmp_path: Path) -> None:
    zero = {"positive": 0.0, "brief": 0.0}
    rows = [
        evaluation(f"base{ATTACK}", zero, {"positive": 0.1, "brief": 0.2}, texts=[(f"ask {ATTACK}", f"say {ATTACK}")]),
        evaluation("broken", zero | {"brief": 0.3}, {}, error=f"raised {ATTACK}"),
    ]

    path = write_report(make_run(tmp_path, TWO, rows))

    html, page = Path(path).read_text(encoding="utf-8"), read_page(path)
    assert "<script>alert" not in html
    assert "<img" not in html.replace(get_plotlyjs(), "")
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"] * 3
    assert all(f"{word} {ATTACK}" in page.text for word in ("ask", "say", "raised"))
    hovers = [text for trace in page.figures["pair"]["data"] for text in trace.get("text", [])]
    assert hovers
    assert not any("<script" in hover or "<img" in hover for hover in hovers)


def test_page_needs_no_network(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path, TWO, candidates(TWO, "search")))

    html = Path(path).read_text(encoding="utf-8")
    assert get_plotlyjs() in html
    own = html.replace(get_plotlyjs(), "")
    assert "http://" not in own
    assert "https://" not in own
    tags = read_page(path).tags
    assert not [tag for tag, attributes in tags if tag == "link" or "src" in attributes]
    policies = [attributes["content"] or "" for tag, attributes in tags if "http-equiv" in attributes]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")


def test_front_table_holds_the_front(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, TWO, candidates(TWO, "held_out"))

    html = Path(write_report(run_dir)).read_text(encoding="utf-8")

    table = re.findall(r'<table id="front-table".*?</table>', html, re.DOTALL)[0]
    shown = re.findall(r'<code title="([^"]*)">', table)
    assert shown == list(ParetoTable(run_dir).front()["candidate"])


def test_staircase_by_hand() -> None:
    front = [(3.0, 1.0), (1.0, 4.0), (2.0, 2.0)]

    assert staircase(front, floor=(0.0, 0.0)) == [
        (0.0, 4.0), (1.0, 4.0),
        (1.0, 2.0), (2.0, 2.0),
        (2.0, 1.0), (3.0, 1.0),
        (3.0, 0.0),
    ]  # fmt: skip
    assert staircase([(1.0, 2.0)], floor=(0.0, 0.0)) == [(0.0, 2.0), (1.0, 2.0), (1.0, 0.0)]
    assert staircase([], floor=(0.0, 0.0)) == []


def test_prompts_are_those_that_differ_most() -> None:
    def scored(positive: float, brief: float) -> ScoredGeneration:
        return ScoredGeneration(Generation("", "", 1, False), {"positive": positive, "brief": brief})

    answers = {
        "same": [scored(0.1, 100), scored(0.1, 100)],
        "tie b": [scored(0.0, 100), scored(0.5, 100)],
        "tie a": [scored(0.5, 100), scored(0.0, 100)],
        "both": [scored(0.0, 200), scored(0.5, 100)],
    }

    assert pick_prompts(answers, TWO) == ["both", "tie a", "tie b", "same"]


def test_columns_are_references_then_the_spread_of_the_front(tmp_path: Path) -> None:
    rewards = {"a": (0.9, 0.1), "b": (0.88, 0.12), "c": (0.5, 0.5), "d": (0.12, 0.88), "e": (0.1, 0.9)}
    rows = [
        evaluation(name, {"positive": 0.1 * index, "brief": 1.3}, {"positive": positive, "brief": brief})
        for index, (name, (positive, brief)) in enumerate(rewards.items())
    ]
    base = evaluation("base", {"positive": 0.0, "brief": 0.0}, {"positive": 0.0, "brief": 0.0})
    alone = evaluation("alone", {"positive": 0.0, "brief": 1.0}, {"positive": 0.0, "brief": 0.3})
    frame = ParetoTable(make_run(tmp_path, TWO, [*rows, alone, base])).frame()

    picked = pick_candidates(select_points(frame), coefficient_names(TWO))

    assert [row["candidate"] for row in picked] == ["base", "alone", "e", "c", "a"]
    assert [candidate_label(row, coefficient_names(TWO)) for row in picked][:3] == [
        "base model",
        "brief alone",
        "positive 0.4, brief 1.3",
    ]


def test_a_run_with_blocks_of_layers_has_its_report(tmp_path: Path) -> None:
    """Both blocks of a value alike are what they are without blocks; a coefficient for each is written out."""
    rows = [row for split in ("search", "held_out") for row in candidates(TWO, split)]
    odd = replace(rows[-1], candidate="odd", coefficients=rows[-1].coefficients | {"positive": 0.25, "brief": -1.0})
    blocked = in_blocks([*rows, odd], 2)
    blocked[-1] = replace(blocked[-1], coefficients=blocked[-1].coefficients | {"brief_block2": 1.5})
    run_dir = make_run(tmp_path, TWO, blocked)
    state = replace(RunState.load(run_dir), blocks=2)
    state.save(run_dir)
    page = Path(write_report(run_dir)).read_text(encoding="utf-8")
    assert (run_dir / "front.png").stat().st_size > 10_000
    assert "2 blocks of layers" in page
    assert all(f"w {name}</th>" in page for names in state.coefficients.values() for name in names)
    points = select_points(ParetoTable(run_dir).frame())
    labels = [candidate_label(row, state.coefficients) for row in pick_candidates(points, state.coefficients)]
    assert labels[:3] == ["base model", "positive alone", "brief alone"]
    (found,) = points.main[points.main["candidate"] == "odd"].to_dict("records")
    assert candidate_label(found, state.coefficients) == "positive 0.25/0.25, brief −1/1.5"


def test_comparison_does_not_depend_on_the_order_of_evaluations(tmp_path: Path) -> None:
    rows = candidates(TWO, "held_out")
    comparisons = []
    for name, ordered in (("forward", rows), ("backward", rows[::-1])):
        table = ParetoTable(make_run(tmp_path / name, TWO, ordered))
        comparison = compare(select_points(table.frame()), coefficient_names(TWO), table.generations)
        assert comparison is not None
        comparisons.append(([label for label, _ in comparison.columns], comparison.rows))

    assert comparisons[0] == comparisons[1]
    assert len(comparisons[0][1]) == 6


def test_no_comparison_without_texts(tmp_path: Path) -> None:
    base = evaluation("base", {"positive": 0.0, "brief": 0.0}, {"positive": 0.0, "brief": 0.0})
    table = ParetoTable(make_run(tmp_path, TWO, [base]))

    assert compare(select_points(table.frame()), coefficient_names(TWO), table.generations) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.0001, "0.000"), (-12.34, "−12.3"), (None, "–"), (float("nan"), "–")]
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text
