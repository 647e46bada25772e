"""The data plane as its worker drives it: sockets, memberships, health, drain, counts."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import scripted
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import proxy, upstreams
from ringmaster_balancer.ring import table

CONNECTIONS, EACH = 64, 60


def test_get_goes_through_and_both_connections_are_used_again() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            for _ in range(3):
                client.send(scripted.get("/home"))
                status, fields, body = await client.response()
                assert (status, body) == (200, b"ok")
                assert "connection" not in fields
            assert len(stand.upstreams["web-0"].peers) == 1
            assert stand.upstreams["web-0"].requests == 3

    scripted.run(scenario())


class Logins:
    """A server whose logins are those of connections, in three steps (RFC 4559, MS-NTHT)."""

    def __init__(self, scheme: str = "NTLM") -> None:
        self.scheme = scheme

    async def __call__(self, peer: scripted.Peer) -> None:
        user = b""
        negotiated = False
        while head := await peer.head():
            step = re.search(rb"\r\nAuthorization: \w+ (\w+)", head)
            said = step[1] if step else b""
            if said.startswith(b"proof"):
                user = said.removeprefix(b"proof") if negotiated else b""
            negotiated = said == b"hello"
            if user:
                length = str(len(user)).encode()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n%b" % (length, user))
                continue
            challenge = f"{self.scheme} nonce" if negotiated else f'Basic realm="r", {self.scheme}'
            fields = f"WWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"
            peer.send(f"HTTP/1.1 401 Unauthorized\r\n{fields}".encode())


async def asks(client: scripted.Peer, said: str = "", key: str = "k") -> tuple[int, bytes]:
    client.send(scripted.get(key=key, extra=[f"Authorization: {said}"] if said else []))
    status, _, body = await client.response()
    return status, body


async def logs_in(client: scripted.Peer, scheme: str, keys: Sequence[str]) -> None:
    """As a browser does on one connection; each of its requests has a key of its own."""
    assert await asks(client, key=keys[0]) == (401, b"")
    assert await asks(client, f"{scheme} hello", keys[1]) == (401, b"")
    assert await asks(client, f"{scheme} proofalice", keys[2]) == (200, b"alice")


@pytest.mark.parametrize("scheme", ["NTLM", "negotiate"])
def test_a_connection_with_a_login_serves_the_client_that_logged_in_and_no_other(
    scheme: str,
) -> None:
    """RFC 4559 §6; HAProxy marks such connections private."""

    async def scenario() -> None:
        async with scripted.stand(Logins(scheme)) as stand:
            alice, other = await stand.connect(), await stand.connect()
            await logs_in(alice, scheme, "kkk")
            for _ in range(3):  # heads that recur are recognised
                assert await asks(other) == (401, b"")
                assert await asks(alice) == (200, b"alice")
            server = stand.upstreams["web-0"]
            assert len(server.peers) == 2
            await alice.close()
            await scripted.eventually(lambda: len(stand.plane.clients) == 1)
            assert await asks(await stand.connect()) == (401, b"")
            (hers,) = [peer for peer in server.peers if b"alice" in peer.received]
            await scripted.eventually(hers.reader.at_eof)

    scripted.run(scenario())


def test_a_login_goes_on_where_it_began_and_another_key_is_its_members() -> None:
    """Only that connection knows the step before. What is no step goes where its key leads."""

    async def scenario() -> None:
        async with scripted.stand(Logins(), Logins()) as stand:
            here, there = stand.key_of("web-0"), stand.key_of("web-1")
            client = await stand.connect()
            await logs_in(client, "NTLM", [here, there, there])
            assert stand.upstreams["web-1"].requests == 0
            assert await asks(client, key=there) == (401, b"")
            assert await asks(client, key=here) == (200, b"alice")
            await logs_in(client, "NTLM", [there, here, here])
            for key in (here, there, here):
                assert await asks(client, key=key) == (200, b"alice")
            assert [len(each.peers) for each in stand.upstreams.values()] == [1, 1]

    scripted.run(scenario())


def test_connections_with_a_login_end_with_their_member() -> None:
    async def scenario() -> None:
        async with scripted.stand(Logins(), Logins()) as stand:
            client = await stand.connect()
            key = stand.key_of("web-0")
            await logs_in(client, "NTLM", [key] * 3)
            stand.install(states={"web-0": members.State.DRAINING})
            await scripted.eventually(stand.upstreams["web-0"].peers[0].reader.at_eof)
            assert await asks(client, key=key) == (401, b"")

    scripted.run(scenario())


def test_a_login_that_breaks_in_use_costs_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with a login is as fresh as any: who breaks each is not asked twice by all."""
    monkeypatch.setattr(upstreams, "FRESH", 60.0)  # however busy the machine is

    async def breaks(peer: scripted.Peer) -> None:
        fields = b"WWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
        await peer.head()
        peer.send(b"HTTP/1.1 401 Unauthorized\r\n" + fields)
        await peer.head()
        await peer.close()

    async def scenario() -> None:
        rules = {"retries": {"budgetPercent": 0, "budgetMinimum": 0}}
        async with scripted.stand(breaks, rules=rules) as stand:
            client = await stand.connect()
            assert await asks(client) == (401, b"")
            assert (await asks(client))[0] == 502
            assert stand.plane.renewals == 0

    scripted.run(scenario())


def test_a_key_stays_with_its_member_and_requests_without_one_spread() -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 3) as stand:
            client = await stand.connect()
            for _ in range(10):
                client.send(scripted.get(key=" same "))
                await client.response()
            owner = stand.owner("same")
            assert {n: u.requests for n, u in stand.upstreams.items() if u.requests} == {owner: 10}
            for _ in range(60):
                client.send(scripted.get(key=None))
                await client.response()
            assert all(u.requests for u in stand.upstreams.values())

    scripted.run(scenario())


@pytest.mark.parametrize(
    "ring", [members.Ring(scheme="classic"), members.Ring(scheme="ketama", hash="crc32")]
)
def test_requests_without_a_key_are_drawn_as_keys_meet_the_ring(ring: members.Ring) -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 3, ring=ring) as stand:
            client = await stand.connect()
            for _ in range(400):
                client.send(scripted.get(key=None))
                await client.response()
            snap = stand.plane.snapshot
            assert snap is not None
            for name, share in table.shares(snap.table).items():
                # Six standard deviations: an even draw over classic's slots is 20 of them off.
                deviation = (400 * share * (1 - share)) ** 0.5
                assert abs(stand.upstreams[name].requests - 400 * share) < 6 * deviation

    scripted.run(scenario())


def test_requests_are_counted_by_slot_until_they_are_taken() -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 3) as stand:
            client = await stand.connect()

            async def ask(key: str, times: int) -> None:
                for _ in range(times):
                    client.send(scripted.get(key=key))
                    await client.response()

            def taken() -> dict[int, int]:
                counts = array("I", stand.plane.take_hits())
                return {slot: count for slot, count in enumerate(counts) if count}

            await ask("a", 3)
            await ask("b", 1)
            snap = stand.plane.snapshot
            assert snap is not None
            one, other = snap.slot_of(b"a"), snap.slot_of(b"b")
            assert taken() == {one: 3, other: 1}
            assert taken() == {}
            stand.install()  # the same way of finding slots: counts go on
            await ask("a", 2)
            assert taken() == {one: 2}

    scripted.run(scenario())


@pytest.mark.parametrize(
    ("source", "one", "other"),
    [
        ({"cookie": "c"}, "Cookie: b=1; c=1", "Cookie: c=2"),
        ({"header": "X-User"}, "x-user: 1", "X-USER: 2"),
    ],
)
def test_the_key_may_come_from_elsewhere(source: dict[str, str], one: str, other: str) -> None:
    async def scenario() -> None:
        ring = members.Ring.model_validate({"slots": 4096, "key": [{"path": None, **source}]})
        async with scripted.stand(*[scripted.answering()] * 3, ring=ring) as stand:
            for line, key in ((one, "1"), (other, "2")):
                before = stand.upstreams[stand.owner(key)].requests
                client = await stand.connect()
                client.send(scripted.get(key=None, extra=[line]))
                await client.response()
                assert stand.upstreams[stand.owner(key)].requests == before + 1

    scripted.run(scenario())


def test_killing_a_member_in_the_middle_of_many_gets_fails_none() -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 3) as stand:
            done = 0
            failures: list[object] = []

            async def load(number: int) -> None:
                nonlocal done
                client = await stand.connect()
                for n in range(EACH):
                    client.send(scripted.get(key=f"{number}-{n}"))
                    try:
                        status, _, body = await client.response()
                    except (ConnectionError, asyncio.IncompleteReadError) as error:
                        failures.append(error)
                        return
                    if (status, body) != (200, b"ok"):
                        failures.append((status, body))
                    done += 1
                    if done == CONNECTIONS * EACH // 4:
                        await stand.upstreams["web-1"].stop()

            await asyncio.gather(*(load(n) for n in range(CONNECTIONS)))
            assert failures == []
            assert done == CONNECTIONS * EACH
            assert stand.plane.stats()["members"][1]["failures"] > 0

    scripted.run(scenario())


def test_a_swap_keeps_pools_that_stay_and_closes_idle_connections_of_the_others() -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 2) as stand:
            for name in stand.upstreams:
                await stand.get(key=stand.key_of(name))
            gone = stand.upstreams["web-1"].peers[0]
            stand.install(states={"web-1": members.State.DRAINING})
            await scripted.eventually(gone.reader.at_eof)
            key = stand.key_of("web-1")
            assert (await stand.get(key=key))[0] == 200
            assert stand.upstreams["web-1"].requests == 1
            assert len(stand.upstreams["web-0"].peers) == 1
            stand.install()
            assert (await stand.get(key=key))[0] == 200
            assert stand.upstreams["web-1"].requests == 2

    scripted.run(scenario())


def test_a_draining_member_finishes_what_it_has() -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async with scripted.stand(scripted.answering(after=go), scripted.answering()) as stand:
            client = await stand.connect()
            client.send(scripted.get(key=stand.key_of("web-0")))
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 1)
            stand.install(states={"web-0": members.State.DRAINING})
            stand.install(states={"web-0": members.State.DRAINING})
            assert stand.plane.in_flight()["web-0-r"] == 1
            go.set()
            assert (await client.response())[0] == 200
            assert stand.plane.in_flight()["web-0-r"] == 0
            stand.install(states={"web-0": members.State.ABSENT})
            stand.plane.sweep(0.0)
            assert "web-0-r" not in stand.plane.in_flight()

    scripted.run(scenario())


async def _streams(peer: scripted.Peer) -> None:
    """A tunnel that echoes, or a response in chunks, a piece for each event, that never ends."""
    head = await peer.head()
    if b"Upgrade" in head:
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        while data := await peer.reader.read(100):
            peer.send(data)
    elif b" /stream " in head:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(b"4\r\ntick\r\n")
            await asyncio.sleep(0.01)
    else:
        peer.send(scripted.OK)
        await peer.head()


def test_tunnels_and_streams_outlive_every_change_of_membership() -> None:
    """Those of a member that others change around, and of one that drains and is then absent."""
    gone = members.State.ABSENT
    drains = members.State.DRAINING
    changes: list[dict[str, Any]] = [
        {},
        {"states": {"web-1": drains}},
        {"states": {"web-1": gone}},
        {"replicas": {"web-1": "web-1-new"}},
        {"addresses": {"web-2": "127.0.0.1:9"}},
        {"states": {"web-1": drains, "web-2": drains}},
        {"states": {"web-0": drains}},
        {"states": {"web-0": gone, "web-1": gone}},
    ]

    async def scenario() -> None:
        async with scripted.stand(*[_streams] * 3) as stand:
            key = stand.key_of("web-0")
            tunnel, stream = await stand.connect(), await stand.connect()
            tunnel.send(scripted.get(key=key, extra=["Connection: Upgrade", "Upgrade: websocket"]))
            stream.send(scripted.get("/stream", key=key))
            assert b" 101 " in await tunnel.head()
            assert b" 200 " in await stream.head()

            async def alive() -> None:
                tunnel.send(b"still there?")
                assert await tunnel.exactly(12) == b"still there?"
                stream.reader._buffer.clear()
                assert b"tick" in await stream.until(b"tick")
                stand.plane.sweep(0.0)

            await alive()
            for change in changes:
                stand.install(**change)
                await alive()
                # An operator that drains this member sees that two are in flight, and waits.
                if gone not in change.get("states", {}).values():
                    assert stand.plane.in_flight()["web-0-r"] == 2
            stand.proxy = members.Proxy.model_validate({"limits": {"maxConnections": 9}})
            stand.ring = members.Ring(scheme="ketama", hash="md5")
            stand.install()
            await alive()
            stand.plane.clear()
            await alive()

    scripted.run(scenario())


def test_a_replacement_starts_anew_under_the_same_id_and_moves_no_key() -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 3) as stand:
            key = stand.key_of("web-1")
            await stand.get(key=key)
            fresh = await scripted.Upstream(scripted.answering()).start()
            stand.install(
                addresses={"web-1": fresh.address}, replicas={"web-1": "emergency-web-1-r2"}
            )
            assert stand.owner(key) == "web-1"
            assert (await stand.get(key=key))[0] == 200
            assert fresh.requests == 1
            stand.plane.sweep(0.0)
            assert [m["replica"] for m in stand.plane.stats()["members"]] == [
                *("web-0-r", "emergency-web-1-r2", "web-2-r")
            ]
            await fresh.stop()

    scripted.run(scenario())


def test_an_ill_member_is_passed_over_and_asked_when_no_other_is_left() -> None:
    async def scenario() -> None:
        async with scripted.stand(*[scripted.answering()] * 2) as stand:
            key = stand.key_of("web-0")
            stand.plane.set_health({"web-0-r": False})
            await stand.get(key=key)
            assert stand.upstreams["web-0"].requests == 0
            stand.install()  # health is known by replica, and outlives a membership
            await stand.get(key=key)
            assert stand.upstreams["web-0"].requests == 0
            stand.plane.set_health({"web-1-r": False})
            assert (await stand.get(key=key))[0] == 200
            assert stand.upstreams["web-0"].requests == 1

    scripted.run(scenario())


def test_a_drain_finishes_requests_closes_idle_connections_and_loses_no_queue() -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def waits(peer: scripted.Peer) -> None:
            await peer.head()
            await go.wait()
            peer.send(scripted.OK)

        async with scripted.stand(waits) as stand:
            idle, busy = await stand.connect(), await stand.connect()
            busy.send(scripted.get())
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 1)
            await scripted.eventually(lambda: len(stand.plane.clients) == 2)
            draining = asyncio.create_task(stand.plane.drain(5.0))
            assert await idle.rest() == b""
            queued = await stand.connect()  # the socket listens on, for the next worker
            queued.send(scripted.get())
            go.set()
            status, fields, _ = await busy.response()
            assert (status, fields["connection"]) == (200, "close")
            await draining
            successor = proxy.DataPlane()
            assert stand.sock is not None
            await successor.listen(stand.sock)
            assert (await queued.response())[0] == 503  # it has no table yet, and answers
            await successor.drain(0.0)

    scripted.run(scenario())


def test_a_drain_answers_what_waits_in_a_queue_that_ends_with_it() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            ending = socket.create_server(("127.0.0.1", 0))
            port = ending.getsockname()[1]
            asked, silent, gone = [await stand.connect(port) for _ in range(3)]
            asked.send(scripted.get())
            await gone.close()
            draining = asyncio.create_task(stand.plane.drain(5.0, ending=[ending]))
            status, fields, _ = await asked.response()
            assert (status, fields["connection"]) == (200, "close")
            assert await silent.rest() == b""
            await draining
            with pytest.raises(ConnectionRefusedError):
                await stand.connect(port)

    scripted.run(scenario())


def test_a_drain_answers_the_next_request_of_an_idle_connection_and_says_that_it_closes() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            idle = await stand.connect()
            idle.send(scripted.get())
            status, fields, _ = await idle.response()
            assert (status, fields.get("connection")) == (200, None)
            draining = asyncio.create_task(stand.plane.drain(5.0))
            await scripted.eventually(lambda: stand.plane.draining)
            idle.send(scripted.get())
            status, fields, _ = await idle.response()
            assert (status, fields["connection"]) == (200, "close")
            assert await idle.rest() == b""
            await draining

    scripted.run(scenario())


def test_a_drain_keeps_a_connection_whose_last_response_could_not_say_any_more_that_it_ends() -> (
    None
):
    """RFC 9112 §9.6: its client may send the next request; that one is told."""

    async def scenario() -> None:
        go = asyncio.Event()

        async def halting(peer: scripted.Peer) -> None:
            while await peer.head():
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                await go.wait()
                peer.send(b"ok")

        async with scripted.stand(halting) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            assert b"close" not in await client.head()
            draining = asyncio.create_task(stand.plane.drain(5.0))
            await scripted.eventually(lambda: stand.plane.draining)
            go.set()
            assert await client.exactly(2) == b"ok"
            client.send(scripted.get())
            status, fields, _ = await client.response()
            assert (status, fields["connection"]) == (200, "close")
            await draining

    scripted.run(scenario())


def test_a_drain_ends_in_time() -> None:
    async def silent(peer: scripted.Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(silent) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 1)
            await stand.plane.drain(0.1)
            assert await client.rest() == b""

    scripted.run(scenario())


def test_without_a_table_it_may_be_told_not_to_accept() -> None:
    async def scenario() -> None:
        settings = proxy.Settings(needs_table=True)
        async with scripted.stand(scripted.answering(), settings=settings, install=False) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            assert stand.plane.stats()["accepted"] == 0
            stand.install()
            assert (await client.response())[0] == 200
            stand.plane.clear()
            client.send(scripted.get())
            assert (await client.response())[0] == 503

    scripted.run(scenario())


def test_the_lab_paths_go_to_the_control_process_and_nothing_else_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "lab.sock")
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = scripted.Peer(reader, writer)
            while head := await peer.head():
                if b"Content-Length: 7" in head:
                    head += await peer.exactly(7)
                seen.append(head)
                peer.send(scripted.OK)
            writer.close()

        server = await asyncio.start_unix_server(serve, path)
        settings = proxy.Settings(lab_socket=path)
        async with scripted.stand(scripted.answering(), settings=settings) as stand:
            client = await stand.connect()
            for raw in (
                scripted.get("/rep"),
                b'POST /add?a HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n{"n":1}',
                b"DELETE /rm HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            ):
                client.send(raw)
                assert (await client.response())[0] == 200
            assert [head.split(b" ")[1] for head in seen] == [
                b"/lab/rep",
                b"/lab/add?a",
                b"/lab/rm",
            ]
            assert seen[1].endswith(b'{"n":1}')
            for other in ("/rep/", "/repx", "//rep", "/lab/rep", "/v1/rep", "/%72ep"):
                client.send(scripted.get(other))
                await client.response()
            assert len(seen) == 3
            assert stand.upstreams["web-0"].requests == 6
        server.close()

    scripted.run(scenario())


def test_the_lab_paths_without_a_control_process_are_502(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = proxy.Settings(lab_socket=str(tmp_path / "none.sock"))
        async with scripted.stand(scripted.answering(), settings=settings) as stand:
            assert (await stand.get("/rep"))[0] == 502
            assert (await stand.get("/home"))[0] == 200

    scripted.run(scenario())


def test_the_member_is_named_in_the_response_when_asked() -> None:
    async def scenario() -> None:
        rules = {"memberHeader": True}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            _, fields, body = await stand.get()
            assert fields["x-ringmaster-member"] == "web-0"
            assert fields["x-ringmaster-generation"] == "1"
            assert body == b"ok"

    scripted.run(scenario())


def test_counts_add_up() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            for _ in range(3):
                client.send(scripted.get())
                await client.response()
            client.send(b"nonsense\r\n\r\n")
            await client.response()
            stats = stand.plane.stats()
            assert stats["requests"] == 3
            assert stats["own"] == {"400": 1}
            assert sum(stats["durations"]["counts"]) == 3
            assert len(stats["durations"]["counts"]) == len(stats["durations"]["bounds"]) + 1
            (member,) = stats["members"]
            assert member["codes"] == {"200": 3}
            assert sum(member["durations"]["counts"]) == 3
            assert member["bytesIn"] == 6
            assert member["bytesOut"] == len(stand.upstreams["web-0"].received)
            assert member["connects"] == member["idle"] == 1

    scripted.run(scenario())


def test_what_a_member_did_stays_in_the_sum_when_it_has_gone_and_its_own_while_it_drains() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering(), scripted.answering()) as stand:
            key = stand.key_of("web-0")
            await stand.get(key=key)
            stand.install(states={"web-0": members.State.DRAINING})
            stand.plane.sweep(0.0)
            await stand.get(key=key)
            by_id = {m["id"]: m["codes"] for m in stand.plane.stats()["members"]}
            assert by_id == {"web-0": {"200": 1}, "web-1": {"200": 1}}
            stand.install(states={"web-0": members.State.ABSENT})
            stand.plane.sweep(0.0)
            assert [m["id"] for m in stand.plane.stats()["members"]] == ["web-1"]
            assert sum(stand.plane.stats()["durations"]["counts"]) == 2

    scripted.run(scenario())


def test_requests_of_the_lab_api_are_counted_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = proxy.Settings(lab_socket=str(tmp_path / "nobody.sock"))
        async with scripted.stand(scripted.answering(), settings=settings) as stand:
            await stand.get("/rep")
            await stand.get("/home")
            stats = stand.plane.stats()
            assert (stats["labRequests"], stats["requests"]) == (1, 1)

    scripted.run(scenario())


def test_idle_upstream_connections_are_closed_before_the_server_would() -> None:
    async def scenario() -> None:
        rules = {"timeouts": {"upstreamIdleSeconds": 0.1}}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            await stand.get()
            await scripted.eventually(stand.upstreams["web-0"].peers[0].reader.at_eof)

    scripted.run(scenario())


def test_ipv6_clients_and_members_work() -> None:
    async def scenario() -> None:
        try:
            sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            pytest.skip("no IPv6 here")
        async with scripted.stand(scripted.answering()) as stand:
            await stand.plane.listen(sock)
            reader, writer = await asyncio.open_connection("::1", sock.getsockname()[1])
            client = scripted.Peer(reader, writer)
            stand.clients.append(client)
            client.send(scripted.get())
            assert (await client.response())[0] == 200
            assert b"X-Forwarded-For: ::1\r\n" in stand.upstreams["web-0"].received
        sock.close()

    scripted.run(scenario())


def test_a_sweep_that_fails_is_not_the_last_one() -> None:
    """Or no deadline would ever pass again."""

    def fails(_replica: str) -> None:
        raise RuntimeError

    async def scenario() -> None:
        rules = {"timeouts": {"idleSeconds": 0.3}, "outlier": {"ejectSeconds": 0.01}}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            stand.plane._on_recovered = fails
            (pool,) = stand.plane.pools.values()
            pool.eject(time.monotonic(), stand.plane.rules.outlier)
            client = await stand.connect()
            await scripted.eventually(lambda: not pool.ejected_until)
            client.send(scripted.get())
            assert (await client.response())[0] == 200
            assert await client.rest() == b""  # its idle time is over

    scripted.run(scenario())
