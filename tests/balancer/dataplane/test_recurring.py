"""Heads that recur: what is remembered says what judging anew would say, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.dataplane import heads, http1, recurring

KEY = b"x-id"
TAIL = b"Via: us\r\n\r\n"
LIMIT = 8192


def judged(head: bytes) -> http1.Request:
    """By the parser and the rules; raises what they raise."""
    wanted = http1.REQUEST_FIELDS | http1.LOOK_ALIKES | {KEY}
    fields = heads.Reader(responses=False, wanted=wanted, limit=100).read(head)
    return http1.request(head, fields)


def answered(head: bytes, method: bytes = b"GET") -> http1.Response:
    reader = heads.Reader(responses=True, wanted=http1.RESPONSE_FIELDS, limit=1000)
    return http1.response(head, reader.read(head), method)


def meaning(request: http1.Request) -> dict[str, Any]:
    """All that a request's head decides; the key's blanks and its line do not count."""
    key = [value.strip(b" \t") for name, value, _ in request.fields if name == KEY]
    others = sorted((name, value) for name, value, _ in request.fields if name != KEY)
    slots = {
        name: getattr(request, name)
        for name in http1.Request.__slots__
        if name not in ("fields", "sent", "named")
    }
    return {**slots, "key": key, "others": others, "wire": http1.forward(request, TAIL)}


def answer_meaning(response: http1.Response) -> dict[str, Any]:
    slots = {n: getattr(response, n) for n in http1.Response.__slots__ if n != "sent"}
    wires = [
        http1.answer(response, minor=minor, close=close, extra=extra)
        for minor, close in ((1, False), (1, True), (0, True))
        for extra in (b"", b"X-Extra: 1\r\n")
    ]
    return {**slots, "wires": wires}


def known(head: bytes) -> recurring.Question | None:
    """What is remembered of a head that came twice."""
    memory = recurring.Requests(key=KEY, limit=LIMIT)
    place = memory.place(head)
    for _ in range(2):
        memory.learn(judged(head), place)
    return memory.find(place)


def known_answer(head: bytes) -> recurring.Answer | None:
    memory = recurring.Responses()
    place = memory.place(head)
    for _ in range(2):
        memory.learn(answered(head), place)
    return memory.find(place)


def get(*lines: str, target: str = "/a", version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


PLAIN = ("Host: h", "X-Id: 1", "Accept: */*")


@pytest.mark.parametrize(
    "second",
    [
        get(*PLAIN),
        get(*PLAIN, target="/other/path?with=query&b=%20"),
        get("Host: h", "X-Id: 2f3c-1d:9/a", "Accept: */*"),
        get("Host: h", "X-Id: ", "Accept: */*"),
    ],
)
def test_another_target_and_another_key_mean_what_they_mean(second: bytes) -> None:
    question = known(get(*PLAIN))
    assert question is not None
    request = question.match(second)
    assert request is not None
    assert meaning(request) == meaning(judged(second))


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(get(*PLAIN)[:-1], id="not whole"),
        pytest.param(get(*PLAIN) + b"GET", id="more behind it"),
        pytest.param(get(*PLAIN) * 2, id="two of them"),
        pytest.param(b"\r\n" + get(*PLAIN), id="an empty line before"),
        pytest.param(get(*PLAIN, method="PUT"), id="another method"),
        pytest.param(get(*PLAIN, version="1.0"), id="another version"),
        pytest.param(get(*PLAIN, target="http://h/a"), id="absolute form"),
        pytest.param(get(*PLAIN, target="*"), id="asterisk form"),
        pytest.param(get(*PLAIN, target="/a#b"), id="a fragment"),
        pytest.param(get(*PLAIN, target="/a b"), id="a blank in the target"),
        pytest.param(get(*PLAIN, target="/\x80"), id="a high byte in the target"),
        pytest.param(get(*PLAIN, target="/" + "a" * LIMIT), id="too long"),
        pytest.param(get("Host: i", *PLAIN[1:]), id="another field"),
        pytest.param(get(*PLAIN, "A: b"), id="one field more"),
        pytest.param(get(*PLAIN[:2]), id="one field less"),
        pytest.param(get("Host: h", "X-Id: 1", "X-Id: 2", "Accept: */*"), id="two keys"),
        pytest.param(get("Host: h", "X-Id: a\tb", "Accept: */*"), id="a tab in the key"),
        pytest.param(get("Host: h", "X-Id: a\rb", "Accept: */*"), id="a CR in the key"),
        pytest.param(get("Host: h", "X-Id: a\nb", "Accept: */*"), id="a LF in the key"),
        pytest.param(get("Host: h", "X-Id: a\x00b", "Accept: */*"), id="a NUL in the key"),
        pytest.param(
            get("Host: h", "X-Id: 1\r\nContent-Length: 3", "Accept: */*"), id="a line in the key"
        ),
    ],
)
def test_what_is_unlike_is_not_known(second: bytes) -> None:
    question = known(get(*PLAIN))
    assert question is not None
    assert question.match(second) is None


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(get("Host: h", "X-Id: 1", method="POST"), id="a method with a body"),
        pytest.param(get("Host: h", "X-Id: 1", method="OPTIONS"), id="a method with rules"),
        pytest.param(get("Host: h", "Content-Length: 0"), id="a length"),
        pytest.param(get("Host: h", "Transfer-Encoding: chunked"), id="chunks"),
        pytest.param(get("Host: h", "Expect: 100-continue"), id="an expectation"),
        pytest.param(get("Host: h", "X-Forwarded-For: 1.2.3.4"), id="who sent it has a say"),
        pytest.param(get("Host: h", "Connection: upgrade", "Upgrade: websocket"), id="an upgrade"),
        pytest.param(get("Host: h", version="1.0"), id="another version"),
        pytest.param(get("Host: h", target="http://i/a"), id="absolute form"),
        pytest.param(get("Host: h", "X-Id: 1", "x-id: 2"), id="two keys"),
        pytest.param(get("Host: h", "Connection: x-id", "X-Id: 1"), id="the key goes no further"),
        pytest.param(get("Host: h", "A: " + "a" * 5000), id="a long one"),
    ],
)
def test_what_depends_on_more_than_its_lines_is_not_remembered(head: bytes) -> None:
    assert known(head) is None


def test_a_head_that_comes_once_is_not_remembered() -> None:
    memory = recurring.Requests(key=KEY, limit=LIMIT)
    place = memory.place(get(*PLAIN))
    assert memory.learn(judged(get(*PLAIN)), place) is None
    assert memory.find(place) is None


def test_the_memory_is_bounded() -> None:
    memory = recurring.Requests(key=KEY, limit=LIMIT)
    places = [memory.place(get("Host: h", f"A: {number}")) for number in range(3000)]
    for number, place in enumerate(places):
        for _ in range(2):
            memory.learn(judged(get("Host: h", f"A: {number}")), place)
    assert 0 < sum(memory.find(place) is not None for place in places) <= 512


def test_a_key_that_has_rules_of_its_own_is_a_field_like_others() -> None:
    memory = recurring.Requests(key=b"host", limit=LIMIT)
    one, other = memory.place(get("Host: a")), memory.place(get("Host: b"))
    assert one != other


LINES = st.sampled_from(
    [
        "Host: h", "Host: i", "X-Id: 1", "x-id: 2", "X-ID: 3", "X-Id:4", "X-Id: ", "Accept: */*",
        "Connection: keep-alive", "Connection: close", "Connection: x-id", "Connection: accept",
        "Keep-Alive: timeout=3", "TE: trailers", "A : b", " folded", "\tfolded", "A: b\r", "A: b\nC",
        "Content-Length: 0", "Content-Length: 3", "Transfer-Encoding: chunked", "Upgrade: h2c",
        "X_Forwarded_For: 1", "X-Forwarded-For: 1", "Max-Forwards: 0", "A: \x00", "",
    ]
)  # fmt: skip
VALUES = st.text(st.characters(max_codepoint=255), max_size=6)
TARGETS = st.one_of(
    st.sampled_from(["/", "/a?b=c", "*", "http://h/", "/a#b", "/ b", "h:80", ""]),
    VALUES.map("/{}".format),
)


@st.composite
def request_heads(draw: Callable[..., Any]) -> tuple[bytes, bytes]:
    """Two heads that are alike but for the target, the key, and one line at most."""
    lines = draw(st.lists(LINES, max_size=5))
    lines.insert(draw(st.integers(0, len(lines))), "Host: h")
    at = draw(st.integers(0, len(lines)))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2.0"]))
    name = draw(st.sampled_from(["X-Id: ", "x-id: ", "X-ID: ", "X-Id:"]))
    heads_ = []
    for _ in range(2):
        key = name + draw(st.one_of(st.just("k"), VALUES))
        method = draw(st.sampled_from(["GET", "GET", "HEAD", "POST"]))
        mine = [*lines[:at], key, *lines[at:]]
        heads_.append(get(*mine, target=draw(TARGETS), version=version, method=method))
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(heads_[1])))
        inserted = draw(VALUES).encode("latin-1")
        heads_[1] = heads_[1][:cut] + inserted + heads_[1][cut:]
    return heads_[0], heads_[1]


@given(request_heads())
def test_a_match_means_what_the_head_means(pair: tuple[bytes, bytes]) -> None:
    first, second = pair
    try:
        question = known(first)
    except (heads.MalformedError, http1.Refused):
        return
    request = None if question is None else question.match(second)
    if request is not None:
        assert second.index(b"\r\n\r\n") == len(second) - 4
        assert meaning(request) == meaning(judged(second))


# -- responses


def ok(*lines: str, length: str = "Content-Length: 2", status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, length, "A: b", "", ""]).encode("latin-1")


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive", "Keep-Alive: timeout=5")])
@pytest.mark.parametrize("length", ["Content-Length: 2", "content-length: 2"])
def test_another_length_means_what_it_means(lines: tuple[str, ...], length: str) -> None:
    answer = known_answer(ok(*lines, length=length))
    assert answer is not None
    second = ok(*lines, length=length + "34")
    response = answer.match(second + b"body")
    assert response is not None
    assert answer.end == len(second)
    assert answer_meaning(response) == answer_meaning(answered(second))


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(ok()[:-1], id="not whole"),
        pytest.param(ok()[:30], id="cut in the length"),
        pytest.param(ok(status="201 Created"), id="another status"),
        pytest.param(ok("C: d"), id="one field more"),
        pytest.param(ok(length="Content-Length: "), id="no length"),
        pytest.param(ok(length="Content-Length: 2 "), id="a blank"),
        pytest.param(ok(length="Content-Length: -2"), id="a sign"),
        pytest.param(ok(length="Content-Length: 2, 2"), id="two lengths"),
        pytest.param(ok(length="Content-Length: " + "1" * 16), id="too long"),
        pytest.param(ok(length="Content-Length: 2\r\nContent-Length: 3"), id="a line more"),
    ],
)
def test_what_is_unlike_is_no_known_answer(second: bytes) -> None:
    answer = known_answer(ok())
    assert answer is not None
    assert answer.match(second) is None


@pytest.mark.parametrize(
    "head",
    [
        ok(length="Transfer-Encoding: chunked"),
        ok(length="C: d"),
        ok(status="204 No Content"),
        ok(status="304 Not Modified"),
        ok(length="Content-Length:  2"),
        ok(length="A: " + "a" * 5000),
    ],
)
def test_responses_without_a_plain_length_are_judged_each_time(head: bytes) -> None:
    assert known_answer(head) is None


ANSWER_LINES = st.sampled_from(
    [
        "Date: d", "Connection: close", "Connection: keep-alive", "Keep-Alive: 3", "Upgrade: h2c",
        "Connection: date", "Content-Length: 2", "Transfer-Encoding: chunked", " folded", "A : b",
        "Trailer: x", "",
    ]
)  # fmt: skip


@given(
    st.lists(ANSWER_LINES, max_size=4),
    st.sampled_from(["200 OK", "404 Not Found", "204 No", "304 No", "101 Switch", "500 "]),
    st.text("0123456789 +-,;x\r\n", min_size=1, max_size=17),
    st.binary(max_size=4),
)
def test_an_answer_means_what_its_head_means(
    lines: list[str], status: str, digits: str, inserted: bytes
) -> None:
    try:
        answer = known_answer(ok(*lines, status=status))
    except (heads.MalformedError, http1.BadResponseError):
        return
    second = ok(*lines, status=status, length="Content-Length: " + digits)
    for data in (second, second + inserted, second[:-2] + inserted + second[-2:]):
        response = None if answer is None else answer.match(data)
        if response is not None:
            assert answer is not None
            assert answer_meaning(response) == answer_meaning(answered(data[: answer.end]))
