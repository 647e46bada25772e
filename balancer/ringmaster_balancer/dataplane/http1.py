"""What is forwarded and how: framing, hop-by-hop fields, limits.

Law: pure. A head in, a decision out; no socket, clock or parser. The caller has had the head
checked by a strict parser (llhttp), so that lines and fields are one to one; what that parser
lets pass and a proxy must not is refused here. What is ambiguous is refused and never reaches a
server. Sections named below are RFC 9110 (semantics) and RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

Field: TypeAlias = tuple[bytes, bytes, int]  # lower-case name, value as sent, line number from 1

UNTIL_CLOSE: Final = -2  # a response that ends with its connection, 9112 §6.3 (8)
CHUNKED: Final = -1  # a body in chunks, 9112 §7.1; any other length counts bytes

# 9110 §9.1: a method that is not implemented is answered with 501. CONNECT (§9.3.6) would make
# us an open tunnel, TRACE (§9.3.8) reflects credentials that a browser hides: both are left out.
METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"})  # 9110 §9.2.2
VERSIONS: Final = MappingProxyType({b"HTTP/1.1": 1, b"HTTP/1.0": 0})  # 9112 §2.3
# 9110 §7.8: an upgrade may be ignored. Only this one is passed on: an `h2c` that reaches a server
# opens a tunnel past every rule in this file.
UPGRADES: Final = frozenset({b"websocket"})
# 9110 §7.6.1: meant for this connection only, whether Connection names them or not. Trailer goes
# because trailers do (§6.5.1: a recipient may discard them).
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
_OPTIONS: Final = HOP_BY_HOP | {b"close", b""}  # no field of anybody else's
FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
# What tells a server where a request came from: dropped unless a trusted proxy sent it.
FORWARDED: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-by",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-real-ip",
    }
)
REQUEST_FIELDS: Final = HOP_BY_HOP | FRAMING | FORWARDED | {b"authorization", b"max-forwards"}
# CGI, WSGI and PHP read `X_Forwarded_For` and `X-Forwarded-For` as one: the names that matter to
# us are known, and refused, in that spelling too.
LOOK_ALIKES: Final = frozenset(
    b"".join(spelling)
    for name in REQUEST_FIELDS
    for spelling in itertools.product(
        *((b"-", b"_") if byte == 45 else (bytes((byte,)),) for byte in name)  # noqa: PLR2004 - "-"
    )
    if b"_" in spelling
)
RESPONSE_FIELDS: Final = HOP_BY_HOP | {
    *(b"content-length", b"transfer-encoding", b"date", b"www-authenticate")
}
NO_BODY: Final = frozenset({204, 304})  # 9110 §6.4.1; 1xx and HEAD besides

VIA: Final = (b"1.0 ringmaster", b"1.1 ringmaster")  # 9110 §7.6.3: by what was received
_HOST: Final = re.compile(  # 9112 §3.2, 9110 §4.2: uri-host [ ":" port ] or nothing, never userinfo
    rb"(?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]{0,5})?)?"
)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # 9110 §5.6.2
_FIELD_LINE: Final = re.compile(  # 9112 §5, 9110 §5.5
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n"
)
_LINE_BEGUN: Final = re.compile(  # what may come before the end of a request line, 9112 §3
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: [\x21-\x7e]*(?: [HTP/.0-9]{0,8})?)?)?\r?"
)
_STATUS_LINE: Final = re.compile(  # 9112 §4; llhttp takes any reason. The space may be missing
    rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"
)
# RFC 4559 §6: schemes whose login is that of a connection, not of a request. In a challenge they may
# stand anywhere in a list; who finds one too many has lost nothing but a shared connection.
_CONNECTION_LOGIN: Final = re.compile(rb"(?:^|[\t ,])(?:NTLM|Negotiate)(?=[\t ,]|$)", re.IGNORECASE)
_REMEMBERED: Final = 300  # bytes; a host name has up to 253, and longer ones would fill memory
_MAX_DIGITS: Final = 15  # of a length: a petabyte; no server counts further


class Refused(Exception):  # noqa: N818 - an outcome of the protocol, not a fault of ours
    """A request that gets no further: the status and the words that its sender reads."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BadResponseError(Exception):
    """An upstream's response that cannot be trusted; the client gets a 502."""


class Request:
    """What a request's head decides. Mutable only while `request` fills it; slots for speed.

    `binds`: its login is that of the server's connection. `length`: bytes of body, or CHUNKED. `upgrade`: the protocol asked for, if it may be passed
    on. `drop`: lines that are not forwarded. `target`: in origin or asterisk form.
    """

    __slots__ = (
        "binds",
        "drop",
        "expects",
        "extra",
        "fields",
        "final",
        "forwarded",
        "framed",
        "head",
        "host",
        "keep_alive",
        "length",
        "line",
        "method",
        "minor",
        "named",
        "sent",
        "target",
        "upgrade",
    )

    def __init__(self, head: bytes, fields: Sequence[Field], method: bytes, target: bytes) -> None:
        self.head = head
        self.fields = fields
        self.method = method
        self.target = target
        self.minor = 1
        self.host: bytes | None = None
        self.keep_alive = True
        self.length = 0
        self.framed = False  # the length has been told
        self.expects = False
        self.binds = False
        self.upgrade: bytes | None = None
        self.line: bytes | None = None  # a request line to send in place of the one that came
        self.drop: list[int] | None = None
        self.named: frozenset[bytes] | None = None  # what Connection names
        self.forwarded: dict[bytes, bytes] | None = None
        self.extra = b""  # lines to add
        self.sent: bytes | None = None  # what is forwarded of the head, if that is known already
        self.final = False  # to be answered by whom it reaches now, 9110 §7.6.2

    def skip(self, line: int) -> None:
        """Do not forward this line."""
        if self.drop is None:
            self.drop = [line]
        else:
            self.drop.append(line)


def _connection(request: Request, value: bytes, line: int) -> None:
    """9110 §7.6.1: options are for us; the fields that they name go no further."""
    request.skip(line)
    options = connection_options(value)
    request.named = options if request.named is None else request.named | options


def connection_options(value: bytes) -> frozenset[bytes]:
    """What one Connection field names, in lower case; remembered, since few are ever sent."""
    find = _find_options if len(value) <= _REMEMBERED else _find_options.__wrapped__
    return find(value)


@functools.lru_cache(maxsize=256)
def _find_options(value: bytes) -> frozenset[bytes]:
    return frozenset(option.strip(b" \t") for option in value.lower().split(b","))


def _content_length(request: Request, value: bytes, line: int) -> None:  # noqa: ARG001 - a table's signature
    """9112 §6.3 (5): one decimal number; llhttp has refused a second field."""
    digits = value.strip(b" \t")
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise Refused(400, "Content-Length is no number")
    if request.framed:
        raise Refused(400, "The length of the body is ambiguous")
    request.framed = True
    request.length = int(digits)


def _transfer_encoding(request: Request, value: bytes, line: int) -> None:  # noqa: ARG001
    """9112 §6.1: only `chunked`, once; in HTTP/1.0 the framing is faulty."""
    if not request.minor:
        raise Refused(400, "Transfer-Encoding in HTTP/1.0")
    if request.framed:
        raise Refused(400, "The length of the body is ambiguous")
    request.framed = True
    if value.strip(b" \t").lower() != b"chunked":
        raise Refused(501, "No transfer coding but chunked is known here")
    request.length = CHUNKED


def _host(request: Request, value: bytes, line: int) -> None:  # noqa: ARG001
    """9112 §3.2: exactly one, and a valid one."""
    if request.host is not None:
        raise Refused(400, "More than one Host")
    value = value.strip(b" \t")
    if not host_is_valid(value):
        raise Refused(400, "Host is not valid")
    request.host = value


def _expect(request: Request, value: bytes, line: int) -> None:
    """9110 §10.1.1: 100-continue is forwarded and what answers it relayed; HTTP/1.0's is void."""
    if not request.minor:
        request.skip(line)
    elif value.strip(b" \t").lower() != b"100-continue":
        raise Refused(417, "No expectation but 100-continue can be met")
    else:
        request.expects = True


def _authorization(request: Request, value: bytes, line: int) -> None:  # noqa: ARG001
    request.binds = request.binds or _CONNECTION_LOGIN.search(value) is not None


def _upgrade(request: Request, value: bytes, line: int) -> None:
    """9110 §7.8: void in HTTP/1.0 and without its connection option; see UPGRADES."""
    request.skip(line)
    protocol = value.strip(b" \t").lower()
    if request.minor and protocol in UPGRADES:
        request.upgrade = value.strip(b" \t")


def _forwarded(request: Request, value: bytes, line: int, name: bytes) -> None:
    """Kept aside: whether they are believed depends on who sent them. An empty one says nothing."""
    request.skip(line)
    if request.forwarded is None:
        request.forwarded = {}
    known = request.forwarded.get(name)
    if value := value.strip(b" \t"):
        request.forwarded[name] = value if known is None else known + b", " + value


def elements(value: bytes) -> list[bytes]:
    """The elements of a list; empty ones are ignored, 9110 §5.6.1.2."""
    return [found for part in value.split(b",") if (found := part.strip(b" \t"))]


def _skip(request: Request, value: bytes, line: int) -> None:  # noqa: ARG001
    request.skip(line)


def _max_forwards(request: Request, value: bytes, line: int) -> None:
    """9110 §7.6.2: counts down for OPTIONS; elsewhere it may be ignored."""
    if request.method != b"OPTIONS":
        return
    digits = value.strip(b" \t")
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise Refused(400, "Max-Forwards is no number")
    if request.extra:  # nothing else has added to it by now
        raise Refused(400, "More than one Max-Forwards")
    hops = int(digits)
    request.final = hops == 0
    request.skip(line)
    request.extra += b"Max-Forwards: %d\r\n" % (hops - 1)


Rule: TypeAlias = Callable[[Request, bytes, int], None]
_RULES: Final[Mapping[bytes, Rule]] = {
    **dict.fromkeys(HOP_BY_HOP, _skip),
    b"authorization": _authorization,
    b"connection": _connection,
    b"content-length": _content_length,
    b"expect": _expect,
    b"host": _host,
    b"max-forwards": _max_forwards,
    b"transfer-encoding": _transfer_encoding,
    b"upgrade": _upgrade,
    **{name: functools.partial(_forwarded, name=name) for name in FORWARDED},
}


def host_is_valid(value: bytes) -> bool:
    """Whether it is `uri-host [":" port]` or empty; remembered, since clients ask for few."""
    return _is_host(value) if len(value) <= _REMEMBERED else _is_host.__wrapped__(value)


@functools.lru_cache(maxsize=1024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def check_size(head: bytes, limit: int) -> None:
    """RFC 6585 §5. Raises Refused."""
    if len(head) > limit:
        raise Refused(431, "The request's head is too large")


def request(
    head: bytes, fields: Sequence[Field], *, target_bytes: int = 8192, body_bytes: int = 0
) -> Request:
    """Judge a request's head, up to and with its empty line.

    `fields` are those of REQUEST_FIELDS and LOOK_ALIKES, and any that the caller itself wants.
    Raises Refused.
    """
    line = head[: head.index(b"\r\n")].split(b" ")
    if len(line) != 3 or line[2] != b"HTTP/1.1" or line[0] not in METHODS:  # noqa: PLR2004
        method, target, minor = request_line(head)
    else:
        (method, target, _), minor = line, 1
    if len(target) > target_bytes:
        raise Refused(414, "The request target is too long")
    decided = Request(head, fields, method, target)
    if not minor:
        decided.minor = 0
        decided.keep_alive = False
    for name, value, number in fields:
        rule = _RULES.get(name)
        if rule is not None:
            rule(decided, value, number)
        elif name in LOOK_ALIKES:
            raise Refused(400, "A field's name is spelt with underscores")
    if decided.named is not None:
        _options(decided)
    elif decided.upgrade is not None:
        decided.upgrade = None
    if decided.host is None and minor:
        raise Refused(400, "Host is missing")
    if target[0] != 47 or b"#" in target:  # noqa: PLR2004 - "/", the origin form, 9112 §3.2.1
        _target(decided)
    if decided.host == b"":  # 9112 §3.3, 9110 §4.2.1: there is no http URI without an authority
        raise Refused(400, "Host is empty")
    if decided.upgrade is not None:
        if decided.length:  # where the body ends and the tunnel begins is ambiguous
            raise Refused(400, "An upgrade with a body")
        decided.extra += b"Connection: Upgrade\r\nUpgrade: " + decided.upgrade + b"\r\n"
    if body_bytes and decided.length > body_bytes:  # 9110 §15.5.14
        raise Refused(413, "The body is too large")
    if not minor:
        decided.line = b"%b %b HTTP/1.1" % (method, decided.target)
    return decided


def begun(head: bytes, start: int) -> int:
    """Judge a head that is still coming: its lines from `start` on, and how a line begins.

    What no further byte can mend is answered now: its sender may wait for an answer. Returns where
    the first unfinished line begins. Raises Refused.
    """
    while end := head.find(b"\n", start) + 1:
        line = head[start:end]
        if line[-2:] != b"\r\n":  # 9112 §2.2
            raise Refused(400, "A line ends without CR LF")
        if start:
            if _FIELD_LINE.fullmatch(line) is None:
                raise Refused(400, "A field line is malformed")
        else:
            request_line(line)
            if _LINE_BEGUN.fullmatch(line[:-1]) is None:
                raise Refused(400, "The request line is malformed")
        start = end
    if not start and _LINE_BEGUN.fullmatch(head) is None:
        raise Refused(400, "The request line is malformed")
    return start


def request_line(head: bytes) -> tuple[bytes, bytes, int]:
    """Method, target and minor version, 9112 §3. Raises Refused."""
    line = head[: head.index(b"\r\n")].split(b" ")
    if len(line) != 3:  # noqa: PLR2004 - method SP request-target SP HTTP-version
        raise Refused(400, "The request line is malformed")
    method, target, version = line
    minor = VERSIONS.get(version)
    if minor is None:
        raise _version(version)
    if method not in METHODS:
        if _TOKEN.fullmatch(method) is None:
            raise Refused(400, "The request line is malformed")
        raise Refused(501, "The method is not implemented")
    return method, target, minor


def _version(version: bytes) -> Refused:
    """9110 §15.6.6 for another version of HTTP, else it is no HTTP, 9112 §2.3."""
    if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version):
        return Refused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
    return Refused(400, "The request line is malformed")


def _options(request: Request) -> None:
    """Apply what Connection named. 9112 §9.3: close wins; 9110 §7.6.1: drop what is named."""
    named = request.named or frozenset()
    request.keep_alive = b"close" not in named and (request.minor == 1 or b"keep-alive" in named)
    if b"upgrade" not in named:
        request.upgrade = None
    others = named - _OPTIONS
    if not others:
        return
    if others & FRAMING:
        raise Refused(400, "Connection names a field that is not the connection's")
    for number in _lines_named(request.head, others):
        request.skip(number)


def _lines_named(head: bytes, names: frozenset[bytes]) -> list[int]:
    """The numbers of the lines whose field has one of these names."""
    lines = enumerate(head.split(b"\r\n"))
    return [n for n, line in lines if n and line.partition(b":")[0].lower() in names]


def _target(request: Request) -> None:
    """9112 §3.2: the forms of a target other than the origin form."""
    target = request.target
    if b"#" in target:
        raise Refused(400, "The request target has a fragment")
    if target == b"*" and request.method == b"OPTIONS":  # §3.2.4
        return
    absolute = _ABSOLUTE.fullmatch(target)  # §3.2.2: its authority replaces Host
    if absolute is None or not host_is_valid(absolute[1]):
        raise Refused(400, "The request target is malformed")
    request.host = absolute[1]
    path = absolute[2]
    if not path:
        path = b"*" if request.method == b"OPTIONS" else b"/"
    elif path[:1] == b"?":
        path = b"/" + path
    request.target = path
    request.line = b"%b %b HTTP/1.1" % (request.method, path)
    request.extra += b"Host: " + absolute[1] + b"\r\n"
    others = []
    for field in request.fields:
        if field[0] == b"host":
            request.skip(field[2])
        else:
            others.append(field)
    request.fields = [(b"host", absolute[1], 0), *others]  # who reads Host reads the authority


def forward(request: Request, tail: bytes) -> bytes:
    """The head to send: what came, without what goes no further, and `tail` at its end.

    `tail` is whole lines and the empty one.
    """
    if request.line is None and not request.extra:
        if request.sent is not None:
            return request.sent + tail
        if request.drop is None:
            return request.head[:-2] + tail
        if len(request.drop) == 1:
            before, found, after = request.head.partition(_KEEP_ALIVE)
            if found:
                return before + b"\r\n" + after[:-2] + tail
    lines = request.head[:-4].split(b"\r\n")
    if request.line is not None:
        lines[0] = request.line
    kept = _without(lines, request.drop or ())
    kept.append(request.extra + tail)
    return b"\r\n".join(kept)


# The line that is dropped most, as browsers and nginx spell it: cut out without taking the head
# apart. Between its line ends it can be nothing but the whole line.
_KEEP_ALIVE: Final = b"\r\nConnection: keep-alive\r\n"


def _without(lines: list[bytes], drop: Sequence[int]) -> list[bytes]:
    return [line for number, line in enumerate(lines) if number not in drop]


class Response:
    """What a response's head decides. `length`: bytes, CHUNKED or UNTIL_CLOSE.

    `binds`: it asks for a login of its connection.
    """

    __slots__ = (
        *("binds", "dated", "drop", "head", "keep_alive", "length"),
        *("minor", "sent", "status", "upgrade"),
    )

    def __init__(self, head: bytes, status: int) -> None:
        self.head = head
        self.status = status
        self.minor = 1
        self.keep_alive = True  # the upstream's connection can be used again
        self.dated = False  # it says when it was made
        self.binds = False
        self.length = UNTIL_CLOSE
        self.drop: list[int] | None = None
        self.upgrade: bytes | None = None
        self.sent: bytes | None = None  # what an HTTP/1.1 client gets, if that is known already

    def skip(self, line: int) -> None:
        """Do not forward this line."""
        if self.drop is None:
            self.drop = [line]
        else:
            self.drop.append(line)


def response_begun(head: bytes) -> None:
    """Judge a response's head that is still coming, as `begun` does. Raises BadResponseError."""
    status = _STATUS_LINE.match(head) if b"\n" in head else b"HTTP/1.".startswith(head[:7])
    if not status or head.count(b"\n") != head.count(b"\r\n"):
        raise BadResponseError("no response begins so")


def response(head: bytes, fields: Sequence[Field], method: bytes) -> Response:
    """Judge an upstream's head. `fields` are those of RESPONSE_FIELDS. Raises BadResponseError."""
    line = _STATUS_LINE.match(head)
    if line is None:
        raise BadResponseError("the status line is malformed")
    minor = VERSIONS[line[1]]
    decided = Response(head, int(line[2]))
    if not 100 <= decided.status < 600:  # noqa: PLR2004 - 9110 §15: these there are
        raise BadResponseError("there is no such status")
    if not minor:
        decided.minor = 0
        decided.keep_alive = False
    named: frozenset[bytes] | None = None
    for name, value, number in fields:
        if name == b"content-length":
            digits = value.strip(b" \t")
            if not digits.isdigit() or len(digits) > _MAX_DIGITS or decided.length != UNTIL_CLOSE:
                raise BadResponseError("the length is ambiguous")
            decided.length = int(digits)
        elif name == b"transfer-encoding":
            if value.strip(b" \t").lower() != b"chunked" or decided.length != UNTIL_CLOSE:
                raise BadResponseError("the transfer coding is not understood")
            if not minor:  # 9112 §6.1: faulty framing
                raise BadResponseError("a transfer coding in HTTP/1.0")
            decided.length = CHUNKED
        elif name == b"date":
            decided.dated = True
        elif name == b"www-authenticate":
            decided.binds = decided.binds or _CONNECTION_LOGIN.search(value) is not None
        else:
            decided.skip(number)
            if name == b"connection":
                options = connection_options(value)
                named = options if named is None else named | options
            elif name == b"upgrade":
                decided.upgrade = value.strip(b" \t")
    if named is not None:
        _response_options(decided, named)
    if decided.status < 200 or decided.status in NO_BODY or method == b"HEAD":  # noqa: PLR2004
        _bodiless(decided, fields)
    return decided


def _response_options(response: Response, named: frozenset[bytes]) -> None:
    """9112 §9.3, and 9110 §7.6.1 for the fields that are named."""
    if b"close" in named:
        response.keep_alive = False
    elif not response.minor:
        response.keep_alive = b"keep-alive" in named
    if b"upgrade" not in named:
        response.upgrade = None
    others = named - _OPTIONS
    if others:
        if others & FRAMING:
            raise BadResponseError("Connection names a field that is not the connection's")
        for number in _lines_named(response.head, others):
            response.skip(number)


def _bodiless(response: Response, fields: Sequence[Field]) -> None:
    """9112 §6.3 (1): ends at its head. 9110 §8.6, 9112 §6.1: 1xx and 204 carry no framing."""
    response.length = 0
    if response.status < 200 or response.status == 204:  # noqa: PLR2004
        for name, _, number in fields:
            if name in (b"content-length", b"transfer-encoding"):
                response.skip(number)


def answer(response: Response, *, minor: int, close: bool, extra: bytes = b"") -> tuple[bytes, int]:
    """The head to send to a client of HTTP/1.`minor`, and how its body is framed there.

    `close`: the client's connection ends with this response, and is told so. `extra`: whole
    lines. A body without a length becomes chunks, or ends with the connection in HTTP/1.0, where
    `close` must be set for it.
    """
    length = response.length
    if length >= 0 and response.minor and minor and not close and response.status >= 200:  # noqa: PLR2004
        head = response.sent or response.head
        found = b"\r\n"
        if response.drop is not None and response.sent is None:
            before, found, after = head.partition(_KEEP_ALIVE)
            if len(response.drop) == 1:
                head = before + b"\r\n" + after
            else:
                found = b""
        if found:
            return (head[:-2] + extra + b"\r\n" if extra else head), length
    lines = _without(response.head[:-4].split(b"\r\n"), response.drop or ())
    lines[0] = b"HTTP/1.1" + lines[0][8:]
    if not minor:  # 9112 §6.1: never a transfer coding, the answer to a HEAD included
        lines = [line for line in lines if line[:18].lower() != b"transfer-encoding:"]
        length = UNTIL_CLOSE if length < 0 else length
    elif length == UNTIL_CLOSE:
        lines.append(b"Transfer-Encoding: chunked")
        length = CHUNKED
    if response.upgrade is not None and response.status == 101:  # noqa: PLR2004
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + response.upgrade)
    elif response.status < 200:  # noqa: PLR2004 - an interim response says nothing of the end
        pass
    elif close:
        lines.append(b"Connection: close")
    elif not minor:
        lines.append(b"Connection: keep-alive")
    lines.append(extra + b"\r\n")
    return b"\r\n".join(lines), length


def chunk(pieces: Sequence[bytes | memoryview]) -> bytes:
    """One chunk of these, 9112 §7.1; nothing if they are empty: that would be the last one."""
    size = sum(map(len, pieces))
    return b"".join((b"%x\r\n" % size, *pieces, b"\r\n")) if size else b""


LAST_CHUNK: Final = b"0\r\n\r\n"


def tail(
    *,
    peer: bytes,
    host: bytes,
    scheme: bytes,
    minor: int = 1,
    forwarded: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """The lines that tell a server who asked, and the empty one: the end of a request's head.

    `forwarded`: those that a trusted peer sent; None when it is not trusted or sent none.
    """
    known = forwarded or {}
    chain = known.get(b"x-forwarded-for")
    lines = [
        b"X-Forwarded-For: " + (b", ".join([*elements(chain), peer]) if chain else peer),
        b"X-Forwarded-Proto: " + known.get(b"x-forwarded-proto", scheme),
        b"X-Forwarded-Host: " + known.get(b"x-forwarded-host", host),
    ]
    lines.extend(
        name.title() + b": " + value
        for name, value in known.items()
        if name not in (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
    )
    lines.append(b"Via: " + VIA[minor] + b"\r\n\r\n")
    return b"\r\n".join(lines)
