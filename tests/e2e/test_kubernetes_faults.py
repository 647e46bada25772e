"""Fault injection at every side effect of a reconcile, on a real API server.

An operator that dies between any two effects, answers that are lost, lists that are old: what is
wanted comes about, never with more pods than allowed, and then nothing is written.
"""

from __future__ import annotations

import threading
import time

import kube_cluster
import paper_cluster
import pytest
from ringmaster_operator import loop
from ringmaster_operator.kube import client, paths

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]


@pytest.fixture(scope="module")
def access():
    return client.access(kube_cluster.config())


@pytest.fixture(scope="module")
def api(access):
    made = client.Api(access.configuration)
    yield made
    made.close()


@pytest.fixture(scope="module")
def namespace():
    with kube_cluster.namespace() as made:
        yield made


@pytest.fixture
def make(namespace, api, access):
    """ServerSets that are gone afterwards."""
    made = []

    def one(**spec):
        made.append(paper_cluster.PaperSet(namespace, api, access.configuration, **spec))
        return made[-1]

    yield one
    for each in made:
        api.delete(paths.sets(namespace.name, each.name))


def scale_up(world):
    world.edit(replicas=3)


def scale_down(world):
    world.edit(replicas=1)


def roll(world):
    world.edit(template=paper_cluster.template("v2"))


def lose(world):
    world.delete_pod(world.pods()[0])


def roll_back(world):
    """A version that never gets ready; what it made goes again."""
    bad = paper_cluster.template(f"{paper_cluster.BAD}-{time.monotonic_ns()}")
    world.edit(strategy={"onFailure": "Rollback"}, progressDeadlineSeconds=3, template=bad)


def adopt(world):
    """One too many, so one goes."""
    world.orphan()


def release(world):
    world.relabel(world.pods()[0], app="debug")


CHANGES = {
    "scale-up": scale_up,
    "scale-down": scale_down,
    "rollout": roll,
    "loss": lose,
    "adopt": adopt,
    "release": release,
    "rollback": roll_back,
}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_an_operator_that_dies_at_any_effect_leaves_work_that_the_next_one_finishes(
    make, change, before
):
    world = make(replicas=2)
    world.settle()
    for effect in range(1, 100):
        world.most = 0
        world.effects.kill_in, world.effects.before = effect, before
        CHANGES[change](world)
        world.settle()
        survived, world.effects.kill_in = world.effects.kill_in is not None, None
        assert world.most <= world.document()["spec"]["replicas"] + world.surge
        if survived:
            break
        world.edit(replicas=2, template=paper_cluster.template("v1"))
        world.settle()
    assert effect > 5, "there are more effects than that"
    assert world.writes_at_rest() == []


@pytest.mark.parametrize("kind", ["create", "patch", "delete"])
@pytest.mark.parametrize("which", range(4))
def test_what_was_done_but_answered_an_error_is_found_and_not_done_twice(make, kind, which):
    world = make(replicas=2)
    world.settle()
    world.most = 0
    calls = iter(range(1_000))
    world.api.lost = lambda what: what.startswith(kind) and next(calls) == which
    world.edit(replicas=4, template=paper_cluster.template("v2"))
    world.settle()
    world.edit(replicas=1)
    world.settle()
    assert world.most <= 4 + world.surge
    assert world.writes_at_rest() == []


def test_lists_that_are_older_than_our_own_writes_lead_to_no_pod_too_many(make):
    world = make(replicas=2)
    world.settle()
    world.most = 0
    reads = iter(range(10_000))
    world.api.stale = lambda path: path.endswith("/pods") and next(reads) % 3 > 0
    world.edit(replicas=4)
    world.settle()
    world.edit(template=paper_cluster.template("v2"))
    world.settle()
    world.edit(replicas=1)
    world.settle()
    assert world.most <= 4 + world.surge
    world.api.stale = lambda _path: False
    assert world.writes_at_rest() == []


def test_an_operator_that_starts_with_an_old_view_makes_up_for_it(make):
    # Our lists come from etcd and are never old; if one were, this is the worst it can do.
    world = make(replicas=1)
    world.settle()
    world.edit(replicas=3)
    world.settle()
    world.restart()
    lists = iter(range(1_000))
    world.api.before_all = lambda path: path.endswith("/pods") and next(lists) < 2
    world.settle()
    assert world.writes_at_rest() == []


def test_without_a_single_watch_event_the_full_pass_does_it(make):
    world = make(replicas=2)
    world.settle()
    work = loop.Loop(
        reconciler=world.operator,
        owners=lambda: [world.owner],
        settings=loop.Settings(full_pass_seconds=1),
    )

    class Silence:
        def watch(self, _notify, stop):
            stop.wait()

    thread = threading.Thread(target=work.run, args=(Silence(),))
    thread.start()
    try:
        world.delete_pod(world.pods()[0])
        world.edit(replicas=3)

        def done():
            world.kubelet()
            return world.converged()

        kube_cluster.eventually(done, what="three pods")
    finally:
        work.stop()
        thread.join()
