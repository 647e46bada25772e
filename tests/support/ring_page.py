"""`make ring-page`: take docs/ring-page.png again, of a real `ringmaster up` in a real browser.

Three servers become four under a steady trickle of requests; then a key is asked for. Everything
is on free ports of this machine and gone afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import browser
import requests
import stack as stacks

WIDTH = 1160
KEY = "alice"
_A_SECOND = 120
_ENOUGH = 2_500  # requests: the counts look like the shares


def main() -> None:
    """Write the picture to the path of the command line."""
    (target,) = map(Path, sys.argv[1:])
    if browser.executable() is None:
        sys.exit(f"ring-page needs one of {', '.join(browser.NAMES)} in PATH")
    with tempfile.TemporaryDirectory(prefix="ring-page-") as folder:
        print("starting three servers, then four …")
        with stacks.running(Path(folder)) as stack, trickle(stack):
            stack.cli("scale", "serverset/web", "--replicas=4")
            stack.wait_active(4)
            print(f"waiting for {_ENOUGH} requests …")
            with browser.tab() as tab:
                take(tab, f"http://127.0.0.1:{stack.control_port}/", target)
    print(f"written: {target}")


def take(tab: browser.Tab, url: str, target: Path) -> None:
    """Ask the page for a key, and take the whole of it once there is something to see."""
    tab.call(
        "Emulation.setDeviceMetricsOverride",
        width=WIDTH, height=1000, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    tab.open(url)
    rows = "[...document.querySelectorAll('#members tr')]"
    count = f"{rows}.reduce((sum, row) => sum + Number(row.children[5].textContent.replace(',', '')), 0)"
    tab.eventually(f"{count} >= {_ENOUGH} && {rows}.length === 4", what="the requests", seconds=120)
    tab.evaluate("document.getElementById('key').focus()")
    tab.type(KEY)
    tab.eventually("document.querySelectorAll('#answer li').length === 4", what="the answer")
    tab.evaluate("document.getElementById('key').blur()")
    rates = "Number(document.getElementById('rate').textContent)"
    tab.eventually(f"{rates} > {_A_SECOND / 3}", what="a rate")
    tab.eventually("document.getAnimations().length === 0", what="an end of what fades")
    height = tab.evaluate("Math.ceil(document.documentElement.getBoundingClientRect().height)")
    tab.screenshot(target, width=WIDTH, height=int(height))
    assert not tab.said, tab.said


@contextlib.contextmanager
def trickle(stack: stacks.Stack) -> Iterator[None]:
    """Requests of many keys until it ends, about a hundred a second."""
    ended = threading.Event()

    def send() -> None:
        with requests.Session() as session:
            for number in itertools.count():
                if ended.wait(1 / _A_SECOND):
                    return
                with contextlib.suppress(requests.RequestException):
                    headers = {"X-Request-Id": f"user-{number}"}
                    session.get(stack.url + "/home", headers=headers, timeout=10)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


if __name__ == "__main__":
    main()
