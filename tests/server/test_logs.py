"""Nobody waits for the server's log, and what is lost of it is counted."""

from __future__ import annotations

import os
import subprocess
import sys

LINES = 20_000  # more than wait to be written
CODE = f"""
import sys
from ringmaster_server import logs
logs.configure()
logs._CLOSING = 60  # a busy reader may need more than the half second
for number in range({LINES}):
    sys.stderr.write(f"line number={{number}} {{'x' * 100}}\\n")
print("all is said", flush=True)
"""


def test_lines_that_were_lost_are_counted_in_the_log_once_it_can_be_written():
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=writing
    ) as process:
        os.close(writing)
        assert process.stdout.readline() == b"all is said\n"  # and nobody reads it yet
        with os.fdopen(reading, "rb") as log:
            lines = log.read().decode().splitlines()
    said = [line for line in lines if "number=" in line]
    notes = [line for line in lines if line.startswith("log lines lost count=")]
    assert 0 < len(said) < LINES
    assert len(said) + sum(int(note.rpartition("=")[2]) for note in notes) == LINES
