"""Pairs of published data sets in their real shapes, from files and the hub loader, and what is said of bad rows."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mva_ray.config.values import PairSource
from mva_ray.data.source import PairData, pairs_hash, read_pairs, read_source
from mva_ray.errors import ConfigError
from mva_ray.records import PreferencePair

REAL_HH = Path(__file__).parents[2].parent / "shared" / "data" / "hh-rlhf-harmless-base" / "pairs.jsonl.gz"

Row = dict[str, Any]


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def hh(*said: str) -> str:
    return "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {text}" for i, text in enumerate(said))


def write_lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Reads rows as JSONL and as Parquet, and sees to it that both give the same."""

    def read_both(rows: list[Row], **options: Any) -> PairData:
        lines = read_source(PairSource(path=str(write_lines(tmp_path / "a.jsonl", rows)), **options))
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        table = read_source(PairSource(path=str(tmp_path / "a.parquet"), **options))
        assert (table.pairs, table.ties, table.unrated) == (lines.pairs, lines.ties, lines.unrated)
        assert [bad.reason for bad in table.rejected] == [bad.reason for bad in lines.rejected]
        return lines

    return read_both


def bad(data: PairData) -> list[tuple[str, str]]:
    return [(row.place, row.reason) for row in data.rejected]


def test_plain_pairs_are_taken_as_written(read: Any) -> None:
    data = read([{"prompt": "p ", "chosen": " c", "rejected": "r\n", "source": 1}])
    assert data.pairs == (PreferencePair("p ", " c", "r\n"),)
    assert (data.format, data.rows) == ("pairs", 1)


def test_messages_of_ultrafeedback_binarized(read: Any) -> None:
    """`chosen` and `rejected` repeat the prompt, which is also there as text."""
    sides = {side: [message("user", "Why?"), message("assistant", side)] for side in ("chosen", "rejected")}
    data = read([{"prompt": "Why?", "prompt_id": "1", **sides, "score_chosen": 8.0, "score_rejected": 3.0}])
    assert data.pairs == (PreferencePair((("user", "Why?"),), "chosen", "rejected"),)


def test_messages_without_a_prompt_column(read: Any) -> None:
    start = [message("system", "s"), message("user", "a"), message("assistant", "b"), message("user", "c")]
    data = read([{"chosen": [*start, message("assistant", "d")], "rejected": [*start, message("assistant", "e")]}])
    turns = (("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    assert data.pairs == (PreferencePair(turns, "d", "e"),)


@pytest.mark.parametrize("prompt", ["a", [message("user", "a")]])
def test_messages_after_a_prompt(read: Any, prompt: Any) -> None:
    """As TRL takes them: the answers alone in `chosen` and `rejected`."""
    data = read([{"prompt": prompt, "chosen": [message("assistant", "d")], "rejected": [message("assistant", "e")]}])
    assert data.pairs == (PreferencePair((("user", "a"),), "d", "e"),)


def test_dialogues_of_hh(read: Any) -> None:
    """Of several turns; the answers may begin alike, and an answer may have a blank line in it."""
    rows = [
        {"chosen": hh("Hi", "Yes?", "So", "I do\n\nnot"), "rejected": hh("Hi", "Yes?", "So", "I do")},
        {"chosen": hh("Hi", "Yes"), "rejected": hh("Hi", "No")},
        {"chosen": hh("Hi", ""), "rejected": hh("Hi", "No")},
        {"chosen": hh("Hi", "Yes"), "rejected": hh("Ho", "Yes")},
        {"chosen": hh("Hi", "Yes"), "rejected": hh("Hi")},
        {"chosen": "Hi", "rejected": hh("Hi", "No")},
    ]
    data = read(rows)
    assert data.format == "dialogues"
    assert data.pairs == (
        PreferencePair((("user", "Hi"), ("assistant", "Yes?"), ("user", "So")), "I do\n\nnot", "I do"),
        PreferencePair((("user", "Hi"),), "Yes", "No"),
    )
    assert bad(data) == [
        ("line 3", "chosen is empty"),
        ("line 4", "no common prompt"),
        ("line 5", "rejected has no answer"),
        ("line 6", "no dialogue"),
    ]


def safe_rlhf(better: Any, safer: Any, **more: Any) -> Row:
    flags = {"is_response_0_safe": True, "is_response_1_safe": False, "response_0_sha256": "0"}
    ids = {"better_response_id": better, "safer_response_id": safer}
    return {"prompt": "p", "response_0": "a", "response_1": "b", **flags, **ids, **more}


def test_two_values_from_one_file_of_safe_rlhf(read: Any) -> None:
    rows = [safe_rlhf(0, 1), safe_rlhf(1, 1)]
    better, safer = (read(rows, preference=preference) for preference in ("better", "safer"))
    assert better.format == safer.format == "safe_rlhf"
    assert [pair.chosen for pair in better.pairs] == ["a", "b"]
    assert [pair.chosen for pair in safer.pairs] == ["b", "b"]
    assert [pair.rejected for pair in safer.pairs] == ["a", "a"]


def test_bad_rows_of_safe_rlhf(read: Any) -> None:
    rows = [safe_rlhf(-1, 0), safe_rlhf(None, 0), safe_rlhf(1, 0, response_1=""), safe_rlhf(1, 0, response_0="b")]
    assert bad(read(rows, preference="better")) == [
        ("line 1", "better_response_id is not 0 or 1"),
        ("line 2", "better_response_id is not 0 or 1"),
        ("line 3", "response_1 is empty"),
        ("line 4", "equal answers"),
    ]


def helpsteer(prompt: str, response: str, helpfulness: Any, verbosity: Any = 1) -> Row:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "verbosity": verbosity}


HELPSTEER = [
    helpsteer("p", "a", 3, 0),
    helpsteer("q", "x", 2),
    helpsteer("p", "b", 1, 2),
    helpsteer("q", "y", 2),
    helpsteer("p", "c", 4, 1),
    helpsteer("alone", "z", 4),
]


def test_scores_of_helpsteer(read: Any) -> None:
    """Rows of one prompt belong together wherever they stand: best against worst, ties and single ones counted."""
    data = read(HELPSTEER, attribute="helpfulness")
    assert data.pairs == (PreferencePair("p", "c", "b", chosen_reward=4, rejected_reward=1),)
    assert (data.format, data.rows, data.ties, data.unrated) == ("scores", 6, 2, 0)
    assert [(pair.chosen, pair.rejected) for pair in read(HELPSTEER, attribute="verbosity").pairs] == [("b", "a")]


@pytest.mark.parametrize(("least", "pairs"), [(0.5, 1), (3.0, 1), (3.5, 0)])
def test_the_least_difference_of_scores(read: Any, least: float, pairs: int) -> None:
    data = read(HELPSTEER, attribute="helpfulness", min_difference=least)
    assert (len(data.pairs), data.ties) == (pairs, 3 - pairs)


def test_prompts_of_several_turns_in_helpsteer2(read: Any) -> None:
    prompt = "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc"
    [pair] = read([helpsteer(prompt, "x", 1), helpsteer(prompt, "y", 0)], attribute="helpfulness").pairs
    assert pair.prompt == (("user", "a"), ("assistant", "b"), ("user", "c"))


def ultrafeedback(*ratings: str) -> Row:
    completions = [
        {
            "model": f"m{number}",
            "response": f"answer {number}",
            "annotations": {"honesty": {"Rating": rating, "Rationale": "r"}, "helpfulness": {"Rating": "3"}},
            "overall_score": float(number),
        }
        for number, rating in enumerate(ratings)
    ]
    return {"source": "flan", "instruction": f"Do {' '.join(ratings)}", "completions": completions}


def test_ratings_of_ultrafeedback(read: Any) -> None:
    """Ratings are texts there, and some responses have none: they take no part."""
    rows = [ultrafeedback("2", "5", "1", "4"), ultrafeedback("N/A", "3", "N/A", "2"), ultrafeedback("3", "N/A")]
    data = read(rows, attribute="honesty")
    assert [(pair.prompt, pair.chosen, pair.rejected, pair.chosen_reward) for pair in data.pairs] == [
        ("Do 2 5 1 4", "answer 1", "answer 2", 5.0),
        ("Do N/A 3 N/A 2", "answer 1", "answer 3", 3.0),
    ]
    assert (data.ties, data.unrated, data.rejected) == (1, 3, ())
    assert [pair.chosen for pair in read(rows, attribute="overall_score").pairs] == ["answer 3", "answer 3", "answer 1"]
    assert read(rows, attribute="helpfulness").ties == 3


def test_safety_of_beavertails(read: Any) -> None:
    rows = [{"prompt": "p", "response": text, "is_safe": safe} for text, safe in (("a", False), ("b", True))]
    assert [pair.chosen for pair in read(rows, attribute="is_safe").pairs] == ["b"]


def test_scores_in_columns(read: Any) -> None:
    data = read(
        [
            {"prompt": "p", "completions": ["a", "b"], "kind": [0.1, 0.9]},
            {"prompt": "q", "completions": ["a", "b"], "kind": [0.1]},
        ],
        attribute="kind",
    )
    assert [pair.chosen for pair in data.pairs] == ["b"]
    assert bad(data) == [("line 2", "kind does not fit")]


def test_bad_scores(tmp_path: Path) -> None:
    rows = [helpsteer("p", "a", float("nan")), helpsteer("p", "b", "high"), helpsteer("p", "c", float("inf"))]
    rows += [helpsteer("p", "d", [1]), {"prompt": "p", "response": "e"}, helpsteer("p", "", 1)]
    rows += [{"prompt": "p", "completions": "a"}, {"prompt": "p", "completions": [3]}]
    path = write_lines(tmp_path / "a.jsonl", rows)
    data = read_source(PairSource(path=str(path), attribute="helpfulness"))
    assert [reason for _, reason in bad(data)] == [
        *["helpfulness is no finite number"] * 4,
        "helpfulness is missing",
        "response is empty",
        "completions is no list",
        "completion is no mapping",
    ]
    assert data.rejected[4].text == "there is no 'helpfulness'; there are prompt, response"
    assert data.pairs == ()


def test_equal_responses_with_other_scores_are_a_tie(read: Any) -> None:
    assert read([helpsteer("p", "a", 1), helpsteer("p", "a ", 2)], attribute="helpfulness").ties == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (safe_rlhf(0, 1), "it has two responses a row: add `preference: better` or `preference: safer`"),
        (HELPSTEER[0], "it has scores: add `attribute:`, the name of the score to make pairs by"),
    ],
)
def test_a_format_that_needs_a_setting_says_so(tmp_path: Path, row: Row, problem: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [row])
    with pytest.raises(ConfigError) as caught:
        read_source(PairSource(path=str(path)))
    assert (caught.value.source, caught.value.problems) == (str(path), [problem])


def test_a_format_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": hh("Hi", "Yes"), "rejected": hh("Hi", "No")}
    path = str(write_lines(tmp_path / "a.jsonl", [row]))
    [guessed], [named] = read_pairs(PairSource(path=path)), read_pairs(PairSource(path=path, format="dialogues"))
    assert guessed.prompt == "Hi"
    assert named == PreferencePair((("user", "Hi"),), "Yes", "No")


def test_the_format_is_that_of_the_first_row_with_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[]\n" + json.dumps({"chosen": hh("Hi", "Yes"), "rejected": hh("Hi", "No")}))
    data = read_source(PairSource(path=str(path)))
    assert (data.format, len(data.pairs), data.rows) == ("dialogues", 1, 2)


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,chosen,rejected\n"p, q","c\nd",r\n')
    assert read_pairs(PairSource(path=str(tmp_path / "a.csv"))) == (PreferencePair("p, q", "c\nd", "r"),)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "chosen": "c"}\n{"prompt": "p", "chosen": 3, "rejected": "r"}\n')
    with pytest.raises(ConfigError) as caught:
        read_pairs(PairSource(path=str(path)))
    assert caught.value.problems == [
        "line 1: expected a non-empty text for 'rejected', it is missing",
        "line 2: expected a non-empty text for 'chosen', got 3",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "a", "chosen": "b", "rejected": "c"},
            "its columns are question, chosen, rejected; expected prompt, chosen, rejected",
        ),
        (
            {"prompt": "a", "good": "b", "bad": "c"},
            "its columns are prompt, good, bad; expected prompt, chosen, rejected",
        ),
        (
            {"prompt": "a", "response_0": "b", "response_1": "c", "better": 0},
            "its columns are prompt, response_0, response_1, better; expected prompt, response_0, response_1, "
            "better_response_id",
        ),
    ],
)
def test_columns_under_other_names_are_named(tmp_path: Path, row: Row, message: str) -> None:
    """One line for the file, in place of one for every row."""
    path = write_lines(tmp_path / "pairs.jsonl", [row] * 7)
    source = PairSource(path=str(path), preference="better" if "better" in row else None)
    with pytest.raises(ConfigError) as caught:
        read_source(source)
    assert caught.value.problems == [message]


def test_texts_without_prompts_are_taken_for_dialogues(read: Any) -> None:
    data = read([{"chosen": "b", "rejected": "c"}])
    assert bad(data)[0][1] == "no dialogue"


def some_bad(tmp_path: Path, count: int) -> str:
    good = [{"prompt": f"p{i}", "chosen": "c", "rejected": "r"} for i in range(20 - count)]
    return str(write_lines(tmp_path / "a.jsonl", [*good, *[{"prompt": "p", "chosen": "c", "rejected": "c"}] * count]))


def test_bad_rows_up_to_the_limit_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = some_bad(tmp_path, 7)
    with caplog.at_level(logging.WARNING):
        assert len(read_pairs(PairSource(path=path, max_bad_share=0.35))) == 13
    [told] = caplog.messages
    assert told.startswith(
        f"{path}: 7 of 20 rows left out: line 14: 'chosen' and 'rejected' are the same text; line 15"
    )
    assert told.endswith("; and 2 more bad lines")


def test_more_bad_rows_than_the_limit_are_an_error(tmp_path: Path) -> None:
    path = some_bad(tmp_path, 7)
    with pytest.raises(ConfigError) as caught:
        read_pairs(PairSource(path=path, max_bad_share=0.34))
    assert caught.value.problems == [
        *[f"line {n}: 'chosen' and 'rejected' are the same text" for n in range(14, 19)],
        "and 2 more bad lines",
        "7 of 20 rows are bad, more than max_bad_share = 0.34",
    ]


def test_the_limit_takes_the_first_pairs(tmp_path: Path) -> None:
    path = some_bad(tmp_path, 0)
    data = read_source(PairSource(path=path, limit=3))
    assert [pair.prompt for pair in data.pairs] == ["p0", "p1", "p2"]
    assert data.rows == 20


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    source = PairSource(path=some_bad(tmp_path, 0))
    before = read_pairs(source)
    assert read_pairs(source) is before
    some_bad(tmp_path, 1)
    assert len(read_source(source).rejected) == 1


def test_the_loader_of_the_hub(tmp_path: Path) -> None:
    """A data set in a directory is loaded as one of the hub is."""
    rows = [{"chosen": hh("Hi", f"Yes {i}"), "rejected": hh("Hi", "No")} for i in range(3)]
    (tmp_path / "helpful").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "helpful" / "test.parquet")
    source = PairSource(hub=str(tmp_path), data_dir="helpful", split="test")
    assert [pair.chosen for pair in read_pairs(source)] == ["Yes 0", "Yes 1", "Yes 2"]


def test_a_data_set_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as caught:
        read_pairs(PairSource(hub="org/none", config="a", split="test"))
    assert caught.value.source == "org/none (a, test)"
    assert caught.value.problems[0].startswith("the hub does not give it: ConnectionError")


def test_the_hash_covers_what_training_sees() -> None:
    pair = PreferencePair("p", "c", "r")
    others = [
        PreferencePair("q", "c", "r"),
        PreferencePair((("user", "p"),), "c", "r"),
        PreferencePair("p", "r", "c"),
        PreferencePair("p", "c", "r", chosen_finished=False),
        PreferencePair("p", "c", "r", rejected_finished=False),
        PreferencePair("p", "c", "r", weight=0.5),
        PreferencePair("p", "c", "r", margin=0.5),
    ]
    assert len({pairs_hash([each]) for each in (pair, *others)} | {pairs_hash([]), pairs_hash([pair, pair])}) == 10
    assert pairs_hash([pair]) == pairs_hash((PreferencePair("p", "c", "r", chosen_reward=1.0),))


@pytest.mark.skipif(not REAL_HH.is_file(), reason="the HH pairs are not beside the repository")
def test_every_row_of_the_real_hh_pairs_is_read_or_it_is_said_why_not() -> None:
    data = read_source(PairSource(path=str(REAL_HH)))
    assert (data.format, data.rows, len(data.pairs)) == ("dialogues", 1156, 1154)
    assert bad(data) == [("line 44", "chosen is empty"), ("line 259", "chosen is empty")]
    assert max(len(pair.prompt) for pair in data.pairs) == 23
    assert all(pair.prompt[-1][0] == "user" for pair in data.pairs)
    assert data.pairs[0].prompt[-1] == ("user", "okay some of these do not have anything to do with pens")
    assert data.pairs[0].chosen.startswith("No, sorry!  All of these involve a pen, the point is")
