"""One log line, as a user reads it."""

from __future__ import annotations

import os
import subprocess
import sys

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


LINES = 20_000  # more than wait to be written
CODE = f"""
import os
import subprocess
import sys

import structlog
from ringmaster_operator import logs
logs.configure()
logs._CLOSING = 60  # a busy reader may need more than the half second
for number in range({LINES}):
    structlog.get_logger().info("x" * 100, number=number)
print("all is said", flush=True)
"""


def test_lines_that_were_lost_are_counted_in_the_log_once_it_can_be_written() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=writing
    ) as process:
        os.close(writing)
        assert process.stdout is not None
        assert process.stdout.readline() == b"all is said\n"  # and nobody reads it yet
        with os.fdopen(reading, "rb") as log:
            lines = log.read().decode().splitlines()
    said = [line for line in lines if "number=" in line]
    notes = [line for line in lines if "log lines lost" in line]
    assert notes[0].startswith("time=2")
    assert 0 < len(said) < LINES
    assert len(said) + sum(int(note.rpartition("=")[2]) for note in notes) == LINES
