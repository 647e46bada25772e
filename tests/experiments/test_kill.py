"""Watching a recovery from the operator's side; the whole of it is in `test_own`."""

from __future__ import annotations

import pytest
import scripted_api
from ringmaster_experiments import kill, server

VICTIM = server.Replica("web-1-abcde", "web-1", 1, "uid-1", "127.0.0.1:1", True, True)
PATH = scripted_api.SET + "/replicas"


@pytest.fixture
def api():
    return scripted_api.ScriptedApi()


@pytest.fixture
def client(api):
    with api.running() as url:
        made = server.Server(url, namespace="default", name="web")
        yield made
        made.close()


def successor(**status):
    item = scripted_api.replica(1, displayName="emergency-web-1-fghij", **status)
    item["metadata"]["uid"] = "uid-9"
    return item


def test_each_step_is_noted_when_it_is_first_seen(api, client):
    other = scripted_api.replica(0)
    story = iter(
        [
            [other, scripted_api.replica(1)],
            [other, scripted_api.replica(1, ready=False)],
            [other],
            [other, successor(ready=False, ring="")],
            [other, successor(ring="")],
            [other, successor()],
        ]
    )
    last = []

    class Told(dict):
        def get(self, key, default=None):
            nonlocal last
            if key != ("GET", PATH):
                return super().get(key, default)
            last = next(story, last)
            return 200, {"items": last}

    api.answers = Told()
    watch = kill.Watch(client, VICTIM)
    watch.start()
    watch.wait(30)
    watch.stop()
    steps = ["detected", "replaced", "ready", "in the ring"]
    assert list(watch.moments) == steps
    assert sorted(watch.moments.values()) == list(watch.moments.values())


def test_an_api_that_does_not_answer_is_asked_again_until_the_watch_is_stopped(api, client):
    api.answers["GET", PATH] = (503, {"message": "later"})
    watch = kill.Watch(client, VICTIM)
    watch.start()
    watch.wait(0.1)
    assert watch.moments == {}
    api.answers["GET", PATH] = (200, {"items": [successor()]})
    watch.wait(30)
    watch.stop()
    assert set(watch.moments) == {"detected", "replaced", "ready", "in the ring"}
