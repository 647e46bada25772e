"""Decisions about heads. What goes over sockets is in test_client and test_upstream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.dataplane import heads, http1

NAMES = st.sampled_from(
    [
        "Host",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
        "TE",
        "A",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "Keep-Alive",
        "Max-Forwards",
        "content-length",
    ]
)
VALUES = st.sampled_from(
    [
        "h",
        "close",
        "keep-alive, A",
        "upgrade",
        "5",
        "0",
        "chunked",
        "gzip, chunked",
        "websocket",
        "100-continue",
        "",
        " x ",
        "Host",
        "h:1",
        "content-length",
        "h2c",
    ]
)


def judged(head: bytes) -> http1.Request:
    wanted = http1.REQUEST_FIELDS | http1.LOOK_ALIKES
    fields = heads.Reader(responses=False, wanted=wanted, limit=100).read(head)
    return http1.request(head, fields)


@given(
    st.sampled_from(["GET", "POST", "OPTIONS", "HEAD"]),
    st.sampled_from(["/", "/a?b", "*", "http://h/x", "http://h", "//", "/a#b"]),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
)
def test_what_is_forwarded_is_sound_whatever_came(
    method: str, target: str, version: str, fields: list[tuple[str, str]]
) -> None:
    """RFC 9112 sections 3.2 and 6.3: one Host, one framing, nothing of the connection's own."""
    lines = [f"{method} {target} {version}", *(f"{n}: {v}" for n, v in fields), "", ""]
    try:
        request = judged("\r\n".join(lines).encode())
    except (http1.Refused, heads.MalformedError):
        return
    if request.host is None:
        request.extra += b"Host: h\r\n"
    tail = http1.tail(peer=b"1.1.1.1", host=b"h", scheme=b"http")
    sent = http1.forward(request, tail)
    assert sent.count(b"\r\n\r\n") == 1
    assert sent.endswith(b"\r\n\r\n")
    assert sent.split(b"\r\n")[0].endswith(b" HTTP/1.1")
    names = [line.partition(b":")[0].lower() for line in sent.split(b"\r\n")[1:-2]]
    assert names.count(b"host") == 1
    assert names.count(b"x-forwarded-for") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert (b"transfer-encoding" in names) == (request.length == http1.CHUNKED)
    assert (b"content-length" in names) or request.length in (0, http1.CHUNKED)
    assert not {b"keep-alive", b"te", b"x_forwarded_for"} & set(names)
    assert (b"upgrade" in names) == (request.upgrade is not None) == (b"connection" in names)
    again = judged(sent)  # a server that is as strict as we are reads the same
    assert (again.length, again.method, again.target) == (
        request.length,
        request.method,
        request.target,
    )


@pytest.mark.parametrize(
    "host", ["", "h", "h:80", "h:", "1.2.3.4:5", "[::1]", "[::1]:80", "a_b", "xn--a", "a%20b"]
)
def test_hosts_that_are_valid(host: str) -> None:
    assert http1.host_is_valid(host.encode())


@pytest.mark.parametrize(
    "host", ["a@b", "a/b", "a b", "a,b", "a:b", "[::1", "::1", 'a"', "a\\b", "a:999999"]
)
def test_hosts_that_are_not(host: str) -> None:
    assert not http1.host_is_valid(host.encode())


def test_a_field_that_connection_names_is_dropped_even_if_it_comes_first() -> None:
    """RFC 9110 section 7.6.1."""
    request = judged(b"GET / HTTP/1.1\r\nOwn: 1\r\nHost: h\r\nConnection: own\r\nB: b\r\n\r\n")
    assert http1.forward(request, b"\r\n") == b"GET / HTTP/1.1\r\nHost: h\r\nB: b\r\n\r\n"


def test_close_wins_over_keep_alive() -> None:
    """RFC 9112 section 9.3."""
    request = judged(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Close\r\n\r\n")
    assert not request.keep_alive


def test_the_length_limit_counts_what_is_announced() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 11\r\nHost: h\r\n\r\n"
    fields = [(b"content-length", b"11", 1), (b"host", b"h", 2)]
    assert http1.request(head, fields, body_bytes=11).length == 11
    with pytest.raises(http1.Refused) as refused:
        http1.request(head, fields, body_bytes=10)
    assert refused.value.status == 413


def test_the_same_field_twice_is_judged_without_the_parsers_help() -> None:
    """RFC 9112 section 6.3 (5), should a parser ever let it pass."""
    head = b"POST / HTTP/1.1\r\nHost: h\r\n\r\n"
    zero, five, chunked = (
        (b"content-length", b"0", 2),
        (b"content-length", b"5", 3),
        (b"transfer-encoding", b"chunked", 4),
    )
    for pair in ((zero, five), (five, zero), (zero, zero), (zero, chunked), (chunked, five)):
        with pytest.raises(http1.Refused):
            http1.request(head, [(b"host", b"h", 1), *pair])


def test_what_is_remembered_of_hosts_and_options_is_bounded_in_bytes_too() -> None:
    long = b"a" * 301
    for find, cache in (
        (http1.host_is_valid, http1._is_host),
        (http1.connection_options, http1._find_options),
    ):
        before = cache.cache_info().currsize
        assert find(long) == find(long)
        assert cache.cache_info().currsize == before
