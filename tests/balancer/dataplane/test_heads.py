"""Heads through llhttp: what the reader returns, and that it is never confused by the last one."""

from __future__ import annotations

import pytest
from ringmaster_balancer.dataplane import heads, http1

GET = b"GET / HTTP/1.1\r\nHost: h\r\nOther: o\r\nX-Id: 1 \r\n\r\n"
WANTED = http1.REQUEST_FIELDS | {b"x-id"}


def reader(limit: int = 100) -> heads.Reader:
    return heads.Reader(responses=False, wanted=WANTED, limit=limit)


def test_fields_of_interest_come_with_their_lines() -> None:
    assert reader().read(GET) == [(b"host", b"h", 1), (b"x-id", b"1 ", 3)]


@pytest.mark.parametrize(
    "before",
    [
        GET,
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_a_head_is_read_the_same_after_any_other(before: bytes) -> None:
    one = reader()
    one.read(before)
    assert one.read(GET) == [(b"host", b"h", 1), (b"x-id", b"1 ", 3)]


@pytest.mark.parametrize(
    "upgrade",
    [
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Id: 1 \r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nX-Id: 1 \r\n\r\n",
    ],
)
def test_an_upgrade_is_read_the_same_before_and_after_any_other(upgrade: bytes) -> None:
    one = reader()
    for head in (GET, upgrade, upgrade, GET):
        assert one.read(head) == reader().read(head)


@pytest.mark.parametrize("bad", [b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"\x00\r\n\r\n"])
def test_a_head_is_read_the_same_after_a_bad_one(bad: bytes) -> None:
    one = reader()
    with pytest.raises(heads.MalformedError):
        one.read(bad)
    assert one.read(GET) == [(b"host", b"h", 1), (b"x-id", b"1 ", 3)]


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(ValueError):
        reader(limit=2).read(GET)


def test_responses_with_bodies_are_read_one_after_the_other() -> None:
    one = heads.Reader(responses=True, wanted=http1.RESPONSE_FIELDS, limit=100)
    for _ in range(3):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
        assert one.read(head) == [(b"content-length", b"7", 1)]
