from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import keys

HEADERS = [
    (b"host", b"example.org"),
    (b"cookie", b'theme=dark; session = s1 ;quoted="a b"; session=s2; empty=; bare'),
    (b"x-user", b"ada \t"),
    (b"x-user", b"bob"),
    (b"x-empty", b" "),
]


def key(*sources: dict[str, Any], target: bytes = b"/") -> bytes | None:
    extract = keys.compile([members.KeySource(**source) for source in sources])
    return extract(target, HEADERS, "192.0.2.7")


def test_a_headers_first_value_counts_without_blanks_whatever_the_names_case() -> None:
    assert key({"header": "X-User"}) == b"ada"


@pytest.mark.parametrize(
    ("name", "value"),
    [("theme", b"dark"), ("session", b"s1"), ("quoted", b'"a b"'), ("empty", None), ("bare", None)],
)
def test_a_cookie_is_read_as_rfc_6265_writes_it(name: str, value: bytes | None) -> None:
    assert key({"cookie": name}) == value


def test_cookie_names_know_upper_and_lower_case() -> None:
    assert key({"cookie": "Session"}) is None


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/?user=ada", b"ada"),
        (b"/x?a=1&user=ada&user=bob", b"ada"),
        (b"/?%75ser=%61d%61", b"ada"),
        (b"/?user=a+b%20c", b"a b c"),
        (b"/?user=ada#user=bob", b"ada"),
        (b"/?user=a=b?c", b"a=b?c"),
        (b"/?user=", None),
        (b"/?user", None),
        (b"/?users=ada", None),
        (b"/user=ada", None),
        (b"/#?user=ada", None),
        (b"http://host/x?user=ada", b"ada"),
        (b"/?user=%zz%4", b"%zz%4"),
        (b"/?user=%ff", b"\xff"),
    ],
)
def test_a_query_parameter_is_decoded(target: bytes, value: bytes | None) -> None:
    assert key({"query": "user"}, target=target) == value


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"key=%ff%FE", b"\xff\xfe"),
        (b"key=\xff", b"\xff"),
        (b"key=%25FF", b"%FF"),
        (b"key=+a%2Bb+", b" a+b "),
        (b"k=1&%6Bey=2&key=3", b"2"),
        (b"key=%c3%a4", "ä".encode()),
        (b"key=%zz", b"%zz"),
        (b"key=", b""),
        (b"key", b""),
        (b"keys=1", None),
        (b"", None),
    ],
)
def test_a_parameter_is_bytes_as_they_came_of_whatever_encoding(query, value) -> None:
    assert keys.parameter(query, b"key") == value


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/home", b"/home"),
        (b"/home?a=b", b"/home"),
        (b"/h%6Fme", b"/home"),
        (b"/home#part", b"/home"),
        (b"http://host:80/home?x", b"/home"),
        (b"http://host", b"/"),
        (b"http://host?x", b"/"),
        (b"*", b"*"),
    ],
)
def test_the_path_is_the_same_key_however_it_is_spelled(target: bytes, value: bytes) -> None:
    assert key({"path": True}, target=target) == value


def test_the_clients_address_is_a_key() -> None:
    assert key({"client_address": True}) == b"192.0.2.7"


def test_the_first_source_that_is_present_wins() -> None:
    order = [{"header": "X-None"}, {"header": "X-Empty"}, {"cookie": "theme"}, {"path": True}]
    assert key(*order) == b"dark"


@pytest.mark.parametrize("sources", [[], [{"header": "X-None"}], [{"header": "X-Empty"}]])
def test_without_a_key_the_caller_draws_one(sources: list[dict[str, Any]]) -> None:
    assert key(*sources) is None


@given(
    target=st.binary(max_size=40),
    value=st.binary(max_size=40),
    source=st.sampled_from([{"query": "q"}, {"cookie": "q"}, {"header": "cookie"}, {"path": True}]),
)
def test_no_request_breaks_the_extraction(
    target: bytes, value: bytes, source: dict[str, Any]
) -> None:
    extract = keys.compile([members.KeySource(**source)])
    found = extract(target, [(b"cookie", value)], "")
    assert found is None or found
