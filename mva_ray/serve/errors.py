"""What a request is refused with, in the one shape that clients of OpenAI's protocol read."""

from typing import Any

KINDS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "TimeoutError",
    409: "ConflictError",
    413: "RequestTooLargeError",
    429: "RateLimitError",
    500: "InternalServerError",
}


class Refused(Exception):
    """A request that cannot be answered.

    Args:
        message: what is wrong, and what would be right.
        param: the field that is wrong, None where it is none.
        status: of the HTTP answer.
    """

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        self.message = message
        self.param = param
        self.status = status
        super().__init__(message, param, status)

    def body(self) -> dict[str, Any]:
        return error_body(self.message, self.param, self.status)


def error_body(message: str, param: str | None, status: int) -> dict[str, Any]:
    kind = KINDS.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
