"""Configs with one mistake each and the messages that they get: pairs and prompts."""

from tests.support.malformed.good import A_SOURCE

DATA = {
    # Pairs
    "pairs of no file": (
        "    margin: 0.5",
        "    pairs: 3",
        f"line 12, values[1].pairs: expected {A_SOURCE}, got 3",
    ),
    "pairs of a file and the hub": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, hub: org/pairs}",
        "line 12, values[1].pairs: give exactly one of 'path' (a file) and 'hub' (a data set, org/name)",
    ),
    "pairs of nothing": (
        "    margin: 0.5",
        "    pairs: {limit: 3}",
        "line 12, values[1].pairs: give exactly one of 'path' (a file) and 'hub' (a data set, org/name)",
    ),
    "a file as data set": (
        "    margin: 0.5",
        "    pairs: {hub: ./good.jsonl}",
        "line 12, values[1].pairs.hub: expected the id of a data set on the hub (org/name), got './good.jsonl'; "
        "a local file is a path",
    ),
    "unknown format": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, format: hh}",
        "line 12, values[1].pairs.format: expected one of auto, pairs, dialogues, safe_rlhf, scores, got 'hh'",
    ),
    "unknown preference": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, preference: best}",
        "line 12, values[1].pairs.preference: expected one of better, safer, got 'best'",
    ),
    "revision of a file": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, revision: main}",
        "line 12, values[1].pairs: revision belongs to a data set of the hub",
    ),
    "preference of dialogues": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, format: dialogues, preference: safer}",
        "line 12, values[1].pairs: preference belongs to format safe_rlhf",
    ),
    "attribute and preference": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, attribute: honesty, preference: safer}",
        "line 12, values[1].pairs: attribute belongs to format scores",
    ),
    "difference of nothing": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, min_difference: 1}",
        "line 12, values[1].pairs: min_difference belongs to an attribute",
    ),
    "all rows may be bad": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, max_bad_share: 1}",
        "line 12, values[1].pairs.max_bad_share: expected a number >= 0 and < 1, got 1",
    ),
    "missing file in a mapping": (
        "    margin: 0.5",
        "    pairs: {path: other.jsonl, limit: 2}",
        "line 12, values[1].pairs: DIR/other.jsonl: no such file",
    ),
    "an attribute that is not there": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, format: scores}",
        "line 12, values[1].pairs: DIR/good.jsonl: it has scores: add `attribute:`, the name of the score to make "
        "pairs by",
    ),
    # Prompt files
    "missing prompt file": (
        "train.jsonl",
        "other.jsonl",
        "line 4, prompts.train.path: DIR/other.jsonl: no such file",
    ),
    "prompt file is a directory": (
        "train.jsonl",
        "model",
        "line 4, prompts.train.path: DIR/model: cannot be read: Is a directory",
    ),
    "more prompts than the file has": (
        "{path: train.jsonl}",
        "{path: train.jsonl, count: 9}",
        "line 4, prompts.train.count: 9 is more than the 3 prompts of DIR/train.jsonl",
    ),
    "one prompt": (
        "{path: train.jsonl}",
        "{path: train.jsonl, count: 1}",
        "line 4, prompts.train.count: expected a whole number >= 2, got 1",
    ),
    "a split twice": (
        "held_out.jsonl",
        "search.jsonl",
        "line 6, prompts.held_out.path: a prompt belongs to one split only, and these are in prompts.search too: 'd' "
        "and 1 more",
    ),
    "more answers than there are": (
        "  candidates: 16",
        "  candidates: 16\n  answers: 33",
        "line 16, search.answers: 16 candidates that answer all 2 search prompts need 32: leave it out",
    ),
    "answers for no candidate": (
        "  candidates: 16",
        "  candidates: 16\n  answers: 31",
        "line 16, search.answers: 16 candidates answer at least 2 prompts each, and those on the front all 2: "
        "give at least 32, got 31",
    ),
}
