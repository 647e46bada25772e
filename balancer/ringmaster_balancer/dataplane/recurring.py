"""Heads that recur: what was decided of one holds for all that differ only where they may.

Law: pure. Most heads on a connection are alike but for the target and the key of a request, or the
length of a response. One that the strict parser and `http1` have judged is remembered without
these; another that equals it in every other byte, and has nothing unusual in their place, means the
same. Whatever else comes is judged anew, so nothing passes here that did not pass there. Two looks
at a head (2.5 µs for a request of ten fields and 4 µs for a response) become one of 0.6 µs.

Who calls: clients and upstreams, which keep what their last head matched and try that first.
"""

from __future__ import annotations

from typing import Final, Generic, TypeAlias, TypeVar

from ringmaster_balancer.dataplane import http1

_VERSION: Final = b" HTTP/1.1\r\n"
_LENGTH: Final = b"\r\nContent-Length: "
_LENGTHS: Final = (_LENGTH, _LENGTH.lower())
_METHODS: Final = (b"GET ", b"HEAD")  # the first four bytes; without a body, without rules
# All that may stand in a target (RFC 3986 §3.3, §3.4; no fragment) or a key here: no blank, no
# control character, nothing that one parser takes and another does not.
_PLAIN: Final = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@%/?"
)
_DIGITS: Final = 15  # of a length, as in http1
_LONGEST: Final = 4096  # bytes of a head that is remembered
_KEPT: Final = 512  # heads; with _LONGEST, some MB in the worst case

Place: TypeAlias = tuple[bytes, ...]  # the parts of a head that must be equal
K = TypeVar("K")


class _Memory(Generic[K]):
    """Bounded: what is beyond is forgotten with all the rest. Only what comes twice is kept."""

    __slots__ = ("_known", "_seen")

    def __init__(self) -> None:
        self._known: dict[Place, K] = {}
        self._seen: set[int] = set()

    def find(self, place: Place | None) -> K | None:
        return None if place is None else self._known.get(place)

    def twice(self, place: Place) -> bool:
        """Whether this is not the first time (or looks so, which does no harm)."""
        mark = hash(place)
        if mark in self._seen:
            return True
        if len(self._seen) >= 8 * _KEPT:
            self._seen.clear()
        self._seen.add(mark)
        return False

    def keep(self, place: Place, known: K) -> None:
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[place] = known


class Question:
    """A request's head without target and key, and what was decided of it."""

    __slots__ = (
        "_after",
        "_after_bytes",
        "_before",
        "_before_bytes",
        "_drop",
        "_fields",
        "_host",
        "_keep_alive",
        "_key",
        "_limit",
        "_method",
        "_opening",
        "_sent",
        "_target",
    )

    def __init__(
        self, request: http1.Request, place: Place, *, key: bytes, sent: Place | None, limit: int
    ) -> None:
        self._method = request.method
        self._opening = request.method + b" /"
        self._target = len(request.method) + 1  # where it begins
        _, self._before, self._after = place
        self._before_bytes = len(self._before)
        self._after_bytes = len(self._after)
        self._limit = limit - self._after_bytes
        self._key = key if self._after else None
        self._fields = tuple(field for field in request.fields if field[0] != self._key)
        self._host = request.host
        self._keep_alive = request.keep_alive
        self._drop = request.drop
        self._sent = sent  # before and after as forwarded; None: as they came

    def match(self, data: bytes) -> http1.Request | None:
        """The request, if `data` is one of these and nothing besides."""
        end = data.find(_VERSION)
        start = end + self._before_bytes
        stop = len(data) - self._after_bytes
        if not (
            start <= stop <= self._limit
            and data.startswith(self._opening)
            and data.startswith(self._before, end)
            and data.endswith(self._after)
        ):
            return None
        target = data[self._target : end]
        key = data[start:stop]
        if (target + key).translate(None, _PLAIN):
            return None
        if self._key is not None:
            fields = ((self._key, key, 0), *self._fields)
        elif key:
            return None
        else:
            fields = self._fields
        request = http1.Request(data, fields, self._method, target)
        request.host = self._host
        request.keep_alive = self._keep_alive
        request.drop = self._drop
        sent = self._sent
        if sent is None:
            request.sent = data[:-2]
        else:
            request.sent = b"".join((data[:end], sent[0], key, sent[1]))
        return request


class Requests:
    """Those without a body. `key`: the header that holds the key, in lower case, if one does.

    `limit`: bytes; what is longer is judged each time.
    """

    __slots__ = ("_key", "_limit", "_memory", "_spellings")

    def __init__(self, *, key: bytes | None, limit: int) -> None:
        if key in http1.REQUEST_FIELDS:
            key = None  # its value has a say in more than the choice of the member
        self._key = key or b""
        self._spellings = [b"\r\n%b: " % name for name in (key.title(), key)] if key else []
        self._limit = limit
        self._memory: _Memory[Question] = _Memory()

    def place(self, head: bytes) -> Place | None:
        """What of this head must be equal in another."""
        if head[:4] not in _METHODS or len(head) > _LONGEST:
            return None
        end = head.find(_VERSION)
        for spelling in self._spellings:
            start = head.find(spelling, end)
            if start >= 0:
                start += len(spelling)
                return head[:4], head[end:start], head[head.find(b"\r\n", start) :]
        return head[:4], head[end:], b""

    def find(self, place: Place | None) -> Question | None:
        """What is known of it."""
        return self._memory.find(place)

    def learn(self, request: http1.Request, place: Place | None) -> Question | None:
        """Remember what was decided, if it depends on nothing but the head's place."""
        if place is None or not self._memory.twice(place) or not _depends_on_lines_only(request):
            return None
        keyed = sum(field[0] == self._key for field in request.fields) if place[2] else 0
        if place[2] and keyed != 1:
            return None
        sent = None
        if request.drop is not None:
            sent = self._sent(request, place)
            if sent is None:
                return None
        question = Question(request, place, key=self._key, sent=sent, limit=self._limit)
        self._memory.keep(place, question)
        return question

    def _sent(self, request: http1.Request, place: Place) -> Place | None:
        """The parts before and after the key as they are forwarded."""
        head = request.head
        begin = head.find(_VERSION)
        wire = http1.forward(request, b"")
        if not place[2]:
            return wire[begin:], b""
        key = head[begin + len(place[1]) : len(head) - len(place[2])]
        name = place[1][place[1].rindex(b"\r\n") :]
        at = wire.find(name + key + b"\r\n", begin)
        if at < 0:  # it is not forwarded
            return None
        at += len(name)
        return wire[begin:at], wire[at + len(key) :]


def _depends_on_lines_only(request: http1.Request) -> bool:
    """Whether neither a body, nor another version, nor who sent it has had a say."""
    return (
        request.minor == 1
        and not request.framed
        and not request.expects
        and not request.binds
        and not request.extra
        and request.line is None
        and request.forwarded is None
    )


class Answer:
    """A response's head without its length, and what was decided of it."""

    __slots__ = ("_after", "_after_bytes", "_before", "_before_bytes", "_response", "_sent", "end")

    def __init__(self, response: http1.Response, place: Place, *, sent: Place | None) -> None:
        self._before, self._after = place
        self._before_bytes = len(self._before)
        self._after_bytes = len(self._after)
        self._response = response
        self._sent = sent
        self.end = 0  # of the head that matched last

    def match(self, data: bytes) -> http1.Response | None:
        """The response with whose head `data` begins. It is the caller's until the next call."""
        start = self._before_bytes
        stop = data.find(b"\r\n", start)
        if not (data.startswith(self._before) and data.startswith(self._after, stop)):
            return None
        digits = data[start:stop]
        if not digits.isdigit() or len(digits) > _DIGITS:
            return None
        end = self.end = stop + self._after_bytes
        response = self._response
        response.head = data[:end]
        response.length = int(digits)
        sent = self._sent
        if sent is not None:
            response.sent = b"".join((sent[0], digits, sent[1]))
        return response


class Responses:
    """Those with a length, to any method but HEAD."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory: _Memory[Answer] = _Memory()

    def place(self, head: bytes) -> Place | None:
        """What of this head must be equal in another."""
        if len(head) > _LONGEST:
            return None
        for spelling in _LENGTHS:
            start = head.find(spelling)
            if start >= 0:
                start += len(spelling)
                return head[:start], head[head.find(b"\r\n", start) :]
        return None

    def find(self, place: Place | None) -> Answer | None:
        """What is known of it."""
        return self._memory.find(place)

    def learn(self, response: http1.Response, place: Place | None) -> Answer | None:
        """Remember what was decided; `response` is kept, and written to."""
        if (
            place is None
            or not self._memory.twice(place)
            or response.minor != 1
            or response.length < 0
            or response.status < 200  # noqa: PLR2004 - an interim one, 9110 §15.2
            or response.status in http1.NO_BODY
            or response.upgrade is not None
        ):
            return None
        start, stop = len(place[0]), len(response.head) - len(place[1])
        digits = response.head[start:stop]
        if not digits.isdigit():
            return None
        sent = None
        if response.drop is not None:
            wire, _ = http1.answer(response, minor=1, close=False)
            name = place[0][place[0].rindex(b"\r\n") :]
            at = wire.index(name + digits + b"\r\n") + len(name)
            sent = wire[:at], wire[at + len(digits) :]
        answer = Answer(response, place, sent=sent)
        self._memory.keep(place, answer)
        return answer
