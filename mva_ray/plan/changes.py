"""What a changed config invalidates, as people read it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line a setting that differs: `training.steps: 24 -> 30`.

    A file that has moved with its name is none: jobs of a cluster find theirs in another directory each time, and
    whether its content differs is for the keys to say.
    """
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += changed_settings(old, new, f"{prefix}{name}.")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            first, second = ({f"{name}[{index}]": entry for index, entry in enumerate(each)} for each in (old, new))
            lines += changed_settings(first, second, prefix)
        elif old != new and not _has_moved(old, new):
            lines.append(f"{prefix}{name}: {json.dumps(old)} -> {json.dumps(new)}")
    return lines


def _has_moved(old: Any, new: Any) -> bool:
    paths = [Path(each) for each in (old, new) if isinstance(each, str)]
    return len(paths) == 2 and all(path.is_absolute() for path in paths) and paths[0].name == paths[1].name
