"""A push from judgement to confirmation, with scripted workers and real probes' stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
from array import array

import fake_worker
import pytest
from ringmaster_balancer import codes, errors, ipc
from ringmaster_balancer.control import disk, gate, health, keeper, ordering, prober, store

Kind = ipc.Kind


def document(generation=1, *, address="127.0.0.1:1", state="active", **fields):
    member = {"id": "web-0", "replica": "web-0-a", "address": address, "state": state}
    head = {"epoch": 1, "generation": generation, "uid": "u", "replicas": 1}
    # A path and no server: the probes of these tests fail, but one an hour.
    health = {"intervalSeconds": 3600}
    return {**head, "health": health, "members": [member], **fields}


class World:
    def __init__(self, folder, path):
        self.path = path
        self.file = disk.Disk(folder / "ring.json")
        self.keeper = keeper.Keeper(
            store.Store(self.file),
            workers=1,
            gate=gate.Gate(allowed=codes.Allowed(folder=folder), cache=folder / "hashes"),
        )


def run(folder, scenario):
    async def bounded():
        with fake_worker.listener() as (sock, path):
            w = World(folder, path)
            serving = asyncio.create_task(w.keeper.workers.serve(sock))
            try:
                await asyncio.wait_for(scenario(w), 30)
            finally:
                w.keeper.close()
                tasks = [serving, *w.keeper.workers._tasks]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def started(w, **options):
    await w.keeper.load()
    await w.keeper.start()
    async with fake_worker.FakeWorker(**options).connected(w.path) as worker:
        yield worker


def test_a_push_is_handed_out_kept_and_confirmed(tmp_path):
    async def scenario(w):
        async with started(w) as worker:
            assert not w.keeper.ready()
            held = await w.keeper.push(document())
            frame = await worker.until(Kind.INSTALL)
            assert frame.fields["membership"]["generation"] == 1
            assert frame.fields["healthy"] == {"web-0-a": True}
            assert frame.body
            assert w.file.load().checksum == held.checksum
            assert w.keeper.ready()

    run(tmp_path, scenario)


def test_a_push_that_no_worker_confirms_is_said_and_can_be_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "CONFIRM_SECONDS", 0.05)

    async def scenario(w):
        async with started(w, confirms=False) as worker:
            await worker.until(Kind.END)
            with pytest.raises(keeper.NotConfirmed):
                await w.keeper.push(document())
            frame = await worker.until(Kind.INSTALL)
            worker.say(Kind.ACK, seq=frame.fields["seq"])
            monkeypatch.setattr(keeper, "CONFIRM_SECONDS", 10)
            await w.keeper.push(document())
            assert len([f for f in worker.got if f.kind is Kind.INSTALL]) == 1

    run(tmp_path, scenario)


def test_a_refused_push_changes_nothing_and_names_what_is_held(tmp_path):
    async def scenario(w):
        async with started(w) as worker:
            await w.keeper.push(document(5))
            for wrong, verdict in [
                (document(4), ordering.Verdict.OLDER),
                (document(5, address="127.0.0.1:2"), ordering.Verdict.CONFLICT),
                (document(6, uid="v"), ordering.Verdict.OTHER_HOLDER),
            ]:
                with pytest.raises(keeper.PushRefused) as refused:
                    await w.keeper.push(wrong)
                assert refused.value.verdict is verdict
                assert refused.value.held.membership.generation == 5
            for wrong in ({}, document(7, members=[])):
                with pytest.raises(errors.MembershipInvalid):
                    await w.keeper.push(wrong)
            assert len([f for f in worker.got if f.kind is Kind.INSTALL]) == 1

    run(tmp_path, scenario)


def test_concurrent_pushes_end_with_the_newest(tmp_path):
    async def scenario(w):
        async with started(w) as worker:
            pushes = [w.keeper.push(document(generation)) for generation in range(1, 9)]
            results = await asyncio.gather(*pushes, return_exceptions=True)
            assert not [r for r in results if isinstance(r, keeper.NotConfirmed)]
            assert w.keeper.current().membership.generation == 8
            assert w.file.load().membership.generation == 8
            newest = [f for f in worker.got if f.kind is Kind.INSTALL][-1]
            assert newest.fields["membership"]["generation"] == 8

    run(tmp_path, scenario)


def test_a_restart_hands_out_the_disk_with_only_the_probed_as_healthy(tmp_path):
    async def scenario(w):
        async with started(w):
            await w.keeper.push(document())

    async def again(w):
        async with started(w) as worker:
            frame = await worker.until(Kind.INSTALL)
            assert frame.fields["healthy"] == {"web-0-a": False}
            assert not w.keeper.ready()  # nobody listens on port 1
            view = await w.keeper.view()
            assert view.held.source is ordering.Source.DISK
            await w.keeper.push(document())
            assert (await w.keeper.view()).held.source is ordering.Source.PUSH

    run(tmp_path, scenario)
    run(tmp_path, again)


def test_what_a_worker_serves_is_taken_over_when_the_disk_has_nothing(tmp_path):
    async def scenario(w):
        await w.keeper.load()
        await w.keeper.start()
        async with fake_worker.FakeWorker().connected(w.path, serving=document(3)) as worker:
            frame = await worker.until(Kind.INSTALL)
            assert frame.fields["membership"]["generation"] == 3
            assert w.file.load().membership.generation == 3

    run(tmp_path, scenario)


def test_an_ended_ring_is_gone_from_workers_disk_and_view(tmp_path):
    async def scenario(w):
        async with started(w) as worker:
            await w.keeper.push(document())
            worker.got.clear()
            await w.keeper.end()
            await worker.until(Kind.END)
            assert w.file.load() is None
            assert (await w.keeper.view()).held is None
            assert not w.keeper.ready()

    run(tmp_path, scenario)


def test_a_complaint_of_a_worker_takes_a_dead_member_out_for_all(tmp_path):
    results = [health.Finding.GOOD]
    probed = asyncio.Event()

    async def probe(*_):
        probed.set()
        return results.pop() if results else health.Finding.ERROR

    async def scenario(w):
        w.keeper._prober = prober.Prober(on_change=w.keeper._judged, probe=probe)
        async with started(w) as worker:
            await w.keeper.push(document())
            await probed.wait()  # the one that follows a push
            worker.say(Kind.MARK, replica="web-0-a", reason="refused")
            frame = await worker.until(Kind.HEALTH)
            assert frame.fields["healthy"] == {"web-0-a": False}
            assert frame.fields["erring"] == ["web-0-a"]

    run(tmp_path, scenario)


def test_counters_of_a_worker_that_ended_stay_in_the_sum(tmp_path):
    async def scenario(w):
        await w.keeper.load()
        await w.keeper.start()
        gone = fake_worker.FakeWorker(stats={"requests": 5, "connections": 3})
        async with gone.connected(w.path):
            await gone.until(Kind.END)
            await w.keeper.numbers()
        async with fake_worker.FakeWorker(stats={"requests": 1}).connected(w.path) as worker:
            await worker.until(Kind.END)
            stats = (await w.keeper.numbers()).stats
            assert (stats["requests"], stats["connections"]) == (6, 0)

    run(tmp_path, scenario)


def test_what_no_worker_has_confirmed_is_shown_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "CONFIRM_SECONDS", 0.05)
    monkeypatch.setattr(keeper, "REPORT_SECONDS", 0.05)

    async def scenario(w):
        async with started(w, confirms=False) as worker:
            await worker.until(Kind.END)
            with pytest.raises(keeper.NotConfirmed):
                await w.keeper.push(document())
            assert not (await w.keeper.view()).confirmed
            frame = await worker.until(Kind.INSTALL)
            worker.say(Kind.ACK, seq=frame.fields["seq"])
            assert await w.keeper.workers.confirmed(w.keeper.workers.seq, within=10)
            assert (await w.keeper.view()).confirmed

    run(tmp_path, scenario)


def test_a_ring_is_ended_by_its_own_set_only(tmp_path):
    async def scenario(w):
        async with started(w):
            await w.keeper.push(document())
            with pytest.raises(keeper.PushRefused) as refused:
                await w.keeper.end(uid="another")
            assert refused.value.verdict is ordering.Verdict.OTHER_HOLDER
            assert (await w.keeper.view()).held is not None
            await w.keeper.end(uid="u")
            assert (await w.keeper.view()).held is None
            await w.keeper.end(uid="another")

    run(tmp_path, scenario)


def test_a_plan_counts_the_requests_of_the_ring_that_is_held_and_of_no_ring_before_it(tmp_path):
    async def scenario(w):
        async with started(w) as worker:
            await w.keeper.push(document(ring={"slots": 512}))
            worker.hits = array("I", [1] * 512).tobytes()
            planned = await w.keeper.plan({"ring": {"slots": 512}, "members": []})
            assert (planned["traffic"]["requests"], planned["traffic"]["moved"]) == (512, 512)
            await w.keeper.end(uid="u")
            # Slot 511 of the ring that has ended is none of a smaller one.
            assert (await w.keeper.plan({"ring": {"slots": 2}}))["traffic"] is None
            assert (await w.keeper.hits()).counts.sum() == 0

    run(tmp_path, scenario)


def test_a_plan_that_a_push_overtakes_counts_no_requests(tmp_path):
    async def scenario(w):
        async with started(w) as worker:
            await w.keeper.push(document(ring={"slots": 512}))
            before = w.keeper.current()
            await w.keeper.push(document(2, ring={"slots": 64}))
            worker.hits = array("I", [1] * 64).tobytes()
            assert await w.keeper._counted(before) is None
            assert (await w.keeper._counted(w.keeper.current())).counts.sum() == 64

    run(tmp_path, scenario)
