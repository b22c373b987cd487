"""Every error a user can meet. Each message says what is wrong, where, and what would be right."""

from collections.abc import Sequence


def last_line(text: object) -> str:
    """The last line of a long error text: Ray's and pip's end with what went wrong."""
    lines = str(text).strip().splitlines()
    return lines[-1] if lines else type(text).__name__


class MvaError(Exception):
    """Base of all expected errors: shown as one line (or list) without a traceback."""

    exit_code = 1


class ConfigError(MvaError):
    """Bad input: a config, a prompt file, a query. Carries every problem found, not the first.

    Args:
        source: the file (or command) the problems are in.
        problems: one line a problem, each naming the key or line and what would be right.
    """

    exit_code = 2

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = list(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.source}: {self.problems[0]}"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        return f"{self.source}: {len(self.problems)} problems\n{lines}"


class RunError(MvaError):
    """A run cannot go on (most candidates fail, training diverged, no pairs survived the margin)."""


class CandidateFailure(Exception):
    """One candidate cannot be evaluated; the search goes on.

    Args:
        kind: one of those that docs/table.md lists.
        message: the cause in one line.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(kind, message)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
