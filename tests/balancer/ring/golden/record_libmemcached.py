"""Records which server libmemcached picks for a list of keys: the witness of `ketama`, md5.

    pip install pylibmc
    python tests/balancer/ring/golden/record_libmemcached.py \
        > tests/balancer/ring/golden/libmemcached.json

pylibmc's wheels bring libmemcached. The servers are stand-ins that answer every `set` with STORED
and note its key; they take the ports 19081 to 19085 of 127.0.0.1.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading

import pylibmc  # type: ignore[import-not-found]  # only this recipe needs it

KEYS = 2_000
CASES = {
    "three alike": {"127.0.0.1:19081": 1, "127.0.0.1:19082": 1, "127.0.0.1:19083": 1},
    "weights 1, 2, 3": {"127.0.0.1:19081": 1, "127.0.0.1:19082": 2, "127.0.0.1:19083": 3},
    "five alike": {f"127.0.0.1:{port}": 1 for port in range(19_081, 19_086)},
}


class Handler(socketserver.StreamRequestHandler):
    """Enough of memcached's text protocol for `set`."""

    def handle(self) -> None:
        """Note every key with the port that it came to."""
        while line := self.rfile.readline().split():
            if line[0] != b"set":
                return
            self.rfile.read(int(line[4]) + 2)
            self.server.noted[line[1].decode()] = self.server.server_address[1]  # type: ignore[attr-defined]
            self.wfile.write(b"STORED\r\n")


class Server(socketserver.ThreadingTCPServer):
    """One stand-in."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, noted: dict[str, int]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.noted = noted


def main() -> None:
    """Start the stand-ins, set every key through libmemcached, print JSON."""
    noted: dict[str, int] = {}
    servers = [Server(port, noted) for port in range(19_081, 19_086)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    cases = [
        {"name": name, "servers": weights, "picked": ask(weights, noted)}
        for name, weights in CASES.items()
    ]
    for server in servers:
        server.shutdown()
    document = {
        "recorded_with": f"libmemcached/{pylibmc.libmemcached_version}",
        "keys": KEYS,
        "cases": cases,
    }
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def ask(weights: dict[str, int], noted: dict[str, int]) -> str:
    """For each key the index of the server that libmemcached sent it to, as one digit."""
    servers = list(weights)
    client = pylibmc.Client(
        [f"{server}:{weight}" for server, weight in weights.items()],
        behaviors={"ketama_weighted": True, "ketama": True, "hash": "md5"},
    )
    noted.clear()
    for number in range(KEYS):
        client.set(f"user-{number}", b"x")
    return "".join(
        str(servers.index(f"127.0.0.1:{noted[f'user-{number}']}")) for number in range(KEYS)
    )


if __name__ == "__main__":
    main()
