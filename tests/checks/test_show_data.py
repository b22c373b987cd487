"""`mva-ray data check`: the numbers of every table, what is said where there are none, and errors after the tables."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.prompting import pair_lengths
from mva_ray.checks.show_data import show_data
from mva_ray.errors import ConfigError
from mva_ray.records import PreferencePair

SAFE = [("p", "a", "bb", 0, 1), ("q", "a", "bb", 0, 0), ("r", "a", "bb", 1, 0), ("s", "a", "a", 0, 0)]


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    """Two values from one file, of which one row in four is bad, and one whose pairs are made on-policy."""
    for split in ("train", "search", "held_out"):
        (tmp_path / f"{split}.jsonl").write_text("".join(f'{{"prompt": "{split} {n}"}}\n' for n in range(3)))
    keys = ("prompt", "response_0", "response_1", "better_response_id", "safer_response_id")
    rows = [json.dumps(dict(zip(keys, row, strict=True))) for row in SAFE]
    (tmp_path / "safe.jsonl").write_text("\n".join(rows))
    pairs = {"path": "safe.jsonl", "max_bad_share": 0.25}
    return {
        "name": "demo",
        "base_model": str(tiny_model),
        "prompts": {split: {"path": f"{split}.jsonl"} for split in ("train", "search", "held_out")},
        "values": [
            {"name": "helpful", "reward": "mva_ray.rewards:plain", "pairs": {**pairs, "preference": "better"}},
            {"name": "brief", "reward": "mva_ray.rewards:brief"},
            {"name": "harmless", "reward": "mva_ray.rewards:positive", "pairs": {**pairs, "preference": "safer"}},
        ],
        "training": {"pairs_per_step": 2},
    }


def check(settings: dict[str, Any], directory: Path) -> tuple[list[str], list[list[str]], list[str]]:
    """The lines that are printed, their words (without the / between numbers), and the problems."""
    (directory / "run.yaml").write_text(yaml.safe_dump(settings))
    output, problems = io.StringIO(), []
    try:
        show_data(directory / "run.yaml", output)
    except ConfigError as error:
        problems = [problem.replace(str(directory), "DIR") for problem in error.problems]
    lines = output.getvalue().splitlines()
    return lines, [line.replace("/ ", "").split() for line in lines], problems


def test_every_table(settings: dict[str, Any], tmp_path: Path, tiny_model: Path) -> None:
    lines, words, problems = check(settings, tmp_path)
    assert problems == []
    assert ["helpful", "safe_rlhf", "4", "3", "1", "0", "0"] in words
    assert ["harmless", "safe_rlhf", "4", "3", "1", "0", "0"] in words
    assert ["helpful", "equal", "answers", "1", "line", "4"] in words
    assert any(line.startswith("brief: pairs made by explore") for line in lines)
    assert ["helpful", "3", "0", "0", "0"] in words
    assert ["prompts.search", "3", "0", "-", "0"] in words
    tokens = pair_lengths(load_tokenizer(str(tiny_model)), [PreferencePair("p", "a", "bb")], None)[0]
    longest = str(tokens[2])
    assert ["helpful", *[str(tokens[0])] * 3, *sorted([str(tokens[1]), longest, longest]), "0", "0"] in words
    [conflict] = [line for line in words if line[-1:] == ["66.7%"]]
    assert conflict[-5:-1] == ["3", "3", "1", "2"]
    assert max(map(len, lines)) <= 80


def test_pairs_that_are_too_long_are_counted(settings: dict[str, Any], tmp_path: Path, tiny_model: Path) -> None:
    """As training counts: a prompt that fills max_length leaves the pair out, a longer sum is cut."""
    tokenizer = load_tokenizer(str(tiny_model))
    prompt, shorter, longer = pair_lengths(tokenizer, [PreferencePair("p", "a", "bb")], None)[0]
    assert shorter < longer
    for limit, left_out, cut in (
        (prompt, "3", "0"),
        (prompt + 1, "0", "3"),
        (prompt + longer - 1, "0", "3"),
        (prompt + longer, "0", "0"),
    ):
        settings["training"]["max_length"] = int(limit)
        _, words, _ = check(settings, tmp_path)
        assert [line[-2:] for line in words if line[:2] == ["helpful", str(prompt)]] == [[left_out, cut]]


def test_problems_come_after_the_tables(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["values"][0]["pairs"]["max_bad_share"] = 0.1
    (tmp_path / "held_out.jsonl").write_text('{"prompt": "p"}\n{"prompt": "search 1"}\n')
    _, words, problems = check(settings, tmp_path)
    assert ["helpful", "3", "0", "0", "1"] in words
    assert ["prompts.search", "3", "0", "-", "1"] in words
    assert [problem.partition(": ")[2] for problem in problems] == [
        "a prompt belongs to one split only, and these are in prompts.search too: 'search 1'",
        "DIR/safe.jsonl: line 4: 'chosen' and 'rejected' are the same text",
        "DIR/safe.jsonl: 1 of 4 rows are bad, more than max_bad_share = 0.1",
        "DIR/safe.jsonl trains on prompts that prompts.held_out judges by: 'p'",
        "DIR/safe.jsonl trains on prompts that prompts.held_out judges by: 'p'",
    ]


def test_what_cannot_be_read_is_left_out_of_the_tables(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["values"][0]["pairs"] = "nowhere.jsonl"
    settings["prompts"]["train"]["path"] = "nowhere.jsonl"
    lines, words, problems = check(settings, tmp_path)
    assert [problem.partition(": ")[2] for problem in problems] == ["DIR/nowhere.jsonl: no such file"] * 2
    assert ["harmless", "safe_rlhf", "4", "3", "1", "0", "0"] in words
    assert ["harmless", "3", "0", "0"] in words
    assert not any("Conflict" in line for line in lines)


def test_a_config_that_cannot_be_understood_has_no_tables(settings: dict[str, Any], tmp_path: Path) -> None:
    del settings["training"]
    settings["values"][0]["pairs"]["limit"] = 0
    lines, _, problems = check(settings, tmp_path)
    assert lines == []
    assert problems == ["line 13, values[0].pairs.limit: expected a whole number >= 1, got 0"]


def test_without_the_model_all_but_the_tokens_is_counted(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["base_model"] = "org/none"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        lines, words, problems = check(settings, tmp_path)
    assert problems == []
    assert any(line.startswith("tokens are not counted: model 'org/none' is not in") for line in lines)
    assert ["helpful", "safe_rlhf", "4", "3", "1", "0", "0"] in words


def test_with_pairs_made_on_policy_alone_there_are_splits_only(settings: dict[str, Any], tmp_path: Path) -> None:
    for value in settings["values"]:
        value.pop("pairs", None)
    lines, words, problems = check(settings, tmp_path)
    assert problems == []
    assert sum("pairs made by explore" in line for line in lines) == 3
    assert ["prompts.train", "3", "-", "0", "0"] in words
    assert not any("Conflict" in line or "Tokens" in line for line in lines)
