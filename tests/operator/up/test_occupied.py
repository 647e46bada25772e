"""Ports on 127.0.0.1 that the test itself holds."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import psutil
import pytest
from ringmaster_operator import errors
from ringmaster_operator.up import occupied

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def free() -> int:
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def test_free_ports_are_fine() -> None:
    occupied.check({"--port": free(), "--api-port": free()}, host=HOST)


def test_a_taken_port_is_named_with_its_option_and_who_has_it(taken) -> None:
    me = psutil.Process()
    with pytest.raises(errors.UsageError) as caught:
        occupied.check({"--api-port": taken}, host=HOST)
    said = str(caught.value)
    assert said == (
        f"port {taken} is taken by {me.name()} (pid {os.getpid()}): choose another with --api-port"
    )


def test_a_port_of_our_own_is_no_fault(taken) -> None:
    occupied.check({"--port": taken}, host=HOST, ours={taken})


def test_one_port_for_two_things_is_a_fault() -> None:
    port = free()
    with pytest.raises(errors.UsageError, match=f"--port and --api-port are both {port}"):
        occupied.check({"--port": port, "--api-port": port}, host=HOST)


def test_an_address_that_is_not_ours_is_said() -> None:
    with pytest.raises(errors.UsageError, match=r"port \d+ on 192\.0\.2\.1 cannot be used"):
        occupied.check({"--port": free()}, host="192.0.2.1")
