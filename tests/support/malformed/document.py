"""Configs with one mistake each and the messages that they get: the file as YAML and its keys."""

from tests.support.malformed.good import A_MODEL, A_NAME, GOOD, RUN_KEYS

DOCUMENT = {
    # The file as YAML
    "empty file": (GOOD, "", "the file is empty; expected the keys of a run, such as name and base_model"),
    "only a comment": (GOOD, "# later\n", "the file is empty; expected the keys of a run, such as name and base_model"),
    "a list": (GOOD, "- name: demo\n", "expected a mapping (key: value) at the top, got a list"),
    "a text": (GOOD, "demo\n", "expected a mapping (key: value) at the top, got a single value"),
    "yaml syntax": (
        "base_model: org/model",
        "base_model: org: model",
        "line 2: not valid YAML: mapping values are not allowed here",
    ),
    "yaml indentation": (
        "  candidates: 16",
        "  candidates: 16\n population: 4",
        "line 16: not valid YAML: expected <block end>, but found '<block mapping start>'",
    ),
    "yaml tag": (
        "name: demo",
        "name: !!python/name:os.system x",
        "line 1: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/name:os.system'",
    ),
    "two documents": (
        "search:\n",
        "---\nsearch:\n",
        "line 14: not valid YAML: but found another document",
    ),
    "control character": (
        "demo",
        "de\x01mo",
        "not valid YAML: unacceptable character #x0001: special characters are not allowed",
    ),
    "contains itself": (
        "search:\n",
        "seed: &a [*a]\nsearch:\n",
        "an entry contains itself (an alias inside its own anchor)",
    ),
    "key twice": (
        "    margin: 0.5",
        "    margin: 0.5\n    margin: 0.7",
        "line 13, values[1].margin: given twice, first on line 12; keep one",
    ),
    # Keys
    "unknown key, near": (
        "candidates: 16",
        "candidate: 16",
        "line 15, search.candidate: unknown key; did you mean 'candidates'?",
    ),
    "unknown key, far": ("search:\n", "xyz: 1\nsearch:\n", f"line 14, xyz: unknown key; known keys: {RUN_KEYS}"),
    "unknown key in a value": (
        "    margin: 0.5",
        "    margn: 0.5",
        "line 12, values[1].margn: unknown key; did you mean 'margin'?",
    ),
    "key that is a number": ("search:\n", "7: 1\nsearch:\n", f"line 14, 7: unknown key; known keys: {RUN_KEYS}"),
    "no name": ("name: demo\n", "", f"name is missing: expected {A_NAME}"),
    "no base model": ("base_model: org/model\n", "", f"base_model is missing: expected {A_MODEL}"),
    "no held-out prompts": (
        "  held_out: {path: held_out.jsonl}\n",
        "",
        "line 3, prompts: held_out is missing: expected a mapping with path, count",
    ),
    "no values": (
        GOOD[GOOD.index("values:") : GOOD.index("search:\n")],
        "",
        "values is missing: expected a list of at least 2 values, each with name and reward",
    ),
}
