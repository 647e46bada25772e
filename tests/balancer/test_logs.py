"""A log line is `time level process event key=value`, on stderr, whatever is in a value."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import structlog
from ringmaster_balancer import logs
logs.configure("worker-3")
log = structlog.get_logger()
log.debug("never said")
log.info("two words", path="a b", flag=True, text="x\\ny")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("bad")
"""


def test_every_event_is_one_line_of_keys_and_values():
    done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("time=")
    rest = first.partition(" ")[2]
    assert rest == ('level=info process=worker-3 event="two words" path="a b" flag=true text=x\\ny')
    assert 'event=bad exception="Traceback' in second
