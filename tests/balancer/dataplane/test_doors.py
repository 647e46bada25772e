"""Accepting by hand, on real sockets."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
import scripted
from ringmaster_balancer.dataplane import doors


def test_a_door_lets_everybody_in_until_it_is_closed() -> None:
    async def scenario() -> None:
        entered: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0), backlog=200) as sock:
            address = sock.getsockname()
            door = doors.Door(sock, entered.append)
            callers = [socket.create_connection(address) for _ in range(150)]
            await scripted.eventually(lambda: len(entered) == 150)
            door.close()
            callers.append(socket.create_connection(address))
            await asyncio.sleep(0.05)
            assert len(entered) == 150
            sock.setblocking(False)
            entered.append(sock.accept()[0])  # it was left in the queue
        for each in (*entered, *callers):
            each.close()

    scripted.run(scenario())


@pytest.mark.parametrize("close", [False, True])
def test_without_a_descriptor_it_rests_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, *, close: bool
) -> None:
    monkeypatch.setattr(doors, "_RETRY_SECONDS", 0.1)
    tries = 0

    class Poor(socket.socket):
        def dup(self) -> Poor:
            return Poor(fileno=super().dup().detach())

        def accept(self) -> tuple[socket.socket, object]:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def scenario() -> None:
        entered: list[socket.socket] = []
        with Poor() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            door = doors.Door(sock, entered.append)
            with socket.create_connection(sock.getsockname()):
                await scripted.eventually(lambda: tries == 1)
                if close:
                    door.close()
                    await asyncio.sleep(0.2)
                    assert tries == 1
                    return
                await scripted.eventually(lambda: len(entered) == 1)
                door.close()
                entered[0].close()

    scripted.run(scenario())
