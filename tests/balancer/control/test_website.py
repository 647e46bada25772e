"""A web server that leaves answers what it was asked and loses nobody who waits."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading

from ringmaster_balancer.control import website


def test_leaving_answers_what_was_asked_closes_what_is_idle_and_keeps_the_queue():
    entered, gate = threading.Event(), threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            gate.wait(20)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        duplicate = listener.dup()
        duplicate.setblocking(False)
        site = website.Website(app, sock=duplicate, threads=2, body_bytes=1_000)
        site.start()
        idle, slow, late = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(3)
        )
        idle.request("GET", "/")
        assert idle.getresponse().read() == b"ok"
        slow.request("GET", "/slow")
        assert entered.wait(10)

        async def scenario():
            leaving = asyncio.create_task(site.leave())
            assert await asyncio.to_thread(idle.sock.recv, 1) == b""
            late.connect()
            assert not leaving.done()
            gate.set()
            await asyncio.wait_for(leaving, 10)

        asyncio.run(scenario())
        assert slow.getresponse().read() == b"ok"
        listener.settimeout(10)
        waiting, _ = listener.accept()
        waiting.close()
        for connection in (idle, slow, late):
            connection.close()
