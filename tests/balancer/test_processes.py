"""A child that another program of this process has started is ours to wait for."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

from ringmaster_balancer import processes


def sleeper():
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


def test_an_adopted_process_is_ended_and_its_end_is_known():
    child = sleeper()
    adopted = processes.Adopted(child.pid)
    assert adopted.returncode is None
    adopted.send_signal(signal.SIGKILL)
    assert asyncio.run(asyncio.wait_for(adopted.wait(), 10)) == -signal.SIGKILL
    adopted.send_signal(signal.SIGKILL)  # its id may be somebody else's by now
    child.returncode = 0


def test_one_that_somebody_else_has_waited_for_has_ended():
    child = sleeper()
    child.kill()
    child.wait()
    assert processes.Adopted(child.pid).returncode == -1
