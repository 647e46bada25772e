"""What is JSON, and what Python only takes for it."""

from __future__ import annotations

import pytest
from ringmaster_balancer.control import bodies


def test_what_json_has_is_read():
    assert bodies.read(b'{"a": [1, -2.5e3, "x", true, null]}') == {
        "a": [1, -2500.0, "x", True, None]
    }


@pytest.mark.parametrize(
    "body",
    [b'{"n": NaN}', b"[Infinity]", b"-Infinity", b"1e999", b"-1e999", b"{", b"", b"\xff",
     b"[" * 99_999],
)  # fmt: skip
def test_what_it_has_not_is_refused(body):
    with pytest.raises(ValueError, match=r"."):
        bodies.read(body)
