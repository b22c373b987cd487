"""Every error a user can meet. Each message says what is wrong, where, and what would be right."""

import errno
from collections.abc import Sequence

NO_SPACE = "No space left on device"
GOES_ON = "what was computed is kept, and the same command goes on from here"


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


class NoRoom(RunError):
    """The machines do not have what is asked for, and have not got it in time: nothing that needs it can go on."""


class Interrupted(BaseException):
    """A person or the system asked the process to stop. Nobody's `except Exception` may keep it from doing so.

    Args:
        signal: its number; the exit code is the shell's, 128 more.
    """

    def __init__(self, signal: int) -> None:
        self.exit_code = 128 + signal
        super().__init__(signal)

    def __str__(self) -> str:
        return f"interrupted: {GOES_ON}"


def told(error: MvaError | Interrupted) -> str:
    """What a command says last."""
    return str(error) if isinstance(error, Interrupted) else f"error: {error}"


def out_of_space(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a disk that is full; libraries say so in many classes of their own."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (
        full
        or NO_SPACE.lower() in str(error).lower()
        or (error.__cause__ is not None and out_of_space(error.__cause__))
    )


class DamagedFile(RunError):
    """A file of a run that is not what was written: cut short, changed by hand, or of another program.

    Args:
        path: the file.
        problem: what is wrong with it.
        remedy: what can be done.
    """

    def __init__(
        self, path: object, problem: str, remedy: str = "delete it, and what it held is computed again"
    ) -> None:
        super().__init__(f"{path} is damaged: {problem}; {remedy}")


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
