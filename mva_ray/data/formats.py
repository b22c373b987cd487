"""What published preference data look like, row by row, and how each shape becomes pairs."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mva_ray.data.dialogues import HH_TURN, helpsteer_prompt, hh_turns, make_pair, message_turns, pair_of_dialogues
from mva_ray.data.files import BadRow, shown, text_of
from mva_ray.data.pairs import best_and_worst
from mva_ray.records import PreferencePair, Prompt

Columns = Mapping[str, Any]

UNRATED = (None, "", "N/A")
"""How UltraFeedback and others say that a response has no score."""


class Rated(NamedTuple):
    """One response and its score, higher is better, None where it has none."""

    prompt: Prompt
    response: str
    score: float | None


def detect_format(row: Columns) -> str:
    """The format of a file by the columns of one of its rows."""
    if "response_0" in row and "response_1" in row:
        return "safe_rlhf"
    if "completions" in row or ("response" in row and "chosen" not in row):
        return "scores"
    if "prompt" not in row and _is_dialogue(row):
        return "dialogues"
    return "pairs"


def wanted_columns(found: str, row: Columns, preference: str | None, attribute: str | None) -> tuple[str, ...]:
    """The columns of a format, with other names that a row has for them."""
    if found == "scores":
        prompt = "instruction" if "instruction" in row else "prompt"
        return (prompt, "completions") if "completions" in row else (prompt, "response", str(attribute))
    return {
        "pairs": ("prompt", "chosen", "rejected"),
        "dialogues": ("chosen", "rejected"),
        "safe_rlhf": ("prompt", "response_0", "response_1", f"{preference}_response_id"),
    }[found]


def pair_of_row(row: Columns) -> PreferencePair:
    """`prompt`, `chosen`, `rejected`: texts, or lists of messages that may hold the whole conversation.

    Raises:
        BadRow: see `make_pair`, `pair_of_dialogues`.
    """
    if not any(isinstance(row.get(key), list) for key in ("prompt", "chosen", "rejected")):
        return make_pair(text_of(row, "prompt"), text_of(row, "chosen"), text_of(row, "rejected"))
    chosen, rejected = (_turns(row, key, "assistant") for key in ("chosen", "rejected"))
    if chosen[0][0] == "assistant" == rejected[0][0]:
        prompt = _turns(row, "prompt", "user")
        chosen, rejected = prompt + chosen, prompt + rejected
    return pair_of_dialogues(chosen, rejected)


def pair_of_hh(row: Columns) -> PreferencePair:
    """Anthropic HH (arXiv 2204.05862): `chosen` and `rejected` are whole dialogues.

    Raises:
        BadRow: see `hh_turns`, `pair_of_dialogues`.
    """
    return pair_of_dialogues(hh_turns(text_of(row, "chosen")), hh_turns(text_of(row, "rejected")))


def pair_of_safe_rlhf(row: Columns, preference: str) -> PreferencePair:
    """PKU-SafeRLHF (arXiv 2406.15513): two responses, and which of them is the better and which the safer one.

    Args:
        row: `prompt`, `response_0`, `response_1`, `better_response_id`, `safer_response_id` (0 or 1).
        preference: "better" or "safer".

    Raises:
        BadRow: a column is missing or of the wrong kind, or the responses are equal.
    """
    prompt, *responses = (text_of(row, key) for key in ("prompt", "response_0", "response_1"))
    key = f"{preference}_response_id"
    if str(row.get(key)) not in ("0", "1"):
        found = "it is missing" if key not in row else f"got {shown(row[key])}"
        raise BadRow(f"{key} is not 0 or 1", f"expected 0 or 1 for {key!r}, {found}")
    chosen = int(row[key])
    return make_pair(prompt, responses[chosen], responses[1 - chosen])


def rated_responses(row: Columns, attribute: str) -> list[Rated]:
    """The rated responses of a row, in one of three shapes.

    HelpSteer, HelpSteer2: `prompt`, `response` and a number in the column of the attribute; BeaverTails likewise, with
    `is_safe` true (1) or false (0). UltraFeedback: `instruction` and `completions`, each with `response` and
    `annotations[attribute]["Rating"]` or the attribute itself (`overall_score`). Otherwise `prompt`, `completions`
    (texts) and as many numbers in the attribute's column.

    Raises:
        BadRow: a column is missing or of the wrong kind, or a score is not finite.
    """
    prompt = helpsteer_prompt(text_of(row, "instruction" if "instruction" in row else "prompt"))
    completions = row.get("completions", [row])
    if not isinstance(completions, list):
        raise BadRow("completions is no list", f"expected a list for 'completions', got {shown(completions)}")
    if completions and isinstance(completions[0], str):
        completions = _in_columns(completions, row, attribute)
    return [Rated(prompt, text_of(each, "response"), _score(each, attribute)) for each in map(_mapping, completions)]


def best_against_worst_rated(rated: Iterable[Rated], min_difference: float) -> Iterator[PreferencePair | None]:
    """For each prompt its best against its worst response, None where they are closer than the least difference."""
    of_prompt: dict[Prompt, list[tuple[str, float]]] = {}
    for prompt, response, score in rated:
        responses = of_prompt.setdefault(prompt, [])
        if score is not None:
            responses.append((response, score))
    for prompt, responses in of_prompt.items():
        found = best_and_worst([score for _, score in responses], min_difference)
        yield _rated_pair(prompt, *(responses[index] for index in found)) if found else None


def _is_dialogue(row: Columns) -> bool:
    chosen = row.get("chosen")
    return isinstance(chosen, str) and (HH_TURN.match(chosen) is not None or row.keys() <= {"chosen", "rejected"})


def _rated_pair(prompt: Prompt, best: tuple[str, float], worst: tuple[str, float]) -> PreferencePair | None:
    if best[0].strip() == worst[0].strip():
        return None
    return PreferencePair(prompt, best[0], worst[0], chosen_reward=best[1], rejected_reward=worst[1])


def _turns(row: Columns, key: str, role: str) -> tuple[tuple[str, str], ...]:
    return ((role, row[key].strip()),) if isinstance(row.get(key), str) else message_turns(row, key)


def _in_columns(completions: list[Any], row: Columns, attribute: str) -> list[dict[str, Any]]:
    scores = row.get(attribute)
    if not isinstance(scores, list) or len(scores) != len(completions):
        found = "it is missing" if attribute not in row else f"got {shown(scores)}"
        expected = f"a list of {len(completions)} scores, one a completion, for {attribute!r}"
        raise BadRow(f"{attribute} does not fit", f"expected {expected}, {found}")
    return [{"response": text, attribute: score} for text, score in zip(completions, scores, strict=True)]


def _mapping(completion: Any) -> Columns:
    if not isinstance(completion, dict):
        raise BadRow("completion is no mapping", f"expected completions with response, got {shown(completion)}")
    return completion


def _score(response: Columns, attribute: str) -> float | None:
    annotations = response.get("annotations")
    if isinstance(annotations, dict) and attribute in annotations:
        score = annotations[attribute]
        score = score.get("Rating") if isinstance(score, dict) else score
    elif attribute in response:
        score = response[attribute]
    else:
        known = ", ".join([*(annotations or {}), *(key for key in response if key != "annotations")])
        raise BadRow(f"{attribute} is missing", f"there is no {attribute!r}; there are {known[:200]}")
    return None if score in UNRATED else _number(score, attribute)


def _number(score: Any, attribute: str) -> float:
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRow(
            f"{attribute} is no finite number", f"expected a finite number for {attribute!r}, got {shown(score)}"
        )
    return number
