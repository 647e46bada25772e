"""The one cell: what is held, when its table is compiled anew, and what outlives a restart."""

from __future__ import annotations

import os

import pytest
import structlog.testing
from ringmaster_balancer import members
from ringmaster_balancer.control import disk, ordering, store

Verdict = ordering.Verdict


def membership(generation=1, *, uid="u", ids=("web-0", "web-1"), state="active", weight=100):
    return members.parse(
        {
            "epoch": 1,
            "generation": generation,
            "uid": uid,
            "replicas": len(ids),
            "members": [
                {
                    "id": name,
                    "replica": f"{name}-{generation}",
                    "address": f"127.0.0.1:{1000 + index}",
                    "state": state,
                    "weight": weight,
                }
                for index, name in enumerate(ids)
            ],
        }
    )


class World:
    """A store on a folder, with a clock in our hand."""

    def __init__(self, folder):
        self.now = 1_000.0
        self.file = disk.Disk(folder / "ring.json")
        self.store = self.restarted()

    def restarted(self):
        return store.Store(self.file, clock=lambda: self.now)

    def push(self, value):
        checksum = members.checksum(value)
        verdict = self.store.judge(value, checksum=checksum)
        if verdict is Verdict.INSTALL:
            current = self.store.compiled(self.store.pushed(value, checksum=checksum))
            self.store.put(current)
            self.store.keep()
        elif verdict is Verdict.SAME:
            self.store.confirm_again()
        return verdict


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_change_of_address_or_state_keeps_the_very_same_table(world):
    world.push(membership(1))
    before = world.store.current
    world.push(membership(2, state="absent"))
    after = world.store.current
    assert after.membership.members[0].state is members.State.ABSENT
    assert after.table is before.table
    assert after.table_version == before.table_version


@pytest.mark.parametrize("change", [{"ids": ("web-0",)}, {"weight": 200}])
def test_a_change_of_ids_or_weights_compiles_a_new_one(world, change):
    world.push(membership(1))
    before = world.store.current
    world.push(membership(2, **change))
    assert world.store.current.table is not before.table
    assert world.store.current.table_version > before.table_version


def test_a_restart_finds_what_was_held_and_says_that_it_is_from_disk(world):
    world.push(membership(3))
    held = world.restarted().load()
    assert held.membership == membership(3)
    assert held.source is ordering.Source.DISK


def test_a_damaged_file_is_ignored_and_overwritten_by_the_next_push(world):
    world.file.path.write_text("{")
    with structlog.testing.capture_logs() as said:
        assert world.store.load() is None
    assert said[0]["event"] == "membership on disk ignored"
    world.push(membership(1))
    assert world.restarted().load().membership == membership(1)


def test_the_same_push_again_counts_as_a_sign_of_life(world):
    world.push(membership(1))
    world.now += 29
    assert world.push(membership(1)) is Verdict.SAME
    world.now += 29
    assert world.push(membership(1, uid="other")) is Verdict.OTHER_HOLDER
    world.now += 1
    assert world.push(membership(1, uid="other")) is Verdict.INSTALL


def test_an_ended_ring_is_not_brought_back_by_an_older_push(world):
    world.push(membership(2))
    world.store.end()
    assert world.store.held is None
    assert world.restarted().load() is None
    assert world.push(membership(1)) is Verdict.OLDER
    assert world.push(membership(2)) is Verdict.INSTALL


def test_an_ended_ring_is_free_for_another_serverset_at_once(world):
    world.push(membership(2))
    world.store.end()
    assert world.push(membership(1, uid="other")) is Verdict.INSTALL


def test_a_disk_that_refuses_is_counted_and_does_not_stop_a_push(world):
    world.file.path.with_name("ring.json.new").mkdir()
    with structlog.testing.capture_logs() as said:
        assert world.push(membership(1)) is Verdict.INSTALL
    assert world.store.write_errors == 1
    assert said[0]["event"] == "membership not kept on disk"


def test_a_worker_is_believed_over_the_disk_but_never_over_a_push_or_an_end(world):
    world.push(membership(1))
    again = world.restarted()
    assert again.recoverable(membership(1))
    again.put(again.compiled(again.load()))
    assert not again.recoverable(membership(1))
    assert again.recoverable(membership(2))
    assert not world.store.recoverable(membership(2))
    world.store.end()
    assert not world.store.recoverable(membership(2))


def test_other_sources_of_the_key_are_a_change_of_the_same_table_that_no_key_can_be_followed_over(
    world,
):
    first = membership(1)
    world.push(first)
    assert world.store.current.earlier is None
    keys = members.Ring(key=[{"path": True}])
    world.push(membership(2).model_copy(update={"ring": keys}))
    current = world.store.current
    assert (current.table_version, current.since) == (1, 2)
    assert (current.earlier.generation, current.earlier.same_keys) == (1, False)
    assert current.earlier.table == current.table
    world.push(membership(3, ids=("web-0",)).model_copy(update={"ring": keys}))
    assert world.store.current.earlier.same_keys
    both = membership(4).model_copy(update={"ring": members.Ring()})
    world.push(both)
    assert not world.store.current.earlier.same_keys


@pytest.mark.parametrize(("ahead", "within"), [(3_600, 30.0), (-20, 10.0), (-3_600, 0.0)])
def test_a_holder_counts_as_alive_for_30_seconds_whatever_its_files_time(world, ahead, within):
    """A file's time lies ahead once the clock was set back, by an hour say."""
    world.push(membership())
    os.utime(world.file.path, (5_000 + ahead, 5_000 + ahead))
    world.store = store.Store(world.file, clock=lambda: world.now, wall=lambda: 5_000.0)
    held = world.store.load()
    world.store.put(world.store.compiled(held))
    other = membership(uid="v")

    def judged():
        return world.store.judge(other, checksum=members.checksum(other))

    if within:
        world.now += within - 0.1
        assert judged() is Verdict.OTHER_HOLDER
        world.now += 0.1
    assert judged() is Verdict.INSTALL
