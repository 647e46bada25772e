"""Text is judged as its source has it."""

from __future__ import annotations

import pytest
from ringmaster_operator.spec import syntax


@pytest.mark.parametrize("text", ["a", "web-0", "0", "a" * 63])
def test_a_dns_label(text: str) -> None:
    assert syntax.is_dns_label(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n", "ü", "٣"])
def test_no_dns_label(text: str) -> None:
    assert not syntax.is_dns_label(text)


@pytest.mark.parametrize("text", ["app", "A.b_c-d", "example.org/app", "a" * 63])
def test_a_label_key(text: str) -> None:
    assert syntax.is_label_key(text)


@pytest.mark.parametrize(
    "text", ["", "/app", "a/", "a/b/c", "-a", "a b", "A/b", "a..b/c", "a" * 64, f"{'a' * 254}/b"]
)
def test_no_label_key(text: str) -> None:
    assert not syntax.is_label_key(text)


@pytest.mark.parametrize("text", ["S5", "0a", "a_b.c-", "a" * 63])
def test_a_replica_name(text: str) -> None:
    assert syntax.is_replica_name(text)


@pytest.mark.parametrize("text", ["", "-rf", ".a", "a b", "ü", "$(id)", "a/b", "a" * 64, "a\n"])
def test_no_replica_name(text: str) -> None:
    assert not syntax.is_replica_name(text)


@pytest.mark.parametrize(
    "text", ["http://a", "https://a:5001/", "http://[::1]:1", "http://127.0.0.1:5001"]
)
def test_a_server_url(text: str) -> None:
    assert syntax.server_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:1",
        "//a",
        "ftp://a",
        "http://",
        "http://:1",
        "http://a:x",
        "http://a:0",
        "http://a:65536",
        "http://a/b",
        "http://a?",
        "http://a#",
        "http://u@a",
        "http://a b",
        "http://a\n",
        "http://[::1",
        "http://ü",
    ],
)
def test_no_server_url(text: str) -> None:
    assert syntax.server_of(text) is None


def test_tokens_and_python_names() -> None:
    assert syntax.is_token("X-Request-Id")
    assert not syntax.is_token("X Request")
    assert syntax.is_python_name("pkg.mod:func")
    assert not syntax.is_python_name("pkg.mod")
