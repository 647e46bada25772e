"""The error tree, sorted by what the caller does next.

Law: an edge maps every foreign error to one of these once, chained; nothing else leaves an edge.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

# What a call can lack that no peer can give. EADDRNOTAVAIL: every local port towards that address
# is in use (connect(2)); EAGAIN: there are too many processes (fork(2)).
_SHORTAGES: Final = {
    errno.EMFILE: "file descriptors",
    errno.ENFILE: "file descriptors",
    errno.EADDRNOTAVAIL: "local ports",
    errno.EAGAIN: "processes",
    errno.ENOBUFS: "memory",
    errno.ENOMEM: "memory",
}


def shortage(error: BaseException | None) -> str:
    """What this machine has run out of, if that is why a call failed; else empty.

    Whoever was to be reached must not be blamed for it. Libraries wrap such an error: causes count.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return _SHORTAGES[error.errno]
        error = error.__cause__ or error.__context__
    return ""


class RingmasterError(Exception):
    """Anything that Ringmaster itself raises on purpose."""


def told(error: RingmasterError) -> str:
    """What a user is told: the message, and the notes that callers added (of which file it is)."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])


class RetryLater(RingmasterError):  # noqa: N818 – says what the caller does next
    """The outside world failed for now: look again, with backoff."""


class AmbiguousError(RetryLater):
    """A call that may have taken effect or not: observe before the next one."""


class PendingError(RetryLater):
    """It is being prepared (an image is pulled): ask again soon. No failure."""


class ConflictError(RetryLater):
    """What was to be changed has changed meanwhile (a stale version or UID): read it again."""


class NotFoundError(RingmasterError):
    """What was named is not there (any more)."""


class AlreadyExistsError(RingmasterError):
    """The name is taken. With our UID and place it counts as created."""


# The reason of a refusal that another name would not meet.
INVALID_NAME = "InvalidName"


class RefusedError(RingmasterError):
    """The outside world says no and will go on saying it: a bad image, a quota, a missing program.

    `reason` is a CamelCase word for a condition, the message says it in words.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class FencedError(RingmasterError):
    """Another operator with a higher epoch acts: stop acting and exit 1."""


class UsageError(RingmasterError):
    """The surroundings are at fault; one line says what to do. Exit 1 (bad words: click's 2)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document.

    `path` is the field's path as kubectl writes it: `spec.template.spec.containers[0].image`.
    """

    path: str
    message: str

    def __str__(self) -> str:
        """`path: message`, as a user reads it."""
        return f"{self.path}: {self.message}"


class SpecInvalidError(RingmasterError):
    """A document is wrong; every fault is listed, and nothing was changed."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults
