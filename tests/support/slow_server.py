"""A small HTTP server that answers as it is told, on a free port: what a load meets."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

Answer = Callable[[bytes], Coroutine[Any, Any, bytes]]


def ok(member: str, name: str) -> bytes:
    """A whole response of the example server, as a balancer hands it on."""
    body = b'{"message": "Hello from Server: %b", "status": "successful"}' % name.encode()
    head = b"HTTP/1.1 200 OK\r\nX-Ringmaster-Member: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (member.encode(), len(body)) + body


@contextlib.contextmanager
def running(answer: Answer) -> Iterator[int]:
    """Serve in a thread; `answer` gets a request's head. An empty answer closes the connection."""
    started: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await answer(await reader.readuntil(b"\r\n\r\n")):
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def serve() -> None:
        end = asyncio.Event()
        server = await asyncio.start_server(client, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        started.append((port, asyncio.get_running_loop(), end))
        ready.set()
        await end.wait()
        server.close()
        clients = asyncio.all_tasks() - {asyncio.current_task()}
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    port, loop, end = started[0]
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
