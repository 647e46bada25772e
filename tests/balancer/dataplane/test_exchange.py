"""Fail-over: what is tried again, on whom, and what never is. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator

import pytest
import scripted
from ringmaster_balancer import members

OK = scripted.OK


def named(name: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()


def post(body: bytes = b"data", method: str = "POST", extra: str = "") -> bytes:
    head = f"{method} /p HTTP/1.1\r\nHost: h\r\nX-Request-Id: k\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + extra.encode() + b"\r\n" + body


async def body_of(peer: scripted.Peer) -> None:
    """Reads requests with a body of a known length, answers each."""
    while head := await peer.head():
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        await peer.exactly(length)
        peer.send(OK)


async def reset_at_once(peer: scripted.Peer) -> None:
    await peer.head()
    peer.reset()


async def close_at_once(peer: scripted.Peer) -> None:
    await peer.head()


async def silent(peer: scripted.Peer) -> None:
    await peer.rest()


async def half_a_head(peer: scripted.Peer) -> None:
    await peer.head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    await peer.writer.drain()
    peer.reset()


async def failing_first(bad: scripted.Play, request: bytes, **rules: object) -> tuple[object, ...]:
    """Send one request whose first candidate misbehaves; what the client saw and who was asked."""
    plays: dict[str, scripted.Play] = {}

    def play_of(name: str) -> scripted.Play:
        async def play(peer: scripted.Peer) -> None:
            await plays.get(name, body_of)(peer)

        return play

    async with scripted.stand(*(play_of(f"web-{n}") for n in range(3)), rules=rules) as stand:
        order = stand.order("k")
        plays[order[0]] = bad
        client = await stand.connect()
        client.send(request)
        try:
            status, _, body = await client.response()
        except (ConnectionError, asyncio.IncompleteReadError):
            status, body = 0, b""
        asked = [stand.upstreams[name].requests for name in order]
        return status, body, asked, stand.failures, order


@pytest.mark.parametrize("bad", [reset_at_once, close_at_once, half_a_head])
def test_a_get_that_a_member_drops_before_its_response_is_served_by_the_next(
    bad: scripted.Play,
) -> None:
    async def scenario() -> None:
        status, body, asked, failures, order = await failing_first(bad, scripted.get())
        assert (status, body) == (200, b"ok")
        assert asked == [1, 1, 0]
        assert [replica for replica, _ in failures] == [f"{order[0]}-r"]

    scripted.run(scenario())


def test_an_interim_response_binds_nobody_to_its_member() -> None:
    """9110 §15.2: it is no answer; who sends one and dies is replaced as ever."""

    async def hints(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")

    async def scenario() -> None:
        async with scripted.stand(hints, scripted.answering()) as stand:
            client = await stand.connect()
            client.send(scripted.get(key=stand.key_of("web-0")))
            assert (await client.head()).startswith(b"HTTP/1.1 103 ")
            assert (await client.response())[0] == 200

        async with scripted.stand(hints) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            assert (await client.head()).startswith(b"HTTP/1.1 103 ")
            assert (await client.response())[0] == 502

    scripted.run(scenario())


@pytest.mark.parametrize("bad", [reset_at_once, close_at_once])
def test_a_post_is_never_sent_twice(bad: scripted.Play) -> None:
    """RFC 9110 section 9.2.2: what is not idempotent is not repeated by a proxy."""

    async def scenario() -> None:
        status, _, asked, _, _ = await failing_first(bad, post())
        assert status == 502
        assert asked == [1, 0, 0]

    scripted.run(scenario())


def test_a_put_with_a_small_body_is_sent_again_whole() -> None:
    async def scenario() -> None:
        status, _, asked, _, _ = await failing_first(reset_at_once, post(b"x" * 900, method="PUT"))
        assert status == 200
        assert asked == [1, 1, 0]

    scripted.run(scenario())


def test_a_put_with_a_body_beyond_what_is_kept_is_not_sent_again() -> None:
    async def drops(peer: scripted.Peer) -> None:
        await peer.head()
        await peer.exactly(5000)
        peer.reset()

    async def scenario() -> None:
        request = post(b"x" * 5000, method="PUT")
        async with scripted.stand(drops, rules={"retries": {"bufferBytes": 1000}}) as stand:
            client = await stand.connect()
            client.send(request[:-2000])
            await scripted.eventually(lambda: bool(stand.upstreams["web-0"].received))
            client.send(request[-2000:])
            status, _, _ = await client.response()
            assert status == 502
            assert stand.upstreams["web-0"].requests == 1

    scripted.run(scenario())


def test_a_refused_connection_sends_even_a_post_to_the_next() -> None:
    async def scenario() -> None:
        async with scripted.stand(body_of, body_of, body_of) as stand:
            order = stand.order("k")
            await stand.upstreams[order[0]].stop()
            client = await stand.connect()
            client.send(post())
            assert (await client.response())[0] == 200
            assert [stand.upstreams[name].requests for name in order] == [0, 1, 0]

    scripted.run(scenario())


def test_a_connect_that_fails_in_an_unheard_of_way_is_a_failed_connect() -> None:
    """Or the request would wait for ever, and its place never be free again."""

    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            (pool,) = stand.plane.pools.values()
            pool.host = "a" * 70 + ".test"  # UnicodeError: no label is that long
            assert (await stand.get())[0] == 502
            assert stand.plane.in_flight() == {"web-0-r": 0}

    scripted.run(scenario())


def test_502_when_every_candidate_refuses_and_the_connection_lives_on() -> None:
    async def scenario() -> None:
        async with scripted.stand(body_of, body_of) as stand:
            for upstream in stand.upstreams.values():
                await upstream.stop()
            client = await stand.connect()
            for _ in range(2):
                client.send(scripted.get())
                status, fields, body = await client.response()
                assert status == 502
                assert body.startswith(b'{"message": "<Error> ')
                assert "connection" not in fields

    scripted.run(scenario())


@pytest.mark.parametrize("line", ["GET /", "HEAD /", "OPTIONS *"])
@pytest.mark.parametrize("asked", ["keep-alive", "close"])
def test_our_own_answers_tell_http_1_0_whether_the_connection_lives_on(
    asked: str, line: str
) -> None:
    """9112 §9.3: without keep-alive it would end."""

    async def scenario() -> None:
        async with scripted.stand(body_of, install=False) as stand:
            request = f"{line} HTTP/1.0\r\nMax-Forwards: 0\r\nConnection: {asked}\r\n\r\n".encode()
            client = await stand.connect()
            for ring in ("none", "dead"):
                client.send(request)
                assert f"\r\nConnection: {asked}\r\n".encode() in await client.head()
                if asked == "close":
                    return
                if line.startswith("GET"):
                    await client.until(b"}")
                if ring == "none":
                    stand.install()
                    await stand.upstreams["web-0"].stop()

    scripted.run(scenario())


def test_a_reset_in_the_middle_of_a_response_is_no_fake_end() -> None:
    """RFC 9112 section 8: an incomplete response must be seen as one."""

    async def dies(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await peer.writer.drain()
        await gate.wait()
        peer.reset()

    gate = asyncio.Event()

    async def scenario() -> None:
        async with scripted.stand(dies) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            await client.until(b"half\r\n")
            gate.set()
            assert await client.rest() == b""
            assert b"0\r\n\r\n" not in client.received
            assert stand.failures == [("web-0-r", "closed in the middle of a response")]

    scripted.run(scenario())


def test_a_silent_member_is_left_for_the_next_after_its_time() -> None:
    async def scenario() -> None:
        status, _, asked, failures, _ = await failing_first(
            silent, scripted.get(), timeouts={"responseSeconds": 0.1}
        )
        assert status == 200
        assert asked[1:] == [1, 0]
        assert failures[0][1] == "no response in time"

    scripted.run(scenario())


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("status", [102, 103])
def test_an_interim_response_shows_that_a_member_is_at_work(status: int, version: str) -> None:
    """9110 §15.2: its time starts anew, as with HAProxy and nginx, also where it is not relayed."""

    async def scenario() -> None:
        works, answers = asyncio.Event(), asyncio.Event()

        async def works_long(peer: scripted.Peer) -> None:
            await peer.head()
            await works.wait()
            peer.send(b"HTTP/1.1 %d At Work\r\n\r\n" % status)
            await answers.wait()
            peer.send(OK)

        async with scripted.stand(works_long) as stand:
            client = await stand.connect()
            client.send(f"GET / HTTP/{version}\r\nHost: h\r\n\r\n".encode())
            await scripted.eventually(lambda: stand.upstreams["web-0"].requests == 1)
            (connection,) = stand.plane.clients
            before = connection.deadline
            works.set()
            await scripted.eventually(lambda: connection.deadline > before)
            answers.set()
            if version == "1.1":
                assert b" %d " % status in await client.head()
            assert (await client.response())[0] == 200

    scripted.run(scenario())


def test_a_silent_member_costs_a_post_a_504() -> None:
    async def scenario() -> None:
        status, _, _, _, _ = await failing_first(silent, post(), timeouts={"responseSeconds": 0.1})
        assert status == 504

    scripted.run(scenario())


def test_the_time_of_a_whole_request_ends_it_without_another_try() -> None:
    async def scenario() -> None:
        async with scripted.stand(
            silent, silent, rules={"timeouts": {"totalSeconds": 0.1}}
        ) as stand:
            assert (await stand.get())[0] == 504
            assert stand.plane.stats()["retries"] == 0

    scripted.run(scenario())


def test_504_when_all_are_silent() -> None:
    async def scenario() -> None:
        rules = {"timeouts": {"responseSeconds": 0.1}}
        async with scripted.stand(silent, silent, rules=rules) as stand:
            assert (await stand.get())[0] == 504

    scripted.run(scenario())


def test_requests_that_wait_on_a_member_found_ill_move_on_at_once() -> None:
    """A stopped process accepts and says nothing: the probes notice long before the timeout."""

    async def scenario() -> None:
        plays: dict[str, scripted.Play] = {}

        def play_of(name: str) -> scripted.Play:
            async def play(peer: scripted.Peer) -> None:
                await plays.get(name, body_of)(peer)

            return play

        async with scripted.stand(*(play_of(f"web-{n}") for n in range(3))) as stand:
            first, second, _ = stand.order("k")
            plays[first] = silent
            client = await stand.connect()
            poster = await stand.connect()
            client.send(scripted.get())
            poster.send(post())
            await scripted.eventually(lambda: stand.plane.in_flight()[f"{first}-r"] == 2)
            await scripted.eventually(lambda: stand.upstreams[first].peers.__len__() == 2)
            stand.plane.set_health({f"{first}-r": False})
            assert (await client.response())[0] == 200
            assert stand.upstreams[second].requests == 1
            assert stand.plane.in_flight()[f"{first}-r"] == 1  # the POST waits on
            stand.plane.set_health({f"{first}-r": True})
            plays.clear()
            client.send(scripted.get())
            assert (await client.response())[0] == 200
            assert stand.upstreams[second].requests == 1

    scripted.run(scenario())


@pytest.mark.parametrize("state", [members.State.ABSENT, members.State.DRAINING])
def test_a_request_waits_on_with_a_member_that_drains_and_not_with_one_that_is_absent(
    state: members.State,
) -> None:
    """The operator may see that a member hangs before the balancer's own probes do."""

    async def scenario() -> None:
        hanging: list[str] = []

        def play_of(name: str) -> scripted.Play:
            async def play(peer: scripted.Peer) -> None:
                while await peer.head():
                    if name not in hanging:
                        peer.send(scripted.OK)

            return play

        async with scripted.stand(play_of("web-0"), play_of("web-1")) as stand:
            first, second = stand.order("k")
            hanging.append(first)
            client, poster = await stand.connect(), await stand.connect()
            client.send(scripted.get())
            poster.send(post())
            await scripted.eventually(lambda: len(stand.upstreams[first].peers) == 2)
            await scripted.eventually(lambda: stand.plane.in_flight()[f"{first}-r"] == 2)
            stand.install(states={first: state})
            moves = state is members.State.ABSENT
            if moves:
                assert (await client.response())[0] == 200
            assert stand.upstreams[second].requests == moves
            assert stand.plane.in_flight()[f"{first}-r"] == 2 - moves  # the POST waits on

    scripted.run(scenario())


@pytest.mark.parametrize("retries", [{"attempts": 0}, {"budgetPercent": 0, "budgetMinimum": 0}])
def test_a_request_that_may_go_nowhere_else_stays_with_a_member_found_ill(
    retries: dict[str, int],
) -> None:
    asked, well = asyncio.Event(), asyncio.Event()

    async def slow(peer: scripted.Peer) -> None:
        await peer.head()
        asked.set()
        await well.wait()
        peer.send(scripted.OK)
        await peer.head()

    async def scenario() -> None:
        async with scripted.stand(slow, slow, rules={"retries": retries}) as stand:
            client = await stand.connect()
            client.send(scripted.get(key=stand.key_of("web-0")))
            await asked.wait()
            stand.plane.set_health({"web-0-r": False})
            well.set()
            assert (await client.response())[0] == 200
            assert stand.failures == []

    scripted.run(scenario())


def member(stand: scripted.Stand, replica: str, at: str, *, drains: bool = False) -> members.Member:
    """`web-0` as this replica, at that upstream's address."""
    state = members.State.DRAINING if drains else members.State.ACTIVE
    return members.Member(
        id="web-0", replica=replica, address=stand.upstreams[at].address, state=state
    )


@pytest.mark.parametrize("how", ["replaced at once", "scaled up, then ill", "drained, then dead"])
def test_another_try_is_made_among_the_members_of_now(how: str) -> None:
    """Those of the request's start may all be gone, when there are others since."""

    async def scenario() -> None:
        release = asyncio.Event()
        plays = scripted.answering(named("old"), after=release), scripted.answering(named("new"))
        async with scripted.stand(*plays, install=False) as stand:
            old, new = member(stand, "a", "web-0"), member(stand, "b", "web-1")
            stand.push(old)
            client = await stand.connect()
            client.send(scripted.get())
            await scripted.eventually(lambda: stand.upstreams["web-0"].requests == 1)
            if how == "replaced at once":
                stand.push(new)
            elif how == "scaled up, then ill":
                stand.push(old, new.model_copy(update={"id": "web-1"}))
                stand.plane.set_health({"a": False})
            else:
                stand.push(member(stand, "a", "web-0", drains=True), new)
                await stand.upstreams["web-0"].stop()
            status, _, body = await client.response()
            assert (status, body) == (200, b"new")

    scripted.run(scenario())


@pytest.mark.parametrize("queue", [0, 1])
def test_a_request_leaves_an_ill_member_only_for_one_that_takes_it(queue: int) -> None:
    async def scenario() -> None:
        release = asyncio.Event()
        slow = scripted.answering(after=release)
        rules = {"limits": {"perMember": 1, "queue": queue}}
        async with scripted.stand(slow, slow, rules=rules) as stand:
            clients = [await stand.connect() for _ in range(2)]
            for name, client in zip(stand.upstreams, clients, strict=True):
                client.send(scripted.get(key=stand.key_of(name)))
                await scripted.eventually(lambda at=name: stand.upstreams[at].requests == 1)
            stand.plane.set_health({"web-0-r": False})
            assert stand.plane.stats()["waiting"] == queue  # with no room there, it stays
            release.set()
            assert [(await client.response())[0] for client in clients] == [200, 200]
            assert stand.upstreams["web-1"].requests == 1 + queue

    scripted.run(scenario())


def test_a_pooled_connection_that_the_server_closed_is_replaced_without_blame() -> None:
    async def one_each(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.head()  # and closes instead of answering

    async def scenario() -> None:
        async with scripted.stand(one_each) as stand:
            client = await stand.connect()
            for _ in range(4):
                client.send(scripted.get())
                assert (await client.response())[0] == 200
            assert stand.failures == []
            assert stand.plane.stats()["renewals"] == 3

    scripted.run(scenario())


def test_a_post_takes_no_connection_that_was_idle_for_a_second() -> None:
    async def scenario() -> None:
        async with scripted.stand(body_of) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            await client.response()
            (pool,) = stand.plane.pools.values()
            client.send(post())
            await client.response()
            assert len(stand.upstreams["web-0"].peers) == 1
            pool.idle[-1].idle_since -= 1.1
            client.send(post())
            await client.response()
            assert len(stand.upstreams["web-0"].peers) == 2

    scripted.run(scenario())


def test_retries_end_with_their_budget() -> None:
    async def scenario() -> None:
        rules = {
            "retries": {"budgetPercent": 0, "budgetMinimum": 0},
            "outlier": {"consecutiveFailures": 0},
        }
        async with scripted.stand(body_of, body_of, rules=rules) as stand:
            await stand.upstreams[stand.owner("k")].stop()
            assert (await stand.get())[0] == 502
            assert stand.plane.stats()["refusedRetries"] == 1

    scripted.run(scenario())


def test_the_budget_is_spent_on_what_is_tried_again_and_on_nothing_else() -> None:
    async def scenario() -> None:
        rules = {
            "retries": {"attempts": 3, "budgetPercent": 0, "budgetMinimum": 1},  # ten in 10 s
            "outlier": {"consecutiveFailures": 0},
        }
        async with scripted.stand(close_at_once, close_at_once, rules=rules) as stand:
            for _ in range(10):
                assert (await stand.get())[0] == 502
            asked = [upstream.requests for upstream in stand.upstreams.values()]
            assert asked == [10, 10]  # there was nobody else to try
            stats = stand.plane.stats()
            assert (stats["retries"], stats["refusedRetries"]) == (10, 0)
            assert (await stand.get())[0] == 502
            stats = stand.plane.stats()
            assert (stats["retries"], stats["refusedRetries"]) == (10, 1)

    scripted.run(scenario())


@pytest.mark.parametrize("count", [1, 2])
def test_a_renewal_that_the_budget_refuses_is_one_refused_retry(count: int) -> None:
    async def breaks(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.head()

    async def scenario() -> None:
        rules = {"retries": {"budgetPercent": 0, "budgetMinimum": 0}}
        async with scripted.stand(*[breaks] * count, rules=rules) as stand:
            assert (await stand.get())[0] == 200
            assert (await stand.get())[0] == 502
            stats = stand.plane.stats()
            assert (stats["retries"], stats["refusedRetries"]) == (0, 1)

    scripted.run(scenario())


def test_renewals_that_are_answered_use_up_no_budget() -> None:
    """A server may close a kept connection as soon as it likes, 9112 §9.5."""

    async def closes_soon(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(OK)
        await peer.head()

    async def scenario() -> None:
        rules = {"retries": {"budgetPercent": 0, "budgetMinimum": 1}}  # ten in 10 s
        async with scripted.stand(closes_soon, rules=rules) as stand:
            client = await stand.connect()
            for _ in range(31):
                client.send(scripted.get())
                assert (await client.response())[0] == 200
            stats = stand.plane.stats()
            assert (stats["refusedRetries"], stats["renewals"]) == (0, 30)
            assert stand.failures == []

    scripted.run(scenario())


def test_a_member_that_keeps_failing_is_passed_over_for_a_while() -> None:
    async def scenario() -> None:
        rules = {"outlier": {"consecutiveFailures": 2, "ejectSeconds": 0.3}}
        async with scripted.stand(body_of, body_of, body_of, rules=rules) as stand:
            first = stand.owner("k")
            address = stand.upstreams[first].address
            await stand.upstreams[first].stop()
            for _ in range(5):
                assert (await stand.get())[0] == 200
            assert len(stand.failures) == 2
            (pool,) = (p for p in stand.plane.pools.values() if p.identity.address == address)
            assert not pool.open
            await scripted.eventually(lambda: pool.open)
            assert (await stand.get())[0] == 200
            assert len(stand.failures) == 3

    scripted.run(scenario())


def test_a_member_that_breaks_every_response_is_passed_over_for_a_while() -> None:
    async def breaking(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc")
        await peer.writer.drain()

    async def scenario() -> None:
        rules = {"outlier": {"consecutiveFailures": 3}}
        async with scripted.stand(breaking, body_of, rules=rules) as stand:
            key = stand.key_of("web-0")
            for _ in range(3):
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await stand.get(key=key)
            assert (await stand.get(key=key))[0] == 200

    scripted.run(scenario())


def test_a_connection_with_an_unsent_rest_of_an_upload_is_not_used_again() -> None:
    """The next upload on it would be taken in whole: its transport has said that it is full."""

    async def scenario() -> None:
        answer = asyncio.Event()

        async def unread(peer: scripted.Peer) -> None:
            await peer.head()
            await answer.wait()
            peer.send(OK)
            await asyncio.Event().wait()

        async with scripted.stand(unread) as stand:
            client = await stand.connect()
            client.send(post())
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 1)
            (connection,) = stand.plane.clients
            await scripted.eventually(lambda: connection.exchange.upstream is not None)
            transport = connection.exchange.upstream.transport
            transport.write(bytes(32 * 1024 * 1024))  # more than the kernel takes
            answer.set()
            assert (await client.response())[0] == 200
            (pool,) = stand.plane.pools.values()
            assert not pool.idle
            assert transport.is_closing()

    scripted.run(scenario())


def test_quiet_event_streams_are_cut_and_eject_nobody() -> None:
    """They are all quiet at once, as a rule: the first one tells no less than ten."""

    async def quiet(peer: scripted.Peer) -> None:
        while await peer.head():
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n")

    async def scenario() -> None:
        rules = {"timeouts": {"bodySeconds": 0.2}, "outlier": {"consecutiveFailures": 2}}
        async with scripted.stand(quiet, quiet, rules=rules) as stand:
            key = stand.key_of("web-0")
            for _ in range(4):
                client = await stand.connect()
                client.send(scripted.get(key=key))
                await client.until(b"data:\r\n")
            await scripted.eventually(lambda: stand.plane.cuts == 4)
            assert all(pool.open for pool in stand.plane.pools.values())
            assert [one["failures"] for one in stand.plane.stats()["members"]] == [0, 0]
            # ... but it is probed at once, should it be the member that hangs.
            assert set(stand.failures) == {("web-0-r", "quiet in the middle of a response")}

    scripted.run(scenario())


def test_503_without_a_table_without_members_and_at_the_limit() -> None:
    async def scenario() -> None:
        async with scripted.stand(silent, install=False) as stand:
            status, fields, _ = await stand.get()
            assert (status, fields["retry-after"]) == (503, "1")
            stand.install(states={"web-0": members.State.ABSENT})
            assert (await stand.get())[0] == 503
            stand.proxy = members.Proxy.model_validate({"limits": {"perMember": 1}})
            stand.install()
            waiting = await stand.connect()
            waiting.send(scripted.get())
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 1)
            assert (await stand.get())[0] == 503

    scripted.run(scenario())


def test_a_client_that_leaves_frees_its_member() -> None:
    async def scenario() -> None:
        async with scripted.stand(silent) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 1)
            await scripted.eventually(lambda: len(stand.upstreams["web-0"].peers) == 1)
            client.reset()
            await scripted.eventually(lambda: stand.plane.in_flight()["web-0-r"] == 0)

    scripted.run(scenario())


def test_a_member_that_does_not_accept_in_time_is_left() -> None:
    """A full backlog drops the SYN: the connection hangs."""

    async def scenario() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            rules = {"timeouts": {"connectSeconds": 0.2}}
            async with scripted.stand(body_of, body_of, rules=rules) as stand:
                first = stand.owner("k")
                stand.install(addresses={first: f"127.0.0.1:{address[1]}"})
                assert (await stand.get())[0] == 200
                assert stand.failures == [(f"{first}-r", "connect timed out")]
            for filler in fillers:
                filler.close()

    scripted.run(scenario())


class Held:
    """Answers bodiless requests one by one, each when it is told to."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)

    async def __call__(self, peer: scripted.Peer) -> None:
        while head := await peer.head():
            await self.turns.acquire()
            path = head.split(b" ")[1]
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


async def queued(stand: scripted.Stand, *paths: str) -> list[scripted.Peer]:
    """A client for each path, whose request has been taken in before the next one's."""
    clients: list[scripted.Peer] = []
    for path in paths:
        client = await stand.connect()
        client.send(scripted.get(path))
        clients.append(client)
        await scripted.eventually(functools.partial(took, stand, len(clients)))
    return clients


def took(stand: scripted.Stand, count: int) -> bool:
    return sum(stand.plane.in_flight().values()) + len(stand.plane.load.waiting) >= count


LIMITED = {"limits": {"perMember": 1, "queue": 3, "queueSeconds": 20}}


def test_at_the_limit_of_all_members_requests_wait_and_are_served_in_their_order() -> None:
    async def scenario() -> None:
        play = Held()
        async with scripted.stand(play, play, rules=LIMITED) as stand:
            clients = await queued(stand, "/1", "/2", "/3", "/4", "/5")
            assert sorted(stand.plane.in_flight().values()) == [1, 1]
            assert stand.plane.stats()["waiting"] == 3
            overflow = await stand.connect()
            overflow.send(scripted.get())
            status, fields, _ = await overflow.response()
            assert (status, fields["retry-after"]) == (503, "1")
            for _ in clients:
                play.turns.release()
            for number, client in enumerate(clients, 1):
                assert (await client.response())[2] == b"/%d" % number
            assert stand.plane.stats()["waiting"] == 0
            order = stand.upstreams["web-0"].received + stand.upstreams["web-1"].received
            assert all(b"/%d " % number in order for number in range(1, 6))

    scripted.run(scenario())


def test_the_queue_is_first_come_first_served() -> None:
    async def scenario() -> None:
        play = Held()
        async with scripted.stand(play, rules=LIMITED) as stand:
            clients = await queued(stand, "/1", "/2", "/3", "/4")
            for client in clients:
                play.turns.release()
                await client.response()
            received = stand.upstreams["web-0"].received
            at = [received.index(b"/%d " % number) for number in range(1, 5)]
            assert at == sorted(at)

    scripted.run(scenario())


def test_who_waits_too_long_gets_503_and_who_leaves_gives_up_its_place() -> None:
    async def scenario() -> None:
        play = Held()
        async with scripted.stand(play, rules=LIMITED) as stand:
            first, second, third = await queued(stand, "/1", "/2", "/3")
            third.reset()
            await scripted.eventually(lambda: stand.plane.stats()["waiting"] == 1)
            (late,) = stand.plane.load.waiting
            assert late.client.deadline - asyncio.get_running_loop().time() > 10
            late.client.deadline = 0.0
            status, fields, _ = await second.response()
            assert (status, fields["retry-after"]) == (503, "1")
            assert "connection" not in fields
            assert stand.plane.stats()["waiting"] == 0
            play.turns.release()
            assert (await first.response())[0] == 200
            second.send(scripted.get("/again"))
            play.turns.release()
            assert (await second.response())[2] == b"/again"

    scripted.run(scenario())


def test_a_request_with_a_body_waits_with_it() -> None:
    async def scenario() -> None:
        play = Held()

        async def first_held_then_body(peer: scripted.Peer) -> None:
            head = await peer.head()
            if b"POST" in head:
                peer.send(scripted.OK.replace(b"ok", await peer.exactly(2)))
                head = await peer.head()
            await play.turns.acquire()
            peer.send(OK)
            await first_held_then_body(peer)

        async with scripted.stand(first_held_then_body, rules=LIMITED) as stand:
            (first,) = await queued(stand, "/1")
            poster = await stand.connect()
            poster.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nh")
            await scripted.eventually(lambda: stand.plane.stats()["waiting"] == 1)
            poster.send(b"i")
            play.turns.release()
            assert (await first.response())[0] == 200
            assert (await poster.response())[2] == b"hi"

    scripted.run(scenario())


def test_who_waits_is_served_by_a_member_that_joins() -> None:
    async def scenario() -> None:
        play = Held()
        async with scripted.stand(play, play, rules=LIMITED) as stand:
            stand.install(states={"web-1": members.State.ABSENT})
            await queued(stand, "/1", "/2")
            assert stand.plane.stats()["waiting"] == 1
            stand.install()
            await scripted.eventually(lambda: stand.plane.stats()["waiting"] == 0)
            assert sorted(stand.plane.in_flight().values()) == [1, 1]
            play.turns.release()
            play.turns.release()

    scripted.run(scenario())


def test_who_waits_when_the_ring_ends_gets_503() -> None:
    async def scenario() -> None:
        play = Held()
        async with scripted.stand(play, rules=LIMITED) as stand:
            _, second = await queued(stand, "/1", "/2")
            stand.plane.clear()
            assert (await second.response())[0] == 503
            play.turns.release()

    scripted.run(scenario())


def test_the_limit_holds_while_members_fail() -> None:
    async def scenario() -> None:
        play = Held()
        async with scripted.stand(play, play, rules=LIMITED) as stand:
            await stand.upstreams[stand.owner("k")].stop()
            clients = await queued(stand, "/1", "/2", "/3")
            for client in clients:
                assert max(stand.plane.in_flight().values()) == 1
                play.turns.release()
                assert (await client.response())[0] == 200

    scripted.run(scenario())


class Moody(Held):
    """Answers at once, but for /held, which is answered when told. `mortal`: not what is /fatal."""

    def __init__(self, *, mortal: bool = False) -> None:
        super().__init__()
        self.mortal = mortal

    async def __call__(self, peer: scripted.Peer) -> None:
        while head := await peer.head():
            path = head.split(b" ")[1]
            if self.mortal and path == b"/fatal":
                return
            if path == b"/held":
                await self.turns.acquire()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))


@contextlib.asynccontextmanager
async def retries_that_wait(
    count: int,
) -> AsyncIterator[tuple[scripted.Stand, Moody, Moody, list[scripted.Peer]]]:
    """web-0 is idle, web-1 at its limit, and requests that failed on web-0 wait for web-1.

    With the plays of both, and the clients: of the one that web-1 works for, and those that wait.
    """
    plays = Moody(mortal=True), Moody()
    rules = {
        "limits": {"perMember": 1, "queue": count + 2, "queueSeconds": 20},
        "outlier": {"consecutiveFailures": 0},
    }
    async with scripted.stand(*plays, rules=rules) as stand:
        first = await stand.connect()
        first.send(scripted.get("/held", key=stand.key_of("web-1")))
        await scripted.eventually(lambda: took(stand, 1))
        clients = [first]
        for number in range(1, count + 1):
            clients.append(await stand.connect())
            clients[-1].send(scripted.get("/fatal", key=stand.key_of("web-0")))
            await scripted.eventually(functools.partial(waits, stand, number))
        yield stand, *plays, clients


def waits(stand: scripted.Stand, count: int) -> bool:
    return len(stand.plane.load.waiting) == count


def test_an_idle_member_serves_although_a_retry_waits_for_another() -> None:
    async def scenario() -> None:
        async with retries_that_wait(1) as (stand, _, busy, clients):
            key = stand.key_of("web-0")
            for _ in range(3):
                assert (await stand.get("/new", key=key))[0] == 200
            busy.turns.release()
            for client, path in zip(clients, (b"/held", b"/fatal"), strict=True):
                assert (await client.response())[2] == path
            assert b"/new" not in stand.upstreams["web-1"].received

    scripted.run(scenario())


def test_any_number_of_retries_holds_up_none_that_the_free_member_may_serve() -> None:
    async def scenario() -> None:
        async with retries_that_wait(9) as (stand, free, busy, clients):
            key = stand.key_of("web-0")
            last = await stand.connect()
            last.send(scripted.get("/held", key=key))
            await scripted.eventually(lambda: took(stand, 11))
            behind = await stand.connect()
            behind.send(scripted.get("/new", key=key))
            await scripted.eventually(lambda: waits(stand, 10))
            free.turns.release()
            assert (await last.response())[0] == 200
            assert (await behind.response())[2] == b"/new"
            busy.turns.release()
            for client in clients:
                assert (await client.response())[0] == 200

    scripted.run(scenario())


def test_nobody_overtakes_a_retry_that_waits_for_the_same_member() -> None:
    async def scenario() -> None:
        async with retries_that_wait(1) as (stand, free, busy, clients):
            held = await stand.connect()
            held.send(scripted.get("/held", key=stand.key_of("web-0")))
            await scripted.eventually(lambda: took(stand, 3))
            newer = await stand.connect()
            newer.send(scripted.get("/new", key=stand.key_of("web-1")))
            await scripted.eventually(lambda: waits(stand, 2))
            busy.turns.release()
            assert (await clients[1].response())[0] == 200
            assert (await newer.response())[0] == 200
            received = stand.upstreams["web-1"].received
            assert received.index(b" /fatal ") < received.index(b" /new ")
            free.turns.release()
            assert (await held.response())[0] == 200

    scripted.run(scenario())


@pytest.mark.parametrize("play", ["fresh", "pooled"])
def test_a_brown_out_is_not_multiplied(play: str) -> None:
    """Members that break what they are sent see few requests beyond those that were made."""
    asked = 0

    async def breaking(peer: scripted.Peer) -> None:
        nonlocal asked
        while await peer.head():
            asked += 1
            if play == "fresh" or asked > 30:
                return
            peer.send(OK)

    async def scenario() -> None:
        rules = {
            "retries": {"attempts": 5, "budgetPercent": 20, "budgetMinimum": 0},
            "outlier": {"consecutiveFailures": 0},
        }
        async with scripted.stand(*[breaking] * 5, rules=rules) as stand:
            client = await stand.connect()
            for number in range(200):
                client.send(scripted.get(key=f"k{number}"))
                await client.response()
            assert asked <= 200 * 1.2 + 1
            assert stand.plane.stats()["refusedRetries"] > 0

    scripted.run(scenario())
