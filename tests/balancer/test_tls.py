"""A certificate is used whole, replaced while connections live, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import signal
import socket
import ssl
import threading
import time

import balancer_process as balancers
import counting
import pytest
import requests
import scripted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ringmaster_balancer import supervisor, tls
from ringmaster_balancer.dataplane import chunked, proxy, turns
from ringmaster_balancer.dataplane import client as clients


def write_pair(folder, name="127.0.0.1"):
    """A fresh self-signed pair; its files are always the same."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def files(folder):
    return str(folder / "cert.pem"), str(folder / "key.pem")


def anyone():
    """A client's context that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(port):
    context = anyone()
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))


def ask(connection, path="/"):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"one"):
        data = connection.recv(65_536)
        assert data, answer
        answer += data
    return answer


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "cert.pem").unlink(), r"cannot read .*cert.pem: No such file"),
        (lambda f: (f / "key.pem").write_text("x"), r"are no certificate and its key"),
        (
            lambda f: (f / "key.pem").write_bytes(other_key(f)),
            r"are no certificate and its key: KEY_VALUES_MISMATCH",
        ),
    ],
)
def test_files_that_cannot_be_used_are_said_and_a_reload_keeps_what_was(tmp_path, damage, words):
    write_pair(tmp_path)
    certificate = tls.Certificate(*files(tmp_path))
    assert not certificate.changed()
    damage(tmp_path)
    assert certificate.changed()
    with pytest.raises(tls.TlsError, match=words):
        asyncio.run(certificate.reload())
    with pytest.raises(tls.TlsError, match=words):
        tls.Certificate(*files(tmp_path))


def test_however_often_it_is_asked_for_files_are_read_once_more_and_beside_the_loop(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tls, "_PAUSE_SECONDS", 0)
    write_pair(tmp_path)
    certificate = tls.Certificate(*files(tmp_path))
    reading, go_on = threading.Semaphore(0), threading.Semaphore(0)
    load = certificate._load

    def held_up():
        reading.release()
        assert go_on.acquire(timeout=20)
        return load()

    monkeypatch.setattr(certificate, "_load", held_up)

    async def read():
        assert await asyncio.to_thread(reading.acquire, timeout=20)

    async def scenario():
        watching = asyncio.create_task(tls.watch(certificate))
        certificate.ask()
        await read()
        for _ in range(1_000):  # while it reads; the loop goes on
            certificate.ask()
        go_on.release()
        await read()
        go_on.release()
        assert not await asyncio.to_thread(reading.acquire, timeout=0.2)
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(scenario())


def other_key(folder):
    before = (folder / "cert.pem").read_bytes()
    write_pair(folder)
    (folder / "cert.pem").write_bytes(before)
    return (folder / "key.pem").read_bytes()


def test_clients_are_served_with_tls_and_a_new_certificate_needs_no_restart(tmp_path):
    first = write_pair(tmp_path)
    cert, key = files(tmp_path)
    with (
        balancers.upstreams("one") as (server,),
        balancers.running(tmp_path, "--tls-cert", cert, "--tls-key", key) as balancer,
    ):
        balancer.push(balancers.document(("web-0", server.address)))
        port = balancer.ports[0]
        assert requests.get(balancer.url, verify=cert, timeout=10).text == "one"
        with connect(port) as old:
            assert old.getpeercert(binary_form=True) == first
            assert old.selected_alpn_protocol() == "http/1.1"
            ask(old)
            second = write_pair(tmp_path)
            balancers.eventually(lambda: shown(port) == second, what="the new certificate")
            ask(old)
            (tmp_path / "cert.pem").write_text("nonsense")
            balancers.eventually(
                lambda: "certificate ignored" in balancer.text(), what="the complaint"
            )
            assert shown(port) == second
            ask(old)
            write_pair(tmp_path)
            for number, count in ((signal.SIGHUP, 2), (signal.SIGUSR1, 3)):
                balancer.process.send_signal(number)
                balancers.eventually(
                    lambda count=count: balancer.text().count("certificate loaded") >= count,
                    what="an answer to the signal",
                )
            ask(old)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not b"".join(iter(lambda: plain.recv(4096), b"")).startswith(b"HTTP")


def test_bodies_of_a_megabyte_pass_both_ways_and_the_server_hears_of_the_scheme(tmp_path):
    body = bytes(range(256)) * 4096

    async def echoes(peer):
        head = await peer.head()
        assert b"X-Forwarded-Proto: https\r\n" in head
        await peer.exactly(len(body))
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await peer.rest()

    async def scenario(stand, client):
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body)
        status, _, got = await client.response()
        assert (status, got == body) == (200, True)

    planned(tmp_path, echoes, scenario)


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_tunnel_passes_bytes_and_ends_with_either_side(tmp_path, first):
    async def switches(peer):
        await peer.head()
        peer.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        assert await peer.exactly(4) == b"ping"
        peer.send(b"pong")
        if first == "client":
            assert await peer.rest() == b""

    async def scenario(stand, client):
        client.send(scripted.get("/", extra=["Connection: Upgrade", "Upgrade: websocket"]))
        assert b" 101 " in await client.head()
        client.send(b"ping")
        assert await client.exactly(9) == b"hellopong"
        if first == "client":
            client.writer.close()
        else:
            assert await client.rest() == b""
        await scripted.eventually(lambda: not stand.plane.clients)

    planned(tmp_path, switches, scenario)


@pytest.mark.parametrize(("version", "path", "resets"), scripted.BREAKS_OFF)
def test_all_that_came_before_a_server_broke_off_is_delivered(tmp_path, version, path, resets):
    """As without TLS; without its close_notify an end is no orderly one (RFC 8446 §6.1)."""

    async def scenario(stand, _client):
        options = {"ssl": anyone(), "server_hostname": "x"}
        got, orderly = await scripted.broken_off(stand, version, path, **options)
        assert (got, orderly) == (400_000, not resets)
        assert stand.plane.cuts == 1

    planned(tmp_path, scripted.breaks_off, scenario)


@pytest.mark.parametrize("path", ["/length", "/chunks"])
def test_a_client_that_never_reads_its_last_response_is_cut(tmp_path, monkeypatch, path):
    monkeypatch.setattr(clients, "_LINGER", 0.05)

    async def scenario(stand, _client):
        options = {"ssl": anyone(), "server_hostname": "x"}
        client = await scripted.SlowReader.connect(stand.port, **options)
        client.writer.transport.pause_reading()
        client.writer.write(scripted.get(path, extra=["Connection: close"]))
        await scripted.eventually(lambda: stand.upstreams["web-0"].requests == 1)
        await scripted.eventually(lambda: len(stand.plane.clients) == 1)
        client.writer.close()

    planned(tmp_path, scripted.breaks_off, scenario, timeouts={"bodySeconds": 0.3})


def test_a_last_response_waits_for_its_slow_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "PARTING", 0.05)
    monkeypatch.setattr(clients, "_LINGER", 0.05)

    async def large(peer):
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"x" * 600_000)
        await peer.writer.drain()

    async def scenario(stand, _client):
        options = {"ssl": anyone(), "server_hostname": "x"}
        client = await scripted.SlowReader.connect(stand.port, **options)
        client.writer.write(scripted.get(extra=["Connection: close"]))
        got = await client.reader.read(8192)
        while not any(each.lingering for each in stand.plane.clients):
            got += await client.reader.read(8192)
            await asyncio.sleep(0)
        await asyncio.sleep(0.6)  # two sweeps
        rest, orderly = await client.rest()
        assert (len((got + rest).partition(b"\r\n\r\n")[2]), orderly) == (600_000, True)

    planned(tmp_path, large, scenario)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_stalls_ends_and_is_no_client(tmp_path, monkeypatch, said):
    async def scenario(stand, client):
        monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)  # from now on: `client` has had its own
        stalled = await stand.connect()
        stalled.send(said)
        assert await stalled.rest() == b""
        assert len(stand.plane.clients) == 1
        client.send(scripted.get())
        assert (await client.response())[0] == 200

    planned(tmp_path, scripted.answering(), scenario)


def test_a_drain_answers_whoever_waits_in_a_queue_that_ends_with_it(tmp_path):
    async def scenario(stand, _client):
        ending = socket.create_server(("127.0.0.1", 0))
        address = ending.getsockname()
        plain, waiting = socket.create_connection(address), socket.create_connection(address)
        plain.sendall(scripted.get())
        draining = asyncio.create_task(stand.plane.drain(5.0, ending=[ending]))
        streams = await asyncio.open_connection(sock=waiting, ssl=anyone(), server_hostname="x")
        client = scripted.Peer(*streams)
        client.send(scripted.get())
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (200, "close")
        await client.close()
        await draining
        plain.close()

    planned(tmp_path, scripted.answering(), scenario)


def test_a_drain_serves_whose_handshake_it_finds_and_says_that_it_closes(tmp_path):
    async def scenario(stand, client):
        slow = [socket.create_connection(("127.0.0.1", stand.port)) for _ in range(2)]
        await scripted.eventually(lambda: stand.plane.stats()["connections"] == 3)
        await client.close()
        draining = asyncio.create_task(stand.plane.drain(5.0))
        await asyncio.sleep(0.2)
        assert not draining.done()
        for sock in slow:
            streams = await asyncio.open_connection(sock=sock, ssl=anyone(), server_hostname="x")
            late = scripted.Peer(*streams)
            late.send(scripted.get())
            status, fields, _ = await late.response()
            assert (status, fields["connection"]) == (200, "close")
            await late.close()
        await draining

    planned(tmp_path, scripted.answering(), scenario)


def test_a_handshake_that_does_not_come_holds_up_a_drain_no_longer_than_an_idle_client(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(clients, "PARTING", 0.3)

    async def scenario(stand, client):
        silent = await stand.connect()
        await scripted.eventually(lambda: stand.plane.stats()["connections"] == 2)
        await client.close()
        ending = socket.create_server(("127.0.0.1", 0))
        queued = await stand.connect(ending.getsockname()[1])
        began = time.monotonic()
        await stand.plane.drain(tls.HANDSHAKE_SECONDS, ending=[ending])
        assert 0.3 <= time.monotonic() - began < 5
        for peer in (silent, queued):
            with contextlib.suppress(ConnectionError):
                assert await peer.rest() == b""

    planned(tmp_path, scripted.answering(), scenario)


def test_connections_beyond_the_limit_are_closed_before_their_handshake(tmp_path):
    async def scenario(stand, client):
        silent = [await stand.connect() for _ in range(12)]
        await scripted.eventually(lambda: stand.plane.accepted == 13)
        assert stand.plane.stats()["connections"] == 4
        for peer in silent[3:]:
            with contextlib.suppress(ConnectionError):
                assert await peer.rest() == b""
        client.send(scripted.get())
        assert (await client.response())[0] == 200
        for peer in silent[:3]:
            peer.reset()
        await scripted.eventually(lambda: stand.plane.stats()["connections"] == 1)
        another = await stand.connect(ssl=anyone())
        another.send(scripted.get())
        assert (await another.response())[0] == 200

    planned(tmp_path, scripted.answering(), scenario, limits={"maxConnections": 3})


@pytest.mark.parametrize(
    "chunk", [b"1\r\nx\r\n" * 20_000, b"100000\r\n%b\r\n" % bytes(1 << 20) * 4]
)
def test_an_upload_moves_its_share_in_a_turn(tmp_path, monkeypatch, chunk):
    """As without TLS (test_turns.py), but that uvloop hands on two reads at once."""
    lines, sizes = counting.Shares(monkeypatch), counting.Shares(monkeypatch)

    async def swallows(peer):
        await peer.head()
        await peer._chunks()
        peer.send(scripted.OK)

    async def scenario(_stand, client):
        lines.count(chunked.Decoder, "_take")
        sizes.count_writes()
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(chunk + b"0\r\n\r\n")
        assert (await client.response())[0] == 200
        assert lines.most <= turns.LINES
        assert sizes.most <= 2 * counting.READ

    planned(tmp_path, swallows, scenario)


def planned(folder, play, scenario, **rules):
    """A data plane with TLS before one upstream, and a client connected to it."""
    write_pair(folder)

    async def run():
        settings = proxy.Settings(tls=tls.Certificate(*files(folder)).context)
        async with scripted.stand(play, settings=settings, rules=rules) as stand:
            await scenario(stand, await stand.connect(ssl=anyone()))

    scripted.run(run())


def shown(port):
    with connect(port) as connection:
        return connection.getpeercert(binary_form=True)


def test_a_client_that_speaks_http_2_alone_gets_no_protocol_and_its_preface_505(tmp_path):
    """RFC 7301 §3.2 wants an alert, which Python's ssl cannot send (docs/strictness.md)."""

    async def scenario(stand, _client):
        context = anyone()
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 505 ")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    planned(tmp_path, scripted.answering(), scenario)


def test_a_certificate_without_its_key_is_a_start_that_fails(tmp_path):
    write_pair(tmp_path)
    cert, _ = files(tmp_path)
    with pytest.raises(AssertionError, match="--tls-cert and --tls-key go together"):
        balancers.Balancer(tmp_path, "--tls-cert", cert)
    with pytest.raises(AssertionError, match=r"cannot read /nowhere"):
        balancers.Balancer(tmp_path, "--tls-cert", cert, "--tls-key", "/nowhere")
    assert issubclass(tls.TlsError, supervisor.errors.BalancerError)


def test_the_control_port_is_served_with_tls_over_an_upgrade_too(tmp_path):
    write_pair(tmp_path)
    cert, key = files(tmp_path)
    flags = ("--control-tls-cert", cert, "--control-tls-key", key)
    with (
        balancers.upstreams("one") as (server,),
        balancers.running(tmp_path, *flags) as balancer,
    ):
        assert balancer.control.startswith("https://")
        document = balancers.document(("web-0", server.address))
        balancers.eventually(
            lambda: balancer.ask("PUT", json=document, verify=cert).status_code == 200,
            what="the confirmation",
        )
        assert balancer.home() == "one"
        with pytest.raises(requests.exceptions.SSLError):
            balancer.ask("GET")
        second = write_pair(tmp_path)
        port = balancer.ports[1]
        balancers.eventually(lambda: shown(port) == second, what="the new certificate")
        before = balancer.ask("GET", verify=cert).json()["bootId"]
        balancer.process.send_signal(signal.SIGUSR2)
        balancers.eventually(
            lambda: balancer.ask("GET", verify=cert).json()["bootId"] != before, what="an upgrade"
        )
