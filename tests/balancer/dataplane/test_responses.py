"""Our own errors."""

from __future__ import annotations

import json

from ringmaster_balancer.dataplane import responses


def test_an_error_is_json_with_its_length() -> None:
    head, _, body = responses.error(503, "no").partition(b"\r\n\r\n")
    assert json.loads(body) == {"message": "<Error> no", "status": "failure"}
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Retry-After: 1" in head


def test_an_error_for_head_has_the_length_and_no_body() -> None:
    """RFC 9110 section 9.3.2."""
    whole, head = responses.error(400, "a"), responses.error(400, "a", bodiless=True)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")


def test_a_path_can_not_break_out_of_the_message() -> None:
    message = responses.no_endpoint(b'/a"\\<b>?q=1')
    body = responses.error(400, message).partition(b"\r\n\r\n")[2]
    assert json.loads(body)["message"] == (
        "<Error> '/a\"\\<b>' endpoint does not exist in server replicas"
    )


def test_a_date_is_in_the_one_form_there_is_and_first_in_the_head() -> None:
    """9110 §5.6.7: IMF-fixdate."""
    line = responses.date(784111777.9)
    assert line == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    wire = responses.error(404, "gone")
    assert responses.dated(wire, line).split(b"\r\n")[:2] == [
        b"HTTP/1.1 404 Not Found",
        line.rstrip(),
    ]
    assert responses.dated(wire, line).replace(line, b"") == wire
