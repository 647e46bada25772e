"""What a proxy must refuse, and how it must read what it forwards: a table, clause by clause.

Who reads it: the client's tests (each row over a socket), the comparison with HAProxy, the fuzzer.
"""

from __future__ import annotations

from typing import NamedTuple

H = "Host: h\r\n"
_GET = f"GET / HTTP/1.1\r\n{H}"
_POST = f"POST / HTTP/1.1\r\n{H}"
_TE = "Transfer-Encoding: chunked\r\n"


class Case(NamedTuple):
    """Bytes (latin-1) and the statuses that may answer them; `clause` is the rule's source."""

    clause: str
    raw: str
    status: tuple[int, ...] = (400,)


def _length(value: str) -> Case:
    """POST with this Content-Length."""
    return Case("9112 §6.3 (5)", f"{_POST}Content-Length: {value}\r\n\r\nabc")


def _coding(value: str, *status: int) -> Case:
    """POST with this Transfer-Encoding."""
    return Case(
        "9112 §6.1", f"{_POST}Transfer-Encoding:{value}\r\n\r\n0\r\n\r\n", status or (400, 501)
    )


def _field(clause: str, line: str) -> Case:
    """GET with this line among its fields."""
    return Case(clause, f"{_GET}{line}\r\n\r\n")


# None of them may reach a server; what follows on the connection may not either.
REFUSED = [
    # the request line
    Case("9112 §3", "GET\r\n\r\n"),
    Case("9112 §3, RFC 1945 §4.1: HTTP/0.9", "GET /\r\n\r\n"),
    Case("9112 §3", f"GET /  HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3", f" GET / HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3", f"GET /a b HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3", f"GET / HTTP/1.1 \r\n{H}\r\n"),
    Case("9112 §3", f"GET\t/ HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3", f"GET /\x0bHTTP/1.1\r\n{H}\r\n"),
    Case("9112 §2.2: a bare LF", f"GET / HTTP/1.1\n{H}\r\n\r\n"),
    Case("9112 §2.2: bare LFs only", "GET / HTTP/1.1\nHost: h\n\nGET / HTTP/1.1\r\n\r\n"),
    Case("9112 §2.2: a bare CR", f"GET / HTTP/1.1\r{H}\r\n\r\n"),
    Case("9112 §2.2: a bare CR", f"GET /\ra HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §2.2: one empty line is ignored, two not", f"\r\n\r\nGET / HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §2.2: an empty line is CR LF", f"\nGET / HTTP/1.1\r\n{H}\r\n"),
    # versions
    Case("9112 §2.3", f"GET / HTTP/0.9\r\n{H}\r\n", (505,)),
    Case("9112 §2.3", f"GET / HTTP/2.0\r\n{H}\r\n", (505,)),
    Case("9112 §2.3", f"GET / HTTP/1.2\r\n{H}\r\n", (505,)),
    Case("9112 §2.3", f"GET / HTTP/1.10\r\n{H}\r\n"),
    Case("9112 §2.3", f"GET / HTTP/01.1\r\n{H}\r\n"),
    Case("9112 §2.3: no minor version", f"GET / HTTP/1\r\n{H}\r\n"),
    Case("9112 §2.3: no minor version", f"GET / HTTP/2\r\n{H}\r\n"),
    Case("9112 §2.3: no minor version", f"GET / HTTP/1.\r\n{H}\r\n"),
    Case("9113 §3.4: the preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505,)),
    Case("9112 §2.3: names are case-sensitive", f"GET / http/1.1\r\n{H}\r\n"),
    Case("9112 §2.3: another protocol", f"SETUP / RTSP/1.0\r\n{H}\r\n"),
    Case("9112 §2.3: another protocol", f"SOURCE / ICE/1.0\r\n{H}\r\n"),
    Case("9112 §3: a TLS hello", "\x16\x03\x01\x00\x05hello\r\n\r\n"),
    # targets
    Case("9112 §3.2", f"GET /a#b HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2.4", f"GET * HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2.1", f"GET a HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2.3: authority-form is for CONNECT", f"GET h:80 HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2.2", f"GET http:///a HTTP/1.1\r\n{H}\r\n"),
    Case("9110 §4.2.4: userinfo", f"GET http://u@h/a HTTP/1.1\r\n{H}\r\n"),
    Case("9110 §4.2", f"GET http://h:port/a HTTP/1.1\r\n{H}\r\n"),
    Case("9110 §4.2.1: no host", f"GET http://:80/ HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2.2", f"GET ftp://h/a HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2: a missing Host stays missing", "GET http://h/a HTTP/1.1\r\nA: b\r\n\r\n"),
    Case("9112 §3.2", f"GET /\x80 HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2", f"GET /\x00 HTTP/1.1\r\n{H}\r\n"),
    Case("9112 §3.2", f"GET /\x7f HTTP/1.1\r\n{H}\r\n"),
    # methods
    Case("9110 §9.3.6", f"CONNECT h:80 HTTP/1.1\r\n{H}\r\n", (501,)),
    Case("9110 §9.3.8", f"TRACE / HTTP/1.1\r\n{H}\r\n", (501,)),
    Case("9110 §9.1", f"BREW / HTTP/1.1\r\n{H}\r\n", (501,)),
    Case("9110 §9.1: case-sensitive", f"get / HTTP/1.1\r\n{H}\r\n", (501,)),
    Case("9110 §9.1", f"G@T / HTTP/1.1\r\n{H}\r\n"),
    # Host
    Case("9112 §3.2: missing", "GET / HTTP/1.1\r\n\r\n"),
    Case("9112 §3.2: twice", f"GET / HTTP/1.1\r\n{H}{H}\r\n"),
    Case("9112 §3.2: twice", f"GET / HTTP/1.1\r\n{H}host: other\r\n\r\n"),
    Case("9112 §3.2: twice, in HTTP/1.0", f"GET / HTTP/1.0\r\n{H}{H}\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: a:port\r\n\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    Case("9112 §3.2", "GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n"),
    Case("9112 §3.3: an empty authority", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    Case("9112 §3.3: an empty authority", "GET / HTTP/1.1\r\nHost: \t\r\n\r\n"),
    Case("9112 §3.3: an empty authority", "GET / HTTP/1.0\r\nHost:\r\n\r\n"),
    Case("9112 §3.3: an empty authority", "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n"),
    Case("9110 §4.2.1: a port of no host", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
    Case("9110 §4.2.1: a port of no host", "GET / HTTP/1.1\r\nHost: :\r\n\r\n"),
    # fields
    _field("9112 §5.1: a space before the colon", "A : b"),
    _field("9112 §5.1: a tab before the colon", "A\t: b"),
    Case("9112 §5.1", f"{_POST}Content-Length : 3\r\n\r\nabc"),
    Case("9112 §5.1", f"{_POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    _field("9112 §5.2: obs-fold", "A: b\r\n c"),
    _field("9112 §5.2: obs-fold", "A: b\r\n\tc"),
    _field("9112 §5.2: obs-fold", "A:\r\n b"),
    _coding("\r\n chunked"),
    Case("9112 §2.2: blanks before the first field", f"GET / HTTP/1.1\r\n A: b\r\n{H}\r\n"),
    _field("9112 §2.2: a bare CR", "A: b\rc"),
    _field("9112 §2.2: a bare CR", "A: b\rHost: evil"),
    _field("9112 §2.2: a bare LF", "A: b\nc: d"),
    _field("9112 §2.2: a bare LF", f"A: b\n{_TE[:-2]}"),
    _field("9110 §5.5: NUL", "A: \x00"),
    _field("9110 §5.5: DEL", "A: \x7f"),
    _field("9110 §5.5: a control", "A: b\x0bc"),
    _field("9110 §5.5: a control", "A: \x1b[2J"),
    _field("9110 §5.1: a high byte in a name", "A\x80: b"),
    _field("9110 §5.1: no name", ": b"),
    _field("9112 §5: no colon", "A b"),
    _field("9110 §5.1: not a token", "A(b): c"),
    _field("9110 §5.1: not a token", '"A": c'),
    _field("9110 §5.1: not a token", "A\x00b: c"),
    _field("9110 §5.1: not a token", "A\x0b: c"),
    _field("9110 §5.1: not a token", "[A]: c"),
    # names that CGI, WSGI and PHP read as another (RFC 3875 §4.1.18)
    Case("3875 §4.1.18", f"{_POST}Content_Length: 4\r\n\r\n"),
    Case("3875 §4.1.18", f"{_POST}CONTENT_LENGTH: 4\r\n\r\n"),
    Case("3875 §4.1.18", f"{_POST}Transfer_Encoding: chunked\r\n\r\n"),
    _field("3875 §4.1.18", "X_Forwarded_For: 1.1.1.1"),
    _field("3875 §4.1.18", "X-Forwarded_For: 1.1.1.1"),
    _field("3875 §4.1.18", "x_real-ip: 1.1.1.1"),
    # framing
    Case("9112 §6.3 (3)", f"{_POST}Content-Length: 3\r\n{_TE}\r\nabc"),
    Case("9112 §6.3 (3)", f"{_POST}{_TE}Content-Length: 3\r\n\r\nabc"),
    Case("9112 §6.3 (3)", f"{_POST}Content-Length: 0\r\n{_TE}\r\n"),
    Case("9112 §6.3 (5)", f"{_POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    Case("9112 §6.3 (5)", f"{_POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    *map(
        _length,
        [
            "3, 3",
            "3,3",
            "3, 4",
            "+3",
            "-3",
            "-0",
            "0x3",
            "3 3",
            "3;",
            "3.0",
            "3e0",
            '"3"',
            "\xb3",
            "three",
            "",
            "99999999999999999999",
            "18446744073709551619",
        ],
    ),
    Case("9112 §6.1", f"POST / HTTP/1.0\r\n{_TE}\r\n0\r\n\r\n"),
    Case("9112 §6.1", f"POST / HTTP/1.0\r\n{H}Connection: keep-alive\r\n{_TE}\r\n0\r\n\r\n"),
    _coding(" gzip, chunked", 501),
    _coding(" chunked, chunked"),
    _coding(" chunked, identity"),
    _coding(" chunked,"),
    _coding(" identity"),
    _coding(" xchunked"),
    _coding(" chunked;q=1"),
    _coding(' "chunked"'),
    _coding(" chunked\x00", 400),
    _coding(" \x0bchunked", 400),
    _coding(" \x0cchunked", 400),
    _coding(" chunked\r\nTransfer-Encoding: chunked"),
    _coding(" identity\r\nTransfer-Encoding: chunked"),
    _coding("\r\nTransfer-Encoding: chunked"),
    # what Connection may not name
    _field("9110 §7.6.1", "Connection: host"),
    _field("9110 §7.6.1", "Connection: close, Host"),
    Case("9110 §7.6.1", f"{_POST}Connection: content-length\r\nContent-Length: 1\r\n\r\na"),
    Case("9110 §7.6.1", f"{_POST}Content-Length: 1\r\nConnection: A, Content-Length\r\n\r\na"),
    Case("9110 §7.6.1", f"{_POST}Connection: transfer-encoding\r\n{_TE}\r\n0\r\n\r\n"),
    # where would the body end and the tunnel begin?
    Case(
        "9110 §7.8",
        f"{_POST}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na",
    ),
    Case("9110 §7.8", f"{_POST}Connection: upgrade\r\nUpgrade: websocket\r\n{_TE}\r\n0\r\n\r\n"),
    Case("9110 §10.1.1", f"{_POST}Expect: a-miracle\r\nContent-Length: 1\r\n\r\n", (417,)),
    Case("9110 §7.6.2", f"OPTIONS / HTTP/1.1\r\n{H}Max-Forwards: -1\r\n\r\n"),
    Case(
        "9110 §7.6.2: one number",
        f"OPTIONS / HTTP/1.1\r\n{H}Max-Forwards: 0\r\nMax-Forwards: 5\r\n\r\n",
    ),
    # sizes
    Case("9110 §15.5.15", f"GET /{'a' * 9000} HTTP/1.1\r\n{H}\r\n", (414,)),
    Case("9110 §15.5.15", "GET /" + "a" * 9000, (400, 414)),  # with what follows, two in a line
    Case("6585 §5", f"{_GET}A: {'a' * 33_000}\r\n\r\n", (431,)),
    Case("6585 §5", f"{_GET}A: {'a' * 33_000}", (431,)),
    Case("6585 §5", f"{_GET}{'a' * 33_000}: a\r\n\r\n", (431,)),
    Case("6585 §5", f"{_GET}" + "A: a\r\n" * 101 + "\r\n", (431,)),
]

# Refused although their ends have not come, for nothing that may come could mend them. Whoever
# speaks another protocol waits for an answer and sends no more.
UNFINISHED = [
    Case("9112 §3: a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Case("9112 §3: SSH", "SSH-2.0-OpenSSH_9.2\r\n"),
    Case("9112 §3: SMTP", "EHLO localhost\r\n"),
    Case("9112 §3: Redis", "*1\r\n$4\r\nPING\r\n"),
    Case("9112 §3: PostgreSQL", "\x00\x00\x00\x08\x04\xd2\x16\x2f"),
    Case("9112 §3: the PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    Case("9112 §3", "hello, world\n"),
    Case("9112 §3", "GET /  "),
    Case("9112 §3", "GET /\x80"),
    Case("9112 §2.3: another protocol", "SETUP / RTSP"),
    Case("9112 §2.3", "GET / HTTP/2.0\r\n", (505,)),
    Case("9110 §9.1", "BREW / HTTP/1.1\r\n", (501,)),
    Case("9112 §2.2: bare LFs only", "GET / HTTP/1.1\nHost: h\n\n"),
    Case("9112 §2.2: a bare LF", f"GET / HTTP/1.1\r\n{H}A: b\n"),
    Case("9112 §2.2: a bare CR", f"GET / HTTP/1.1\r\n{H}A: b\rc\r\n"),
    Case("9112 §2.2: an empty line is CR LF", "\n"),
    Case("9112 §2.2: an empty line is CR LF", "\n\r"),
    Case("9112 §2.2: one empty line is ignored, two not", "\r\n\r\n"),
    Case("9112 §5: no colon", f"GET / HTTP/1.1\r\n{H}A b\r\n"),
    Case("9112 §5.1: a space before the colon", f"GET / HTTP/1.1\r\n{H}A : b\r\n"),
    Case("9112 §5.2: obs-fold", f"GET / HTTP/1.1\r\n{H} folded\r\n"),
    Case("9110 §5.5: NUL", f"GET / HTTP/1.1\r\n{H}A: \x00\r\n"),
]

# 9112 §7.1: bodies in chunks that are none.
BAD_CHUNKS = [
    "g\r\na\r\n0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    " 1\r\na\r\n0\r\n\r\n",
    "1 \r\na\r\n0\r\n\r\n",
    "1\t\r\na\r\n0\r\n\r\n",
    "+1\r\na\r\n0\r\n\r\n",
    "-1\r\na\r\n0\r\n\r\n",
    "1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n",
    "1\na\r\n0\r\n\r\n",
    "1\ra\r\n0\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\na0\r\n\r\n",
    "2\r\na\r\n0\r\n\r\n",
    "\r\n",
    ";a\r\na\r\n0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "ffffffffffffffffff\r\n",
    "10000000000000001\r\na\r\n0\r\n\r\n",
    "1;\x00\r\na\r\n0\r\n\r\n",
    "1;\r\na\r\n0\r\n\r\n",
    "1;;a\r\na\r\n0\r\n\r\n",
    "1;=b\r\na\r\n0\r\n\r\n",
    "1;a=\r\na\r\n0\r\n\r\n",
    "1;a b\r\na\r\n0\r\n\r\n",
    "1;a=b c\r\na\r\n0\r\n\r\n",
    '1;a="b\r\na\r\n0\r\n\r\n',
    '1;a="b"c\r\na\r\n0\r\n\r\n',
    "1;\xe4\r\na\r\n0\r\n\r\n",
    "1;a(b)\r\na\r\n0\r\n\r\n",
    "g",
    "1 ",
    "1\r\na\r\n0\r\nA ",
    "1;a\nb\r\na\r\n0\r\n\r\n",
    "1;a\rb\r\na\r\n0\r\n\r\n",
    "0\r\nA : b\r\n\r\n",
    "0\r\nno colon\r\n\r\n",
    "0\r\n folded: a\r\n\r\n",
    "0\r\nA: b\n\r\n",
    "1" + ";e" * 4000 + "\r\na\r\n0\r\n\r\n",
    "1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\na\r\n" * 2000,
]

# What is forwarded, and the head that a server gets, up to the fields that we add.
FORWARDED = [
    # as it came, with who asked
    (
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nA:  b \r\n\r\n",
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nA:  b \r\n",
    ),
    # 9110 §5.5: obs-text and an empty value are opaque; §5.1: so is a token nobody knows
    (
        "GET / HTTP/1.1\r\nHost: h\r\nA: \xe4\r\nB:\r\n!#$%&'*+-.^_`|~9: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \xe4\r\nB:\r\n!#$%&'*+-.^_`|~9: c\r\n",
    ),
    # underscores in names that mean nothing to us are nobody's business
    (
        "GET / HTTP/1.1\r\nHost: h\r\nX_Own: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX_Own: 1\r\n",
    ),
    # 9112 §2.2: an empty line before
    ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
    # §3.2.2: the absolute form; its authority wins over Host
    ("GET http://h/a?b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: h\r\n"),
    ("GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
    ("GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?q HTTP/1.1\r\nHost: h\r\n"),
    ("GET http://h/a HTTP/1.0\r\n\r\n", "GET /a HTTP/1.1\r\nHost: h\r\n"),
    ("GET http://h/a HTTP/1.1\r\nHost:\r\n\r\n", "GET /a HTTP/1.1\r\nHost: h\r\n"),
    # §3.2.4: the asterisk form
    ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n"),
    ("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n"),
    # 9110 §7.6.2
    (
        "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 3\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 2\r\n",
    ),
    # 9110 §7.6.1: hop-by-hop, and what Connection names
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Own\r\nx-own: 1\r\nTE: trailers\r\n"
            "Keep-Alive: 5\r\nProxy-Connection: a\r\nProxy-Authorization: b\r\nTrailer: c\r\nD: d\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nD: d\r\n",
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nX-Foo: 1\r\nConnection: close, X-Foo\r\nX-FOO: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n",
    ),
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-One\r\nConnection: ,X-Two ,\r\nX-One: 1\r\n"
            "X-Two: 2\r\nX-Three: 3\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Three: 3\r\n",
    ),
    # 9110 §7.8: an upgrade that is not passed on is not mentioned
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAA\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\n",
    ),
    ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
    # where it came from is ours to say
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Host: evil\r\n"
            "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Prefix: /p\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\n",
    ),
    # §6.3 (7): without framing a request has no body
    ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\n"),
    ("POST / HTTP/1.0\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\n"),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n",
    ),
]
