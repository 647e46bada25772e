"""One log line, as a user reads it."""

from __future__ import annotations

import structlog
from ringmaster_operator import logs


def test_a_line_is_time_level_event_and_pairs(capsys, monkeypatch) -> None:
    before = structlog.get_config()
    try:
        logs.configure()
        structlog.get_logger().warning("create", replica="web-0", cause="3 wanted, 0 there")
    finally:
        structlog.configure(**before)
    time, level, event, rest = capsys.readouterr().err.strip().split(" ", 3)
    assert time.startswith("time=20")
    assert (level, event) == ("level=warning", "event=create")
    assert rest == 'replica=web-0 cause="3 wanted, 0 there"'
