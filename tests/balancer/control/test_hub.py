"""Workers get the newest, confirm it, and are not awaited once they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess

import fake_worker
from ringmaster_balancer import ipc
from ringmaster_balancer.control import hub

NEWEST = hub.Newest(membership={"generation": 1}, table=b"table", table_version=1)
Kind = ipc.Kind


class World:
    """A hub that listens, and what it heard."""

    def __init__(self, path, **options):
        self.path = path
        self.marks = []
        self.gone = []
        self.served = []
        self._news = asyncio.Event()
        self.hub = hub.Hub(
            on_hello=self._hello,
            on_mark=lambda replica: self._note(self.marks, replica),
            on_gone=lambda report: self._note(self.gone, report),
            **options,
        )

    async def _hello(self, served):
        self._note(self.served, served)

    def _note(self, kept, value):
        kept.append(value)
        self._news.set()

    async def until(self, look):
        while not look():
            self._news.clear()
            await self._news.wait()


@contextlib.asynccontextmanager
async def world(expected=1, **options):
    with fake_worker.listener() as (sock, path):
        made = World(path, expected=expected, **options)
        serving = asyncio.create_task(made.hub.serve(sock))
        try:
            yield made
        finally:
            serving.cancel()
            for task in tuple(made.hub._tasks):
                task.cancel()
            await asyncio.gather(serving, *made.hub._tasks, return_exceptions=True)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_change_is_confirmed_once_every_worker_has_said_so():
    async def scenario():
        async with world(expected=2) as w:
            fast, slow = fake_worker.FakeWorker(), fake_worker.FakeWorker(confirms=False)
            async with fast.connected(w.path), slow.connected(w.path):
                seq = w.hub.install(NEWEST, healthy={"a": True})
                frame = await slow.until(Kind.INSTALL)
                assert not await w.hub.confirmed(seq, within=0.05)
                slow.say(Kind.ACK, seq=frame.fields["seq"])
                assert await w.hub.confirmed(seq, within=10)
                assert frame.fields["healthy"] == {"a": True}
                assert frame.body == b"table"

    run(scenario)


def test_without_any_worker_nothing_is_confirmed():
    async def scenario():
        async with world() as w:
            assert not await w.hub.confirmed(w.hub.install(NEWEST, healthy={}), within=0.05)

    run(scenario)


def test_a_worker_that_dies_is_not_awaited_and_its_last_report_is_kept():
    async def scenario():
        async with world(expected=2) as w:
            w.hub.open()
            stays = fake_worker.FakeWorker()
            dies = fake_worker.FakeWorker(confirms=False, stats={"requests": 7})
            async with stays.connected(w.path):
                async with dies.connected(w.path):
                    await dies.until(Kind.END)
                    await w.hub.reports(within=5)
                    seq = w.hub.install(NEWEST, healthy={})
                    waiting = asyncio.create_task(w.hub.confirmed(seq, within=10))
                    await dies.until(Kind.INSTALL)
                assert await waiting
            assert w.gone[0].stats == {"requests": 7}

    run(scenario)


def test_a_table_is_sent_once_and_only_the_membership_after_that():
    async def scenario():
        async with world() as w:
            worker = fake_worker.FakeWorker()
            async with worker.connected(w.path):
                w.hub.install(NEWEST, healthy={})
                assert (await worker.until(Kind.INSTALL)).body == b"table"
                again = hub.Newest(membership={"generation": 2}, table=b"table", table_version=1)
                w.hub.install(again, healthy={})
                frame = await worker.until(Kind.INSTALL, 2)
                assert (frame.body, frame.fields["membership"]) == (b"", {"generation": 2})
                w.hub.end()
                await worker.until(Kind.END)
                other = hub.Newest(membership={}, table=b"other", table_version=2)
                w.hub.install(other, healthy={})
                assert (await worker.until(Kind.INSTALL, 3)).body == b"other"

    run(scenario)


def test_workers_wait_until_there_is_a_first_word_for_them():
    async def scenario():
        async with world() as w:
            early = fake_worker.FakeWorker()
            async with early.connected(w.path, serving={"generation": 9}):
                await w.until(lambda: w.served)
                assert w.served == [{"generation": 9}]
                assert (early.got, w.hub.workers) == ([], 0)
                w.hub.open()
                await early.until(Kind.END)
                assert w.hub.workers == 1

    run(scenario)


def test_health_goes_to_all_and_to_those_that_come_later():
    async def scenario():
        async with world() as w:
            w.hub.install(NEWEST, healthy={"a": True, "b": True})
            now, later = fake_worker.FakeWorker(), fake_worker.FakeWorker()
            async with now.connected(w.path):
                await now.until(Kind.INSTALL)
                w.hub.health({"b": False})
                assert (await now.until(Kind.HEALTH)).fields["healthy"] == {"b": False}
                async with later.connected(w.path):
                    frame = await later.until(Kind.INSTALL)
                    assert frame.fields["healthy"] == {"a": True, "b": False}

    run(scenario)


def test_reports_are_added_up_and_a_slow_worker_gives_its_last_one():
    async def scenario():
        async with world(expected=2) as w:
            w.hub.open()
            one, two = fake_worker.FakeWorker(), fake_worker.FakeWorker()
            one.in_flight, two.in_flight = {"a": 1, "b": 2}, {"a": 3}
            async with one.connected(w.path), two.connected(w.path):
                await one.until(Kind.END)
                await two.until(Kind.END)
                assert hub.in_flight(await w.hub.reports(within=5)) == {"a": 4, "b": 2}
                two.answers = False
                one.in_flight = {}
                assert hub.in_flight(await w.hub.reports(within=0.05)) == {"a": 3}

    run(scenario)


def test_a_complaint_is_heard():
    async def scenario():
        async with world() as w:
            w.hub.open()
            worker = fake_worker.FakeWorker()
            async with worker.connected(w.path):
                await worker.until(Kind.END)
                worker.say(Kind.MARK, replica="a", reason="reset")
                await w.until(lambda: w.marks)
                assert w.marks == ["a"]

    run(scenario)


def test_whoever_speaks_nonsense_is_cut_off_and_the_others_stay():
    async def scenario():
        async with world(expected=2) as w:
            w.hub.open()
            good, bad = fake_worker.FakeWorker(), fake_worker.FakeWorker()
            async with good.connected(w.path), bad.connected(w.path):
                await good.until(Kind.END)
                await bad.until(Kind.END)
                bad.shout(b"\xff" * 64)
                await w.until(lambda: w.gone)
                assert await w.hub.confirmed(w.hub.install(NEWEST, healthy={}), within=5)

    run(scenario)


def test_a_worker_that_leaves_ten_questions_unanswered_is_killed():
    async def scenario():
        async with world(ask_seconds=0.01) as w:
            w.hub.open()
            process = await asyncio.create_subprocess_exec("sleep", "60", stdin=subprocess.DEVNULL)
            worker = fake_worker.FakeWorker(answers=False)
            async with worker.connected(w.path, pid=process.pid):
                assert await process.wait() == -9
                asked = [frame for frame in worker.got if frame.kind is Kind.ASK]
                assert len(asked) >= 10

    run(scenario)
