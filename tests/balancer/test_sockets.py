"""Listening sockets: nobody shares a port by accident, and a queue outlives who serves it."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading

import pytest
import structlog.testing
from ringmaster_balancer import sockets

reuse = pytest.mark.skipif(not sockets.spread(), reason="this kernel spreads no connections")


def port_of(sock):
    return sock.getsockname()[1]


def close(opened):
    for sock in set(opened):
        sock.close()


@reuse
def test_each_worker_has_its_own_socket_of_the_same_port():
    opened = sockets.open_data("127.0.0.1", 0, workers=3, reuse_port=True)
    try:
        assert len({sock.fileno() for sock in opened}) == 3
        assert len({port_of(sock) for sock in opened}) == 1
    finally:
        close(opened)


@reuse
def test_of_inherited_sockets_none_is_closed_and_what_is_missing_is_opened():
    opened = sockets.open_data("127.0.0.1", 0, workers=2, reuse_port=True)
    more = sockets.enough(opened, workers=3, reuse_port=True)
    try:
        assert more[:2] == opened
        assert {port_of(sock) for sock in more} == {port_of(opened[0])}
        assert sockets.enough(more, workers=1, reuse_port=True) == more
        assert sockets.enough(more, workers=2, reuse_port=False) == [opened[0]] * 2
    finally:
        close(more)


def test_elsewhere_all_workers_share_one():
    opened = sockets.open_data("127.0.0.1", 0, workers=3, reuse_port=False)
    try:
        assert len({sock.fileno() for sock in opened}) == 1
    finally:
        close(opened)


@pytest.mark.parametrize("reuse_port", [pytest.param(True, marks=reuse), False])
def test_a_second_balancer_does_not_silently_share_the_port(reuse_port):
    first = sockets.open_data("127.0.0.1", 0, workers=1, reuse_port=reuse_port)
    try:
        with pytest.raises(sockets.ListenError, match="the port is taken"):
            sockets.open_data(
                "127.0.0.1", port_of(first[0]), workers=1, reuse_port=reuse_port, patience=0
            )
    finally:
        close(first)


def test_a_port_that_is_freed_in_time_is_waited_for():
    first = sockets.open_tcp("127.0.0.1", 0)
    timer = threading.Timer(0.1, first.close)
    timer.start()
    second = sockets.open_tcp("127.0.0.1", port_of(first), patience=20)
    second.close()
    timer.join()


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [("192.0.2.1", 0, "cannot listen on 192.0.2.1:0"), ("no.such.host.invalid", 1, "cannot")],
)
def test_an_address_that_is_not_ours_is_one_clear_line(host, port, reason):
    with pytest.raises(sockets.ListenError, match=reason):
        sockets.open_tcp(host, port)


def test_what_waits_in_the_queue_is_served_by_the_next_holder_of_the_socket():
    kept = sockets.open_tcp("127.0.0.1", 0)
    with socket.socket(fileno=os.dup(kept.fileno())), socket.create_connection(kept.getsockname()):
        pass  # the first holder ends without having accepted
    with kept, socket.create_connection(kept.getsockname()) as client:
        first, _ = kept.accept()
        second, _ = kept.accept()
        with first, second:
            client.sendall(b"x")
            assert second.recv(1) == b"x"


def test_a_unix_path_that_is_too_long_is_one_clear_line(tmp_path):
    with pytest.raises(sockets.ListenError, match="cannot listen on"):
        sockets.open_unix(tmp_path / ("x" * 120))


def test_as_many_files_may_be_opened_as_the_system_allows():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        assert sockets.raise_descriptor_limit(600) == 600
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, hard)
        assert sockets.raise_descriptor_limit(550) == 600  # never lowered
        assert sockets.raise_descriptor_limit() >= 600
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("number", "lacking"),
    [
        (errno.EMFILE, "descriptors"),
        (errno.ENFILE, "descriptors"),
        (errno.EADDRNOTAVAIL, "ports"),
        (errno.ENOBUFS, "memory"),
        (errno.ENOMEM, "memory"),
        (errno.ECONNREFUSED, ""),
        (errno.EHOSTUNREACH, ""),
        (socket.EAI_NONAME, ""),
    ],
)
def test_what_we_lack_ourselves_is_told_from_what_a_peer_does(number, lacking):
    assert sockets.shortage(OSError(number, "words")) == lacking


def test_a_shortage_is_counted_each_time_and_logged_once_a_minute(monkeypatch):
    times = iter((1000.0, 1001.0, 1059.0, 1060.0, 1060.0))
    monkeypatch.setattr(sockets.time, "monotonic", lambda: next(times))
    shortages = sockets.Shortages()
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            shortages.note("descriptors")
        shortages.note("ports")
    assert shortages.counts == {"descriptors": 4, "ports": 1}
    assert [(line["resource"], line["count"]) for line in logs] == [
        ("descriptors", 1),
        ("descriptors", 4),
        ("ports", 1),
    ]
