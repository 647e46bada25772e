from __future__ import annotations

from typing import Any

import pytest
from fake_announcer import FakeAnnouncer
from planning import NOW
from ringmaster_operator import errors, holding, memory, observed, ringkeeper, spec
from virtual_clock import VirtualClock

OWNER = observed.Owner("default", "web", "u")
VALUE = memory.Memory(epoch=5, generation=1)


class Scene:
    """A keeper of some balancers, and how often they were pushed to."""

    def __init__(self, balancers: int = 1) -> None:
        self.clock = VirtualClock(NOW)
        self.announcer = FakeAnnouncer(self.clock, balancers=balancers)
        self.keeper = ringkeeper.RingKeeper(OWNER, self.announcer, epoch=5)

    def look(self, value: memory.Memory = VALUE, *, draining: bool = False) -> list[str]:
        self.keeper.look(spec.Balancer(), now=self.clock(), draining=draining)
        document: dict[str, Any] = {"epoch": value.epoch, "generation": value.generation}
        document |= {"members": [], "replicas": 0}
        notes = self.keeper.push(document, value, now=self.clock())
        return [note.reason for note in notes]

    @property
    def pushes(self) -> int:
        return len(self.announcer.effects.log)


def test_the_first_look_reads_back_and_pushes() -> None:
    scene = Scene()
    assert scene.look() == ["RingUpdated"]
    assert scene.announcer.balancers[0].pair == (5, 1)


def test_what_is_unchanged_is_pushed_again_after_ten_seconds_and_no_sooner() -> None:
    scene = Scene()
    scene.look()
    for _ in range(9):
        scene.clock.advance(1.0)
        assert scene.look() == []
    assert scene.pushes == 1
    assert scene.keeper.look_again_in(VALUE, scene.clock()) == pytest.approx(1.0)
    scene.clock.advance(1.0)
    scene.look()
    assert scene.pushes == 2


def test_a_change_is_pushed_at_once() -> None:
    scene = Scene()
    scene.look()
    assert scene.look(memory.Memory(epoch=5, generation=2)) == ["RingUpdated"]


def test_a_balancer_that_refuses_is_asked_less_and_less_and_told_of_once() -> None:
    scene = Scene()
    scene.announcer.balancers[0].deaf = True
    assert scene.look() == ["RingPushFailed"]
    at = []
    for _ in range(400):
        scene.clock.advance(0.1)
        before = scene.pushes
        assert scene.look(draining=True) == []
        if scene.pushes > before:
            at.append(scene.clock() - NOW)
    assert at[:5] == pytest.approx([0.5, 1.5, 3.5, 7.5, 15.5], abs=0.6)
    assert at[5] - at[4] == pytest.approx(10, abs=0.6)


def test_a_new_balancer_gets_the_membership_as_soon_as_it_is_seen() -> None:
    scene = Scene()
    scene.look()
    scene.announcer.restart(0, disk=False)
    scene.clock.advance(0.1)
    scene.look(draining=True)  # whatever makes it read back
    assert scene.announcer.balancers[0].pair == (5, 1)


def test_a_dead_balancer_is_looked_for_every_two_seconds() -> None:
    scene = Scene()
    scene.look()
    scene.announcer.die(0)
    scene.look(draining=True)
    assert scene.keeper.look_again_in(VALUE, scene.clock()) == 2.0
    scene.announcer.restart(0, disk=False)
    scene.clock.advance(2.0)
    scene.look()
    assert scene.announcer.balancers[0].pair == (5, 1)


def test_a_higher_epoch_anywhere_fences() -> None:
    scene = Scene(balancers=2)
    scene.announcer.balancers[1].document = {"epoch": 6, "generation": 1}
    with pytest.raises(errors.FencedError):
        scene.look()


def test_the_generation_that_balancers_hold_of_this_epoch_is_known() -> None:
    scene = Scene(balancers=2)
    scene.announcer.balancers[0].document = {"epoch": 5, "generation": 9}
    scene.announcer.balancers[1].document = {"epoch": 4, "generation": 99}
    scene.keeper.read_back(NOW)
    assert scene.keeper.generation == 9


def test_without_balancers_nothing_is_told() -> None:
    assert Scene(balancers=0).look() == []


def test_a_change_is_judged_once_in_ten_seconds_and_anew_when_another_ring_is_held() -> None:
    scene = Scene()
    scene.look()
    change = {"members": [{"id": "web-0", "weight": 100}]}
    for seconds in (0.0, 5.0, 9.0):
        scene.keeper.judge(change, now=NOW + seconds)
    assert len(scene.announcer.asked) == 1
    scene.keeper.judge(change, now=NOW + 10.0)
    scene.keeper.judge({"members": []}, now=NOW + 10.0)
    assert len(scene.announcer.asked) == 3


def test_a_hold_is_told_once_and_again_after_it_had_ended() -> None:
    keeper = Scene().keeper
    hold = holding.Hold("MoveHeld", "40 %")
    reasons = [[n.reason for n in keeper.tell_hold(each)] for each in (hold, hold, None, hold)]
    assert reasons == [["MoveHeld"], [], [], ["MoveHeld"]]
