"""Errors as Kubernetes says them: `Status` documents with code, reason, message and details.

Law: pure. Whatever goes wrong leaves the API as one of these; kubectl prints them well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringmaster_operator import errors, naming
from ringmaster_operator.store import watchlog

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_RESOURCE = f"{naming.PLURAL}.{naming.GROUP}"
_NO_MATCH = "the server could not find the requested resource"


class Problem(errors.RingmasterError):
    """An answer with `code` in place of the one hoped for."""

    def __init__(
        self, code: int, message: str, *, reason: str = "", details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or _REASONS.get(code, "")
        self.details = details or {}

    def document(self) -> dict[str, Any]:
        """The `Status` document."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def bad_request(message: str) -> Problem:
    """400: the request makes no sense."""
    return Problem(400, message)


def no_such_path() -> Problem:
    """404: no resource has this address."""
    return Problem(404, _NO_MATCH)


def not_found(name: str, *, resource: str = _RESOURCE) -> Problem:
    """404: no object has this name."""
    kind, _, group = resource.partition(".")
    details = {"name": name, "group": group, "kind": kind}
    return Problem(404, f'{resource} "{name}" not found', details=details)


def media_type(accepted: Sequence[str]) -> Problem:
    """415, in the words of Kubernetes, from which kubectl makes a helpful message."""
    return Problem(
        415,
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
    )


def invalid(name: str, faults: Sequence[errors.Fault]) -> Problem:
    """422: every fault with its field."""
    said = ", ".join(map(str, faults))
    listed = said if len(faults) == 1 else f"[{said}]"
    return Problem(
        422,
        f'{naming.KIND}.{naming.GROUP} "{name}" is invalid: {listed}',
        details={
            "name": name,
            "group": naming.GROUP,
            "kind": naming.KIND,
            "causes": [
                {"reason": "FieldValueInvalid", "message": fault.message, "field": fault.path}
                for fault in faults
            ],
        },
    )


def of(error: errors.RingmasterError, *, name: str = "") -> Problem:
    """What an error of ours is to a client; `name` is the object that was asked for."""
    about = {"name": name, "group": naming.GROUP, "kind": naming.PLURAL}
    match error:
        case Problem():
            return error
        case errors.SpecInvalidError():
            return invalid(name, error.faults)
        case errors.NotFoundError():
            return not_found(name)
        case errors.AlreadyExistsError():
            message = f'{_RESOURCE} "{name}" already exists'
            return Problem(409, message, reason="AlreadyExists", details=about)
        case errors.ConflictError():
            message = f'Operation cannot be fulfilled on {_RESOURCE} "{name}": {error}'
            return Problem(409, message, details=about)
        case watchlog.ExpiredError():
            return Problem(410, str(error))
        case errors.RetryLater():
            return Problem(503, str(error))
        case _:
            return Problem(500, str(error))
