"""A load balancer as it is often begun: Flask's development server, `requests`, a list as ring.

`python bench/flask_proxy.py PORT UPSTREAM_PORT...`: the other end of the scale in `make bench`.
"""

from __future__ import annotations

import logging
import sys

import flask
import requests

SLOTS = 512
VIRTUAL_SERVERS = 9


def ring(ports: list[int]) -> list[int | None]:
    """Slots with nine virtual servers each, placed by a quadratic and linear probing."""
    slots: list[int | None] = [None] * SLOTS
    for number, port in enumerate(ports, start=1):
        for virtual in range(VIRTUAL_SERVERS):
            slot = (number**2 + virtual**2 + 2 * virtual + 25) % SLOTS
            while slots[slot] is not None:
                slot = (slot + 1) % SLOTS
            slots[slot] = port
    return slots


def create(ports: list[int]) -> flask.Flask:
    """The application: one route for everything."""
    app = flask.Flask(__name__)
    slots = ring(ports)

    @app.route("/<path:path>", methods=["GET", "POST"])
    def forward(path: str) -> flask.Response:
        slot = hash(flask.request.headers.get("X-Request-Id", "")) % SLOTS
        while slots[slot] is None:
            slot = (slot + 1) % SLOTS
        answer = requests.request(
            flask.request.method,
            f"http://127.0.0.1:{slots[slot]}/{path}",
            data=flask.request.get_data(),
            headers={"X-Forwarded-For": flask.request.remote_addr or ""},
            timeout=10,
        )
        kind = answer.headers.get("Content-Type", "text/plain")
        return flask.Response(answer.content, answer.status_code, {"Content-Type": kind})

    return app


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    listen, *upstreams = map(int, sys.argv[1:])
    create(upstreams).run(port=listen, threaded=True)
