"""`ringmaster-server`: reads its surroundings, serves, drains on SIGTERM.

Exit codes: 0 drained, 1 the address cannot be listened on, 2 wrong usage. A second signal ends it
at once, by that signal.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from types import FrameType

import ringmaster_server
from ringmaster_server import app, httpd, logs

MAX_PORT = 65_535


def main() -> None:
    """Run the server until a signal ends it."""
    parser = _parser()
    parser.parse_args()
    host, server_id = os.environ.get("HOST") or "0.0.0.0", _server_id()  # noqa: S104 – the default, so that a container's port is reachable
    port = _port(parser, os.environ.get("PORT") or "5000")
    logs.configure()
    server = httpd.Server((host, port), app.create_app(server_id).wsgi_app)
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        server.listen()
    except OSError as error:
        sys.exit(f"ringmaster-server: cannot listen on {httpd.address(server)}: {error.strerror}")
    _log(f"listening address={httpd.address(server)} id={server_id}")
    server.serve_until(stop)
    _log("drained")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ringmaster-server",
        description="Answers GET /home with its id and GET /heartbeat with 200.",
        epilog="Environment: SERVER_ID (default: the host's name), PORT (default: 5000, 0: any "
        "free one), HOST (default: 0.0.0.0). SIGTERM and SIGINT drain it, a second one ends it.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {ringmaster_server.__version__}"
    )
    return parser


def _server_id() -> str:
    return os.environ.get("SERVER_ID") or socket.gethostname()


def _port(parser: argparse.ArgumentParser, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_PORT):
        parser.error(f"PORT must be a number from 0 to {MAX_PORT}, not {text!r}")
    return int(text)


def _stop_on_signals(stop: threading.Event) -> None:
    def first(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, first)


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
