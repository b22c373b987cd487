"""The report is written whole, is safe to open, and says the same in both forms."""

import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mva_ray.compare.report import write_comparison
from mva_ray.compare.results import ComparisonResult, JudgedPair, JudgeResult
from mva_ray.run_dir.stores import store_at
from tests.support.comparisons import make_result

NASTY = "<script>alert(1)</script> | `x` [a](b) 'q' \"w\""


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def result() -> ComparisonResult:
    made = make_result(prompts=6, layers=3)
    pair = JudgedPair(
        first="mva", second="soup", seed=11, first_wins=3, second_wins=1, ties=1, contradictions=1, missing=1
    )
    named = made.methods[0].model_copy(update={"description": NASTY, "failures": [NASTY]})
    judged = JudgeResult(model="judge-7b", preference={"brief": 1, "thorough": 2}, pairs=[pair])
    return made.model_copy(update={"methods": [named, *made.methods[1:]], "judge": judged})


@pytest.fixture(scope="module")
def written(result: ComparisonResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("comparison") / "not_there_yet"
    assert write_comparison(result, directory) == str(directory / "report.html")
    return directory


def test_every_part_is_there_in_both_forms(written: Path) -> None:
    titles = re.findall(r"^## (.*)$", (written / "README.md").read_text(), re.MULTILINE)
    assert titles == [
        "Verdict",
        "Fronts on held-out prompts",
        "One value at an equal other",
        "Win rate by rewards",
        "Answers side by side",
        "Win rate by a judge",
        "Hypervolume",
        "Coverage",
        "Interference of the adapters",
        "Single values against plain DPO",
        "Sensitivity to alpha",
        "Failures",
        "How this was measured",
    ]
    page = (written / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == titles[1:]
    assert 'class="verdict"' in page


def test_the_page_needs_nothing_from_outside_and_runs_nothing(written: Path) -> None:
    page = Page((written / "report.html").read_text())
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert any(NASTY in text for text in page.texts), "shown as text"


def test_the_markdown_shows_pictures_that_are_there_and_whole_tables(written: Path) -> None:
    text = (written / "README.md").read_text()
    pictures = re.findall(r"!\[.*\]\((.*?)\)", text)
    assert sorted(pictures) == sorted(path.name for path in written.glob("*.png"))
    for picture in pictures:
        header = (written / picture).read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", header[16:])) > 300
    assert "<script>" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_the_command_is_in_both(result: ComparisonResult, written: Path) -> None:
    for name in ("README.md", "report.html"):
        assert result.command in (written / name).read_text()


def test_the_judge_is_reported_with_its_contradictions(written: Path) -> None:
    text = (written / "README.md").read_text()
    assert "Of 5 comparisons 1 were ties, 1 of them because the same position won twice" in text
    assert "for want of a usable answer: 1." in text
    assert "preference weights brief 1, thorough 2" in text


def test_more_values(tmp_path: Path) -> None:
    write_comparison(make_result(("brief", "thorough", "positive", "plain"), prompts=5, layers=2), tmp_path)
    assert not (tmp_path / "fronts_by_method.png").exists()
    assert (tmp_path / "fronts.png").stat().st_size > 10_000


def test_of_three_values_each_is_shown_at_an_equal_other(tmp_path: Path) -> None:
    write_comparison(make_result(("brief", "thorough", "positive"), prompts=5, layers=2), tmp_path)
    shown = (tmp_path / "README.md").read_text()
    assert shown.count(", at equal ") == 6
    assert "positive, at equal brief, whatever thorough is" in shown


def test_a_comparison_that_has_just_begun(result: ComparisonResult, tmp_path: Path) -> None:
    empty: dict[str, object] = {"methods": [], "singles": [], "interference": [], "alphas": [], "judge": None}
    write_comparison(result.model_copy(update=empty), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "There is no result for mva" in text
    assert not list(tmp_path.glob("*.png"))


def test_methods_that_all_failed_and_one_prompt(result: ComparisonResult, tmp_path: Path) -> None:
    made = make_result(prompts=1, layers=1).model_copy(update={"interference": [], "alphas": []})
    failed = [run.model_copy(update={"candidates": []}) if run.name == "soup" else run for run in made.methods]
    write_comparison(made.model_copy(update={"methods": failed}), tmp_path / "some")
    none = [run.model_copy(update={"candidates": []}) for run in made.methods]
    write_comparison(made.model_copy(update={"methods": none}), tmp_path / "none")
    assert "There is no result for mva" in (tmp_path / "none" / "README.md").read_text()


def test_at_a_url_the_same_files_are_written(s3: str, tmp_path: Path) -> None:
    result = make_result(("brief", "thorough"), prompts=5, layers=1)
    assert write_comparison(result, s3) == f"{s3}/report.html"
    write_comparison(result, tmp_path)
    store = store_at(s3)
    assert store.names("") == [name for name in store_at(tmp_path).names("") if name != "cache"]
    assert store.read("README.md") == (tmp_path / "README.md").read_bytes()
