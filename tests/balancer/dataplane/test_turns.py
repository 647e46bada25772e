"""No connection does more than its share in one turn of the event loop, whatever it sends."""

from __future__ import annotations

import asyncio
from typing import Any

import counting
import memory_plane
import pytest
import scripted
from ringmaster_balancer.dataplane import chunked, client, exchange, turns

TINY = b"1\r\nx\r\n"
LAST = b"0\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: h\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MANY = 20_000
LARGE = 8 << 20


@pytest.fixture
def shares(monkeypatch):
    return counting.Shares(monkeypatch)


async def swallows(peer):
    """Takes a body, framed as its head says, and answers with how much that was."""
    head = await peer.head()
    body = await (peer._chunks() if b"chunked" in head else peer.exactly(LARGE))
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%8d" % len(body))


def test_an_upload_in_tiny_chunks_is_taken_apart_piece_by_piece(shares):
    async def scenario():
        async with scripted.stand(swallows) as stand:
            one = await stand.connect()
            shares.count(chunked.Decoder, "_take")
            one.send(HEAD + CHUNKED + TINY * MANY + LAST)
            assert (await one.response())[2] == b"%8d" % MANY
            assert shares.sum == 2 * MANY + 2
            assert shares.most <= turns.LINES

    scripted.run(scenario())


def test_a_response_in_tiny_chunks_is_taken_apart_piece_by_piece(shares):
    async def trickles(peer):
        while await peer.head():
            peer.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + TINY * MANY + LAST)

    async def scenario():
        async with scripted.stand(trickles) as stand:
            one = await stand.connect()
            shares.count(chunked.Decoder, "_take")
            for _ in range(2):  # on the same connection to the member: the end was found
                one.send(scripted.get())
                assert (await one.response())[2] == b"x" * MANY
            assert shares.sum == 2 * (2 * MANY + 2)
            assert shares.most <= turns.LINES
            assert len(stand.upstreams["web-0"].peers) == 1

    scripted.run(scenario())


def test_requests_that_we_answer_ourselves_are_answered_a_few_in_a_turn(shares):
    async def scenario():
        async with scripted.stand(install=False) as stand:
            one = await stand.connect()
            shares.count(client.Client, "_request")
            one.send(scripted.get() * 3_000)
            for _ in range(3_000):
                assert (await one.response())[0] == 503
            assert shares.sum == 3_000
            assert shares.most <= turns.MESSAGES

    scripted.run(scenario())


def test_interim_responses_are_relayed_a_few_in_a_turn(shares):
    async def hesitates(peer):
        while await peer.head():
            peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000 + scripted.OK)

    async def scenario():
        async with scripted.stand(hesitates) as stand:
            one = await stand.connect()
            shares.count(exchange.Exchange, "interim")
            one.send(scripted.get())
            for _ in range(2_000):
                assert (await one.head()).startswith(b"HTTP/1.1 103 ")
            assert (await one.response())[0] == 200
            assert shares.most <= turns.MESSAGES

    scripted.run(scenario())


BODIES = {
    "length": b"Content-Length: %d\r\n\r\n%b" % (LARGE, bytes(LARGE)),
    "chunks": CHUNKED + (b"10000\r\n%b\r\n" % bytes(65_536)) * (LARGE // 65_536) + LAST,
}


@pytest.mark.parametrize("framing", BODIES)
def test_an_upload_moves_one_read_in_a_turn(shares, framing):
    async def scenario():
        async with scripted.stand(swallows) as stand:
            one = await stand.connect()
            shares.count_writes()
            one.send(HEAD + BODIES[framing])
            assert int((await one.response())[2]) == LARGE
            assert shares.most <= counting.READ

    scripted.run(scenario())


@pytest.mark.parametrize("framing", BODIES)
def test_a_download_moves_one_read_in_a_turn(shares, framing):
    async def sends(peer):
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n" + BODIES[framing])
        await peer.writer.drain()

    async def scenario():
        async with scripted.stand(sends) as stand:
            one = await stand.connect()
            shares.count_writes()
            one.send(scripted.get())
            assert (await one.response())[2] == bytes(LARGE)
            assert shares.most <= counting.READ

    scripted.run(scenario())


def test_a_tunnel_moves_one_read_in_a_turn(shares):
    async def echoes(peer):
        await peer.head()
        peer.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        peer.send(await peer.exactly(LARGE))
        await peer.writer.drain()

    async def scenario():
        async with scripted.stand(echoes) as stand:
            one = await stand.connect()
            one.send(scripted.get(extra=["Connection: upgrade", "Upgrade: websocket"]))
            await one.head()
            shares.count_writes()
            one.send(bytes(LARGE))
            assert await one.exactly(LARGE) == bytes(LARGE)
            assert shares.most <= counting.READ

    scripted.run(scenario())


class Stream(turns.Stream):
    """Notes its turns; has `todo` of them to do."""

    def __init__(self, queue: turns.Turns, todo: int, done: list[Any]) -> None:
        super().__init__(queue)
        self.transport = memory_plane.Wire()
        self.todo = todo
        self.done = done

    def work(self) -> bool:
        if self.todo:
            self.done.append(self)
            self.todo -= 1
            return True
        return False


async def some_turns():
    for _ in range(10):
        await asyncio.sleep(0)


def test_connections_share_a_turn_and_take_turns():
    async def scenario():
        done = []
        queue = turns.Turns()
        streams = [Stream(queue, 3, done) for _ in range(5)]
        for stream in streams:
            stream.give_way()
        seen = []
        while any(stream.todo for stream in streams):
            before = len(done)
            await asyncio.sleep(0)
            seen.append(len(done) - before)
        assert max(seen) == 4
        assert done == streams * 3

    asyncio.run(scenario())


def test_a_fault_in_one_turn_keeps_nobody_from_theirs():
    async def scenario():
        faults = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        done = []
        queue = turns.Turns()
        streams = [Stream(queue, 1, done) for _ in range(3)]
        streams[0].work = lambda: 1 / 0
        for stream in streams:
            stream.give_way()
        await some_turns()
        assert done == streams[1:]
        assert len(faults) == 1

    asyncio.run(scenario())


def test_a_stream_reads_when_neither_held_nor_waiting():
    async def scenario():
        stream = Stream(turns.Turns(), 0, [])
        wire = stream.transport
        stream.give_way()
        stream.hold()
        assert wire.paused
        await some_turns()
        assert wire.paused  # its turn has come, and it is held still
        stream.held = False
        stream.read_on()
        assert not wire.paused

    asyncio.run(scenario())


def test_a_response_that_came_whole_is_delivered_although_its_connection_is_lost():
    """RFC 9112 §8: it is complete, however its connection ended and whosever turn it was."""
    body = b"HTTP/1.1 200 OK\r\n" + CHUNKED + TINY * 1_000 + LAST
    world = memory_plane.World(answer=lambda _: [body])
    world.paused = True
    world.feed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    before = world.output.count(b"x")
    assert 0 < before < 1_000
    world.lose_server(reset=True)
    world.paused = False
    world.settle()
    (reply,) = memory_plane.replies(world.output, [b"GET"], ended=False)
    assert (reply.complete, reply.body) == (True, b"x" * 1_000)
