"""A call to another process that does not come back."""


class ProcessEnded(Exception):
    """The process that worked on a call has ended. Another takes its place; who is to blame, nobody knows yet.

    Args:
        kind: of the failure of a candidate that is to blame.
        message: how it ended, in one line that goes on after what ended.
        by_chance: whether the call may have nothing to do with it, as where a machine was lost.
    """

    def __init__(self, kind: str, message: str, by_chance: bool = True) -> None:
        self.kind = kind
        self.message = message
        self.by_chance = by_chance
        super().__init__(kind, message, by_chance)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
