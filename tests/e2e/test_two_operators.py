"""A second operator started by mistake on the same engine does no harm.

What keeps them apart: the lock on a state folder; the ServerSet's UID, by which containers are
labelled and the balancer tells whose ring it holds; the epoch, if the state itself was copied.
"""

from __future__ import annotations

import shutil
import threading

import engines
import hosted
import project_images
import pytest
import requests
import stack as stacks

pytestmark = pytest.mark.docker


@pytest.fixture
def place(tmp_path):
    engines.require("docker")
    project_images.build()
    with hosted.place(tmp_path) as made:
        yield made


def condition(operator, kind, reason):
    def look():
        found = operator.condition(kind)
        return found if found["reason"] == reason else None

    return stacks.eventually(look, what=f"{kind} {reason}")


def served(balancer):
    """Who is in the ring, where."""
    return {(m["id"], m["replica"], m["address"]) for m in balancer.active().values()}


class Load:
    """Requests without a pause, until the block ends."""

    def __init__(self, url):
        self.url, self.failures, self.count = url, [], 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        with requests.Session() as session:
            while not self._ended.wait(0.01):
                self.count += 1
                try:
                    session.get(self.url + "/home", timeout=10).raise_for_status()
                except requests.RequestException as error:
                    self.failures.append(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()


def test_another_state_folder_touches_neither_the_containers_nor_the_ring_of_the_first(place):
    name = f"S-{place.network[-10:]}"  # asked for by both: only one container can have it
    balancer = place.balancer("--lab-api")
    first = place.operator("first")
    place.create(first, place.spec(names=[name]))
    balancer.wait_active(3)
    held, before = served(balancer), first.containers()
    assert name in before.values()

    with Load(balancer.url) as load:
        second = place.operator("second")
        place.create(second, place.spec(names=[name]))
        stacks.eventually(
            lambda: second.serverset()["status"]["readyReplicas"] == 3,
            what="the second's own replicas",
        )
        said = condition(second, "BalancerSynced", "OtherHolder")["message"]
        assert first.serverset()["metadata"]["uid"] in said
        assert second.condition("Ready")["status"] == "False"
        assert name not in second.containers().values()
        assert served(balancer) == held

        # It goes as it came: its own containers, and not the ring.
        requests.delete(f"{second.api}{stacks.SETS}/web", timeout=10).raise_for_status()
        stacks.eventually(
            lambda: requests.get(f"{second.api}{stacks.SETS}/web", timeout=5).status_code == 404,
            what="the second's set deleted",
        )
        assert served(balancer) == held
        assert second.end() == 0
    assert load.failures == []
    assert load.count > 100
    assert first.containers() == before
    assert first.process.poll() is None
    assert "fenced" not in first.log + second.log


def test_one_state_folder_has_one_operator(place):
    first = place.operator("first")
    stacks.eventually(lambda: requests.get(first.api + "/readyz", timeout=5).ok, what="the first")
    second = place.operator("second", state=first.state)
    assert second.process.wait(30) == 1
    (line,) = second.log.splitlines()
    assert line.startswith("ringmaster-operator: another operator acts on the state folder")
    assert first.process.poll() is None


def test_of_two_operators_of_a_copied_state_the_later_one_acts_and_the_earlier_one_ends(place):
    balancer = place.balancer()
    first = place.operator("first")
    place.create(first, place.spec())
    balancer.wait_active(3)
    held, before = served(balancer), first.containers()
    assert first.end() == 0
    copy = place.folder / "copy"
    shutil.copytree(first.state, copy)
    epoch = balancer.ring()["epoch"]

    earlier = place.operator("earlier", state=first.state)
    stacks.eventually(lambda: balancer.ring()["epoch"] > epoch, what="its push")
    epoch = balancer.ring()["epoch"]
    later = place.operator("later", state=copy)
    assert earlier.process.wait(60) == 1
    assert "fenced" in earlier.log
    assert balancer.ring()["epoch"] > epoch
    assert later.containers() == before
    assert served(balancer) == held
