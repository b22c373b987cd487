"""Dialogues: from text or messages to turns, and from two dialogues to a prompt with two answers."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby, takewhile
from typing import Any

from mva_ray.data.files import BadRow, shown, text_of
from mva_ray.records import PreferencePair, Prompt, Turn

Turns = tuple[Turn, ...]

ROLES = ("system", "user", "assistant")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
HH_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
"""How Anthropic's HH begins a turn."""

HELPSTEER_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
"""How HelpSteer2 begins every turn of a prompt but the first, which is the user's."""


def hh_turns(text: str) -> Turns:
    """The turns of `\\n\\nHuman: ...\\n\\nAssistant: ...`; a speaker's turns in a row are one.

    Raises:
        BadRow: the text does not begin with such a turn.
    """
    before, *parts = HH_TURN.split(text)
    if before.strip() or not parts:
        raise BadRow("no dialogue", rf"expected a dialogue (\n\nHuman: ...\n\nAssistant: ...), got {shown(text)}")
    return merged((SPEAKERS[speaker], said) for speaker, said in zip(parts[::2], parts[1::2], strict=True))


def helpsteer_prompt(text: str) -> Prompt:
    """A HelpSteer prompt: the text itself, or its turns where it has several."""
    first, *parts = HELPSTEER_TURN.split(text)
    if not parts:
        return text
    later = ((speaker.lower(), said) for speaker, said in zip(parts[::2], parts[1::2], strict=True))
    return merged([("user", first), *later])


def message_turns(row: Mapping[str, Any], key: str) -> Turns:
    """The turns of a list of `{"role": ..., "content": ...}` messages in a column.

    Raises:
        BadRow: it is no such list.
    """
    messages = row.get(key)
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        expected = f"a text or a list of messages with role ({', '.join(ROLES)}) and content"
        found = "it is missing" if key not in row else f"got {shown(messages)}"
        raise BadRow(f"{key} is neither text nor messages", f"expected {expected} for {key!r}, {found}")
    return merged((message["role"], message["content"]) for message in messages)


def merged(turns: Any) -> Turns:
    """Each role's turns in a row as one, without the space around them: chat templates want roles to alternate."""
    groups = groupby(turns, key=lambda turn: turn[0])
    return tuple((role, "\n\n".join(filter(None, (text.strip() for _, text in group)))) for role, group in groups)


def pair_of_dialogues(chosen: Turns, rejected: Turns) -> PreferencePair:
    """Two dialogues that differ in the last turn, which is the assistant's, as a prompt with two answers.

    Raises:
        BadRow: they differ earlier, or do not end with an answer to a user.
    """
    for key, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1][0] != "assistant":
            raise BadRow(f"{key} has no answer", f"{key!r} ends with a {turns[-1][0]} turn; expected the assistant's")
    prompt = chosen[:-1]
    if prompt != rejected[:-1]:
        turn = 1 + sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False)))
        raise BadRow("no common prompt", f"'chosen' and 'rejected' differ before the last answer, in turn {turn}")
    return make_pair(_checked(prompt), chosen[-1][1], rejected[-1][1])


def make_pair(prompt: Prompt, chosen: str, rejected: str) -> PreferencePair:
    """A pair of two answers that are texts and differ.

    Raises:
        BadRow: one is empty, or they are equal but for the space around them.
    """
    answers = {"chosen": chosen, "rejected": rejected}
    for key in answers:
        text_of(answers, key)
    if chosen.strip() == rejected.strip():
        raise BadRow("equal answers", "'chosen' and 'rejected' are the same text")
    return PreferencePair(prompt, chosen, rejected)


def same_prompt(prompt: Prompt) -> Turns:
    """What a prompt is compared by: a text, the same text as a user's turn and as an HH dialogue are one prompt."""
    if not isinstance(prompt, str):
        return prompt
    if not HH_TURN.match(prompt):
        return (("user", prompt.strip()),)
    turns = hh_turns(prompt)
    return turns[:-1] if turns[-1] == ("assistant", "") else turns


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)


def _checked(prompt: Turns) -> Turns:
    roles = [role for role, _ in prompt]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if spoken != _alternating(len(spoken)) or not spoken:
        found = ", ".join(roles) or "nothing"
        raise BadRow("no prompt", f"expected turns user, assistant, ..., user before the answer, got {found}")
    for _, text in prompt:
        text_of({"prompt": text}, "prompt")
    return prompt


def _alternating(length: int) -> Sequence[str]:
    return [("user", "assistant")[index % 2] for index in range(length)] if length % 2 else []
