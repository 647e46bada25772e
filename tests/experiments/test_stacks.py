"""Arranging a running Ringmaster, and putting it back."""

from __future__ import annotations

import copy

import pytest
import scripted_api
from ringmaster_experiments import errors, load, server, stacks


@pytest.fixture
def api():
    return scripted_api.ScriptedApi()


@pytest.fixture
def client(api):
    with api.running() as url:
        made = server.Server(url, namespace="default", name="web")
        yield made
        made.close()


def stack_of(client):
    return stacks.Stack(target=load.Target("127.0.0.1", 1), api=client, runtime="process")


def test_arrange_asks_for_exactly_this_ring_and_the_members_name(api, client):
    api.on_get = api.settle
    ids = stack_of(client).arrange({"scheme": "classic", "hash": "modulo"}, 5)
    assert ids == ("web-0", "web-1", "web-2", "web-3", "web-4")
    spec = api.document["spec"]
    assert spec["ring"] == {"scheme": "classic", "hash": "modulo"}  # the cookie is gone
    assert spec["replicas"] == 5
    assert spec["balancer"]["proxy"]["memberHeader"] is True


def test_arrange_waits_for_the_spec_as_it_is_now(api, client):
    api.settle()  # about generation 1: old news after the patch
    looks = 0

    def later():
        nonlocal looks
        looks += 1
        if looks == 3:
            api.settle()

    api.on_get = later
    stack_of(client).arrange({"scheme": "hrw"}, 3)
    assert looks == 3


def test_arrange_gives_up_with_what_the_operator_complains_of(api, client, monkeypatch):
    monkeypatch.setattr(stacks, "ARRANGE_SECONDS", 0)
    said = {"type": "ReplicaFailure", "status": "True", "reason": "Image", "message": "no such"}
    api.document["status"] = {"conditions": [said]}
    with pytest.raises(errors.ExperimentError, match="Image: no such"):
        stack_of(client).arrange({"scheme": "hrw"}, 3)


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt])
def test_a_running_stack_is_put_back_however_the_block_ends(api, failure):
    api.on_get = api.settle
    before = copy.deepcopy(api.document["spec"])
    with api.running() as url:
        try:
            with stacks.running(
                "http://127.0.0.1:1", api=url, serverset="web", runtime="process"
            ) as stack:
                stack.arrange({"scheme": "classic", "hash": "assignment"}, 6)
                assert api.document["spec"] != before
                if failure:
                    raise failure
        except KeyboardInterrupt:
            assert failure
    after = api.document["spec"]
    assert after.pop("balancer") == {"proxy": {}}
    assert after == before


def test_a_stack_whose_set_cannot_be_read_is_not_touched(api):
    api.answers["GET", scripted_api.SET] = (404, {"message": "no"})
    with (
        api.running() as url,
        pytest.raises(errors.ExperimentError),
        stacks.running("http://127.0.0.1:1", api=url, serverset="web", runtime="process"),
    ):
        pytest.fail("must not get here")
    assert api.patches == []
